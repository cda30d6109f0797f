// The decoder's attention over whole passes, and the packing of what it reads. See decoder_attention.h.
#include "decoder_attention.h"

#include <omp.h>

#include <vector>

#include "parallel.h"

using namespace auricle;

namespace {

// Scales of columns: (T, K) with rows `stride` apart -> the largest magnitude of each column over 127.
void column_scales(const float* x, int64_t frames, int64_t width, int64_t stride, float* scales) {
    std::fill(scales, scales + width, 0.0f);
    for (int64_t t = 0; t < frames; t++)
        for (int64_t k = 0; k < width; k += VF_LANES)
            vstore(scales + k, vmax(vload(scales + k), vabs(vload(x + t * stride + k))));
    for (int64_t k = 0; k < width; k++) scales[k] = scales[k] > 0.0f ? scales[k] / 127.0f : 1.0f;
}

void store_precise(float x, float* out) { *out = x; }
void store_precise(float x, uint16_t* out) { *out = _cvtss_sh(x, 0); }

void store_row(const float* x, int64_t width, float* out) { std::memcpy(out, x, width * sizeof(float)); }
void store_row(const float* x, int64_t width, uint16_t* out) {
    for (int64_t k = 0; k < width; k += VF_LANES) vstore_f16(out + k, vload(x + k));
}

void scale_row(const float* x, const float* inverse, int64_t width, int8_t* out) {
    for (int64_t k = 0; k < width; k += VF_LANES) vstore_i8(out + k, vmul(vload(x + k), vload(inverse + k)));
}

void pack_small_head(const float* keys, const float* values, int64_t frames, int64_t width, int64_t stride,
                     int8_t* keys8, int8_t* values8, float* key_scales, float* value_scales) {
    column_scales(keys, frames, width, stride, key_scales);
    column_scales(values, frames, width, stride, value_scales);
    std::vector<float> key_inverse(width), value_inverse(width), zeros(width, 0.0f);
    for (int64_t k = 0; k < width; k++) key_inverse[k] = 1.0f / key_scales[k], value_inverse[k] = 1.0f / value_scales[k];
    std::vector<int8_t> small(width), pair(width);
    for (int64_t t = 0; t < padded_frames(frames); t++) {
        const int64_t block = t / FRAMES * FRAMES * width, within = t % FRAMES;
        scale_row(t < frames ? keys + t * stride : zeros.data(), key_inverse.data(), width, small.data());
        for (int64_t k = 0; k < width; k += 2)
            std::memcpy(keys8 + block + k * FRAMES + within * 2, small.data() + k, 2);
        const float* value = t < frames ? values + t * stride : zeros.data();
        scale_row(value, value_inverse.data(), width, t % 2 ? small.data() : pair.data());
        if (t % 2 == 0) continue;
        int8_t* both = values8 + (t - 1) * width;
        for (int64_t k = 0; k < width; k++) both[2 * k] = pair[k], both[2 * k + 1] = small[k];
    }
}

template <class Number>
void pack_precise_head(const float* keys, const float* values, int64_t frames, int64_t width, int64_t stride,
                       Number* keys_out, Number* values_out) {
    const std::vector<float> zeros(width, 0.0f);
    for (int64_t t = 0; t < padded_frames(frames); t++) {
        const float* key = t < frames ? keys + t * stride : zeros.data();
        Number* block = keys_out + t / FRAMES * FRAMES * width + t % FRAMES;
        for (int64_t k = 0; k < width; k++) store_precise(key[k], block + k * FRAMES);
        store_row(t < frames ? values + t * stride : zeros.data(), width, values_out + t * width);
    }
}

template <int N, class Number>
void attend_some(const float* queries, const Number* keys, const Number* values, int64_t frames, int64_t padded,
                 int64_t width, int64_t stride, float* scores, float* out) {
    float sums[N];
    scores_of<N>(queries, stride, keys, padded, width, scores);
    for (int j = 0; j < N; j++) exponentials(scores + j * padded, frames, sums + j);
    weighted_values<N>(scores, sums, values, frames, padded, width, out, stride);
}

// Calls `pack(keys, values, place)` for each recording's head, `place` being its number.
template <class Pack>
void each_head(const float* both, int64_t rows, int64_t frames, int64_t heads, int64_t width, Pack&& pack) {
    const int64_t d = heads * width;
#pragma omp parallel for collapse(2) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++) {
            const float* keys = both + r * frames * 2 * d + h * width;
            pack(keys, keys + d, r * heads + h);
        }
}

