// What attention.cpp is given, and keys, values and distances as right matrices of its products; see there.
#pragma once

#include <algorithm>

#include "blocks.h"

namespace auricle {
namespace {

constexpr int MAX_WIDTH = 128;
constexpr float LOWEST = -1e30f;  // the score of a key that is not valid, and the largest of keys that are all invalid
constexpr float LOG2_E = 1.44269504f;

// Mirrored by products.py.
struct Attention {
  const float* q;
  const float* k;
  const float* v;
  const uint8_t* valid;  // [B][T] or null
  const float* bias;     // or null
  float* y;
  int64_t n_batches, n_heads, width, n_queries, n_keys;
  int64_t q_batch_stride, q_row_stride, k_batch_stride, k_row_stride, v_batch_stride, v_row_stride;
  int64_t bias_batch_stride, bias_head_stride, bias_row_stride;
  float scale;
  const float* position;  // p, laid out as q, or null
  const int16_t* distances;
  const float* distance_scales;
  int64_t n_distances;  // those that are packed: from n_distances - 1 down to -(n_distances - 1), at least all keys'

  int64_t padded_width() const { return round_up(width, K_ALIGN); }
  int64_t padded_keys() const { return round_up(n_keys, KEY_STEP); }
  int64_t key_blocks() const { return (n_keys + KEY_BLOCK - 1) / KEY_BLOCK; }
  int64_t width_panels() const { return (width + TILE_N - 1) / TILE_N; }
};

// Keys and values of one head as right matrices.
struct PackedHead {
  int16_t* keys;        // [T / TILE_N][K][TILE_N]
  float* key_scales;    // [T], times the scale of all scores
  float* penalty;       // [T]: 0, or LOWEST where a key is not valid
  int16_t* values;      // [K / TILE_N][T][TILE_N]
  float* value_scales;  // [K / TILE_N][block][TILE_N]
};

// Where packed heads lie: one after the other, in integers and in floats.
struct PackedHeads {
  int16_t* integers;
  float* floats;

  static int64_t key_size(const Attention& a) { return a.padded_keys() * a.padded_width(); }
  static int64_t n_integers(const Attention& a) { return key_size(a) + a.width_panels() * a.padded_keys() * TILE_N; }
  static int64_t n_floats(const Attention& a) { return 2 * a.padded_keys() + a.width_panels() * a.key_blocks() * TILE_N; }

