// The vector types that every kernel is written in: 8 lanes with AVX2, 16 with AVX-512.
//
// VF holds VF_LANES floats; VI holds as many 32-bit integers, or twice as many 16-bit ones. Names say what is loaded:
// `vload_i8` widens bytes to floats, `wload_i8` widens bytes to 16-bit lanes. All loads and stores are unaligned.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#define AURICLE_INLINE static inline __attribute__((always_inline))

namespace auricle {

#ifdef __AVX512F__

using VF = __m512;
using VI = __m512i;
constexpr int VF_LANES = 16;

AURICLE_INLINE VF vload(const float* p) { return _mm512_loadu_ps(p); }
AURICLE_INLINE void vstore(float* p, VF a) { _mm512_storeu_ps(p, a); }
AURICLE_INLINE VF vset1(float a) { return _mm512_set1_ps(a); }
AURICLE_INLINE VF vadd(VF a, VF b) { return _mm512_add_ps(a, b); }
AURICLE_INLINE VF vsub(VF a, VF b) { return _mm512_sub_ps(a, b); }
AURICLE_INLINE VF vmul(VF a, VF b) { return _mm512_mul_ps(a, b); }
AURICLE_INLINE VF vdiv(VF a, VF b) { return _mm512_div_ps(a, b); }
AURICLE_INLINE VF vmax(VF a, VF b) { return _mm512_max_ps(a, b); }
AURICLE_INLINE VF vmin(VF a, VF b) { return _mm512_min_ps(a, b); }
// a * b + c
AURICLE_INLINE VF vfma(VF a, VF b, VF c) { return _mm512_fmadd_ps(a, b, c); }
// c - a * b
AURICLE_INLINE VF vfnma(VF a, VF b, VF c) { return _mm512_fnmadd_ps(a, b, c); }
AURICLE_INLINE VF vabs(VF a) { return _mm512_abs_ps(a); }
AURICLE_INLINE VF vround(VF a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
AURICLE_INLINE float hsum(VF a) { return _mm512_reduce_add_ps(a); }
AURICLE_INLINE float hmax(VF a) { return _mm512_reduce_max_ps(a); }
// A bit for each lane, the first lowest.
AURICLE_INLINE unsigned equal_lanes(VF a, VF b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }

// The first n lanes (0 to VF_LANES); the others are zero, and are neither read nor written.
AURICLE_INLINE VF vload_n(const float* p, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
AURICLE_INLINE void vstore_n(float* p, VF a, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a); }

AURICLE_INLINE __m256i half_load(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
AURICLE_INLINE VF vload_i8(const int8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
}
AURICLE_INLINE VF vload_f16(const uint16_t* p) { return _mm512_cvtph_ps(half_load(p)); }
AURICLE_INLINE VF vload_bf16(const uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half_load(p)), 16));
}
AURICLE_INLINE void vstore_f16(uint16_t* p, VF a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
// 32-bit lanes to 16 bits, saturated.
AURICLE_INLINE void istore_i16(int16_t* p, VI a) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtsepi32_epi16(a)); }
// Rounded to the nearest integer, saturated.
AURICLE_INLINE void vstore_i16(int16_t* p, VF a) { istore_i16(p, _mm512_cvtps_epi32(a)); }
AURICLE_INLINE void vstore_i8(int8_t* p, VF a) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a)));
}

