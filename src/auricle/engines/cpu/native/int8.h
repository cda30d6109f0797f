// Products of a few rows with 8-bit weights: what one step of a decoder is made of.
//
// Dimension key: M rows, N outputs, K inputs.
//
// Weights are (N, K) int8 with one scale for each output; rows are scaled to 16 bits, each with a scale of its own, so
// that a row's result depends on no other row. Sums are exact integers: the bound of a row's numbers is chosen so that
// no lane can overflow, which also makes results the same for every vector width.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "simd.h"

namespace auricle {

constexpr int VI_PAIRS = VF_LANES;  // 32-bit lanes, each the sum of two products

constexpr int K_STEP = 32;        // K is padded to a multiple of this, with zeros
constexpr int WIDEST_LANES = 8;   // of the narrowest vectors, whose lanes sum the most products

struct Int8Weights {
    const int8_t* values;  // (N, padded K)
    const float* scales;   // (N,)
    const float* bias;     // (N,) or null
    int64_t n, k, padded;
};

// The largest number of a 16-bit row over K inputs that no lane overflows with: 127 * bound * K / lanes < 2^31.
inline int row_bound(int64_t k) {
    const int64_t bound = (int64_t(1) << 31) / (127 * std::max<int64_t>(1, (k + WIDEST_LANES - 1) / WIDEST_LANES)) - 1;
    return int(std::min<int64_t>(32767, bound));
}

// Scale one row of K floats to 16 bits; what follows K up to `padded` becomes zero. Returns the scale.
inline float quantize_row(const float* x, int64_t k, int64_t padded, int bound, int16_t* out) {
    VF most = vset1(0.0f);
    int64_t i = 0;
    for (; i + VF_LANES <= k; i += VF_LANES) most = vmax(most, vabs(vload(x + i)));
    float top = hmax(most);
    for (; i < k; i++) top = std::max(top, std::fabs(x[i]));
    if (!(top > 0.0f) || !std::isfinite(top)) {
        std::fill(out, out + padded, int16_t(0));
        return top > 0.0f ? top : 0.0f;  // an infinite or undefined row stays visible in its scale
    }
    const float inverse = float(bound) / top;
    for (i = 0; i + VF_LANES <= k; i += VF_LANES) vstore_i16(out + i, vmul(vload(x + i), vset1(inverse)));
    for (; i < k; i++) out[i] = int16_t(std::lrintf(x[i] * inverse));
    std::fill(out + k, out + padded, int16_t(0));
    return top / float(bound);
}

// `NB` outputs by `MB` rows of int32 sums, each handed to `put(n, m, sum)`.
template <int NB, int MB, class Put>
inline void int8_tile(const Int8Weights& w, int64_t n, const int16_t* x, int64_t m, Put&& put) {
    VI sums[NB][MB];
    for (auto& row : sums)
        for (auto& sum : row) sum = izero();
    for (int64_t k = 0; k < w.padded; k += 2 * VI_PAIRS) {
        VI weights[NB];
        for (int i = 0; i < NB; i++) weights[i] = wload_i8(w.values + (n + i) * w.padded + k);
        for (int j = 0; j < MB; j++) {
            const VI row = iload(x + (m + j) * w.padded + k);
            for (int i = 0; i < NB; i++) sums[i][j] = wdot(sums[i][j], weights[i], row);
        }
    }
    for (int i = 0; i < NB; i++)
        for (int j = 0; j < MB; j++) put(n + i, m + j, hsum(sums[i][j]));
}

// Outputs [begin, end) of all M rows; `put(n, m, value)` gets value = x W^T + bias.
template <class Put>
inline void int8_product(const Int8Weights& w, const int16_t* x, const float* scales, int64_t m_rows, int64_t begin,
                         int64_t end, Put&& put) {
    auto finish = [&](int64_t n, int64_t m, int32_t sum) {
        put(n, m, float(sum) * (scales[m] * w.scales[n]) + (w.bias ? w.bias[n] : 0.0f));
    };
    int64_t n = begin;
    if (m_rows == 1) {
        for (; n + 4 <= end; n += 4) int8_tile<4, 1>(w, n, x, 0, finish);
    } else if (m_rows == 2) {
        for (; n + 4 <= end; n += 4) int8_tile<4, 2>(w, n, x, 0, finish);
    } else {
        for (; n + 2 <= end; n += 2) {
            int64_t m = 0;
            for (; m + 4 <= m_rows; m += 4) int8_tile<2, 4>(w, n, x, m, finish);
            for (; m < m_rows; m++) int8_tile<2, 1>(w, n, x, m, finish);
        }
    }
    for (; n < end; n++)
        for (int64_t m = 0; m < m_rows; m++) int8_tile<1, 1>(w, n, x, m, finish);
}

}  // namespace auricle
