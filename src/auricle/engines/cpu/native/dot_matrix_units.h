// Products of 16-bit blocks on matrix units (AMX), which multiply bytes: each value is 256 high + low, both -128 to 127.
//
// high high', high low' and low high' are summed; low low' is left out: it is 2^-16 of the largest product, and as often
// positive as negative. Three products of bytes, 64 at a time for 16 rows and 16 columns, are five times as fast as one of
// 16 bits on vector units.
//
// A left tile lies [K / 64][high, low][16 rows][64], a right panel [K / 64][two halves of 16 columns][high, low][16][16][4]:
// four of K together for each column.
//
// Probabilities are not negative: theirs is the left side of 256 high + low, both 0 to 255.
#pragma once

#include <immintrin.h>

#include "simd.h"

namespace auricle {

constexpr int BLOCK = 256;
constexpr int K_ALIGN = 64;
constexpr int TILE_M = 16;
constexpr int TILE_N = 32;
constexpr int KEY_BLOCK = 1536;  // keys of attention at a time: all that Whisper has
constexpr int KEY_STEP = 64;     // keys whose probabilities are put into a left tile at a time

constexpr float LEFT_MAX = 32639.0f;  // 127 * 256 + 127
constexpr double RIGHT_MAX = 32639.0;
constexpr double RIGHT_SUM = 1e300;
constexpr float PROBABILITY_MAX = 65535.0f;
constexpr float UNIT = 256.0f;  // what one of the sums is worth

constexpr int64_t TILE_BYTES = 1024, LEFT_STEP = 2 * TILE_BYTES, RIGHT_STEP = 4 * TILE_BYTES;  // a step is 64 of K

// While one lives its thread has tiles of 16 rows of 64 bytes; without any, the system need not save them.
struct MatrixUnits {
  MatrixUnits() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t bytes_of_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } configuration;
    static_assert(sizeof configuration == 64, "as the processor reads it");
    _tile_loadconfig(&configuration);
  }
  MatrixUnits(const MatrixUnits&) = delete;
  ~MatrixUnits() { _tile_release(); }
};

AURICLE_INLINE __m128i low_bytes(VI values) { return _mm512_cvtepi32_epi8(values); }
AURICLE_INLINE VI high_parts(VI values) { return _mm512_srai_epi32(iadd(values, iset1(128)), 8); }

// A vector of values of a row of a left tile, from place `k` on.
AURICLE_INLINE void put_left(int16_t* tile, int row, int k, VI values) {
  char* at = (char*)tile + k / 64 * LEFT_STEP + row * 64 + k % 64;
  _mm_storeu_si128((__m128i*)at, low_bytes(high_parts(values)));
  _mm_storeu_si128((__m128i*)(at + TILE_BYTES), low_bytes(values));
}

// LEFT_STEP_VALUES floats times a factor.
constexpr int LEFT_STEP_VALUES = 64;
AURICLE_INLINE void put_left_step(int16_t* tile, int row, int k, const float* x, VF factor) {
  const auto pair = [&](int i) {  // in quarters of a vector: four of the one, four of the other
    return _mm512_packs_epi32(to_int(vmul(vload(x + i), factor)), to_int(vmul(vload(x + i + VF_LANES), factor)));
  };
  const VI first = pair(0), last = pair(2 * VF_LANES), half = _mm512_set1_epi16(128), low = _mm512_set1_epi16(255);
  const auto high_of = [&](VI values) { return _mm512_srai_epi16(_mm512_add_epi16(values, half), 8); };
  const VI high_bytes = _mm512_packs_epi16(high_of(first), high_of(last));
  const VI low_bytes = _mm512_packus_epi16(_mm512_and_si512(first, low), _mm512_and_si512(last, low));
  const VI order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  char* at = (char*)tile + k / 64 * LEFT_STEP + row * 64;
  istore(at, _mm512_permutexvar_epi32(order, high_bytes));
  istore(at + TILE_BYTES, _mm512_permutexvar_epi32(order, low_bytes));
}

AURICLE_INLINE char* right_place(int16_t* panel, int column, int64_t k) {
  return (char*)panel + k / 64 * RIGHT_STEP + column / 16 * LEFT_STEP + k % 64 / 4 * 64 + column % 16 * 4;
}

// A column's `n` values, a multiple of K_ALIGN, into a right panel, its first place being the first of a block.
AURICLE_INLINE void put_right(int16_t* panel, int column, const int16_t* values, int64_t n) {
  for (int64_t i = 0; i < n; i += VF_LANES) {
    const VI wide = _mm512_cvtepi16_epi32(half_load(values + i));
    alignas(16) char high[VF_LANES], low[VF_LANES];
    _mm_store_si128((__m128i*)high, low_bytes(high_parts(wide)));
    _mm_store_si128((__m128i*)low, low_bytes(wide));
    for (int j = 0; j < VF_LANES; j += 4) {
      char* at = right_place(panel, column, i + j);
      std::memcpy(at, high + j, 4);
      std::memcpy(at + TILE_BYTES, low + j, 4);
    }
  }
}