template <class Number>
void pack_precise_rows(const float* both, int64_t rows, int64_t frames, int64_t heads, int64_t width, Number* keys_out,
                       Number* values_out) {
    const int64_t size = padded_frames(frames) * width;
    each_head(both, rows, frames, heads, width, [&](const float* keys, const float* values, int64_t at) {
        pack_precise_head(keys, values, frames, width, 2 * heads * width, keys_out + at * size, values_out + at * size);
    });
}

template <class Number>
void attend_rows(const float* queries, const int64_t* first, const int64_t* source, int64_t rows, int64_t frames,
                 int64_t heads, int64_t width, const Number* keys, const Number* values, float* out) {
    const int64_t d = heads * width, padded = padded_frames(frames), size = padded * width;
#pragma omp parallel
    {
        std::vector<float> scores(4 * padded);
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t h = 0; h < heads; h++) {
                const int64_t at = (source[r] * heads + h) * size;
                int64_t m = first[r];
                for (; m + 4 <= first[r + 1]; m += 4)
                    attend_some<4>(queries + m * d + h * width, keys + at, values + at, frames, padded, width, d,
                                   scores.data(), out + m * d + h * width);
                for (; m < first[r + 1]; m++)
                    attend_some<1>(queries + m * d + h * width, keys + at, values + at, frames, padded, width, d,
                                   scores.data(), out + m * d + h * width);
            }
    }
}

}  // namespace

// Keys and values (R, T, 2 D) float32, keys first, of one layer, in 8 bits as decoder_attention.h has them.
AURICLE_EXPORT void auricle_pack_small(const float* both, int64_t rows, int64_t frames, int64_t heads, int64_t width,
                                       int8_t* keys8, int8_t* values8, float* key_scales, float* value_scales) {
    const int64_t size = padded_frames(frames) * width;
    each_head(both, rows, frames, heads, width, [&](const float* keys, const float* values, int64_t at) {
        pack_small_head(keys, values, frames, width, 2 * heads * width, keys8 + at * size, values8 + at * size,
                        key_scales + at * width, value_scales + at * width);
    });
}

// The same precisely: in float16 if `half`, else in float32.
AURICLE_EXPORT void auricle_pack_precise(const float* both, int64_t rows, int64_t frames, int64_t heads, int64_t width,
                                         int32_t half, void* keys, void* values) {
    if (half)
        pack_precise_rows(both, rows, frames, heads, width, (uint16_t*)keys, (uint16_t*)values);
    else
        pack_precise_rows(both, rows, frames, heads, width, (float*)keys, (float*)values);
}

// Attention to the recording, precisely: queries (M, D) of tokens sorted by row, `first` (R + 1,) where each row's
// begin; a row's recording is `source[row]`. Into out (M, D).
AURICLE_EXPORT void auricle_attend_cross(const float* queries, const int64_t* first, const int64_t* source,
                                         int64_t rows, int64_t frames, int64_t heads, int64_t width, int32_t half,
                                         const void* keys, const void* values, float* out) {
    if (half)
        attend_rows(queries, first, source, rows, frames, heads, width, (const uint16_t*)keys, (const uint16_t*)values,
                    out);
    else
        attend_rows(queries, first, source, rows, frames, heads, width, (const float*)keys, (const float*)values, out);
}

// Write the keys and values of M tokens, (M, 3 D) queries, keys and values, to their rows and positions of a cache
// (2, R, H, P, K), then attend to the tokens up to each. Into out (M, D).
AURICLE_EXPORT void auricle_attend_tokens(const float* qkv, const int64_t* row, const int64_t* position, int64_t m_tokens,
                                          int64_t rows, int64_t heads, int64_t width, int64_t room, float* cache,
                                          float* out) {
    const int64_t d = heads * width, half = rows * heads * room * width;
#pragma omp parallel
    {
        std::vector<float> scores(room);
#pragma omp for collapse(2) schedule(static)
        for (int64_t m = 0; m < m_tokens; m++)
            for (int64_t h = 0; h < heads; h++) {
                float* place = cache + ((row[m] * heads + h) * room + position[m]) * width;
                const float* from = qkv + m * 3 * d + d + h * width;
                std::copy(from, from + width, place);
                std::copy(from + d, from + d + width, place + half);
            }
#pragma omp for collapse(2) schedule(dynamic, 4)
        for (int64_t m = 0; m < m_tokens; m++)
            for (int64_t h = 0; h < heads; h++) {
                const float* keys = cache + (row[m] * heads + h) * room * width;
                attend_to_tokens(qkv + m * 3 * d + h * width, keys, keys + half, position[m] + 1, width, scores.data(),
                                 out + m * d + h * width);
            }
    }
}
