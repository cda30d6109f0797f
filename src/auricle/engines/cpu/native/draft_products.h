// Products of a draft's rows, 16 bits, with 8-bit weights: on matrix units, where weights lie in tiles, or by int8.h.
//
// Dimension key: M rows, N outputs, K inputs.
//
// Tiles of weights lie [N / 32][K / 64][two halves of 16 outputs][16][16][4]: four of K together for each output, as in a
// right panel of dot_matrix_units.h; N and K are padded with zeros. Rows are left tiles as there: 256 high + low.
#pragma once

#include "blocks.h"
#include "int8.h"

namespace auricle {

#ifdef __AMX_INT8__

constexpr int64_t DRAFT_K_STEP = 64, DRAFT_N_STEP = 32;

// 16-bit numbers that M rows of weights' `padded` K take.
inline int64_t draft_rows_size(int64_t m_rows, int64_t padded) { return round_up(m_rows, TILE_M) * padded; }

// Writes one of the rows; returns its scale.
inline float put_draft_row(const Int8Weights& w, const float* x, int64_t m, int16_t* rows) {
  int16_t* tile = rows + m / TILE_M * TILE_M * w.padded;
  return quantise_left(x, (int)w.k, tile, (int)(m % TILE_M)) / UNIT;
}

inline void pack_draft_tiles(const float* weights, int64_t n, int64_t k, int64_t padded, int8_t* values, float* scales) {
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < round_up(n, DRAFT_N_STEP); row++) {
    float top = 0.0f;
    for (int64_t i = 0; row < n && i < k; i++) top = std::max(top, std::fabs(weights[row * k + i]));
    const float inverse = top > 0.0f ? 127.0f / top : 0.0f;
    if (row < n) scales[row] = top / 127.0f;
    const int64_t lane = row % DRAFT_N_STEP;
    int8_t* tiles = values + row / DRAFT_N_STEP * DRAFT_N_STEP * padded + lane / 16 * TILE_BYTES + lane % 16 * 4;
    for (int64_t i = 0; i < padded; i++) {
      int8_t& place = tiles[i / 64 * 2 * TILE_BYTES + i % 64 / 4 * 64 + i % 4];
      place = row < n && i < k ? (int8_t)std::lrintf(weights[row * k + i] * inverse) : (int8_t)0;
    }
  }
}

constexpr int64_t AHEAD_BYTES = 4096;  // what is fetched early, so that memory answers in time

// Sums of up to 16 rows with 32 outputs: of high and of low parts.
AURICLE_INLINE void dot_draft(const int16_t* rows, const int8_t* weights, int64_t padded, int32_t sums[2][2][16][16]) {
  asm volatile("" ::: "memory");  // gcc's tile loads do not say that they read memory
  const char *a = (const char*)rows, *b = (const char*)weights;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < padded; k += 64, a += LEFT_STEP, b += 2 * TILE_BYTES) {
#pragma GCC unroll 32
    for (int64_t line = 0; line < 2 * TILE_BYTES; line += 64) _mm_prefetch(b + AHEAD_BYTES + line, _MM_HINT_T0);
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, a + TILE_BYTES, 64);
    _tile_dpbssd(1, 5, 6);
    _tile_loadd(7, b + TILE_BYTES, 64);
    _tile_dpbssd(2, 4, 7);
    _tile_dpbssd(3, 5, 7);
  }
  _tile_stored(0, sums[0][0], 64);
  _tile_stored(1, sums[0][1], 64);
  _tile_stored(2, sums[1][0], 64);
  _tile_stored(3, sums[1][1], 64);
}

// Outputs [begin, end) of all M rows, `begin` a multiple of DRAFT_N_STEP: x W^T + bias is written, or added, to where
// `place(n, m)` points; outputs of a row lie beside each other there.
template <bool ADD, class Place>
inline void draft_product(const Int8Weights& w, const int16_t* rows, const float* scales, int64_t m_rows, int64_t begin,
                          int64_t end, Place&& place) {
  alignas(64) int32_t sums[2][2][16][16];
  for (int64_t n = begin; n < end; n += DRAFT_N_STEP)
    for (int64_t m = 0; m < m_rows; m += TILE_M) {
      dot_draft(rows + m * w.padded, w.values + n * w.padded, w.padded, sums);
      for (int64_t column = n; column < std::min(end, n + DRAFT_N_STEP); column += VF_LANES) {
        const auto& high = sums[(column - n) / VF_LANES][0];
        const auto& low = sums[(column - n) / VF_LANES][1];
        const int count = (int)std::min<int64_t>(VF_LANES, end - column);
        const VF scale = vload_upto(w.scales + column, count);
        const VF bias = w.bias ? vload_upto(w.bias + column, count) : vzero();
        for (int64_t i = 0; i < std::min<int64_t>(TILE_M, m_rows - m); i++) {
          const VF sum = vfma(to_float(iload(high[i])), vset1(256.0f), to_float(iload(low[i])));
          const VF value = vfma(sum, vmul(scale, vset1(scales[m + i])), bias);
          float* to = place(column, m + i);
          vstore_upto(to, ADD ? vadd(vload_upto(to, count), value) : value, count);
        }
      }
    }
}

#else

constexpr int64_t DRAFT_K_STEP = K_STEP, DRAFT_N_STEP = 1;

inline int64_t draft_rows_size(int64_t m_rows, int64_t padded) { return m_rows * padded; }

inline float put_draft_row(const Int8Weights& w, const float* x, int64_t m, int16_t* rows) {
  return quantize_row(x, w.k, w.padded, row_bound(w.k), rows + m * w.padded);
}

template <bool ADD, class Place>
inline void draft_product(const Int8Weights& w, const int16_t* rows, const float* scales, int64_t m_rows, int64_t begin,
                          int64_t end, Place&& place) {
  int8_product(w, rows, scales, m_rows, begin, end, [&](int64_t n, int64_t m, float value) {
    float* to = place(n, m);
    *to = ADD ? *to + value : value;
  });
}

#endif

}  // namespace auricle
