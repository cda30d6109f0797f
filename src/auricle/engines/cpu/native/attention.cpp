// Softmax attention of encoders through 16-bit integers: y = softmax(scale q k^T + bias, over valid keys) v.
//
// Instead of a bias there may be relative positions: query i and key j score scale p_i d_{i-j}, too, where the distances'
// vectors d are packed as keys are, from the largest distance down. Those of a tile of queries and a block of keys are a
// band of the product p d^T, which is never written to memory: its row i is read i places further left.
//
// Dimension key: B recordings, H heads, K width of a head (at most 128), Q queries, T keys; q, k, v, y: [B][row][H K].
// The keys of a head are packed as the right side of q k^T (N = T, one block of K), its values as the right side of p v
// (N = K, blocks of KEY_BLOCK keys); blocks.h has the layouts. Queries go a few tiles at a time through all blocks of
// keys with a running maximum. A block's probabilities are relative to the block's own largest, so that they use all of
// their bits; what the block weighs beside the others is in the left scales. Scores are in powers of two.
#include <algorithm>
#include <cmath>
#include <vector>

#include "attention_operands.h"
#include "parallel.h"
#include "scratch.h"

namespace auricle {
namespace {

constexpr int QUERY_ROWS = 48;  // whole tiles

// Some queries of one head, and what they have gathered so far.
struct Queries {
  alignas(64) int16_t rows[QUERY_ROWS * MAX_WIDTH];
  alignas(64) float sums[QUERY_ROWS * MAX_WIDTH];  // [tile][panel][TILE_M][TILE_N]
  float scales[QUERY_ROWS];
  alignas(64) int16_t positions[QUERY_ROWS * MAX_WIDTH];
  float position_scales[QUERY_ROWS];
  float largest[QUERY_ROWS], total[QUERY_ROWS];
  int64_t batch, head, first, count;
};

constexpr int64_t BAND = KEY_BLOCK + TILE_M + 2 * TILE_N;  // distances of a tile and a block, beginning at a panel

// What one tile of queries has to do with one block of keys.
struct Scores {
  alignas(64) float distances[TILE_M * BAND];            // [TILE_M][BAND]
  alignas(64) float values[TILE_M * KEY_BLOCK];          // [key / TILE_N][TILE_M][TILE_N]
  alignas(64) int16_t probabilities[TILE_M * KEY_BLOCK];  // a left tile
  alignas(64) float most[TILE_M][VF_LANES];
  float factor[TILE_M];  // the values times this, less `largest`, are the scores that probabilities are made of
  float largest[TILE_M];
};

// The values of one tile of queries and one block of keys, and the largest of each row.
void score(const Attention& a, const PackedHead& packed, const Queries& queries, int tile, int64_t key, int keys,
           Scores& scores) {
  VF most[TILE_M];
#pragma GCC unroll 16
  for (int i = 0; i < TILE_M; i++) most[i] = vset1(LOWEST);
  const int16_t* panels = packed.keys + key * a.padded_width();
  dot_panels(queries.rows + tile * TILE_M * MAX_WIDTH, panels, a.padded_width(), keys / TILE_N,
             [&](int panel, const TileSums& sums) {
    for (int half = 0; half < 2; half++) {
      const int64_t at = key + panel * TILE_N + half * VF_LANES;
      const VF scale = vload(packed.key_scales + at), penalty = vload(packed.penalty + at);
      float* to = scores.values + panel * TILE_N * TILE_M + half * VF_LANES;
#pragma GCC unroll 16
      for (int i = 0; i < TILE_M; i++) {
        const VF value = vfma(sums.of(i, half), scale, penalty);
        most[i] = vmax(most[i], value);
        vstore(to + i * TILE_N, value);
      }
    }
  });
#pragma GCC unroll 16
  for (int i = 0; i < TILE_M; i++) vstore(scores.most[i], most[i]);
  for (int i = 0; i < TILE_M; i++) scores.factor[i] = queries.scales[tile * TILE_M + i];
}

// Adds `weight` times what is given for each key to one row of values, which are true scores from then on.
void add_to_row(const float* added, float weight, int i, int keys, Scores& scores) {
  const VF factor = vset1(scores.factor[i]);
  VF most = vset1(LOWEST);
  for (int j = 0; j < keys; j += VF_LANES) {
    float* value = scores.values + (j / TILE_N * TILE_M + i) * TILE_N + j % TILE_N;
    const VF sum = vfma(vload_upto(added + j, keys - j), vset1(weight), vmul(vload(value), factor));
    vstore(value, sum);
    most = vmax(most, sum);
  }
  scores.factor[i] = 1.0f;
  vstore(scores.most[i], most);
}

// The last query of a tile that there is; what is past it is a copy of it.
int64_t query_of(const Queries& queries, int tile, int i) {
  return queries.first + std::min<int64_t>(tile * TILE_M + i, queries.count - 1);
}

void add_bias(const Attention& a, const Queries& queries, int tile, int64_t key, int keys, Scores& scores) {
  const float* bias = a.bias + queries.batch * a.bias_batch_stride + queries.head * a.bias_head_stride + key;
  for (int i = 0; i < TILE_M; i++)
    add_to_row(bias + query_of(queries, tile, i) * a.bias_row_stride, LOG2_E, i, keys, scores);
}

void add_positions(const Attention& a, const Queries& queries, int tile, int64_t key, int keys, Scores& scores) {
  const int64_t padded = round_up(2 * a.n_distances - 1, KEY_STEP);
  const int16_t* distances = a.distances + queries.head * padded * a.padded_width();
  const float* scales = a.distance_scales + queries.head * padded;
  // Query i and key j are i - j apart, which is at place n_distances - 1 - i + j.
  const auto place_of = [&](int i) { return a.n_distances - 1 - query_of(queries, tile, i) + key; };
  const int64_t start = place_of(TILE_M - 1) / TILE_N * TILE_N, end = place_of(0) + keys;
  TileSums sums;
  for (int64_t at = start; at < end; at += TILE_N) {
    dot_block(queries.positions + tile * TILE_M * MAX_WIDTH, distances + at * a.padded_width(), a.padded_width(), sums);
    for (int half = 0; half < 2; half++) {
      const VF scale = vload(scales + at + half * VF_LANES);
      float* to = scores.distances + at - start + half * VF_LANES;
#pragma GCC unroll 16
      for (int i = 0; i < TILE_M; i++) vstore(to + i * BAND, vmul(sums.of(i, half), scale));
    }
  }
  for (int i = 0; i < TILE_M; i++)
    add_to_row(scores.distances + i * BAND + place_of(i) - start, queries.position_scales[tile * TILE_M + i], i, keys,
               scores);
}

// Brings a tile's totals and sums to the new largest scores; `block` holds the block's on entry, and on return what its
// probabilities weigh beside what was gathered before. Lanes past TILE_M belong to no row.
void rescale(Queries& queries, int tile, int64_t panels, float* block) {
  static_assert(TILE_M <= VF_LANES, "a tile's rows are the lanes of one vector");
  float before[VF_LANES];
  const VF old_most = vload_n(queries.largest + tile * TILE_M, TILE_M), block_most = vload(block);
  const VF new_most = vmax(old_most, block_most);
  vstore(before, vexp(vmul(vsub(old_most, new_most), vset1(0.69314718f))));
  vstore(block, vexp(vmul(vsub(block_most, new_most), vset1(0.69314718f))));
  vstore_n(queries.largest + tile * TILE_M, new_most, TILE_M);
  for (int i = 0; i < TILE_M; i++) {
    queries.total[tile * TILE_M + i] *= before[i];
    for (int64_t j = 0; before[i] != 1.0f && j < panels * 2; j++) {
      float* half = queries.sums + tile * TILE_M * panels * TILE_N + (j / 2 * TILE_M + i) * TILE_N + j % 2 * VF_LANES;
      vstore(half, vmul(vload(half), vset1(before[i])));
    }
  }
}

void attend_tile(const Attention& a, const PackedHead& packed, Queries& queries, int tile, int64_t key, Scores& scores) {
  float weights[VF_LANES] = {};
  const int keys = (int)std::min<int64_t>(KEY_BLOCK, a.n_keys - key), padded = (int)round_up(keys, KEY_STEP);
  const int64_t panels = a.width_panels();
  score(a, packed, queries, tile, key, padded, scores);
  if (a.bias) add_bias(a, queries, tile, key, keys, scores);
  if (a.position) add_positions(a, queries, tile, key, keys, scores);
  for (int i = 0; i < TILE_M; i++) {
    scores.largest[i] = weights[i] = std::max(LOWEST, hmax(vload(scores.most[i])) * scores.factor[i]);
  }
  rescale(queries, tile, panels, weights);
  const auto values = [&](int64_t panel) { return packed.values + (panel * a.padded_keys() + key) * TILE_N; };
  const auto add = [&](int64_t panel, const TileSums& sums) {
    add_sums(sums, weights, packed.value_scales + (panel * a.key_blocks() + key / KEY_BLOCK) * TILE_N,
             queries.sums + (tile * panels + panel) * TILE_M * TILE_N, false);
  };
  StepTotals totals[TILE_M];
  TileSums sums;
  dot_probabilities(scores.probabilities, values(0), padded, sums, [&](int at) {
    for (int i = 0; i < TILE_M; i++)
      put_probabilities(scores.probabilities, i, at, scores.values + at * TILE_M + i * TILE_N, scores.factor[i],
                        scores.largest[i], totals[i]);
  });
  add(0, sums);
  for (int64_t panel = 1; panel < panels; panel++) {
    dot_block<true>(scores.probabilities, values(panel), padded, sums);
    add(panel, sums);
  }
  for (int i = 0; i < TILE_M; i++) queries.total[tile * TILE_M + i] += weights[i] * totals[i].sum();
}

void take_queries(const Attention& a, int64_t batch, int64_t head, int64_t first, Queries& queries) {
  queries.batch = batch, queries.head = head, queries.first = first;
  queries.count = std::min<int64_t>(QUERY_ROWS, a.n_queries - first);
  const int64_t n_rows = round_up(queries.count, TILE_M);
  std::fill(queries.sums, queries.sums + n_rows * a.width_panels() * TILE_N, 0.0f);
  for (int i = 0; i < n_rows; i++) {
    queries.largest[i] = LOWEST, queries.total[i] = 0.0f;
    const int64_t row = first + std::min<int64_t>(i, queries.count - 1);  // what is past the last is not stored
    const float* q = a.q + batch * a.q_batch_stride + row * a.q_row_stride + head * a.width;
    prefetch_row(q + PREFETCHED_ROWS * a.q_row_stride, a.width);
    int16_t* tile = queries.rows + i / TILE_M * TILE_M * MAX_WIDTH;
    const float scale = quantise_left(q, (int)a.width, tile, i % TILE_M);
    queries.scales[i] = scale == 0.0f ? 1.0f : scale;  // so that keys that are not valid stay far below the others
    if (a.position) {
      const float* position = a.position + (q - a.q);
      queries.position_scales[i] = quantise_left(
          position, (int)a.width, queries.positions + i / TILE_M * TILE_M * MAX_WIDTH, i % TILE_M);
    }
  }
}

void store_queries(const Attention& a, const Queries& queries) {
  const int64_t panels = a.width_panels();
  for (int i = 0; i < queries.count; i++) {
    const float* sums = queries.sums + i / TILE_M * TILE_M * panels * TILE_N + i % TILE_M * TILE_N;
    float* y = a.y + ((queries.batch * a.n_queries + queries.first + i) * a.n_heads + queries.head) * a.width;
    // NaN for queries that are not finite.
    const float factor = (queries.total[i] > 0.0f ? UNIT / queries.total[i] : 0.0f) + queries.scales[i] * 0.0f;
    for (int64_t j = 0; j < a.width; j += VF_LANES)
      vstore_upto(y + j, vmul(vload(sums + j / TILE_N * TILE_M * TILE_N + j % TILE_N), vset1(factor)),
                  (int)(a.width - j));
  }
}

// Up to QUERY_ROWS queries of a head, from `first` on.
void attend_chunk(const Attention& a, const PackedHead& packed, int64_t batch, int64_t head, int64_t first) {
  static thread_local Scratch<Scores> scores;
  static thread_local Scratch<Queries> queries_space;
  Queries& queries = *queries_space.room_for(1);
  take_queries(a, batch, head, first, queries);
  for (int64_t key = 0; key < a.n_keys; key += KEY_BLOCK)
    for (int tile = 0; tile * TILE_M < queries.count; tile++)
      attend_tile(a, packed, queries, tile, key, *scores.room_for(1));
  store_queries(a, queries);
}

}  // namespace

// `attention` says nothing that products.py has not checked. A query without valid keys gets zeros.
AURICLE_EXPORT void auricle_attend(const Attention* attention) {
  static thread_local Scratch<int16_t> integers;
  static thread_local Scratch<float> floats;
  const Attention& a = *attention;
  const int64_t n_heads = a.n_batches * a.n_heads, chunks = (a.n_queries + QUERY_ROWS - 1) / QUERY_ROWS;
  const PackedHeads heads{integers.room_for(n_heads * PackedHeads::n_integers(a)),
                          floats.room_for(n_heads * PackedHeads::n_floats(a))};
#pragma omp parallel
  {
    const MatrixUnits units;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < n_heads; i++) pack_head(a, heads, i);
#pragma omp for schedule(static)
    for (int64_t item = 0; item < n_heads * chunks; item++) {
      const int64_t head = item / chunks;
      attend_chunk(a, heads.head(a, head), head / a.n_heads, head % a.n_heads, item % chunks * QUERY_ROWS);
    }
  }
}

