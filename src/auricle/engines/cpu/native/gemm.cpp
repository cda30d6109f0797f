// Float matrix products through 16-bit integers: y = residual + scale * activation(x W^T + bias), x perhaps normalized.
//
// Dimension key: M rows of x over all batches, N outputs, K inputs; layouts of the quantised matrices are in blocks.h.
// Rows of x may overlap and may begin before their batch's data or end after it (zeros there): a 1-D convolution over
// (T, C) is a product with K = kernel * C, rows stride * C apart and the first one padding * C early.
// A row's result depends on that row alone: blocks of K are summed in their order, wherever the row is computed.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "activations.h"
#include "blocks.h"
#include "layer_norm.h"
#include "parallel.h"
#include "scratch.h"

namespace auricle {
namespace {

// What a thread works on at a time lies in its second cache: rows of x as integers, and rows between two products.
#ifdef __AVX512F__
constexpr int64_t CACHE_BYTES = 2 << 20;
#else
constexpr int64_t CACHE_BYTES = 512 << 10;
#endif
constexpr int64_t LEFT_BYTES = CACHE_BYTES / 4, BETWEEN_BYTES = CACHE_BYTES / 2;
constexpr int64_t MAX_TILES = 128 / TILE_M;  // of rows at a time
constexpr int64_t MAX_ROWS = MAX_TILES * TILE_M;

// Mirrored by products.py.
struct Product {
  const float* x;
  const int16_t* panels;
  const float* scales;
  const float* bias;      // [N] or null
  const float* residual;  // or null
  float* y;               // [batch][row][N]
  int64_t n_batches, n_rows;  // rows of one batch
  int64_t x_batch_stride, x_row_stride;
  int64_t x_start, x_size;  // of a batch: where its first row begins, and how many floats there are
  int64_t residual_batch_stride, residual_row_stride;
  int64_t n, k;
  float scale;
  int32_t activation;
  const float *norm_weight, *norm_bias;  // [K] of the layer normalization of every row of x before, or null
  float norm_eps;
};

// A part of the product that one thread computes.
struct Part {
  int64_t first_row, n_rows;
  int64_t first_panel, end_panel;
};

int64_t blocks_of(const Product& p) { return (p.k + BLOCK - 1) / BLOCK; }

// Rows that fit into so many bytes, in whole tiles.
int64_t rows_within(int64_t bytes, int64_t bytes_of_row) {
  return std::clamp<int64_t>(bytes / bytes_of_row / TILE_M * TILE_M, TILE_M, MAX_ROWS);
}

// Rows of x as integers, [block][room][128], and their scales.
struct Left {
  int16_t* values;
  float* scales;
  int64_t room;

