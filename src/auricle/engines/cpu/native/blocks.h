// Sixteen-bit blocks: what products of float matrices are computed from, shared by gemm.cpp and attention.cpp.
//
// Dimension key: M rows of the left matrix, N columns, K summed; a block is 128 of K, and has one scale in each row of
// the left matrix and in each column of the right one.
// Left, quantised:  [block][row][128] int16, scales [block][row].
// Right, packed:    [N / TILE_N][K / 2][TILE_N][2] int16, scales [N / TILE_N][block][TILE_N]; K padded to K_ALIGN.
//
// Left values reach LEFT_MAX. Right values are scaled so that the sum of their magnitudes over the block, times
// LEFT_MAX, stays below 2^31: no sum overflows, whatever the left row is, and the right matrix uses most of its
// 16 bits.
#pragma once

#include "simd.h"

namespace auricle {

constexpr int BLOCK = 128;
constexpr int K_ALIGN = 16;
#ifdef __AVX512F__
constexpr int TILE_M = 12;
#else
constexpr int TILE_M = 6;
#endif
constexpr int TILE_N = 2 * VF_LANES;

constexpr float LEFT_MAX = 8191.0f;
// Half a unit of rounding for each of the block's values is kept back.
constexpr double RIGHT_SUM = 2147483647.0 / 8191.0 - BLOCK / 2 - 1;
constexpr double RIGHT_MAX = 32767.0;

constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// `n` floats (up to BLOCK) to 16 bits, zeros after them up to K_ALIGN; returns the scale: NaN if one of them is not
// finite, so that what is computed of them is NaN too.
AURICLE_INLINE float quantise_left(const float* x, int n, int16_t* out) {
  VF largest = vzero(), not_finite = vzero();
  const int whole = n / VF_LANES * VF_LANES;
  for (int i = 0; i < whole; i += VF_LANES) {
    VF value = vload(x + i);
    largest = vmax(vabs(value), largest);
    not_finite = vfma(value, vzero(), not_finite);
  }
  if (whole < n) {
    VF value = vload_n(x + whole, n - whole);
    largest = vmax(vabs(value), largest);
    not_finite = vfma(value, vzero(), not_finite);
  }
  const float most = hmax(largest);
  const float inverse = most > 1e-30f ? LEFT_MAX / most : 0.0f;
  for (int i = 0; i < whole; i += VF_LANES) vstore_i16(out + i, vmul(vload(x + i), vset1(inverse)));
  if (whole < n) vstore_i16(out + whole, vmul(vload_n(x + whole, n - whole), vset1(inverse)));
  for (int i = (int)round_up(n, VF_LANES); i < round_up(n, K_ALIGN); i += VF_LANES) vstore_i16(out + i, vzero());
  return most / LEFT_MAX + hsum(not_finite);
}

// Sums of one block's products for each place of a tile.
struct alignas(64) TileSums {
  VI at[TILE_M][2];
};

#ifdef __AVX512F__

constexpr int AHEAD = 8 * 2 * TILE_N;  // what is fetched early, so that the second cache answers in time

// Left rows (BLOCK apart) times one block of a right panel, `n_pairs` a multiple of 8.
AURICLE_INLINE void dot_block(const int16_t* left, const int16_t* right, int64_t n_pairs, TileSums& sums) {
  VI acc[TILE_M][2];
#pragma GCC unroll 16
  for (int i = 0; i < TILE_M; i++) acc[i][0] = acc[i][1] = izero();
  for (int64_t pair = 0; pair < n_pairs; pair++, left += 2, right += 2 * TILE_N) {
    const VI right0 = iload(right), right1 = iload(right + TILE_N);
    _mm_prefetch((const char*)(right + AHEAD), _MM_HINT_T0);
    _mm_prefetch((const char*)(right + AHEAD + TILE_N), _MM_HINT_T0);
#pragma GCC unroll 16
    for (int i = 0; i < TILE_M; i++) {
      int32_t both;
      std::memcpy(&both, left + i * BLOCK, sizeof both);
      acc[i][0] = wdot(acc[i][0], iset1(both), right0);
      acc[i][1] = wdot(acc[i][1], iset1(both), right1);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < TILE_M; i++) {
    sums.at[i][0] = acc[i][0];
    sums.at[i][1] = acc[i][1];
  }
}

#else

#define AURICLE_ROW(left_offset, acc0, acc1)                 \
  "vpbroadcastd " left_offset "(%[left]), %%ymm14\n\t"       \
  "vpmaddwd %%ymm12, %%ymm14, %%ymm15\n\t"                   \
  "vpmaddwd %%ymm13, %%ymm14, %%ymm14\n\t"                   \
  "vpaddd %%ymm15, %%ymm" acc0 ", %%ymm" acc0 "\n\t"         \
  "vpaddd %%ymm14, %%ymm" acc1 ", %%ymm" acc1 "\n\t"
// Six rows are 256 bytes apart.
#define AURICLE_PAIR(right0, right1, row0, row1, row2, row3, row4, row5) \
  "vmovdqu " right0 "(%[right]), %%ymm12\n\t"                             \
  "vmovdqu " right1 "(%[right]), %%ymm13\n\t"                             \
  AURICLE_ROW(row0, "0", "1") AURICLE_ROW(row1, "2", "3") AURICLE_ROW(row2, "4", "5") \
  AURICLE_ROW(row3, "6", "7") AURICLE_ROW(row4, "8", "9") AURICLE_ROW(row5, "10", "11")
#define AURICLE_EACH_SUM(apply)                                                                   \
  apply("0", "0") apply("1", "32") apply("2", "64") apply("3", "96") apply("4", "128") apply("5", "160") \
  apply("6", "192") apply("7", "224") apply("8", "256") apply("9", "288") apply("10", "320") apply("11", "352")
#define AURICLE_CLEAR(sum, offset) "vpxor %%xmm" sum ", %%xmm" sum ", %%xmm" sum "\n\t"
#define AURICLE_KEEP(sum, offset) "vmovdqu %%ymm" sum ", " offset "(%[sums])\n\t"

// Left rows (BLOCK apart) times one block of a right panel, `n_pairs` a multiple of 8. In assembly because gcc 12 keeps
// the sums in memory when it allocates the 16 registers itself, at half the speed.
AURICLE_INLINE void dot_block(const int16_t* left, const int16_t* right, int64_t n_pairs, TileSums& sums) {
  static_assert(TILE_M == 6 && TILE_N == 16 && BLOCK == 128, "the assembly counts on them");
  int64_t left_pairs = n_pairs;
  asm volatile(
      AURICLE_EACH_SUM(AURICLE_CLEAR)
      ".p2align 5\n"
      "1:\n\t"
      AURICLE_PAIR("0", "32", "0", "256", "512", "768", "1024", "1280")
      AURICLE_PAIR("64", "96", "4", "260", "516", "772", "1028", "1284")
      "addq $8, %[left]\n\t"
      "addq $128, %[right]\n\t"
      "subq $2, %[n]\n\t"
      "jnz 1b\n\t"
      AURICLE_EACH_SUM(AURICLE_KEEP)
      : [left] "+r"(left), [right] "+r"(right), [n] "+r"(left_pairs)
      : [sums] "r"(&sums)
      : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

#undef AURICLE_ROW
#undef AURICLE_PAIR
#undef AURICLE_EACH_SUM
#undef AURICLE_CLEAR
#undef AURICLE_KEEP
#endif

// tile[TILE_M][TILE_N] += the block's product, in float32.
AURICLE_INLINE void add_block(const int16_t* left, const float* left_scales, const int16_t* right,
                              const float* right_scales, int n_pairs, float* tile) {
  TileSums sums;
  dot_block(left, right, n_pairs, sums);
  const VF scale0 = vload(right_scales), scale1 = vload(right_scales + VF_LANES);
#pragma GCC unroll 16
  for (int i = 0; i < TILE_M; i++) {
    const VF scale = vset1(left_scales[i]);
    float* row = tile + i * TILE_N;
    vstore(row, vfma(to_float(sums.at[i][0]), vmul(scale, scale0), vload(row)));
    vstore(row + VF_LANES, vfma(to_float(sums.at[i][1]), vmul(scale, scale1), vload(row + VF_LANES)));
  }
}

}  // namespace auricle