// What a head's packed keys and values take, in 16-bit integers and in floats: `attention` has the sizes.
AURICLE_EXPORT void auricle_packed_sizes(const Attention* attention, int64_t* n_integers, int64_t* n_floats) {
  *n_integers = PackedHeads::n_integers(*attention);
  *n_floats = PackedHeads::n_floats(*attention);
}

// What the distances of all heads take when they are packed: `attention` has the heads, and distances for keys.
AURICLE_EXPORT void auricle_distance_sizes(const Attention* attention, int64_t* n_integers, int64_t* n_floats) {
  *n_integers = attention->n_heads * PackedHeads::key_size(*attention);
  *n_floats = attention->n_heads * attention->padded_keys();
}

// Packs vectors of distances, which are given as keys, with the scale of scores in theirs.
AURICLE_EXPORT void auricle_pack_distances(const Attention* attention, int16_t* integers, float* floats) {
  const Attention& a = *attention;
  std::vector<float> penalty(a.padded_keys());
  for (int64_t i = 0; i < a.n_heads; i++) {
    int16_t* keys = integers + i * PackedHeads::key_size(a);
    pack_keys(a, 0, i, {keys, floats + i * a.padded_keys(), penalty.data(), nullptr, nullptr});
  }
}

// Packs the keys and values of all batches' heads for `auricle_attend_packed`.
AURICLE_EXPORT void auricle_pack_heads(const Attention* attention, int16_t* integers, float* floats) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < attention->n_batches * attention->n_heads; i++) pack_head(*attention, {integers, floats}, i);
}

// Attention to packed keys and values: queries and y (M, H K), sorted by row; `first` (R + 1) says where each row's begin,
// and a row hears the batch `source[row]`. Of `attention` the sizes, q, its row stride and y count.
AURICLE_EXPORT void auricle_attend_packed(const Attention* attention, int16_t* integers, float* floats,
                                          const int64_t* first, const int64_t* source, int64_t n_rows) {
  const PackedHeads heads{integers, floats};
#pragma omp parallel
  {
    const MatrixUnits units;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < n_rows * attention->n_heads; item++) {
      const int64_t row = item / attention->n_heads, head = item % attention->n_heads;
      Attention a = *attention;
      a.q += first[row] * a.q_row_stride;
      a.y += first[row] * a.n_heads * a.width;
      a.n_queries = first[row + 1] - first[row];
      for (int64_t query = 0; query < a.n_queries; query += QUERY_ROWS)
        attend_chunk(a, heads.head(a, source[row] * a.n_heads + head), 0, head, query);
    }
  }
}

}  // namespace auricle