  explicit Left(const Product& p) {
    static thread_local Scratch<int16_t> integers;
    static thread_local Scratch<float> floats;
    room = rows_within(LEFT_BYTES, blocks_of(p) * BLOCK * sizeof(int16_t));
    values = integers.room_for(blocks_of(p) * room * BLOCK);
    scales = floats.room_for(blocks_of(p) * room);
  }
};

// Values `at` to `at + n` of a batch's data, zeros where there are none.
const float* read_padded(const Product& p, const float* batch, int64_t at, int n, float* space) {
  if (at >= 0 && at + n <= p.x_size) return batch + at;
  for (int i = 0; i < n; i++) space[i] = at + i >= 0 && at + i < p.x_size ? batch[at + i] : 0.0f;
  return space;
}

void quantise(const Product& p, const Part& part, const Left& left) {
  static thread_local std::vector<float> normal;
  if (p.norm_weight) normal.resize(std::max<size_t>(normal.size(), p.k));
  float space[BLOCK];
  for (int64_t i = 0; i < part.n_rows; i++) {
    const int64_t row = part.first_row + i;
    const float* batch = p.x + row / p.n_rows * p.x_batch_stride;
    const int64_t start = p.x_start + row % p.n_rows * p.x_row_stride;
    if (p.norm_weight) normalize_row(batch + start, p.norm_weight, p.norm_bias, p.norm_eps, p.k, normal.data());
    for (int64_t k = 0; k < p.k; k += BLOCK) {
      const int n = (int)std::min<int64_t>(BLOCK, p.k - k);
      const int64_t slot = k / BLOCK * left.room + i;
      const float* values = p.norm_weight ? normal.data() + k : read_padded(p, batch, start + k, n, space);
      left.scales[slot] = quantise_left(values, n, left.values + (slot - i % TILE_M) * BLOCK, (int)(i % TILE_M));
    }
  }
}

// A tile of the left side and a panel of the right one: its first row in y and its first column, and how many there are.
struct Tile {
  int64_t row, column;
  int n_rows, n_columns;
};

// The last block's sums, and what the tile holds of the blocks before, to what is stored. `WHOLE`: no column is missing;
// masked stores take ten times as long on AMD's Zen.
template <int32_t ACTIVATION, bool WHOLE>
void finish(const Product& p, const Tile& tile, const TileSums& sums, const float* left_scales,
            const float* right_scales, const float* before) {
  for (int half = 0; half < 2; half++) {
    const int64_t column = tile.column + half * VF_LANES;
    const int n = WHOLE ? VF_LANES : std::clamp(tile.n_columns - half * VF_LANES, 0, VF_LANES);
    const auto read = [n](const float* from) { return WHOLE ? vload(from) : vload_n(from, n); };
    const VF right_scale = vload(right_scales + half * VF_LANES), scale = vset1(p.scale);
    const VF bias = p.bias ? read(p.bias + column) : vzero();
    int64_t batch = tile.row / p.n_rows, row = tile.row % p.n_rows;
    float* y = p.y + tile.row * p.n + column;
    for (int i = 0; i < tile.n_rows; i++, y += p.n) {
      const VF blocks_before = before ? vload(before + i * TILE_N + half * VF_LANES) : vzero();
      VF value = vfma(sums.of(i, half), vmul(vset1(left_scales[i]), right_scale), blocks_before);
      value = vmul(activate(vadd(value, bias), ACTIVATION), scale);
      if (p.residual)
        value = vadd(value, read(p.residual + batch * p.residual_batch_stride + row * p.residual_row_stride + column));
      if (++row == p.n_rows) row = 0, batch++;
      if (WHOLE)
        vstore(y, value);
      else
        vstore_n(y, value, n);
    }
  }
}

template <bool WHOLE>
void finish(const Product& p, const Tile& tile, const TileSums& sums, const float* left_scales,
            const float* right_scales, const float* before) {
  switch (p.activation) {
    case RELU: return finish<RELU, WHOLE>(p, tile, sums, left_scales, right_scales, before);
    case GELU: return finish<GELU, WHOLE>(p, tile, sums, left_scales, right_scales, before);
    case GELU_TANH: return finish<GELU_TANH, WHOLE>(p, tile, sums, left_scales, right_scales, before);
    case SILU: return finish<SILU, WHOLE>(p, tile, sums, left_scales, right_scales, before);
    default: return finish<NONE, WHOLE>(p, tile, sums, left_scales, right_scales, before);
  }
}

// One block's products for all tiles of a panel: the block of the right side stays in the first cache meanwhile. `sums`
// holds those of the blocks before, [row][TILE_N]; after the last block they are stored.
void multiply_block(const Product& p, const Part& part, const Left& left, int64_t panel, int64_t block, float* sums) {
  const int64_t padded_k = round_up(p.k, K_ALIGN), n_blocks = blocks_of(p), k = block * BLOCK;
  const int16_t* right = p.panels + (panel * padded_k + k) * TILE_N;
  const float* right_scales = p.scales + (panel * n_blocks + block) * TILE_N;
  const int n_values = (int)std::min<int64_t>(BLOCK, padded_k - k);
  const int n_columns = (int)std::min<int64_t>(TILE_N, p.n - panel * TILE_N);
  for (int64_t row = 0; row < part.n_rows; row += TILE_M) {
    const int64_t slot = block * left.room + row;
    const int16_t* values = left.values + slot * BLOCK;
    float* before = sums + row * TILE_N;
    if (block + 1 < n_blocks) {
      add_block(values, left.scales + slot, right, right_scales, n_values, before, block == 0);
      continue;
    }
    const Tile tile{part.first_row + row, panel * TILE_N, (int)std::min<int64_t>(TILE_M, part.n_rows - row), n_columns};
    // Rows of y are pages apart: without this, each waits for memory in turn when the tile is stored.
    for (int i = 0; i < tile.n_rows; i++) {
      const char* y = (const char*)(p.y + (tile.row + i) * p.n + tile.column);
      for (size_t line = 0; line < TILE_N * sizeof(float); line += 64) __builtin_prefetch(y + line, 1);
    }
    TileSums last;
    dot_block(values, right, n_values, last);
    (n_columns == TILE_N ? finish<true> : finish<false>)(p, tile, last, left.scales + slot, right_scales,
                                                         block ? before : nullptr);
  }
}

void multiply_part(const Product& p, const Part& part) {
  // What lies in rows past the last one is multiplied, and never stored.
  const Left left(p);
  alignas(64) float sums[MAX_ROWS * TILE_N];
  for (int64_t row = 0; row < part.n_rows; row += left.room) {
    const Part some{part.first_row + row, std::min(left.room, part.n_rows - row), part.first_panel, part.end_panel};
    quantise(p, some, left);
    for (int64_t panel = some.first_panel; panel < some.end_panel; panel++)
      for (int64_t block = 0; block < blocks_of(p); block++) multiply_block(p, some, left, panel, block, sums);
  }
}

// How many blocks of rows, and parts of columns, give every thread the same work; few rows are not worth dividing.
void choose_grid(int64_t tiles, int64_t panels, int64_t threads, int64_t& row_blocks, int64_t& column_parts) {
  row_blocks = std::max<int64_t>((tiles + MAX_TILES - 1) / MAX_TILES, std::min(threads, tiles / 8));
  column_parts = 1;
  if (row_blocks >= threads)
    row_blocks = std::min(tiles, round_up(row_blocks, threads));
  else
    column_parts = std::min(panels, (threads + row_blocks - 1) / row_blocks);
}

// One output's weights of one block to 16 bits, with the largest scale that cannot overflow.
float pack_block(const float* weights, int n, int16_t* panel, int column) {
  double most = 1e-30, sum = 1e-30;
  for (int i = 0; i < n; i++) {
    most = std::max<double>(most, std::fabs(weights[i]));
    sum += std::fabs(weights[i]);
  }
  const double inverse = std::min(RIGHT_MAX / most, RIGHT_SUM / sum);
  int16_t values[BLOCK] = {};
  for (int i = 0; i < n; i++) values[i] = (int16_t)std::lrint(weights[i] * inverse);
  put_right(panel, column, values, round_up(n, K_ALIGN));
  return (float)(1.0 / inverse);
}

}  // namespace

// How many threads the calling thread's parallel parts have, those of torch's operations included.
AURICLE_EXPORT void auricle_set_threads(int32_t n) { omp_set_num_threads(n); }

// How weights are packed: outputs of a panel, inputs of a block, and what their number is padded to.
AURICLE_EXPORT int64_t auricle_tile_columns() { return TILE_N; }
AURICLE_EXPORT int64_t auricle_block() { return BLOCK; }
AURICLE_EXPORT int64_t auricle_k_align() { return K_ALIGN; }

// weight [N][K] to panels and scales as blocks.h has them; both are zero before.
AURICLE_EXPORT void auricle_pack_weight(const float* weight, int64_t n, int64_t k, int16_t* panels, float* scales) {
  const int64_t padded_k = round_up(k, K_ALIGN), n_blocks = (k + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static)
  for (int64_t column = 0; column < n; column++) {
    const int64_t panel = column / TILE_N, lane = column % TILE_N;
    for (int64_t first = 0; first < k; first += BLOCK) {
      const int count = (int)std::min<int64_t>(BLOCK, k - first);
      scales[(panel * n_blocks + first / BLOCK) * TILE_N + lane] =
          pack_block(weight + column * k + first, count, panels + (panel * padded_k + first) * TILE_N, (int)lane);
    }
  }
}

AURICLE_EXPORT void auricle_multiply(const Product* product) {
  const Product& p = *product;
  const int64_t rows = p.n_batches * p.n_rows;
  const int64_t tiles = (rows + TILE_M - 1) / TILE_M, panels = (p.n + TILE_N - 1) / TILE_N;
  int64_t row_blocks, column_parts;
  choose_grid(tiles, panels, omp_get_max_threads(), row_blocks, column_parts);
#pragma omp parallel
  {
    const MatrixUnits units;
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < row_blocks * column_parts; item++) {
      const int64_t block = item / column_parts, part = item % column_parts;
      const int64_t first_row = block * tiles / row_blocks * TILE_M;
      const int64_t end_row = std::min(rows, (block + 1) * tiles / row_blocks * TILE_M);
      const int64_t first_panel = part * panels / column_parts, end_panel = (part + 1) * panels / column_parts;
      multiply_part(p, {first_row, end_row - first_row, first_panel, end_panel});
    }
  }
}

