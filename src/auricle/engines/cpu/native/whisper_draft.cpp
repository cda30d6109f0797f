// Drafts of Whisper's decoder: several greedy steps in one call, with 8-bit weights and the recording's 8-bit keys and
// values. What a draft says is checked in the engine's arithmetic before anyone sees it.
//
// Dimension key: M rows that are drafted, R rows of the cache, L layers, D width, H heads, K width of a head, F width of
// the feed-forward part, T frames, P positions of room, V vocabulary.
#include <immintrin.h>
#include <omp.h>
#include <sched.h>

#include <atomic>
#include <cstring>
#include <vector>

#include "decoder_attention.h"
#include "draft_products.h"
#include "int8.h"
#include "layer_norm.h"
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
    normalize_row(x, norm.weight, norm.bias, NORM_EPS, d, y);
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

// The parts of a step, in order; those from QKV to FC2 once for each layer.
enum Part { QKV, SELF_ATTENTION, SELF_OUT, CROSS_QUERY, CROSS_ATTENTION, CROSS_OUT, FC1, FC2, LOGITS };

constexpr int64_t PARTS_OF_LAYER = LOGITS;
constexpr int64_t MOST_CHUNKS = 64;
constexpr int CHUNKS_PER_THREAD = 4;
constexpr int PATIENCE = 4000;  // looks at the work before a thread lets others run

// What the threads of one call share. Work is claimed in chunks, and a part is over when its chunks are: a thread that
// the system does not run at the moment holds nobody up, as it would at a barrier.
struct Shared {
    const DraftModel& model;
    const DraftCache& cache;
    const Rules& rules;
    DraftRow* const first;
    const int64_t most;
    const float margin;
    int64_t *const tokens, *const counts;
    std::vector<DraftRow*> rows;  // those that still draft
    std::vector<float> x, wide, context, hidden, logits;
    std::vector<Choice> choices;  // (M, chunks of the logits)
    int threads = 1;
    int64_t n_steps = 0;
    // The part that runs (48 bits, counted over the whole call), how many chunks it has, and the next one to claim.
    std::atomic<uint64_t> ticket{0};
    std::atomic<int64_t> done{0};

    Shared(const DraftModel& model, const DraftCache& cache, const Rules& rules, DraftRow* rows, int64_t m,
           int64_t most, float margin, int64_t* tokens, int64_t* counts)
        : model(model), cache(cache), rules(rules), first(rows), most(most), margin(margin), tokens(tokens),
          counts(counts), x(m * model.heads * model.width), wide(3 * x.size()), context(x.size()),
          hidden(m * model.ffn), logits(m * model.vocabulary), choices(m * MOST_CHUNKS) {
        for (int64_t i = 0; i < m; i++) {
            counts[i] = 0;
            if (rows[i].room > 0 && rows[i].position < cache.room) this->rows.push_back(rows + i);
        }
    }

    int64_t width() const { return model.heads * model.width; }
    int64_t n_parts() const { return model.n_layers * PARTS_OF_LAYER + 1; }
    bool is_over() const { return rows.empty() || n_steps >= most; }
};

constexpr uint64_t OVER = ~uint64_t(0);

uint64_t ticket_of(uint64_t part, uint64_t n_chunks, uint64_t chunk) { return part << 16 | n_chunks << 8 | chunk; }

// What a thread has for itself: the rows as the products read them, scaled once a part.
struct Own {
    uint64_t part = OVER;
    std::vector<int16_t> rows16, probabilities;
    std::vector<float> scales, normal, scores;
    int16_t query16[256];

    Own(const Shared& all, int64_t m_rows) {
        const int64_t widest = std::max(all.width(), all.model.ffn) + DRAFT_K_STEP;
        rows16.resize(draft_rows_size(m_rows, widest)), scales.resize(m_rows), normal.resize(widest);
        scores.resize(std::max(all.cache.room, padded_frames(all.cache.frames)) + VF_LANES);
        probabilities.resize(padded_frames(all.cache.frames));
    }
};

struct Where {
    uint64_t part;  // counted over the whole call
    int64_t chunk, n_chunks;

    Part kind(const Shared& all) const {
        const int64_t within = int64_t(part) % all.n_parts();
        return within == all.n_parts() - 1 ? LOGITS : Part(within % PARTS_OF_LAYER);
    }
    int64_t layer(const Shared& all) const { return int64_t(part) % all.n_parts() / PARTS_OF_LAYER; }
};

struct Share {
    int64_t begin, end;
};

// A chunk's share of n things, in whole units so that vectors and tiles stay whole.
Share share_of(int64_t n, const Where& at, int64_t unit) {
    const int64_t units = (n + unit - 1) / unit;
    return {std::min(n, units * at.chunk / at.n_chunks * unit), std::min(n, units * (at.chunk + 1) / at.n_chunks * unit)};
}

constexpr int64_t OUTPUTS = std::max<int64_t>(16, DRAFT_N_STEP);  // a unit of a product's outputs

