// Which token comes next under Whisper's rules, from one row of logits: what decoding/filters.py does one after the
// other, in two passes. See timestamp_rules there for the grammar.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "simd.h"

namespace auricle {

constexpr float NONE = -std::numeric_limits<float>::infinity();

struct Rules {
    const float* banned;      // (V,) minus infinity: never chosen; else 0
    const float* blank;       // (V,) minus infinity: not chosen first; null: no such rule
    int64_t vocabulary, eos;
    int64_t timestamp_begin;  // the vocabulary's size: no timestamps
    int64_t timestamp_end;    // behind the last of them; what follows are words that the checkpoint added
    int64_t latest_first;     // the largest first timestamp in steps; below 0: any
};

// What a row has generated, as far as the rules depend on it.
struct RowState {
    int32_t n_generated;  // tokens that the rules count as chosen
    int32_t n_new;        // tokens since the prompt's end: the rule about the first looks at this
    int32_t last_is_stamp, one_before_is_stamp;
    int32_t newest;  // the newest timestamp in steps, -1: none

    void add(const Rules& rules, int64_t token) {
        one_before_is_stamp = last_is_stamp;
        last_is_stamp = token >= rules.timestamp_begin && token < rules.timestamp_end;
        if (last_is_stamp) newest = int32_t(token - rules.timestamp_begin);
        n_generated++, n_new++;
    }
};

// The ranges that a state leaves: text below eos and behind the timestamps, from eos to the timestamps, timestamps in
// [lowest, highest).
struct Ranges {
    bool words, others;
    int64_t lowest, highest;
};

inline Ranges ranges_of(const Rules& rules, const RowState& state) {
    Ranges found{true, true, rules.timestamp_begin, rules.timestamp_end};
    if (rules.timestamp_begin >= rules.vocabulary) return found;
    if (state.n_generated == 0) {
        found.words = found.others = false;
        if (rules.latest_first >= 0)
            found.highest = std::min(rules.timestamp_end, rules.timestamp_begin + rules.latest_first + 1);
        return found;
    }
    const bool before = state.n_generated > 1 ? state.one_before_is_stamp : true;
    const bool opened = state.last_is_stamp && before, closed = state.last_is_stamp && !before;
    if (opened) found.lowest = found.highest = rules.timestamp_end;
    else found.lowest = rules.timestamp_begin + (closed ? state.newest : state.newest + 1);
    if (closed) found.words = false;
    return found;
}

// The best of some tokens, how far the next one is behind, and the sum of their exponentials.
struct Best {
    float top = NONE, second = NONE;
    int64_t token = -1;
    float sum = 0.0f;  // of exp(logit - top)

    void merge(const Best& other) {
        if (other.token < 0) return;
        // Of equal logits the first, whichever range is looked at first.
        const bool wins = token < 0 || other.top > top || (other.top == top && other.token < token);
        const float high = wins ? other.top : top, low = wins ? top : other.top;
        sum = sum * (token < 0 ? 0.0f : std::exp(top - high)) + other.sum * std::exp(other.top - high);
        second = std::max(low, std::max(second, other.second));
        if (wins) token = other.token;
        top = high;
    }
};

// Over logits[begin, end). Of equal logits the first, as argmax; what is no number is never chosen.
inline Best best_of(const float* logits, const Rules& rules, const RowState& state, int64_t begin, int64_t end,
                    bool with_sum) {
    const float* blank = state.n_new == 0 ? rules.blank : nullptr;
    auto some = [&](int64_t v) {
        const VF value = vadd(vload(logits + v), vload(rules.banned + v));
        return blank ? vadd(value, vload(blank + v)) : value;
    };
    auto one = [&](int64_t v) { return logits[v] + rules.banned[v] + (blank ? blank[v] : 0.0f); };
    const int64_t whole = begin + (end - begin) / VF_LANES * VF_LANES;
    constexpr int AT_ONCE = 4;  // vectors: a largest value is not ready when the next is compared with it
    VF tops[AT_ONCE], seconds[AT_ONCE];
    for (int i = 0; i < AT_ONCE; i++) tops[i] = seconds[i] = vset1(NONE);
    const auto look_at = [&](int64_t v, int i) {
        const VF value = some(v);
        seconds[i] = vmax(vmin(value, tops[i]), seconds[i]);
        tops[i] = vmax(value, tops[i]);  // the second where the first is no number
    };
    int64_t at = begin;
    for (; at + AT_ONCE * VF_LANES <= whole; at += AT_ONCE * VF_LANES)
        for (int i = 0; i < AT_ONCE; i++) look_at(at + i * VF_LANES, i);
    for (; at < whole; at += VF_LANES) look_at(at, 0);
    alignas(64) float top[AT_ONCE][VF_LANES], second[AT_ONCE][VF_LANES];
    for (int i = 0; i < AT_ONCE; i++) vstore(top[i], tops[i]), vstore(second[i], seconds[i]);
    Best best;
    auto offer = [&](float value) {
        if (value > best.top) best.second = best.top, best.top = value;
        else if (value > best.second) best.second = value;
    };
    for (int i = 0; i < AT_ONCE * VF_LANES; i++) offer(top[0][i]), offer(second[0][i]);
    for (int64_t v = whole; v < end; v++) offer(one(v));
    if (!(best.top > NONE)) return best;
    for (int64_t v = begin; v < whole && best.token < 0; v += VF_LANES)
        if (const unsigned lanes = equal_lanes(some(v), vset1(best.top))) best.token = v + __builtin_ctz(lanes);
    for (int64_t v = whole; v < end && best.token < 0; v++)
        if (one(v) == best.top) best.token = v;
    if (!with_sum) return best;
    VF total = vset1(0.0f);
    for (int64_t v = begin; v < whole; v += VF_LANES) total = vadd(total, vexp(vsub(some(v), vset1(best.top))));
    best.sum = hsum(total);
    for (int64_t v = whole; v < end; v++) best.sum += std::exp(one(v) - best.top);
    return best;
}

// What is left for a row: text (with the specials behind it) and timestamps, apart.
struct Choice {
    Best text, stamps;

    void merge(const Choice& other) { text.merge(other.text), stamps.merge(other.stamps); }

    // Timestamps that together are more probable than every single text token leave no text.
    bool only_stamps() const {
        return stamps.token >= 0 && (text.token < 0 || stamps.top + std::log(stamps.sum) > text.top);
    }

    Best result() const {
        if (only_stamps()) return stamps;
        Best both = text;
        both.merge(stamps);
        return both;
    }
};

inline Choice choose_range(const float* logits, const Rules& rules, const RowState& state, int64_t begin, int64_t end,
                           bool with_sum) {
    const Ranges allowed = ranges_of(rules, state);
    auto clip = [&](int64_t low, int64_t high, bool sum) {
        low = std::max(low, begin), high = std::min(high, end);
        return low < high ? best_of(logits, rules, state, low, high, sum) : Best{};
    };
    Choice found;
    if (allowed.words) found.text = clip(0, rules.eos, with_sum);
    if (allowed.others) found.text.merge(clip(rules.eos, std::min(rules.timestamp_begin, rules.vocabulary), with_sum));
    if (allowed.words) found.text.merge(clip(rules.timestamp_end, rules.vocabulary, with_sum));
    found.stamps = clip(allowed.lowest, allowed.highest, true);
    return found;
}

}  // namespace auricle