  PackedHead head(const Attention& a, int64_t index) const {
    int16_t* integer = integers + index * n_integers(a);
    float* real = floats + index * n_floats(a);
    return {integer, real, real + a.padded_keys(), integer + key_size(a), real + 2 * a.padded_keys()};
  }
};

// Rows of a head lie further apart than the processor looks ahead by itself.
constexpr int64_t PREFETCHED_ROWS = 8;
AURICLE_INLINE void prefetch_row(const float* row, int64_t width) {
  for (int64_t i = 0; i < width; i += 16) _mm_prefetch((const char*)(row + i), _MM_HINT_T0);
}

// The largest factor that neither passes 16 bits nor lets a sum overflow.
AURICLE_INLINE VF right_factor(VF most, VF sum) {
  const VF factor = vdiv(vset1((float)RIGHT_MAX), vmax(most, vset1(1e-30f)));
  if constexpr (RIGHT_SUM > FLT_MAX) return factor;
  return vmin(factor, vdiv(vset1((float)RIGHT_SUM), vmax(sum, vset1(1e-30f))));
}

// A key's values as they are rounded, MAX_WIDTH zeros before; returns its scale.
AURICLE_INLINE float scale_key(const Attention& a, const float* key, float* row) {
  VF most = vzero(), sum = vzero();
  const int width = (int)a.width;
  for (int i = 0; i < width; i += VF_LANES) {
    const VF magnitude = vabs(vload_upto(key + i, width - i));
    most = vmax(most, magnitude);
    sum = vadd(sum, magnitude);
  }
  const VF factor = right_factor(vset1(hmax(most)), vset1(RIGHT_SUM > FLT_MAX ? 0.0f : hsum(sum)));
  for (int i = 0; i < width; i += VF_LANES) vstore(row + i, vmul(vload_upto(key + i, width - i), factor));
  return first_lane(vdiv(vset1(a.scale * LOG2_E), factor));
}

void pack_keys(const Attention& a, int64_t batch, int64_t head, const PackedHead& packed) {
  const float* first = a.k + batch * a.k_batch_stride + head * a.width;
  for (int64_t key = 0; key < a.padded_keys(); key += KEYS_AT_ONCE) {
    alignas(64) float rows[KEYS_AT_ONCE][MAX_WIDTH] = {};
    for (int i = 0; i < KEYS_AT_ONCE; i++) {
      const bool valid = key + i < a.n_keys && (!a.valid || a.valid[batch * a.n_keys + key + i]);
      packed.penalty[key + i] = valid ? 0.0f : LOWEST;
      prefetch_row(first + (key + i + PREFETCHED_ROWS) * a.k_row_stride, a.width);
      packed.key_scales[key + i] = valid ? scale_key(a, first + (key + i) * a.k_row_stride, rows[i]) : 0.0f;
    }
    int16_t* panel = packed.keys + key / TILE_N * TILE_N * a.padded_width();
    put_keys(panel, (int)(key % TILE_N), rows[0], MAX_WIDTH, a.padded_width());
  }
}

// All columns of the values of up to KEY_BLOCK keys from `first` on; values of invalid keys count as zero, whatever they are.
void pack_value_block(const Attention& a, const float* values, int64_t first, const PackedHead& packed) {
  constexpr int VECTORS = MAX_WIDTH / VF_LANES;
  const int64_t keys = std::min<int64_t>(KEY_BLOCK, a.n_keys - first);
  const int64_t padded = std::min<int64_t>(KEY_BLOCK, a.padded_keys() - first);
  const int vectors = (int)(a.width_panels() * 2);
  const auto value_of = [&](int64_t key, int vector) {
    const bool valid = key < keys && packed.penalty[first + key] == 0.0f;
    const int left = (int)a.width - vector * VF_LANES;
    return valid && left > 0 ? vload_upto(values + (first + key) * a.v_row_stride + vector * VF_LANES, left) : vzero();
  };
  VF most[VECTORS], sum[VECTORS], factor[VECTORS];
  std::fill(most, most + vectors, vzero());
  std::fill(sum, sum + vectors, vzero());
  for (int64_t key = 0; key < keys; key++) {
    prefetch_row(values + (first + key + PREFETCHED_ROWS) * a.v_row_stride, a.width);
    for (int i = 0; i < vectors; i++) {
      const VF value = vabs(value_of(key, i));
      most[i] = vmax(most[i], value);
      if constexpr (RIGHT_SUM <= FLT_MAX) sum[i] = vadd(sum[i], value);
    }
  }
  for (int i = 0; i < vectors; i++) {
    factor[i] = right_factor(most[i], sum[i]);
    vstore(packed.value_scales + (i / 2 * a.key_blocks() + first / KEY_BLOCK) * TILE_N + i % 2 * VF_LANES,
           vdiv(vset1(1.0f), factor[i]));
  }
  for (int64_t key = 0; key < padded; key += 4)
    for (int i = 0; i < vectors; i++) {
      VI four[4];
      for (int j = 0; j < 4; j++) four[j] = to_int(vmul(value_of(key + j, i), factor[i]));
      put_values(packed.values + (i / 2 * a.padded_keys() + first) * TILE_N, i % 2 * VF_LANES, key, four);
    }
}

void pack_values(const Attention& a, int64_t batch, int64_t head, const PackedHead& packed) {
  const float* values = a.v + batch * a.v_batch_stride + head * a.width;
  for (int64_t first = 0; first < a.n_keys; first += KEY_BLOCK) pack_value_block(a, values, first, packed);
}

void pack_head(const Attention& a, const PackedHeads& heads, int64_t index) {
  const PackedHead packed = heads.head(a, index);
  pack_keys(a, index / a.n_heads, index % a.n_heads, packed);
  pack_values(a, index / a.n_heads, index % a.n_heads, packed);
}

}  // namespace
}  // namespace auricle
