// One pass of a decoder of text, Llama and its relatives, with 8-bit weights: tokens of any rows, at any places.
//
// Dimension key: M tokens of the pass, L layers, D width, H heads, G groups of keys and values, K width of a head, F width
// of the feed-forward part, P tokens of room, V vocabulary.
#include <vector>

#include "activations.h"
#include "parallel.h"
#include "text_attention.h"
#include "text_products.h"
#include "work_sharing.h"

namespace auricle {

struct TextLayer {
    const float *input_norm, *attention_norm;  // before attention, and after it or null
    const float *forward_norm, *output_norm;   // before the feed-forward part, and after it or null
    const float *query_norm, *key_norm;        // (K,) or null
    const float* turns;                        // (positions, 2, K / 2) cosines and sines, or null
    int64_t window;                            // tokens that are seen, itself included; 0: all
    Int8Weights qkv, out, gate_up, down;       // of gate_up 16 outputs of the gate, then 16 of the other, and so on
};

struct TextModel {
    int64_t n_layers, heads, groups, width, d, ffn, vocabulary;
    float eps, scale, score_limit, logit_limit;  // limits of 0: none
    int32_t activation;
    const TextLayer* layers;
    const float* norm;
    Int8Weights logits;
};

// One token: where its row's keys and values are, and its place in it.
struct TextToken {
    uint16_t *keys, *values;
    int64_t room, place;
};

}  // namespace auricle

using namespace auricle;

namespace {

enum Part { QKV, ATTEND, OUT, WIDEN, DOWN, PARTS_OF_LAYER };

constexpr int64_t UNIT = 32;  // outputs: a block of the gate and one of what it lets through
constexpr int64_t BLOCK_OF_GATE = 16;

// x / sqrt(mean(x^2) + eps) * weight
void normalize(const float* x, const float* weight, int64_t n, float eps, float* y) {
    VF squares = vzero();
    for (int64_t i = 0; i < n; i += VF_LANES) squares = vfma(vload(x + i), vload(x + i), squares);
    const VF rate = vset1(1.0f / std::sqrt(hsum(squares) / float(n) + eps));
    for (int64_t i = 0; i < n; i += VF_LANES) vstore(y + i, vmul(vmul(vload(x + i), rate), vload(weight + i)));
}

// The number i of a head turns with the number i + K / 2.
void rotate(float* x, const float* turns, int64_t width) {
    const int64_t half = width / 2;
    const float *cosines = turns, *sines = turns + half;
    for (int64_t i = 0; i < half; i += VF_LANES) {
        const int n = int(std::min<int64_t>(VF_LANES, half - i));
        const VF first = vload_n(x + i, n), second = vload_n(x + half + i, n);
        const VF c = vload_n(cosines + i, n), s = vload_n(sines + i, n);
        vstore_n(x + i, vfnma(second, s, vmul(first, c)), n);
        vstore_n(x + half + i, vfma(first, s, vmul(second, c)), n);
    }
}

struct Pass {
    const TextModel& model;
    const TextToken* tokens;
    const int64_t m_tokens;
    float* x;  // (M, D), which embeddings begin and every layer adds to
    const int64_t* wanted;  // tokens whose logits are wanted
    const int64_t n_wanted;
    float *hidden_out, *logits_out;
    const int n_threads;
    int64_t room = 0;
    std::vector<float> wide, context, hidden, added, scales, scores;
    std::vector<int16_t> rows16;

    Pass(const TextModel& model, const TextToken* tokens, int64_t m, float* x, const int64_t* wanted, int64_t n_wanted,
         float* hidden_out, float* logits_out, int n_threads)
        : model(model), tokens(tokens), m_tokens(m), x(x), wanted(wanted), n_wanted(n_wanted), hidden_out(hidden_out),
          logits_out(logits_out), n_threads(n_threads), wide(m * (inner() + 2 * model.groups * model.width)),
          context(m * inner()), hidden(m * model.ffn), added(m * model.d), scales(std::max(m, n_wanted)) {
        for (int64_t i = 0; i < m; i++) room = std::max(room, tokens[i].place + 1);
        room = (room + PLACES - 1) / PLACES * PLACES;
        scores.resize(n_threads * MOST_HEADS * room);
        const int64_t widest = std::max({model.d, model.ffn, inner()}) + K_STEP;
        rows16.resize(std::max(m, n_wanted) * widest);
        normalize_rows(model.layers[0].input_norm, model.layers[0].qkv);
    }

