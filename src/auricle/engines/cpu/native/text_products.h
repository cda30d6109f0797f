// Products of rows with 8-bit weights for decoders of text: one row that memory waits for, or many that it does not.
//
// Dimension key: M rows, N outputs, K inputs. Weights and rows are those of int8.h: sums are exact integers, so that a
// row's result depends on no other row.
#pragma once

#include "int8.h"

namespace auricle {

constexpr int64_t OUTPUTS_AT_ONCE = 8;

// The sums of the lanes of eight vectors.
inline void lane_sums(const VI* v, int32_t* out) {
#ifdef __AVX512F__
    const auto two = [](VI a, VI b) { return iadd(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)); };
    const auto four = [](VI a, VI b) { return iadd(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)); };
    const VI low = four(two(v[0], v[1]), two(v[2], v[3])), high = four(two(v[4], v[5]), two(v[6], v[7]));
    VI sum = iadd(_mm512_shuffle_i64x2(low, high, 0x44), _mm512_shuffle_i64x2(low, high, 0xee));
    sum = iadd(sum, _mm512_shuffle_i64x2(sum, sum, 0xb1));
    _mm_storeu_si128((__m128i*)out, _mm512_castsi512_si128(sum));
    _mm_storeu_si128((__m128i*)(out + 4), _mm512_extracti32x4_epi32(sum, 2));
#else
    sum_eight(v, out);
#endif
}

// `NB` outputs by `MB` rows: out[i * MB + j]. `ahead` is what memory is asked for meanwhile, or null.
template <int NB, int MB>
inline void text_tile(const Int8Weights& w, int64_t n, const int16_t* x, int32_t* out, const int8_t* ahead) {
    constexpr int SUMS = (NB * MB + 7) / 8 * 8;
    VI sums[SUMS];
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i++) sums[i] = izero();
    const int8_t* weights = w.values + n * w.padded;
    for (int64_t k = 0; k < w.padded; k += 2 * VI_PAIRS) {
        if (ahead)
#pragma GCC unroll 16
            for (int i = 0; i < NB * 2 * VI_PAIRS / 64; i++) _mm_prefetch((const char*)ahead + k * NB + i * 64, _MM_HINT_T0);
        VI row[MB];
#pragma GCC unroll 16
        for (int j = 0; j < MB; j++) row[j] = iload(x + j * w.padded + k);
#pragma GCC unroll 16
        for (int i = 0; i < NB; i++) {
            const VI some = wload_i8(weights + i * w.padded + k);
#pragma GCC unroll 16
            for (int j = 0; j < MB; j++) sums[i * MB + j] = wdot(sums[i * MB + j], some, row[j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < SUMS; i += 8) lane_sums(sums + i, out + i);
}

// Outputs [begin, end) of all M rows, `put(n, m, value)` gets value = x W^T + bias. Who has few rows waits for memory:
// the weights that follow are asked for early.
template <class Put>
inline void text_product(const Int8Weights& w, const int16_t* x, const float* scales, int64_t m_rows, int64_t begin,
                         int64_t end, Put&& put) {
    alignas(64) int32_t sums[16];
    const auto tile = [&](auto nb, auto mb, int64_t n, int64_t m, const int8_t* ahead) {
        constexpr int NB = decltype(nb)::value, MB = decltype(mb)::value;
        text_tile<NB, MB>(w, n, x + m * w.padded, sums, ahead);
        for (int i = 0; i < NB; i++)
            for (int j = 0; j < MB; j++)
                // Rounded once whatever the tile is, which the compiler would else decide for each.
                put(n + i, m + j,
                    std::fma(float(sums[i * MB + j]), scales[m + j] * w.scales[n + i], w.bias ? w.bias[n + i] : 0.0f));
    };
    using std::integral_constant;
    const integral_constant<int, 1> one;
    const integral_constant<int, 2> two;
    const integral_constant<int, 4> four;
    const integral_constant<int, 8> eight;
    int64_t n = begin;
    for (; n + OUTPUTS_AT_ONCE <= end; n += OUTPUTS_AT_ONCE) {
        const int8_t* next = n + 2 * OUTPUTS_AT_ONCE <= end ? w.values + (n + OUTPUTS_AT_ONCE) * w.padded : nullptr;
        int64_t m = 0;
#ifdef __AVX512F__
        for (; m + 8 <= m_rows; m += 8, next = nullptr)
            for (int i = 0; i < 8; i += 2) tile(two, eight, n + i, m, next ? next + i * w.padded : nullptr);
        if (m + 4 <= m_rows) {
            for (int i = 0; i < 8; i += 4) tile(four, four, n + i, m, next ? next + i * w.padded : nullptr);
            m += 4, next = nullptr;
        }
#else
        for (; m + 4 <= m_rows; m += 4, next = nullptr)
            for (int i = 0; i < 8; i += 2) tile(two, four, n + i, m, next ? next + i * w.padded : nullptr);
#endif
        if (m + 2 <= m_rows) {
            for (int i = 0; i < 8; i += 4) tile(four, two, n + i, m, next ? next + i * w.padded : nullptr);
            m += 2, next = nullptr;
        }
        if (m < m_rows) tile(eight, one, n, m, next);
    }
    for (; n < end; n++)
        for (int64_t m = 0; m < m_rows; m++) tile(one, one, n, m, nullptr);
}

}  // namespace auricle
