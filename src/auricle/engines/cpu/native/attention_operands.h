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

// The largest factor that neither passes 16 bits nor lets a sum overflow.
AURICLE_INLINE VF right_factor(VF most, VF sum) {
  most = vmax(most, vset1(1e-30f));
  sum = vmax(sum, vset1(1e-30f));
  return vmin(vdiv(vset1((float)RIGHT_MAX), most), vdiv(vset1((float)RIGHT_SUM), sum));
}

void quantise_key(const Attention& a, const float* key, int16_t* row, float& scale) {
  VF most = vzero(), sum = vzero();
  const int width = (int)a.width;
  for (int i = 0; i < width; i += VF_LANES) {
    const VF magnitude = vabs(vload_upto(key + i, width - i));
    most = vmax(most, magnitude);
    sum = vadd(sum, magnitude);
  }
  const VF factor = right_factor(vset1(hmax(most)), vset1(hsum(sum)));
  for (int i = 0; i < width; i += VF_LANES) vstore_i16(row + i, vmul(vload_upto(key + i, width - i), factor));
  vstore_n(&scale, vdiv(vset1(a.scale * LOG2_E), factor), 1);
}

void pack_keys(const Attention& a, int64_t batch, int64_t head, const PackedHead& packed) {
  const float* first = a.k + batch * a.k_batch_stride + head * a.width;
  for (int64_t key = 0; key < a.padded_keys(); key += KEYS_AT_ONCE) {
    alignas(64) int16_t rows[KEYS_AT_ONCE][MAX_WIDTH] = {};
    for (int i = 0; i < KEYS_AT_ONCE; i++) {
      const bool valid = key + i < a.n_keys && (!a.valid || a.valid[batch * a.n_keys + key + i]);
      packed.penalty[key + i] = valid ? 0.0f : LOWEST;
      packed.key_scales[key + i] = 0.0f;
      if (valid) quantise_key(a, first + (key + i) * a.k_row_stride, rows[i], packed.key_scales[key + i]);
    }
    int16_t* panel = packed.keys + key / TILE_N * TILE_N * a.padded_width();
    put_keys(panel, (int)(key % TILE_N), rows[0], MAX_WIDTH, a.padded_width());
  }
}

// VF_LANES columns of the values of up to KEY_BLOCK keys; values of invalid keys count as zero, whatever they are.
void pack_value_block(const float* values, int64_t stride, const float* penalty, int keys, int padded, int lanes,
                      int16_t* panel, int column, float* scales) {
  VF most = vzero(), sum = vzero();
  const auto value_of = [&](int key) {
    const bool valid = key < keys && penalty[key] == 0.0f;
    return valid ? vload_upto(values + key * stride, lanes) : vzero();
  };
  for (int key = 0; key < keys; key++) {
    const VF value = vabs(value_of(key));
    most = vmax(most, value);
    sum = vadd(sum, value);
  }
  const VF factor = right_factor(most, sum);
  for (int key = 0; key < padded; key += 4) {
    VI four[4];
    for (int i = 0; i < 4; i++) four[i] = to_int(vmul(value_of(key + i), factor));
    put_values(panel, column, key, four);
  }
  vstore(scales, vdiv(vset1(1.0f), factor));
}

void pack_values(const Attention& a, int64_t batch, int64_t head, const PackedHead& packed) {
  const float* first = a.v + batch * a.v_batch_stride + head * a.width;
  for (int64_t column = 0; column < a.width_panels() * TILE_N; column += VF_LANES) {
    const int64_t panel = column / TILE_N, lane = column % TILE_N;
    const int lanes = (int)std::clamp<int64_t>(a.width - column, 0, VF_LANES);
    for (int64_t key = 0; key < a.n_keys; key += KEY_BLOCK) {
      const int keys = (int)std::min<int64_t>(KEY_BLOCK, a.n_keys - key);
      pack_value_block(first + key * a.v_row_stride + column, a.v_row_stride, packed.penalty + key, keys,
                       (int)std::min<int64_t>(KEY_BLOCK, a.padded_keys() - key), lanes,
                       packed.values + (panel * a.padded_keys() + key) * TILE_N, (int)lane,
                       packed.value_scales + (panel * a.key_blocks() + key / KEY_BLOCK) * TILE_N + lane);
    }
  }
}

void pack_head(const Attention& a, const PackedHeads& heads, int64_t index) {
  const PackedHead packed = heads.head(a, index);
  pack_keys(a, index / a.n_heads, index % a.n_heads, packed);
  pack_values(a, index / a.n_heads, index % a.n_heads, packed);
}

}  // namespace
}  // namespace auricle