    int64_t inner() const { return model.heads * model.width; }
    int64_t n_parts() const { return model.n_layers * PARTS_OF_LAYER + (n_wanted > 0); }
    bool is_last(int64_t part) const { return part == model.n_layers * PARTS_OF_LAYER; }
    const TextLayer& layer(int64_t part) const { return model.layers[part / PARTS_OF_LAYER]; }

    Held held(int64_t m, int64_t layer, int64_t group) const {
        const int64_t at = (layer * model.groups + group) * tokens[m].room * model.width;
        return {tokens[m].keys + at, tokens[m].values + at, model.width};
    }

    int64_t shares(int64_t part) const {
        const int64_t each = n_threads == 1 ? 1 : n_threads * 4;
        if (is_last(part)) return std::min(each * 4, model.vocabulary / UNIT);
        if (part % PARTS_OF_LAYER == ATTEND) return std::min(each, m_tokens * model.groups);
        return std::min(each, model.d / UNIT);
    }

    void run(const Share& share, int thread) {
        if (is_last(share.part)) return logits(share);
        const TextLayer& own = layer(share.part);
        const int64_t all = inner() + 2 * model.groups * model.width;
        switch (share.part % PARTS_OF_LAYER) {
            case QKV:
                return product(own.qkv, m_tokens, share, [&](int64_t n, int64_t m, float v) { wide[m * all + n] = v; });
            case ATTEND: return attend(share, thread);
            case OUT: return into_stream(own.out, own.attention_norm, share);
            case WIDEN: return widen(own, share);
            case DOWN: return into_stream(own.down, own.output_norm, share);
        }
    }

    void close(int64_t part) {
        if (is_last(part)) return;
        const TextLayer& own = layer(part);
        switch (part % PARTS_OF_LAYER) {
            case QKV: return hold(own, part / PARTS_OF_LAYER);
            case ATTEND: return quantize(context.data(), m_tokens, own.out);
            case OUT:
                if (own.attention_norm) add_normal(own.attention_norm);
                return normalize_rows(own.forward_norm, own.gate_up);
            case WIDEN: return quantize(hidden.data(), m_tokens, own.down);
            case DOWN:
                if (own.output_norm) add_normal(own.output_norm);
                if (is_last(part + 1) || part + 1 == n_parts()) return finish();
                return normalize_rows(layer(part + 1).input_norm, layer(part + 1).qkv);
        }
    }

   private:
    template <class Put>
    void product(const Int8Weights& w, int64_t m_rows, const Share& share, Put&& put) {
        text_product(w, rows16.data(), scales.data(), m_rows, share.begin(w.n, UNIT), share.end(w.n, UNIT), put);
    }

    void quantize_one(const float* row, int64_t m, const Int8Weights& w) {
        scales[m] = quantize_row(row, w.k, w.padded, row_bound(w.k), rows16.data() + m * w.padded);
    }

    void quantize(const float* rows, int64_t m_rows, const Int8Weights& w) {
        for (int64_t m = 0; m < m_rows; m++) quantize_one(rows + m * w.k, m, w);
    }

    void normalize_rows(const float* norm, const Int8Weights& w) {
        for (int64_t m = 0; m < m_tokens; m++) {
            normalize(x + m * model.d, norm, model.d, model.eps, added.data());
            quantize_one(added.data(), m, w);
        }
    }

    // What a part added stands beside the stream where it is normalised first.
    void into_stream(const Int8Weights& w, const float* norm, const Share& share) {
        const int64_t d = model.d;
        if (norm) product(w, m_tokens, share, [&](int64_t n, int64_t m, float v) { added[m * d + n] = v; });
        else product(w, m_tokens, share, [&](int64_t n, int64_t m, float v) { x[m * d + n] += v; });
    }

    void add_normal(const float* norm) {
        for (int64_t m = 0; m < m_tokens; m++) {
            float *row = x + m * model.d, *own = added.data() + m * model.d;
            normalize(own, norm, model.d, model.eps, own);
            for (int64_t i = 0; i < model.d; i += VF_LANES) vstore(row + i, vadd(vload(row + i), vload(own + i)));
        }
    }