// As above for KEYS_AT_ONCE columns from `column` on, a multiple of 16, whose values are `stride` apart, at most 128.
constexpr int KEYS_AT_ONCE = 16;
AURICLE_INLINE void put_keys(int16_t* panel, int column, const int16_t* values, int64_t stride, int64_t n) {
  alignas(64) char high[KEYS_AT_ONCE][128], low[KEYS_AT_ONCE][128];
  for (int key = 0; key < KEYS_AT_ONCE; key++)
    for (int64_t i = 0; i < n; i += VF_LANES) {
      const VI wide = _mm512_cvtepi16_epi32(half_load(values + key * stride + i));
      _mm_store_si128((__m128i*)(high[key] + i), low_bytes(high_parts(wide)));
      _mm_store_si128((__m128i*)(low[key] + i), low_bytes(wide));
    }
  const VI rows = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), iset1(128));
  for (int64_t i = 0; i < n; i += 4) {
    char* at = right_place(panel, column, i);
    istore(at, _mm512_i32gather_epi32(rows, high[0] + i, 1));
    istore(at + TILE_BYTES, _mm512_i32gather_epi32(rows, low[0] + i, 1));
  }
}

AURICLE_INLINE VI four_bytes(VI a, VI b, VI c, VI d) {
  const VI byte = iset1(0xff);
  const VI first = _mm512_or_si512(_mm512_and_si512(a, byte), _mm512_slli_epi32(_mm512_and_si512(b, byte), 8));
  const VI last = _mm512_or_si512(_mm512_slli_epi32(_mm512_and_si512(c, byte), 16), _mm512_slli_epi32(d, 24));
  return _mm512_or_si512(first, last);
}

// The values of VF_LANES columns from `column` on, of four keys from `key` on, into a right panel. Of each 64 keys, those
// four lie where `put_probabilities` leaves theirs.
AURICLE_INLINE void put_values(int16_t* panel, int column, int64_t key, const VI values[4]) {
  const int64_t four = key % 64 / 4;
  char* at = right_place(panel, column, key / 64 * 64 + (four % 4 * 4 + four / 4) * 4);
  istore(at, four_bytes(high_parts(values[0]), high_parts(values[1]), high_parts(values[2]), high_parts(values[3])));
  istore(at + TILE_BYTES, four_bytes(values[0], values[1], values[2], values[3]));
}

// The probabilities of KEY_STEP keys from `key` on, in integers, into a row of a left tile.
AURICLE_INLINE void put_probabilities(int16_t* tile, int row, int64_t key, const VI values[4]) {
  // Packing works in quarters of a vector: four of each of the four vectors come to lie beside each other.
  const VI first = _mm512_packus_epi32(values[0], values[1]), last = _mm512_packus_epi32(values[2], values[3]);
  const VI low = _mm512_set1_epi16(255);
  char* at = (char*)tile + key / 64 * LEFT_STEP + row * 64;
  istore(at, _mm512_packus_epi16(_mm512_srli_epi16(first, 8), _mm512_srli_epi16(last, 8)));
  istore(at + TILE_BYTES, _mm512_packus_epi16(_mm512_and_si512(first, low), _mm512_and_si512(last, low)));
}

// Sums of one block's products for each place of a tile: of high parts, and of one high and one low part, worth 256 less.
struct alignas(64) TileSums {
  int32_t parts[2][2][TILE_M][VF_LANES];  // [half][high, mixed][row][column]

  VF of(int row, int half) const {
    return vfma(to_float(iload(parts[half][0][row])), vset1(256.0f), to_float(iload(parts[half][1][row])));
  }
};

#define AURICLE_DOT(sums, left, right) \
  if constexpr (PROBABILITIES)         \
    _tile_dpbusd(sums, left, right);   \
  else                                 \
    _tile_dpbssd(sums, left, right)

// A left tile times one block of a right panel, `n_values` a multiple of K_ALIGN.
template <bool PROBABILITIES = false>
AURICLE_INLINE void dot_block(const int16_t* left, const int16_t* right, int64_t n_values, TileSums& sums) {
  asm volatile("" ::: "memory");  // gcc's tile loads do not say that they read memory
  const char *a = (const char*)left, *b = (const char*)right;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t k = 0; k < n_values; k += 64, a += LEFT_STEP, b += RIGHT_STEP) {
    // 0 and 2 sum high times high, 1 and 3 high times low; neighbours never add to the same tile.
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    AURICLE_DOT(0, 4, 6);
    _tile_loadd(5, a + TILE_BYTES, 64);
    AURICLE_DOT(1, 5, 6);
    _tile_loadd(6, b + 2 * TILE_BYTES, 64);
    AURICLE_DOT(3, 5, 6);
    _tile_loadd(7, b + TILE_BYTES, 64);
    AURICLE_DOT(1, 4, 7);
    AURICLE_DOT(2, 4, 6);
    _tile_loadd(7, b + 3 * TILE_BYTES, 64);
    AURICLE_DOT(3, 4, 7);
  }
  _tile_stored(0, sums.parts[0][0], 64);
  _tile_stored(1, sums.parts[0][1], 64);
  _tile_stored(2, sums.parts[1][0], 64);
  _tile_stored(3, sums.parts[1][1], 64);
}

#undef AURICLE_DOT

}  // namespace auricle
