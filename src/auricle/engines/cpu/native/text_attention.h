// Attention of decoders of text to the tokens before: keys and values in 16-bit floats, shared by heads of a group.
//
// Dimension key: P tokens of room (a multiple of PLACES), K width of a head (a multiple of VF_LANES), R heads of a group.
// A row's keys are [layer][group][P / PLACES][K][PLACES], its values [layer][group][P][K].
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "simd.h"

namespace auricle {

constexpr int64_t PLACES = 16;
constexpr int MOST_HEADS = 4;  // scored at once

// What is attended to: one layer and group of a row.
struct Held {
    uint16_t *keys, *values;
    int64_t width;

    void put(int64_t place, const float* key, const float* value) const {
        uint16_t* block = keys + place / PLACES * PLACES * width + place % PLACES;
        for (int64_t k = 0; k < width; k++) block[k * PLACES] = half_of(key[k]);
        for (int64_t k = 0; k < width; k += VF_LANES) vstore_f16(values + place * width + k, vload(value + k));
    }

   private:
    static uint16_t half_of(float x) {
        return uint16_t(_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x), _MM_FROUND_TO_NEAREST_INT)));
    }
};

// Scores of `N` heads' queries (N, K) with places [begin, end), begin a multiple of PLACES: (N, stride).
template <int N>
inline void score_heads(const float* queries, const Held& held, int64_t begin, int64_t end, float* scores,
                        int64_t stride) {
    const int64_t width = held.width;
    for (int64_t t = begin; t < end; t += PLACES)
        for (int64_t part = 0; part < PLACES; part += VF_LANES) {
            const uint16_t* keys = held.keys + t * width + part;
            VF sums[N];
            for (int i = 0; i < N; i++) sums[i] = vzero();
            for (int64_t k = 0; k < width; k++) {
                const VF key = vload_f16(keys + k * PLACES);
                for (int i = 0; i < N; i++) sums[i] = vfma(vset1(queries[i * width + k]), key, sums[i]);
            }
            for (int i = 0; i < N; i++) vstore(scores + i * stride + t + part, sums[i]);
        }
}

// Scores to probabilities, in place; what is outside [begin, end) becomes zero within whole blocks.
inline void soften(float* scores, int64_t begin, int64_t end, float limit) {
    const int64_t first = begin / PLACES * PLACES, last = (end + PLACES - 1) / PLACES * PLACES;
    if (limit > 0)
        for (int64_t t = first; t < last; t += VF_LANES) {
            // limit * tanh(s / limit) = limit * (1 - 2 / (e^(2 s / limit) + 1))
            const VF e = vexp(vmul(vload(scores + t), vset1(2.0f / limit)));
            vstore(scores + t, vmul(vset1(limit), vsub(vset1(1.0f), vdiv(vset1(2.0f), vadd(e, vset1(1.0f))))));
        }
    std::fill(scores + first, scores + begin, -INFINITY);
    std::fill(scores + end, scores + last, -INFINITY);
    VF most = vset1(-INFINITY);
    for (int64_t t = first; t < last; t += VF_LANES) most = vmax(most, vload(scores + t));
    const VF top = vset1(hmax(most));
    VF sum = vzero();
    for (int64_t t = first; t < last; t += VF_LANES) {
        const VF e = vexp(vsub(vload(scores + t), top));
        sum = vadd(sum, e);
        vstore(scores + t, e);
    }
    const VF share = vset1(1.0f / hsum(sum));
    for (int64_t t = first; t < last; t += VF_LANES) vstore(scores + t, vmul(vload(scores + t), share));
}

// Values of places [begin, end) weighted by `N` heads' probabilities: (N, K).
template <int N>
inline void weigh_values(const float* shares, int64_t stride, const Held& held, int64_t begin, int64_t end, float* out) {
    const int64_t width = held.width;
    for (int64_t k = 0; k < width; k += VF_LANES) {
        VF sums[N];
        for (int i = 0; i < N; i++) sums[i] = vzero();
        for (int64_t t = begin; t < end; t++) {
            const VF value = vload_f16(held.values + t * width + k);
            for (int i = 0; i < N; i++) sums[i] = vfma(vset1(shares[i * stride + t]), value, sums[i]);
        }
        for (int i = 0; i < N; i++) vstore(out + i * width + k, sums[i]);
    }
}

template <int N>
inline void attend_heads(const float* queries, const Held& held, int64_t begin, int64_t end, float limit, float* scores,
                         int64_t stride, float* out) {
    score_heads<N>(queries, held, begin / PLACES * PLACES, end, scores, stride);
    for (int i = 0; i < N; i++) soften(scores + i * stride, begin, end, limit);
    weigh_values<N>(scores, stride, held, begin, end, out);
}

// What `heads` queries (heads, K), scaled already, find at places [begin, end): (heads, K). `scores` has room for
// MOST_HEADS rows of `stride` places.
inline void attend_group(const float* queries, int64_t heads, const Held& held, int64_t begin, int64_t end, float limit,
                         float* scores, int64_t stride, float* out) {
    int64_t h = 0;
    const int64_t width = held.width;
    for (; h + 4 <= heads; h += 4)
        attend_heads<4>(queries + h * width, held, begin, end, limit, scores, stride, out + h * width);
    if (h + 2 <= heads) {
        attend_heads<2>(queries + h * width, held, begin, end, limit, scores, stride, out + h * width);
        h += 2;
    }
    if (h < heads) attend_heads<1>(queries + h * width, held, begin, end, limit, scores, stride, out + h * width);
}

}  // namespace auricle
