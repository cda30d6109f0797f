// Sixteen-bit blocks: what products of float matrices are computed from, shared by gemm.cpp and attention.cpp.
//
// Dimension key: M rows of the left matrix, N columns, K summed; a block is BLOCK of K, and has one scale in each row of
// the left matrix and in each column of the right one.
// Left, quantised:  [block][row][BLOCK] int16 in tiles of TILE_M rows, scales [block][row].
// Right, packed:    [N / TILE_N][K][TILE_N] int16, scales [N / TILE_N][block][TILE_N]; K padded to K_ALIGN.
// How the values of a tile, and of a panel of TILE_N columns, lie is the processor's: dot_vectors.h, dot_matrix_units.h.
//
// Left values reach LEFT_MAX. Right values are scaled so that no sum overflows, whatever the left row is.
#pragma once

#include <cfloat>
#include <cmath>

#include "simd.h"

namespace auricle {

constexpr int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

}  // namespace auricle

#ifdef __AMX_INT8__
#include "dot_matrix_units.h"
#else
#include "dot_vectors.h"
#endif

namespace auricle {

// `n` floats (up to BLOCK) to 16 bits in a row of a left tile, zeros after them up to K_ALIGN; returns the scale: NaN if
// one of them is not finite, so that what is computed of them is NaN too.
AURICLE_INLINE float quantise_left(const float* x, int n, int16_t* tile, int row) {
  // The magnitudes of floats are in the order of their bits, infinity and NaN after all others.
  VI largest = izero();
  const int whole = n / VF_LANES * VF_LANES;
  for (int i = 0; i < whole; i += VF_LANES) largest = imax(bits(vabs(vload(x + i))), largest);
  if (whole < n) largest = imax(bits(vabs(vload_n(x + whole, n - whole))), largest);
  const float most = largest_float(largest);
  const VF inverse = vset1(most > 1e-30f && most <= FLT_MAX ? LEFT_MAX / most : 0.0f);
  int i = 0;
  for (; i + LEFT_STEP_VALUES <= n; i += LEFT_STEP_VALUES) put_left_step(tile, row, i, x + i, inverse);
  for (; i < round_up(n, K_ALIGN); i += VF_LANES) {
    const VF value = i < n ? vload_upto(x + i, n - i) : vzero();
    put_left(tile, row, i, to_int(vmul(value, inverse)));
  }
  return most <= FLT_MAX ? most / LEFT_MAX * UNIT : NAN;
}

// tile[TILE_M][TILE_N] += a block's sums, in float32; what the tile held counts as zero if the block is the first.
AURICLE_INLINE void add_sums(const TileSums& sums, const float* left_scales, const float* right_scales, float* tile,
                             bool is_first) {
  const VF scale0 = vload(right_scales), scale1 = vload(right_scales + VF_LANES);
#pragma GCC unroll 16
  for (int i = 0; i < TILE_M; i++) {
    const VF scale = vset1(left_scales[i]);
    float* row = tile + i * TILE_N;
    const VF before0 = is_first ? vzero() : vload(row), before1 = is_first ? vzero() : vload(row + VF_LANES);
    vstore(row, vfma(sums.of(i, 0), vmul(scale, scale0), before0));
    vstore(row + VF_LANES, vfma(sums.of(i, 1), vmul(scale, scale1), before1));
  }
}

AURICLE_INLINE void add_block(const int16_t* left, const float* left_scales, const int16_t* right,
                              const float* right_scales, int n_values, float* tile, bool is_first) {
  TileSums sums;
  dot_block(left, right, n_values, sums);
  add_sums(sums, left_scales, right_scales, tile, is_first);
}

}  // namespace auricle