// A product of all rows, for a chunk of the outputs: every thread scales the rows for itself, which is less work than
// waiting for one that does.
template <bool ADD, class Place>
void product(const Int8Weights& w, const float* x, const Norm* norm, Shared& all, Own& own, const Where& at,
             Place&& place) {
    const int64_t m_rows = int64_t(all.rows.size());
    if (own.part != at.part) {
        for (int64_t m = 0; m < m_rows; m++) {
            const float* row = x + m * w.k;
            if (norm) normalize(row, *norm, w.k, own.normal.data()), row = own.normal.data();
            own.scales[m] = put_draft_row(w, row, m, own.rows16.data());
        }
        own.part = at.part;
    }
    const Share share = share_of(w.n, at, OUTPUTS);
    draft_product<ADD>(w, own.rows16.data(), own.scales.data(), m_rows, share.begin, share.end, place);
}

void embed(Shared& all) {
    const int64_t d = all.width();
    for (size_t m = 0; m < all.rows.size(); m++) {
        const float *token = all.model.tokens + all.rows[m]->token * d;
        const float* position = all.model.positions + all.rows[m]->position * d;
        for (int64_t i = 0; i < d; i++) all.x[m * d + i] = token[i] + position[i];
    }
}

void self_attention(Shared& all, Own& own, const Where& at) {
    const int64_t heads = all.model.heads, width = all.model.width, d = heads * width, room = all.cache.room;
    const int64_t half = all.cache.rows * heads * room * width;
    const Share share = share_of(int64_t(all.rows.size()) * heads, at, 1);
    for (int64_t one = share.begin; one < share.end; one++) {
        const int64_t m = one / heads, h = one % heads;
        const DraftRow& row = *all.rows[m];
        float* keys = all.cache.tokens[at.layer(all)] + (row.row * heads + h) * room * width;
        const float* from = all.wide.data() + m * 3 * d + h * width;
        std::memcpy(keys + row.position * width, from + d, width * sizeof(float));
        std::memcpy(keys + half + row.position * width, from + 2 * d, width * sizeof(float));
        attend_to_tokens(from, keys, keys + half, row.position + 1, width, own.scores.data(),
                         all.context.data() + m * d + h * width);
    }
}

void cross_attention(Shared& all, Own& own, const Where& at) {
    const int64_t heads = all.model.heads, width = all.model.width, d = heads * width;
    const int64_t size = padded_frames(all.cache.frames) * width;
    const CrossCache& cross = all.cache.cross[at.layer(all)];
    const Share share = share_of(int64_t(all.rows.size()) * heads, at, 1);
    for (int64_t one = share.begin; one < share.end; one++) {
        const int64_t m = one / heads, h = one % heads, place = all.cache.source[all.rows[m]->row] * heads + h;
        attend_in_8_bits(all.wide.data() + m * d + h * width, cross.keys8 + place * size,
                         cross.key_scales + place * width, cross.values8 + place * size,
                         cross.value_scales + place * width, all.cache.frames, width, own.query16,
                         own.probabilities.data(), own.scores.data(), all.context.data() + m * d + h * width);
    }
}

// The first half of the feed-forward network, with its activation.
void widen(const DraftLayer& layer, Shared& all, Own& own, const Where& at) {
    const int64_t f = all.model.ffn;
    product<false>(layer.fc1, all.x.data(), &layer.final_norm, all, own, at,
                   [&](int64_t n, int64_t m) { return &all.hidden[m * f + n]; });
    const Share share = share_of(f, at, OUTPUTS);
    for (size_t m = 0; m < all.rows.size(); m++) {
        float* row = all.hidden.data() + m * f;
        int64_t n = share.begin;
        for (; n + VF_LANES <= share.end; n += VF_LANES) gelu(row + n, VF_LANES);
        if (n < share.end) {
            alignas(64) float rest[VF_LANES] = {};
            std::copy(row + n, row + share.end, rest);
            gelu(rest, VF_LANES);
            std::copy(rest, rest + (share.end - n), row + n);
        }
    }
}

void logits(Shared& all, Own& own, const Where& at) {
    const int64_t v = all.model.vocabulary;
    product<false>(all.model.logits, all.x.data(), &all.model.norm, all, own, at,
                   [&](int64_t n, int64_t m) { return &all.logits[m * v + n]; });
    const Share share = share_of(v, at, OUTPUTS);
    for (size_t m = 0; m < all.rows.size(); m++)
        all.choices[m * MOST_CHUNKS + at.chunk] =
            choose_range(all.logits.data() + m * v, all.rules, all.rows[m]->state, share.begin, share.end, false);
}