AURICLE_INLINE VI izero() { return _mm512_setzero_si512(); }
AURICLE_INLINE VI iload(const void* p) { return _mm512_loadu_si512(p); }
AURICLE_INLINE void istore(void* p, VI a) { _mm512_storeu_si512(p, a); }
AURICLE_INLINE VI iset1(int32_t a) { return _mm512_set1_epi32(a); }
AURICLE_INLINE VI iadd(VI a, VI b) { return _mm512_add_epi32(a, b); }
AURICLE_INLINE VI imax(VI a, VI b) { return _mm512_max_epi32(a, b); }
AURICLE_INLINE int32_t hmax(VI a) { return _mm512_reduce_max_epi32(a); }
// Lanes of 16 bits, those of `low` first in each pair: both within 16 bits.
AURICLE_INLINE VI interleave(VI low, VI high) {
  return _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32(high, 16));
}
AURICLE_INLINE VF to_float(VI a) { return _mm512_cvtepi32_ps(a); }
AURICLE_INLINE VI to_int(VF a) { return _mm512_cvtps_epi32(a); }
AURICLE_INLINE int32_t hsum(VI a) { return _mm512_reduce_add_epi32(a); }
// 2 * VF_LANES bytes to as many 16-bit lanes.
AURICLE_INLINE VI wload_i8(const int8_t* p) { return _mm512_cvtepi8_epi16(half_load(p)); }
// acc + the sums of neighbouring products of 16-bit lanes.
AURICLE_INLINE VI wdot(VI acc, VI a, VI b) {
  // As an intrinsic gcc 12 copies every sum to another register, and often to memory, around the instruction.
  asm("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
  return acc;
}
// The bits of a, with those of n added to its exponent: a * 2^n where both are normal numbers.
AURICLE_INLINE VF add_exponent(VF a, VI n) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(n, 23)));
}
AURICLE_INLINE VI bits(VF a) { return _mm512_castps_si512(a); }
// a * 2^n for whole n; zero or infinity past the range.
AURICLE_INLINE VF vscale2(VF a, VF n) { return _mm512_scalef_ps(a, n); }

#else

using VF = __m256;
using VI = __m256i;
constexpr int VF_LANES = 8;

AURICLE_INLINE VF vload(const float* p) { return _mm256_loadu_ps(p); }
AURICLE_INLINE void vstore(float* p, VF a) { _mm256_storeu_ps(p, a); }
AURICLE_INLINE VF vset1(float a) { return _mm256_set1_ps(a); }
AURICLE_INLINE VF vadd(VF a, VF b) { return _mm256_add_ps(a, b); }
AURICLE_INLINE VF vsub(VF a, VF b) { return _mm256_sub_ps(a, b); }
AURICLE_INLINE VF vmul(VF a, VF b) { return _mm256_mul_ps(a, b); }
AURICLE_INLINE VF vdiv(VF a, VF b) { return _mm256_div_ps(a, b); }
AURICLE_INLINE VF vmax(VF a, VF b) { return _mm256_max_ps(a, b); }
AURICLE_INLINE VF vmin(VF a, VF b) { return _mm256_min_ps(a, b); }
// a * b + c
AURICLE_INLINE VF vfma(VF a, VF b, VF c) { return _mm256_fmadd_ps(a, b, c); }
// c - a * b
AURICLE_INLINE VF vfnma(VF a, VF b, VF c) { return _mm256_fnmadd_ps(a, b, c); }
AURICLE_INLINE VF vabs(VF a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
AURICLE_INLINE VF vround(VF a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
AURICLE_INLINE float hsum(VF a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
AURICLE_INLINE float hmax(VF a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
// A bit for each lane, the first lowest.
AURICLE_INLINE unsigned equal_lanes(VF a, VF b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)); }

// The first n lanes (0 to VF_LANES); the others are zero, and are neither read nor written.
AURICLE_INLINE VI lanes_below(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
AURICLE_INLINE VF vload_n(const float* p, int n) { return _mm256_maskload_ps(p, lanes_below(n)); }
AURICLE_INLINE void vstore_n(float* p, VF a, int n) { _mm256_maskstore_ps(p, lanes_below(n), a); }

AURICLE_INLINE __m128i half_load(const void* p) { return _mm_loadu_si128((const __m128i*)p); }
AURICLE_INLINE VF vload_i8(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
AURICLE_INLINE VF vload_f16(const uint16_t* p) { return _mm256_cvtph_ps(half_load(p)); }
AURICLE_INLINE VF vload_bf16(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half_load(p)), 16));
}
AURICLE_INLINE void vstore_f16(uint16_t* p, VF a) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
AURICLE_INLINE __m128i narrow(VI a) {
  return _mm_packs_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
}
// 32-bit lanes to 16 bits, saturated.
AURICLE_INLINE void istore_i16(int16_t* p, VI a) { _mm_storeu_si128((__m128i*)p, narrow(a)); }
// Rounded to the nearest integer, saturated.
AURICLE_INLINE void vstore_i16(int16_t* p, VF a) { istore_i16(p, _mm256_cvtps_epi32(a)); }
AURICLE_INLINE void vstore_i8(int8_t* p, VF a) {
  __m128i x = narrow(_mm256_cvtps_epi32(a));
  _mm_storel_epi64((__m128i*)p, _mm_packs_epi16(x, x));
}

AURICLE_INLINE VI izero() { return _mm256_setzero_si256(); }
AURICLE_INLINE VI iload(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
AURICLE_INLINE void istore(void* p, VI a) { _mm256_storeu_si256((__m256i*)p, a); }
AURICLE_INLINE VI iset1(int32_t a) { return _mm256_set1_epi32(a); }
AURICLE_INLINE VI iadd(VI a, VI b) { return _mm256_add_epi32(a, b); }
AURICLE_INLINE VI imax(VI a, VI b) { return _mm256_max_epi32(a, b); }
AURICLE_INLINE int32_t hmax(VI a) {
  __m128i x = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}
// Lanes of 16 bits, those of `low` first in each pair: both within 16 bits.
AURICLE_INLINE VI interleave(VI low, VI high) {
  return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(0xffff)), _mm256_slli_epi32(high, 16));
}
AURICLE_INLINE VF to_float(VI a) { return _mm256_cvtepi32_ps(a); }
AURICLE_INLINE VI to_int(VF a) { return _mm256_cvtps_epi32(a); }
AURICLE_INLINE int32_t hsum(VI a) {
  __m128i x = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}
