// Attention of a decoder's few queries: to the tokens so far (float32), and to the recording, of which keys and values
// are held twice: in 8 bits, for drafts, and precisely, in float16 or float32.
//
// Dimension key: R rows (sequences), H heads, K width of a head, T frames, P positions of room, D = H * K.
//
// Layouts, for each row and head; T is padded to blocks of 16 frames with zeros:
//   keys8    (T / 16, K / 2, 16, 2) int8, so that 16 frames share two coordinates of the query
//   values8  (T / 2, K, 2) int8
//   keys     (T / 16, K, 16) precise
//   values   (T, K) precise
// The 8-bit scales are (K,) for each row and head, of keys and of values.
#pragma once

#include "int8.h"
#include "simd.h"

namespace auricle {

constexpr int64_t FRAMES = 16;
constexpr int PROBABILITY = 4095;  // times 127 and 4096 frames, below 2^31

// Two 16-bit numbers in every lane.
inline VI pair_of(const int16_t* p) {
    int32_t both;
    std::memcpy(&both, p, sizeof both);
    return iset1(both);
}

inline VF load_precise(const uint16_t* p) { return vload_f16(p); }
inline VF load_precise(const float* p) { return vload(p); }

inline int64_t padded_frames(int64_t t) { return (t + FRAMES - 1) / FRAMES * FRAMES; }

// One layer's keys and values of the recording, of all rows.
struct CrossCache {
    const int8_t *keys8, *values8;
    const float *key_scales, *value_scales;
};

// Turn scores into exponentials of their distance from the largest, which is returned.
inline float exponentials(float* scores, int64_t n, float* sum) {
    VF most = vset1(-3.4e38f);
    int64_t t = 0;
    float top = -3.4e38f;
    for (; t + VF_LANES <= n; t += VF_LANES) most = vmax(most, vload(scores + t));
    top = hmax(most);
    for (; t < n; t++) top = std::max(top, scores[t]);
    VF total = vset1(0.0f);
    const VF vtop = vset1(top);
    for (t = 0; t + VF_LANES <= n; t += VF_LANES) {
        const VF e = vexp(vmax(vsub(vload(scores + t), vtop), vset1(-87.0f)));
        vstore(scores + t, e);
        total = vadd(total, e);
    }
    *sum = hsum(total);
    for (; t < n; t++) *sum += scores[t] = std::exp(scores[t] - top);
    return top;
}

// One query (K,) over `n` earlier tokens, keys and values (P, K) float32.
inline void attend_to_tokens(const float* query, const float* keys, const float* values, int64_t n, int64_t width,
                             float* scores, float* out) {
    const float scale = 1.0f / std::sqrt(float(width));
    for (int64_t p = 0; p < n; p++) {
        VF sum = vset1(0.0f);
        for (int64_t k = 0; k < width; k += VF_LANES) sum = vfma(vload(query + k), vload(keys + p * width + k), sum);
        scores[p] = hsum(sum) * scale;
    }
    float sum;
    exponentials(scores, n, &sum);
    const VF inverse = vset1(1.0f / sum);
    for (int64_t k = 0; k < width; k += VF_LANES) {
        VF total = vset1(0.0f);
        for (int64_t p = 0; p < n; p++) total = vfma(vset1(scores[p]), vload(values + p * width + k), total);
        vstore(out + k, vmul(total, inverse));
    }
}

constexpr int SCORED = 4;  // blocks of frames at once: a sum is not ready when the next number for it is
constexpr int64_t FETCHED_AHEAD = 4096;  // bytes: rows of a batch have recordings of their own, which memory has to bring

// Scores of one query over `BLOCKS` blocks of frames.
template <int BLOCKS>
inline void scores_in_8_bits(const int16_t* query16, const int8_t* keys, int64_t width, float unit, float* scores) {
    constexpr int PARTS = FRAMES / VI_PAIRS;
    VI sums[BLOCKS][PARTS];
    for (auto& block : sums)
        for (auto& sum : block) sum = izero();
    for (int64_t k = 0; k < width; k += 2) {
        const VI pair = pair_of(query16 + k);
        for (int b = 0; b < BLOCKS; b++)
            for (int i = 0; i < PARTS; i++) {
                const int8_t* place = keys + b * FRAMES * width + k * FRAMES + i * 2 * VI_PAIRS;
                if (i == 0) _mm_prefetch((const char*)place + FETCHED_AHEAD, _MM_HINT_T0);
                sums[b][i] = wdot(sums[b][i], wload_i8(place), pair);
            }
    }
    for (int b = 0; b < BLOCKS; b++)
        for (int i = 0; i < PARTS; i++)
            vstore(scores + b * FRAMES + i * VI_PAIRS, vmul(to_float(sums[b][i]), vset1(unit)));
}

// One query over the recording in 8 bits. `query16` (K,), `probabilities` (T padded) int16 and `scores` are scratch.
inline void attend_in_8_bits(const float* query, const int8_t* keys, const float* key_scales, const int8_t* values,
                             const float* value_scales, int64_t frames, int64_t width, int16_t* query16,
                             int16_t* probabilities, float* scores, float* out) {
    alignas(64) float scaled[256];
    for (int64_t k = 0; k < width; k++) scaled[k] = query[k] * key_scales[k];
    const float unit = quantize_row(scaled, width, width, row_bound(width), query16) / std::sqrt(float(width));
    const int64_t padded = padded_frames(frames);
    int64_t block = 0;
    for (; block + SCORED <= padded / FRAMES; block += SCORED)
        scores_in_8_bits<SCORED>(query16, keys + block * FRAMES * width, width, unit, scores + block * FRAMES);
    for (; block < padded / FRAMES; block++)
        scores_in_8_bits<1>(query16, keys + block * FRAMES * width, width, unit, scores + block * FRAMES);
    float sum;
    exponentials(scores, frames, &sum);
    int32_t total = 0;
    for (int64_t t = 0; t < frames; t++) {
        probabilities[t] = int16_t(scores[t] * PROBABILITY + 0.5f);
        total += probabilities[t];
    }
    std::fill(probabilities + frames, probabilities + padded, int16_t(0));
    const float inverse = 1.0f / float(total);
    constexpr int COLUMNS = 4;  // vectors of sums at once
    for (int64_t k = 0; k < width; k += COLUMNS * VI_PAIRS) {
        VI sums[COLUMNS];
        for (auto& one : sums) one = izero();
        const int columns = int(std::min<int64_t>(COLUMNS, (width - k) / VI_PAIRS));
        auto add = [&](int n) {
            for (int64_t t = 0; t < padded; t += 2) {
                const VI pair = pair_of(probabilities + t);
                for (int i = 0; i < n; i++) {
                    const int8_t* place = values + t * width + 2 * (k + i * VI_PAIRS);
                    if (i % 2 == 0) _mm_prefetch((const char*)place + FETCHED_AHEAD, _MM_HINT_T0);
                    sums[i] = wdot(sums[i], wload_i8(place), pair);
                }
            }
        };
        if (columns == COLUMNS) add(COLUMNS);
        else add(columns);
        for (int i = 0; i < columns; i++) {
            const int64_t at = k + i * VI_PAIRS;
            vstore(out + at, vmul(to_float(sums[i]), vmul(vload(value_scales + at), vset1(inverse))));
        }
    }
}

// Scores of `n` queries (n <= 4), (D apart), over the recording, into scores (n, T padded).
template <int N, class Number>
inline void scores_of(const float* queries, int64_t stride, const Number* keys, int64_t padded,
                              int64_t width, float* scores) {
    const VF scale = vset1(1.0f / std::sqrt(float(width)));
    constexpr int PARTS = FRAMES / VF_LANES;
    for (int64_t block = 0; block < padded / FRAMES; block++) {
        const Number* place = keys + block * FRAMES * width;
        VF sums[N][PARTS];
        for (auto& row : sums)
            for (auto& sum : row) sum = vset1(0.0f);
        for (int64_t k = 0; k < width; k++) {
            VF key[PARTS];
            for (int i = 0; i < PARTS; i++) key[i] = load_precise(place + k * FRAMES + i * VF_LANES);
            for (int j = 0; j < N; j++) {
                const VF q = vset1(queries[j * stride + k]);
                for (int i = 0; i < PARTS; i++) sums[j][i] = vfma(q, key[i], sums[j][i]);
            }
        }
        for (int j = 0; j < N; j++)
            for (int i = 0; i < PARTS; i++)
                vstore(scores + j * padded + block * FRAMES + i * VF_LANES, vmul(sums[j][i], scale));
    }
}

// Weighted values of `N` queries: probabilities (N, T padded) times 1 / sums, into out (D apart).
template <int N, class Number>
inline void weighted_values(const float* probabilities, const float* sums, const Number* values, int64_t frames,
                              int64_t padded, int64_t width, float* out, int64_t stride) {
    constexpr int COLUMNS = 2;
    for (int64_t k = 0; k < width; k += COLUMNS * VF_LANES) {
        VF total[N][COLUMNS];
        for (auto& row : total)
            for (auto& one : row) one = vset1(0.0f);
        for (int64_t t = 0; t < frames; t++) {
            VF value[COLUMNS];
            for (int i = 0; i < COLUMNS; i++) value[i] = load_precise(values + t * width + k + i * VF_LANES);
            for (int j = 0; j < N; j++) {
                const VF p = vset1(probabilities[j * padded + t]);
                for (int i = 0; i < COLUMNS; i++) total[j][i] = vfma(p, value[i], total[j][i]);
            }
        }
        for (int j = 0; j < N; j++)
            for (int i = 0; i < COLUMNS; i++)
                vstore(out + j * stride + k + i * VF_LANES, vmul(total[j][i], vset1(1.0f / sums[j])));
    }
}

}  // namespace auricle