void run_chunk(Shared& all, Own& own, const Where& at) {
    const int64_t d = all.width();
    const DraftLayer& layer = all.model.layers[std::min(at.layer(all), all.model.n_layers - 1)];
    auto into_wide = [&](int64_t width) {
        return [&all, width](int64_t n, int64_t m) { return &all.wide[m * width + n]; };
    };
    auto into_stream = [&](int64_t n, int64_t m) { return &all.x[m * d + n]; };
    const float *x = all.x.data(), *context = all.context.data();
    switch (at.kind(all)) {
        case QKV: return product<false>(layer.qkv, x, &layer.self_norm, all, own, at, into_wide(3 * d));
        case SELF_ATTENTION: return self_attention(all, own, at);
        case SELF_OUT: return product<true>(layer.self_out, context, nullptr, all, own, at, into_stream);
        case CROSS_QUERY: return product<false>(layer.cross_query, x, &layer.cross_norm, all, own, at, into_wide(d));
        case CROSS_ATTENTION: return cross_attention(all, own, at);
        case CROSS_OUT: return product<true>(layer.cross_out, context, nullptr, all, own, at, into_stream);
        case FC1: return widen(layer, all, own, at);
        case FC2: return product<true>(layer.fc2, all.hidden.data(), nullptr, all, own, at, into_stream);
        case LOGITS: return logits(all, own, at);
    }
}

// Take each row's choice; rows that end, have no room, or are not sure enough to go on, leave.
void choose(Shared& all, int64_t n_chunks) {
    std::vector<DraftRow*> go_on;
    for (size_t m = 0; m < all.rows.size(); m++) {
        DraftRow& row = *all.rows[m];
        Choice choice = all.choices[m * MOST_CHUNKS];
        for (int64_t i = 1; i < n_chunks; i++) choice.merge(all.choices[m * MOST_CHUNKS + i]);
        const Best best = choice.result();
        if (best.token < 0) continue;
        const int64_t index = &row - all.first;
        all.tokens[index * all.most + all.counts[index]++] = best.token;
        row.token = best.token, row.position++, row.room--;
        row.state.add(all.rules, best.token);
        const bool sure = best.top - best.second >= all.margin;
        if (sure && best.token != all.rules.eos && row.room > 0 && row.position < all.cache.room) go_on.push_back(&row);
    }
    all.rows = std::move(go_on);
    all.n_steps++;
    embed(all);
}

uint64_t opening_ticket(const Shared& all, uint64_t part) {
    if (all.is_over()) return OVER;
    const Where at{part, 0, 1};
    const Part kind = at.kind(all);
    const bool attends = kind == SELF_ATTENTION || kind == CROSS_ATTENTION;
    const int64_t things = attends ? int64_t(all.rows.size()) * all.model.heads : all.width() / OUTPUTS;
    const int64_t n_chunks = all.threads == 1 ? 1 : std::min<int64_t>(all.threads * CHUNKS_PER_THREAD, things);
    return ticket_of(part, std::clamp<int64_t>(n_chunks, 1, MOST_CHUNKS), 0);
}

// Claim chunks of whatever part runs until the call is over; who finishes a part's last chunk opens the next one.
void work(Shared& all, Own& own) {
    for (int looks = 0;;) {
        uint64_t ticket = all.ticket.load(std::memory_order_acquire);
        if (ticket == OVER) return;
        const Where at{ticket >> 16, int64_t(ticket & 255), int64_t(ticket >> 8 & 255)};
        if (at.chunk >= at.n_chunks || !all.ticket.compare_exchange_weak(ticket, ticket + 1)) {
            if (++looks % PATIENCE == 0) sched_yield();
            else _mm_pause();
            continue;
        }
        looks = 0;
        run_chunk(all, own, at);
        if (all.done.fetch_add(1) + 1 < at.n_chunks) continue;
        all.done.store(0);
        if (at.kind(all) == LOGITS) choose(all, at.n_chunks);
        all.ticket.store(opening_ticket(all, at.part + 1), std::memory_order_release);
    }
}

}  // namespace

// Draft up to `most` tokens for each of M rows, into tokens (M, most) and counts (M,).
AURICLE_EXPORT void auricle_draft(const DraftModel* model, const DraftCache* cache, const Rules* rules, DraftRow* rows,
                                  int64_t m_rows, int64_t most, float margin, int64_t* tokens, int64_t* counts) {
    Shared all(*model, *cache, *rules, rows, m_rows, most, margin, tokens, counts);
    all.threads = omp_get_max_threads();
    embed(all);
    all.ticket = opening_ticket(all, 0);
#pragma omp parallel num_threads(all.threads)
    {
        const MatrixUnits units;
        Own own(all, m_rows);
        work(all, own);
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

// What a draft's weights are padded to.
AURICLE_EXPORT int64_t auricle_draft_k_step() { return DRAFT_K_STEP; }
AURICLE_EXPORT int64_t auricle_draft_n_step() { return DRAFT_N_STEP; }

// Scale (N, K) float32 weights to 8 bits, one scale for each output; what follows K up to `padded` becomes zero. They lie
// as a draft reads them if `for_draft`, else (N, padded).
AURICLE_EXPORT void auricle_pack_int8(const float* weights, int64_t n, int64_t k, int64_t padded, int32_t for_draft,
                                      int8_t* values, float* scales) {
#ifdef __AMX_INT8__
    if (for_draft) return pack_draft_tiles(weights, n, k, padded, values, scales);
#endif
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
