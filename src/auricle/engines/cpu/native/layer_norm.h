// Layer normalization of rows.
#pragma once

#include <cmath>

#include "simd.h"

namespace auricle {

// y = (x - mean) / sqrt(variance + eps) * weight + bias over the n values of a row; y may be x.
inline void normalize_row(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y) {
  VF sum = vzero();
  for (int64_t i = 0; i < n; i += VF_LANES) sum = vadd(sum, vload_upto(x + i, (int)(n - i)));
  const VF mean = vset1(hsum(sum) / (float)n);
  VF squares = vzero();
  int64_t i = 0;
  for (; i + VF_LANES <= n; i += VF_LANES) {
    const VF centred = vsub(vload(x + i), mean);
    squares = vfma(centred, centred, squares);
  }
  float total = hsum(squares);
  for (; i < n; i++) total += (x[i] - first_lane(mean)) * (x[i] - first_lane(mean));
  const VF rate = vset1(1.0f / std::sqrt(total / (float)n + eps));
  for (i = 0; i < n; i += VF_LANES) {
    const int left = (int)(n - i);
    const VF scaled = vmul(vsub(vload_upto(x + i, left), mean), rate);
    vstore_upto(y + i, vfma(scaled, vload_upto(weight + i, left), vload_upto(bias + i, left)), left);
  }
}

}  // namespace auricle
