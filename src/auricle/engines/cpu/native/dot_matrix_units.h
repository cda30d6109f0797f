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
constexpr float PROBABILITY_MAX = 32768.0f;
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

// Rows of 16 words to columns.
AURICLE_INLINE void transpose(VI rows[16]) {
  VI t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      rows[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
      rows[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {  // in quarters of vectors: of rows 4 i + j
    const VI a = _mm512_shuffle_i32x4(rows[j], rows[j + 4], 0x88), b = _mm512_shuffle_i32x4(rows[j], rows[j + 4], 0xdd);
    const VI c = _mm512_shuffle_i32x4(rows[j + 8], rows[j + 12], 0x88);
    const VI d = _mm512_shuffle_i32x4(rows[j + 8], rows[j + 12], 0xdd);
    t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
    t[j + 8] = _mm512_shuffle_i32x4(a, c, 0xdd);
    t[j + 4] = _mm512_shuffle_i32x4(b, d, 0x88);
    t[j + 12] = _mm512_shuffle_i32x4(b, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) rows[i] = t[i];
}

// KEYS_AT_ONCE columns from `column` on, a multiple of 16: `n` values of each, a multiple of K_ALIGN, `stride` apart.
constexpr int KEYS_AT_ONCE = 16;
AURICLE_INLINE void put_keys(int16_t* panel, int column, const float* values, int64_t stride, int64_t n) {
  alignas(64) int16_t tile[LEFT_STEP / 2];
  for (int64_t k = 0; k < n; k += K_ALIGN) {
    for (int key = 0; key < KEYS_AT_ONCE; key++) put_left_step(tile, key, 0, values + key * stride + k, vset1(1.0f));
    for (int part = 0; part < 2; part++) {
      VI rows[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) rows[i] = iload((char*)tile + part * TILE_BYTES + i * 64);
      transpose(rows);
      char* at = right_place(panel, column, k) + part * TILE_BYTES;
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) istore(at + i * 64, rows[i]);
    }
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

// What probabilities of a row have added up to: bytes of high parts, and of low ones.
struct StepTotals {
  VI high = izero(), low = izero();
  float sum() const { return 256.0f * (float)hsum(high) + (float)hsum(low); }
};

// PROBABILITY_MAX * 2^-x, in 16 bits for x in units of 1 / 2048, within 1e-4 of itself and half a unit. The polynomial is the
// minimax fit of degree 3 for 2^-f on 0 <= f < 1.
AURICLE_INLINE VI half_probability(VI x) {
  const VI fraction = _mm512_slli_epi16(x, 5);
  const auto times = [&](VI a) { return _mm512_mulhi_epu16(fraction, a); };
  const auto less = [](int from, VI a) { return _mm512_sub_epi16(_mm512_set1_epi16((int16_t)from), a); };
  const VI p = less(65530, times(less(45285, times(less(15077, times(_mm512_set1_epi16(2557)))))));
  return _mm512_avg_epu16(_mm512_srlv_epi16(p, _mm512_srli_epi16(x, 11)), izero());
}

// The probabilities of KEY_STEP keys from `key` on, in integers, into a row of a left tile: of values times a factor, less
// the largest.
AURICLE_INLINE void put_probabilities(int16_t* tile, int row, int64_t key, const float* values, float factor, float largest,
                                      StepTotals& totals) {
  const VF slope = vset1(-2048.0f * factor), start = vset1(2048.0f * largest);
  const auto below = [&](int64_t at) { return to_int(vmin(vfma(vload(values + at), slope, start), vset1(65535.0f))); };
  // Packing works in quarters of a vector: four of each of the four vectors come to lie beside each other.
  constexpr int64_t NEXT = TILE_M * TILE_N;
  const VI first = half_probability(_mm512_packus_epi32(below(0), below(VF_LANES)));
  const VI last = half_probability(_mm512_packus_epi32(below(NEXT), below(NEXT + VF_LANES)));
  const VI byte = _mm512_set1_epi16(255), ones = _mm512_set1_epi8(1);
  const VI high = _mm512_packus_epi16(_mm512_srli_epi16(first, 8), _mm512_srli_epi16(last, 8));
  const VI low = _mm512_packus_epi16(_mm512_and_si512(first, byte), _mm512_and_si512(last, byte));
  totals.high = _mm512_dpbusd_epi32(totals.high, high, ones);
  totals.low = _mm512_dpbusd_epi32(totals.low, low, ones);
  char* at = (char*)tile + key / 64 * LEFT_STEP + row * 64;
  istore(at, high);
  istore(at + TILE_BYTES, low);
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

AURICLE_INLINE void begin_sums() {
  asm volatile("" ::: "memory");  // gcc's tile loads do not say that they read memory
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

AURICLE_INLINE void load_left(const int16_t* left) {
  _tile_loadd(4, left, 64);
  _tile_loadd(5, (const char*)left + TILE_BYTES, 64);
}

// One step of K, of which `load_left` loaded the left side.
template <bool PROBABILITIES = false>
AURICLE_INLINE void add_right(const int16_t* right) {
  const char* b = (const char*)right;
  // 0 and 2 sum high times high, 1 and 3 high times low; neighbours never add to the same tile.
  _tile_loadd(6, b, 64);
  AURICLE_DOT(0, 4, 6);
  AURICLE_DOT(1, 5, 6);
  _tile_loadd(6, b + 2 * TILE_BYTES, 64);
  AURICLE_DOT(3, 5, 6);
  _tile_loadd(7, b + TILE_BYTES, 64);
  AURICLE_DOT(1, 4, 7);
  AURICLE_DOT(2, 4, 6);
  _tile_loadd(7, b + 3 * TILE_BYTES, 64);
  AURICLE_DOT(3, 4, 7);
}

AURICLE_INLINE void end_sums(TileSums& sums) {
  _tile_stored(0, sums.parts[0][0], 64);
  _tile_stored(1, sums.parts[0][1], 64);
  _tile_stored(2, sums.parts[1][0], 64);
  _tile_stored(3, sums.parts[1][1], 64);
}

#undef AURICLE_DOT

// A left tile times one block of a right panel, `n_values` a multiple of K_ALIGN.
template <bool PROBABILITIES = false>
AURICLE_INLINE void dot_block(const int16_t* left, const int16_t* right, int64_t n_values, TileSums& sums) {
  begin_sums();
  for (int64_t k = 0; k < n_values; k += K_ALIGN) {
    load_left(left + k / K_ALIGN * LEFT_STEP / 2);
    add_right<PROBABILITIES>(right + k * TILE_N);
  }
  end_sums(sums);
}

// A left tile of probabilities, which `make(k)` writes KEY_STEP at a time, times a panel. The products of a step follow its
// probabilities at once: matrix units that wait for all of them have to be woken.
template <class Make>
AURICLE_INLINE void dot_probabilities(const int16_t* left, const int16_t* right, int n_values, TileSums& sums, Make make) {
  begin_sums();
  for (int k = 0; k < n_values; k += KEY_STEP) {
    make(k);
    asm volatile("" ::: "memory");
    load_left(left + k * TILE_M);
    add_right<true>(right + k * TILE_N);
  }
  end_sums(sums);
}

// `use(panel, sums)` for a left tile of one block times each panel.
template <class Use>
AURICLE_INLINE void dot_panels(const int16_t* left, const int16_t* panels, int64_t n_values, int n_panels, Use use) {
  TileSums sums;
  if (n_values == K_ALIGN) load_left(left);
  for (int panel = 0; panel < n_panels; panel++) {
    const int16_t* right = panels + panel * n_values * TILE_N;
    if (n_values == K_ALIGN) {
      begin_sums();
      add_right(right);
      end_sums(sums);
    } else {
      dot_block(left, right, n_values, sums);
    }
    use(panel, sums);
  }
}

}  // namespace auricle
