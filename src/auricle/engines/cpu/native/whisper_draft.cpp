// Drafts of Whisper's decoder: several greedy steps in one call, with 8-bit weights and the recording's 8-bit keys and
// values. What a draft says is checked in the engine's arithmetic before anyone sees it.
//
// Dimension key: M rows that are drafted, R rows of the cache, L layers, D width, H heads, K width of a head, F width of
// the feed-forward part, T frames, P positions of room, V vocabulary.
#include <omp.h>

#include <cstring>
#include <vector>

#include "decoder_attention.h"
#include "int8.h"
#include "parallel.h"
#include "whisper_rules.h"

namespace auricle {

struct Norm {
    const float *weight, *bias;
};

struct DraftLayer {
    Norm self_norm, cross_norm, final_norm;
    Int8Weights qkv, self_out, cross_query, cross_out, fc1, fc2;
};

struct DraftModel {
    int64_t n_layers, heads, width, ffn, vocabulary;
    const DraftLayer* layers;
    const float *tokens, *positions;  // (V, D), (P, D)
    Norm norm;
    Int8Weights logits;
};

struct DraftCache {
    int64_t rows, room, frames;
    float* const* tokens;       // of each layer: (2, R, H, P, K)
    const CrossCache* cross;    // of each layer
    const int64_t* source;      // (R,) the recording that a row hears
};

// One row's draft: the row of the cache, where it stands, the token it goes on from, and what it may still say.
struct DraftRow {
    int64_t row, position, token, room;
    RowState state;
};

}  // namespace auricle

using namespace auricle;

namespace {

constexpr float NORM_EPS = 1e-5f;  // torch's default, which every checkpoint of the family has

void normalize(const float* x, const Norm& norm, int64_t d, float* y) {
    VF sum = vset1(0.0f);
    for (int64_t i = 0; i < d; i += VF_LANES) sum = vadd(sum, vload(x + i));
    const VF mean = vset1(hsum(sum) / float(d));
    VF squares = vset1(0.0f);
    for (int64_t i = 0; i < d; i += VF_LANES) {
        const VF centred = vsub(vload(x + i), mean);
        squares = vfma(centred, centred, squares);
    }
    const VF rate = vset1(1.0f / std::sqrt(hsum(squares) / float(d) + NORM_EPS));
    for (int64_t i = 0; i < d; i += VF_LANES) {
        const VF scaled = vmul(vsub(vload(x + i), mean), rate);
        vstore(y + i, vfma(scaled, vload(norm.weight + i), vload(norm.bias + i)));
    }
}

// x * Phi(x), the error function by Abramowitz and Stegun 7.1.26: within 2e-7.
void gelu(float* x, int64_t n) {
    for (int64_t i = 0; i < n; i += VF_LANES) {
        const VF value = vload(x + i), z = vmul(vabs(value), vset1(0.70710678f));
        const VF t = vdiv(vset1(1.0f), vfma(z, vset1(0.3275911f), vset1(1.0f)));
        VF p = vset1(1.061405429f);
        for (float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) p = vfma(p, t, vset1(c));
        const VF tail = vmul(vmul(p, t), vexp(vsub(vset1(0.0f), vmul(z, z))));  // 1 - erf(z)
        const VF positive = vmax(value, vset1(0.0f));
        // x >= 0: x - x * tail / 2; x < 0: x * tail / 2
        vstore(x + i, vsub(positive, vmul(vmul(vabs(value), vset1(0.5f)), tail)));
    }
}

// What the threads of one call share.
struct Shared {
    const DraftModel& model;
    const DraftCache& cache;
    std::vector<DraftRow*> rows;  // those that still draft
    std::vector<float> x, wide, context, hidden, logits;
    std::vector<Choice> choices;  // (threads, M)
    int threads;