    // Turn queries and keys, and hold keys and values, before any token attends.
    void hold(const TextLayer& own, int64_t number) {
        const int64_t width = model.width, all = inner() + 2 * model.groups * width;
        for (int64_t m = 0; m < m_tokens; m++) {
            float* row = wide.data() + m * all;
            const float* turns = own.turns ? own.turns + tokens[m].place * width : nullptr;
            for (int64_t h = 0; h < model.heads + model.groups; h++) {
                float* head = row + h * width;
                const float* norm = h < model.heads ? own.query_norm : own.key_norm;
                if (norm) normalize(head, norm, width, model.eps, head);
                if (turns) rotate(head, turns, width);
            }
            for (int64_t i = 0; i < inner(); i += VF_LANES) vstore(row + i, vmul(vload(row + i), vset1(model.scale)));
            const float *keys = row + inner(), *values = keys + model.groups * width;
            for (int64_t g = 0; g < model.groups; g++)
                held(m, number, g).put(tokens[m].place, keys + g * width, values + g * width);
        }
    }

    void attend(const Share& share, int thread) {
        const int64_t groups = model.groups, width = model.width, each = model.heads / groups;
        const int64_t all = inner() + 2 * groups * width, number = share.part / PARTS_OF_LAYER;
        const int64_t window = layer(share.part).window, n = m_tokens * groups;
        for (int64_t one = share.begin(n, 1); one < share.end(n, 1); one++) {
            const int64_t m = one / groups, g = one % groups, end = tokens[m].place + 1;
            attend_group(wide.data() + m * all + g * each * width, each, held(m, number, g),
                         window ? std::max<int64_t>(0, end - window) : 0, end, model.score_limit,
                         scores.data() + thread * MOST_HEADS * room, room,
                         context.data() + m * inner() + g * each * width);
        }
    }

    void widen(const TextLayer& own, const Share& share) {
        const int64_t f = model.ffn, begin = share.begin(2 * f, UNIT), end = share.end(2 * f, UNIT);
        if (begin == end) return;
        const int64_t n = end - begin;
        std::vector<float> both(m_tokens * n);
        text_product(own.gate_up, rows16.data(), scales.data(), m_tokens, begin, end,
                     [&](int64_t at, int64_t m, float value) { both[m * n + at - begin] = value; });
        for (int64_t m = 0; m < m_tokens; m++)
            for (int64_t i = 0; i < n; i += UNIT)
                for (int64_t j = 0; j < BLOCK_OF_GATE; j += VF_LANES) {
                    const float* gate = both.data() + m * n + i + j;
                    const VF open = activate(vload(gate), model.activation);
                    vstore(hidden.data() + m * f + (begin + i) / 2 + j, vmul(open, vload(gate + BLOCK_OF_GATE)));
                }
    }

    // The last norm, of all tokens where states are wanted, and of those whose logits are.
    void finish() {
        for (int64_t m = 0; m < m_tokens; m++)
            normalize(x + m * model.d, model.norm, model.d, model.eps, hidden_out + m * model.d);
        for (int64_t i = 0; i < n_wanted; i++) quantize_one(hidden_out + wanted[i] * model.d, i, model.logits);
    }

    void logits(const Share& share) {
        const int64_t v = model.vocabulary;
        const float limit = model.logit_limit;
        product(model.logits, n_wanted, share, [&](int64_t n, int64_t m, float value) {
            logits_out[m * v + n] = limit > 0 ? limit * std::tanh(value / limit) : value;
        });
    }
};

}  // namespace

// Read M tokens: x (M, D) are their embeddings, and is written over. States (M, D) go to `hidden`, and the logits of the
// `n_wanted` tokens of `wanted` to `logits` (n_wanted, V). Tokens of one row come in the order of their places.
AURICLE_EXPORT void auricle_read_text(const TextModel* model, const TextToken* tokens, int64_t m_tokens, float* x,
                                      const int64_t* wanted, int64_t n_wanted, float* hidden, float* logits,
                                      int64_t n_threads) {
    Pass pass(*model, tokens, m_tokens, x, wanted, n_wanted, hidden, logits, int(n_threads));
    share_work(pass, pass.n_parts(), int(n_threads));
}
