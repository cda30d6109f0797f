// The activation functions of networks, on vectors.
#pragma once

#include "simd.h"

namespace auricle {

// The numbers are those of products.py.
enum Activation : int32_t { NONE = 0, RELU = 1, GELU = 2, GELU_TANH = 3, SILU = 4 };

// erf(x) within 5e-7: a quotient of polynomials of x^2, |x| cut at 4, where erf is one in float32.
// Source: Eigen `unsupported/Eigen/src/SpecialFunctions` as of 3.4, `generic_fast_erf_float`.
AURICLE_INLINE VF verf(VF x) {
  x = vmax(vmin(x, vset1(4.0f)), vset1(-4.0f));
  VF square = vmul(x, x);
  VF p = vset1(-2.72614225801306e-10f);
  p = vfma(p, square, vset1(2.77068142495902e-08f));
  p = vfma(p, square, vset1(-2.10102402082508e-06f));
  p = vfma(p, square, vset1(-5.69250639462346e-05f));
  p = vfma(p, square, vset1(-7.34990630326855e-04f));
  p = vfma(p, square, vset1(-2.95459980854025e-03f));
  p = vfma(p, square, vset1(-1.60960333262415e-02f));
  VF q = vset1(-1.45660718464996e-05f);
  q = vfma(q, square, vset1(-2.13374055278905e-04f));
  q = vfma(q, square, vset1(-1.68282697438203e-03f));
  q = vfma(q, square, vset1(-7.37332916720468e-03f));
  q = vfma(q, square, vset1(-1.42647390514189e-02f));
  return vdiv(vmul(x, p), q);
}

AURICLE_INLINE VF vsigmoid(VF x) { return vdiv(vset1(1.0f), vadd(vset1(1.0f), vexp(vsub(vzero(), x)))); }
AURICLE_INLINE VF vsilu(VF x) { return vmul(x, vsigmoid(x)); }
AURICLE_INLINE VF vgelu(VF x) {
  VF half = vmul(x, vset1(0.5f));
  return vfma(half, verf(vmul(x, vset1(0.70710678f))), half);
}
// x (1 + tanh(u)) / 2 = x sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3)
AURICLE_INLINE VF vgelu_tanh(VF x) {
  VF inner = vfma(vmul(vmul(x, x), x), vset1(0.044715f), x);
  return vmul(x, vsigmoid(vmul(inner, vset1(1.59576912f))));
}

AURICLE_INLINE VF activate(VF x, int32_t activation) {
  switch (activation) {
    case RELU: return vmax(x, vzero());
    case GELU: return vgelu(x);
    case GELU_TANH: return vgelu_tanh(x);
    case SILU: return vsilu(x);
    default: return x;
  }
}

}  // namespace auricle