// 2 * VF_LANES bytes to as many 16-bit lanes.
AURICLE_INLINE VI wload_i8(const int8_t* p) { return _mm256_cvtepi8_epi16(half_load(p)); }
// acc + the sums of neighbouring products of 16-bit lanes.
AURICLE_INLINE VI wdot(VI acc, VI a, VI b) { return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)); }
// The bits of a, with those of n added to its exponent: a * 2^n where both are normal numbers.
AURICLE_INLINE VF add_exponent(VF a, VI n) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(n, 23)));
}
AURICLE_INLINE VI bits(VF a) { return _mm256_castps_si256(a); }
// a * 2^n for whole n; n below -126 gives zero for a near one, n above 127 is the caller's to avoid.
AURICLE_INLINE VF vscale2(VF a, VF n) {
  VI exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  VF normal = _mm256_cmp_ps(n, _mm256_set1_ps(-126.0f), _CMP_GE_OQ);
  return _mm256_and_ps(normal, _mm256_mul_ps(a, _mm256_castsi256_ps(exponent)));
}

#endif

AURICLE_INLINE VF vzero() { return vset1(0.0f); }
AURICLE_INLINE float first_lane(VF a) { return a[0]; }
// The float with the largest bits.
AURICLE_INLINE float largest_float(VI bits) {
  const int32_t largest = hmax(bits);
  float found;
  std::memcpy(&found, &largest, sizeof found);
  return found;
}

// As vload_n and vstore_n, for n that is mostly VF_LANES or more: masked stores take ten times as long on AMD's Zen.
AURICLE_INLINE VF vload_upto(const float* p, int n) { return n >= VF_LANES ? vload(p) : vload_n(p, n); }
AURICLE_INLINE void vstore_upto(float* p, VF a, int n) {
  if (n >= VF_LANES)
    vstore(p, a);
  else
    vstore_n(p, a, n);
}

// e^x within 1e-7 of itself for x from -87 to 88; zero below that, minus infinity included; above it stays at e^88.
// The polynomial is the least-squares fit of (e^r - 1 - r) / r^2 on |r| <= ln(2)/2, 4e-9 from it.
AURICLE_INLINE VF vexp(VF x) {
  x = vmax(vmin(x, vset1(88.0f)), vset1(-200.0f));
  VF n = vround(vmul(x, vset1(1.44269504f)));
  VF r = vfnma(n, vset1(0.693359375f), x);  // ln 2 in two parts: the first times n is exact
  r = vfnma(n, vset1(-2.12194440e-4f), r);
  VF p = vset1(1.37521e-3f);
  p = vfma(p, r, vset1(8.36891e-3f));
  p = vfma(p, r, vset1(4.166952e-2f));
  p = vfma(p, r, vset1(1.6666519e-1f));
  p = vfma(p, r, vset1(0.49999989f));
  p = vfma(vmul(r, r), p, r);
  return vscale2(vadd(p, vset1(1.0f)), n);
}

}  // namespace auricle
