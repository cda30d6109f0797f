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
#include <type_traits>

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

// The sums of the lanes of eight vectors.
inline void sum_eight(const VI* sums, int32_t* out) {
#ifdef __AVX512F__
    for (int i = 0; i < 8; i++) out[i] = hsum(sums[i]);
#else
    const VI low = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    const VI high = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[4], sums[5]), _mm256_hadd_epi32(sums[6], sums[7]));
    istore(out, iadd(_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)));
#endif
}

// `NB` outputs by `MB` rows of int32 sums, NB * MB at most 8: out[i * MB + j].
template <int NB, int MB>
inline void int8_tile(const Int8Weights& w, int64_t n, const int16_t* x, int64_t m, int32_t* out) {
    VI sums[8];
    for (auto& sum : sums) sum = izero();
    for (int64_t k = 0; k < w.padded; k += 2 * VI_PAIRS) {
        VI weights[NB];
        for (int i = 0; i < NB; i++) weights[i] = wload_i8(w.values + (n + i) * w.padded + k);
        for (int j = 0; j < MB; j++) {
            const VI row = iload(x + (m + j) * w.padded + k);
            for (int i = 0; i < NB; i++) sums[i * MB + j] = wdot(sums[i * MB + j], weights[i], row);
        }
    }
    sum_eight(sums, out);
}

// Outputs [begin, end) of all M rows; `put(n, m, value)` gets value = x W^T + bias.
template <class Put>
inline void int8_product(const Int8Weights& w, const int16_t* x, const float* scales, int64_t m_rows, int64_t begin,
                         int64_t end, Put&& put) {
    int32_t sums[8];
    auto finish = [&](int64_t n, int64_t m, int32_t sum) {
        put(n, m, float(sum) * (scales[m] * w.scales[n]) + (w.bias ? w.bias[n] : 0.0f));
    };
    auto tile = [&](auto nb, auto mb, int64_t n, int64_t m) {
        constexpr int NB = decltype(nb)::value, MB = decltype(mb)::value;
        int8_tile<NB, MB>(w, n, x, m, sums);
        for (int i = 0; i < NB; i++)
            for (int j = 0; j < MB; j++) finish(n + i, m + j, sums[i * MB + j]);
    };
    using std::integral_constant;
    int64_t n = begin;
    for (; n + 4 <= end && m_rows <= 2; n += 4) {
        if (m_rows == 1) tile(integral_constant<int, 4>(), integral_constant<int, 1>(), n, 0);
        else tile(integral_constant<int, 4>(), integral_constant<int, 2>(), n, 0);
    }
    for (; n < end; n++) {
        int64_t m = 0;
        const integral_constant<int, 1> one;
        for (; m + 8 <= m_rows; m += 8) tile(one, integral_constant<int, 8>(), n, m);
        if (m + 6 <= m_rows) tile(one, integral_constant<int, 6>(), n, m), m += 6;
        if (m + 4 <= m_rows) tile(one, integral_constant<int, 4>(), n, m), m += 4;
        if (m + 2 <= m_rows) tile(one, integral_constant<int, 2>(), n, m), m += 2;
        if (m < m_rows) tile(one, one, n, m);
    }
}

}  // namespace auricle