// `second` of the rows that `first` makes, which are kept for a block of rows at a time and never leave the cache. Both
// have one batch; `first` has no residual, and its y and `second`'s x are not looked at. The numbers are those of
// two calls.
AURICLE_EXPORT void auricle_multiply_twice(const Product* first_product, const Product* second_product) {
  const int64_t rows = first_product->n_rows, tiles = (rows + TILE_M - 1) / TILE_M;
  const int64_t most = rows_within(BETWEEN_BYTES, first_product->n * sizeof(float));
  const int64_t blocks = std::min(tiles, round_up((rows + most - 1) / most, omp_get_max_threads()));
#pragma omp parallel
  {
    const MatrixUnits units;
    static thread_local Scratch<float> space;
    float* between = space.room_for(MAX_ROWS * first_product->n);
#pragma omp for schedule(dynamic)
    for (int64_t block = 0; block < blocks; block++) {
      const int64_t row = block * tiles / blocks * TILE_M;
      Product first = *first_product, second = *second_product;
      first.n_rows = second.n_rows = std::min(rows, (block + 1) * tiles / blocks * TILE_M) - row;
      first.x += row * first.x_row_stride;
      first.y = between;
      second.x = between;
      second.y += row * second.n;
      if (second.residual) second.residual += row * second.residual_row_stride;
      multiply_part(first, {0, first.n_rows, 0, (first.n + TILE_N - 1) / TILE_N});
      multiply_part(second, {0, second.n_rows, 0, (second.n + TILE_N - 1) / TILE_N});
    }
  }
}

}  // namespace auricle
