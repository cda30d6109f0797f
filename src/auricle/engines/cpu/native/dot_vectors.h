// Products of 16-bit blocks on vector units: a left tile lies [row][128], a right panel [K / 2][TILE_N][2].
//
// The right values' magnitudes of a block, summed and times LEFT_MAX, stay below 2^31: no sum overflows, and the right
// matrix uses most of its 16 bits.
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
constexpr int KEY_BLOCK = BLOCK;   // keys of attention at a time
constexpr int KEY_STEP = TILE_N;  // keys whose probabilities are put into a left tile at a time

constexpr float LEFT_MAX = 8191.0f;
// Half a unit of rounding for each of the block's values is kept back.
constexpr double RIGHT_SUM = 2147483647.0 / 8191.0 - BLOCK / 2 - 1;
constexpr double RIGHT_MAX = 32767.0;
constexpr float PROBABILITY_MAX = LEFT_MAX;
constexpr float UNIT = 1.0f;  // what one of the sums is worth

// Nothing to prepare for: see dot_matrix_units.h.
struct MatrixUnits {
  ~MatrixUnits() {}
};

// A vector of values of a row of a left tile, from place `k` on.
AURICLE_INLINE void put_left(int16_t* tile, int row, int k, VI values) { istore_i16(tile + row * BLOCK + k, values); }

// LEFT_STEP_VALUES floats times a factor.
constexpr int LEFT_STEP_VALUES = VF_LANES;
AURICLE_INLINE void put_left_step(int16_t* tile, int row, int k, const float* x, VF factor) {
  put_left(tile, row, k, to_int(vmul(vload(x), factor)));
}

// A column's `n` values, a multiple of K_ALIGN, into a right panel, its first place being the first of a block.
AURICLE_INLINE void put_right(int16_t* panel, int column, const int16_t* values, int64_t n) {
  for (int64_t i = 0; i < n; i += 2) std::memcpy(panel + (i * TILE_N + 2 * column), values + i, 2 * sizeof(int16_t));
}

// KEYS_AT_ONCE columns from `column` on: `n` values of each, a multiple of K_ALIGN, `stride` apart.
constexpr int KEYS_AT_ONCE = 1;
AURICLE_INLINE void put_keys(int16_t* panel, int column, const float* values, int64_t stride, int64_t n) {
  alignas(64) int16_t row[BLOCK];
  for (int64_t i = 0; i < n; i += VF_LANES) vstore_i16(row + i, vload(values + i));
  put_right(panel, column, row, n);
}

// The values of VF_LANES columns from `column` on, of four keys from `key` on, into a right panel.
AURICLE_INLINE void put_values(int16_t* panel, int column, int64_t key, const VI values[4]) {
  istore(panel + key * TILE_N + 2 * column, interleave(values[0], values[1]));
  istore(panel + (key + 2) * TILE_N + 2 * column, interleave(values[2], values[3]));
}

// PROBABILITY_MAX * 2^x for x <= 0, within 4e-6 of itself; they are rounded to less.
AURICLE_INLINE VF probability(VF x) {
  const VF shift = vset1(12582912.0f);  // 1.5 * 2^23: what is added to it is rounded, into its lowest bits
  x = vmax(x, vset1(-100.0f));
  const VF n = vadd(x, shift), r = vsub(x, vsub(n, shift));
  VF p = vset1(PROBABILITY_MAX * 9.67217e-3f);
  p = vfma(p, r, vset1(PROBABILITY_MAX * 5.592204e-2f));
  p = vfma(p, r, vset1(PROBABILITY_MAX * 2.4022228e-1f));
  p = vfma(p, r, vset1(PROBABILITY_MAX * 6.9312103e-1f));
  p = vfma(p, r, vset1(PROBABILITY_MAX));
  return add_exponent(p, bits(n));
}

// What probabilities of a row have added up to.
struct StepTotals {
  VI sums = izero();
  float sum() const { return (float)hsum(sums); }
};

// The probabilities of KEY_STEP keys from `key` on, in integers, into a row of a left tile: of values times a factor, less
// the largest.
AURICLE_INLINE void put_probabilities(int16_t* tile, int row, int64_t key, const float* values, float factor, float largest,
                                      StepTotals& totals) {
  for (int i = 0; i < KEY_STEP; i += VF_LANES) {
    const VI p = to_int(probability(vfma(vload(values + i), vset1(factor), vset1(-largest))));
    totals.sums = iadd(totals.sums, p);
    put_left(tile, row, (int)key + i, p);
  }
}

// Sums of one block's products for each place of a tile.
struct alignas(64) TileSums {
  VI at[TILE_M][2];

  VF of(int row, int half) const { return to_float(at[row][half]); }
};

#ifdef __AVX512F__

constexpr int AHEAD = 8 * 2 * TILE_N;  // what is fetched early, so that the second cache answers in time

// Left rows (BLOCK apart) times one block of a right panel, `n_values` a multiple of K_ALIGN.
template <bool PROBABILITIES = false>
AURICLE_INLINE void dot_block(const int16_t* left, const int16_t* right, int64_t n_values, TileSums& sums) {
  VI acc[TILE_M][2];
#pragma GCC unroll 16
  for (int i = 0; i < TILE_M; i++) acc[i][0] = acc[i][1] = izero();
  for (int64_t i = 0; i < n_values; i += 2, left += 2, right += 2 * TILE_N) {
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

// Left rows (BLOCK apart) times one block of a right panel, `n_values` a multiple of K_ALIGN. In assembly because gcc 12
// keeps the sums in memory when it allocates the 16 registers itself, at half the speed.
template <bool PROBABILITIES = false>
AURICLE_INLINE void dot_block(const int16_t* left, const int16_t* right, int64_t n_values, TileSums& sums) {
  static_assert(TILE_M == 6 && TILE_N == 16 && BLOCK == 128, "the assembly counts on them");
  int64_t pairs = n_values / 2;
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
      : [left] "+r"(left), [right] "+r"(right), [n] "+r"(pairs)
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

// A left tile of probabilities, which `make(k)` writes KEY_STEP at a time, times a panel.
template <class Make>
AURICLE_INLINE void dot_probabilities(const int16_t* left, const int16_t* right, int n_values, TileSums& sums, Make make) {
  for (int k = 0; k < n_values; k += KEY_STEP) make(k);
  dot_block<true>(left, right, n_values, sums);
}

// `use(panel, sums)` for a left tile of one block times each panel.
template <class Use>
AURICLE_INLINE void dot_panels(const int16_t* left, const int16_t* panels, int64_t n_values, int n_panels, Use use) {
  TileSums sums;
  for (int panel = 0; panel < n_panels; panel++) {
    dot_block(left, panels + panel * n_values * TILE_N, n_values, sums);
    use(panel, sums);
  }
}

}  // namespace auricle