    Shared(const DraftModel& model, const DraftCache& cache, int64_t m, int threads)
        : model(model), cache(cache), x(m * model.heads * model.width), wide(3 * x.size()), context(x.size()),
          hidden(m * model.ffn), logits(m * model.vocabulary), choices(m * threads), threads(threads) {}
};

// What a thread has for itself.
struct Own {
    std::vector<int16_t> rows16, probabilities;
    std::vector<float> scales, normal, scores;
    int16_t query16[256];
};

struct Share {
    int64_t begin, end;
};

Share share_of(int64_t n, int thread, int threads) {
    const int64_t units = (n + 3) / 4;  // so that tiles of 4 outputs stay whole
    return {std::min(n, units * thread / threads * 4), std::min(n, units * (thread + 1) / threads * 4)};
}

// A product of all rows, each thread its share of the outputs: every thread scales the rows for itself, which is less
// work than waiting for one that does.
template <class Put>
void product(const Int8Weights& w, const float* x, const Norm* norm, Shared& all, Own& own, int thread, Put&& put) {
    const int64_t m_rows = int64_t(all.rows.size());
    const int bound = row_bound(w.k);
    for (int64_t m = 0; m < m_rows; m++) {
        const float* row = x + m * w.k;
        if (norm) normalize(row, *norm, w.k, own.normal.data()), row = own.normal.data();
        own.scales[m] = quantize_row(row, w.k, w.padded, bound, own.rows16.data() + m * w.padded);
    }
    const Share share = share_of(w.n, thread, all.threads);
    int8_product(w, own.rows16.data(), own.scales.data(), m_rows, share.begin, share.end, put);
}

void embed(Shared& all, int thread) {
    const int64_t d = all.model.heads * all.model.width;
    for (size_t m = thread; m < all.rows.size(); m += all.threads) {
        const float *token = all.model.tokens + all.rows[m]->token * d;
        const float* position = all.model.positions + all.rows[m]->position * d;
        for (int64_t i = 0; i < d; i++) all.x[m * d + i] = token[i] + position[i];
    }
}

void self_attention(Shared& all, Own& own, int64_t layer, int thread) {
    const auto& [rows, room, frames, tokens, cross, source] = all.cache;
    const int64_t heads = all.model.heads, width = all.model.width, d = heads * width;
    const int64_t half = rows * heads * room * width, n = int64_t(all.rows.size()) * heads;
    for (int64_t at = thread; at < n; at += all.threads) {
        const int64_t m = at / heads, h = at % heads;
        const DraftRow& row = *all.rows[m];
        float* keys = tokens[layer] + (row.row * heads + h) * room * width;
        const float* from = all.wide.data() + m * 3 * d + h * width;
        std::memcpy(keys + row.position * width, from + d, width * sizeof(float));
        std::memcpy(keys + half + row.position * width, from + 2 * d, width * sizeof(float));
        attend_to_tokens(from, keys, keys + half, row.position + 1, width, own.scores.data(),
                         all.context.data() + m * d + h * width);
    }
}

void cross_attention(Shared& all, Own& own, int64_t layer, int thread) {
    const int64_t heads = all.model.heads, width = all.model.width, d = heads * width;
    const int64_t size = padded_frames(all.cache.frames) * width, n = int64_t(all.rows.size()) * heads;
    const CrossCache& cross = all.cache.cross[layer];
    for (int64_t at = thread; at < n; at += all.threads) {
        const int64_t m = at / heads, h = at % heads, place = all.cache.source[all.rows[m]->row] * heads + h;
        attend_in_8_bits(all.wide.data() + m * d + h * width, cross.keys8 + place * size,
                         cross.key_scales + place * width, cross.values8 + place * size,
                         cross.value_scales + place * width, all.cache.frames, width, own.query16,
                         own.probabilities.data(), own.scores.data(), all.context.data() + m * d + h * width);
    }
}

void layer_step(Shared& all, Own& own, int64_t index, int thread) {
    const DraftLayer& layer = all.model.layers[index];
    const int64_t d = all.model.heads * all.model.width, f = all.model.ffn;
    auto into_wide = [&](int64_t width) {
        return [&all, width](int64_t n, int64_t m, float value) { all.wide[m * width + n] = value; };
    };
    auto into_stream = [&](int64_t n, int64_t m, float value) { all.x[m * d + n] += value; };
    product(layer.qkv, all.x.data(), &layer.self_norm, all, own, thread, into_wide(3 * d));
#pragma omp barrier
    self_attention(all, own, index, thread);
#pragma omp barrier
    product(layer.self_out, all.context.data(), nullptr, all, own, thread, into_stream);
#pragma omp barrier
    product(layer.cross_query, all.x.data(), &layer.cross_norm, all, own, thread, into_wide(d));
#pragma omp barrier
    cross_attention(all, own, index, thread);
#pragma omp barrier
    product(layer.cross_out, all.context.data(), nullptr, all, own, thread, into_stream);
#pragma omp barrier
    product(layer.fc1, all.x.data(), &layer.final_norm, all, own, thread,
            [&](int64_t n, int64_t m, float value) { all.hidden[m * f + n] = value; });
    const Share share = share_of(f, thread, all.threads);
    for (size_t m = 0; m < all.rows.size(); m++) {
        // Shares end at multiples of 4 and vectors of 8 or 16 may not cross them: a copy is activated.
        alignas(64) float part[VF_LANES];
        for (int64_t at = share.begin; at < share.end; at += VF_LANES) {
            const int64_t n = std::min<int64_t>(VF_LANES, share.end - at);
            std::fill(part, part + VF_LANES, 0.0f);
            std::memcpy(part, all.hidden.data() + m * f + at, n * sizeof(float));
            gelu(part, VF_LANES);
            std::memcpy(all.hidden.data() + m * f + at, part, n * sizeof(float));
        }
    }
#pragma omp barrier
    product(layer.fc2, all.hidden.data(), nullptr, all, own, thread, into_stream);
#pragma omp barrier
}

void logits_step(Shared& all, Own& own, const Rules& rules, int thread) {
    const int64_t v = all.model.vocabulary;
    product(all.model.logits, all.x.data(), &all.model.norm, all, own, thread,
            [&](int64_t n, int64_t m, float value) { all.logits[m * v + n] = value; });
    const Share share = share_of(v, thread, all.threads);
    for (size_t m = 0; m < all.rows.size(); m++)
        all.choices[m * all.threads + thread] = choose_range(all.logits.data() + m * v, rules, all.rows[m]->state,
                                                             share.begin, share.end, false);
}

// Take each row's choice; rows that end, have no room, or are not sure enough to go on, leave.
void choose(Shared& all, const Rules& rules, float margin, int64_t* tokens, int64_t most, int64_t* counts,
            const DraftRow* first) {
    std::vector<DraftRow*> go_on;
    for (size_t m = 0; m < all.rows.size(); m++) {
        DraftRow& row = *all.rows[m];
        Choice choice = all.choices[m * all.threads];
        for (int t = 1; t < all.threads; t++) choice.merge(all.choices[m * all.threads + t]);
        const Best best = choice.result();
        if (best.token < 0) continue;
        const int64_t index = &row - first;
        tokens[index * most + counts[index]++] = best.token;
        row.token = best.token, row.position++, row.room--;
        row.state.add(rules, best.token);
        const bool sure = best.top - best.second >= margin;
        if (sure && best.token != rules.eos && row.room > 0 && row.position < all.cache.room) go_on.push_back(&row);
    }
    all.rows = std::move(go_on);
}

}  // namespace

// Draft up to `most` tokens for each of M rows, into tokens (M, most) and counts (M,).
AURICLE_EXPORT void auricle_draft(const DraftModel* model, const DraftCache* cache, const Rules* rules, DraftRow* rows,
                                  int64_t m_rows, int64_t most, float margin, int64_t* tokens, int64_t* counts) {
    Shared all(*model, *cache, m_rows, omp_get_max_threads());
    for (int64_t m = 0; m < m_rows; m++) {
        counts[m] = 0;
        if (rows[m].room > 0 && rows[m].position < cache->room) all.rows.push_back(rows + m);
    }
    const int64_t widest = std::max(model->heads * model->width, model->ffn) + K_STEP;
#pragma omp parallel num_threads(all.threads)
    {
#pragma omp single
        all.threads = omp_get_num_threads();  // where fewer were given than asked for
        const int thread = omp_get_thread_num();
        Own own;
        own.rows16.resize(m_rows * widest), own.scales.resize(m_rows), own.normal.resize(widest);
        own.scores.resize(std::max(cache->room, padded_frames(cache->frames)) + VF_LANES);
        own.probabilities.resize(padded_frames(cache->frames));
        for (int64_t step = 0; step < most && !all.rows.empty(); step++) {
            embed(all, thread);
#pragma omp barrier
            for (int64_t layer = 0; layer < model->n_layers; layer++) layer_step(all, own, layer, thread);
            logits_step(all, own, *rules, thread);
#pragma omp barrier
#pragma omp single
            choose(all, *rules, margin, tokens, most, counts, rows);
        }
    }
}

// The token that the rules leave of each of N rows of logits (N, V), and its natural-log probability among those left.
AURICLE_EXPORT void auricle_choose(const float* logits, int64_t n_rows, const Rules* rules, const RowState* states,
                                   int64_t* tokens, float* logprobs) {
#pragma omp parallel for schedule(dynamic)
    for (int64_t n = 0; n < n_rows; n++) {
        const float* row = logits + n * rules->vocabulary;
        const Best best = choose_range(row, *rules, states[n], 0, rules->vocabulary, true).result();
        tokens[n] = best.token;
        logprobs[n] = best.token < 0 ? NONE : -std::log(best.sum);
    }
}

// Scale (N, K) float32 weights to 8 bits, one scale for each output; what follows K up to `padded` becomes zero.
AURICLE_EXPORT void auricle_pack_int8(const float* weights, int64_t n, int64_t k, int64_t padded, int8_t* values,
                                      float* scales) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < n; row++) {
        float top = 0.0f;
        for (int64_t i = 0; i < k; i++) top = std::max(top, std::fabs(weights[row * k + i]));
        const float inverse = top > 0.0f ? 127.0f / top : 0.0f;
        scales[row] = top / 127.0f;
        for (int64_t i = 0; i < padded; i++)
            values[row * padded + i] = i < k ? int8_t(std::lrintf(weights[row * k + i] * inverse)) : int8_t(0);
    }
}
