// Prefix beam search over the log-probabilities of a CTC model, fused with a word n-gram model.
//
// The same search as auricle.decoding.ctc.BeamSearch, operation for operation: T frames, V entries of the vocabulary,
// prefixes in a tree that is never pruned while a recording lasts. Only what cannot reach the beam is left uncomputed.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

extern "C" {

// auricle.decoding.compact_ngram's arrays; probabilities in half precision are given as float here.
struct NGram {
    const uint8_t* words;
    const int32_t* starts;
    const float *probability1, *backoff1;
    const int32_t* first2;
    const int32_t* word2;
    const float *probability2, *backoff2;
    const int32_t* first3;
    const int32_t* word3;
    const float* probability3;
    int32_t n_words, start_word, end_word;
};

struct Search {
    const uint8_t* pieces;  // what each entry writes, one behind the other, in lower case
    const int32_t* piece_starts;  // V + 1
    int64_t n_entries, blank, space, beam_width;
    double alpha, beta, unknown_penalty, least_log_prob, distance;
};
}

namespace {

constexpr double NEVER = -std::numeric_limits<double>::infinity();
constexpr int32_t NO_WORD = -1, NONE = -1;

// As numpy has it, so that both searches round alike.
inline double logaddexp(double x, double y) {
    if (x == y) return x + 0.693147180559945309417232121458176568;
    const double gap = x - y;
    if (gap > 0) return x + std::log1p(std::exp(-gap));
    if (gap <= 0) return y + std::log1p(std::exp(gap));
    return gap;
}

int32_t find(const int32_t* words, int32_t first, int32_t end, int32_t word) {
    const int32_t* place = std::lower_bound(words + first, words + end, word);
    return place < words + end && *place == word ? static_cast<int32_t>(place - words) : NONE;
}

int32_t bigram(const NGram& lm, int32_t first, int32_t second) {
    return first == NO_WORD ? NONE : find(lm.word2, lm.first2[first], lm.first2[first + 1], second);
}

double score(const NGram& lm, int32_t before, int32_t last, int32_t word) {
    const int32_t context = bigram(lm, before, last);
    double backed_off = 0.0;
    if (context != NONE) {
        const int32_t place = find(lm.word3, lm.first3[context], lm.first3[context + 1], word);
        if (place != NONE) return lm.probability3[place];
        backed_off = lm.backoff2[context];
    }
    const int32_t pair = bigram(lm, last, word);
    if (pair != NONE) return backed_off + static_cast<double>(lm.probability2[pair]);
    return backed_off + static_cast<double>(lm.backoff1[last]) + static_cast<double>(lm.probability1[word]);
}

struct Node {
    int32_t parent, id;
    int32_t child = NONE, sibling = NONE;
    int32_t before, last;  // words that are finished
    int32_t low, high, depth;  // words that begin with the letters since the last space
    double finished;  // what finished words earn
    double open;  // what the prefix earns as it stands
    int32_t beam = NONE;  // its place among the beams
};

struct Tree {
    const NGram& lm;
    const Search& search;
    std::vector<Node> nodes;

    Tree(const NGram& lm, const Search& search) : lm(lm), search(search) {
        Node root{NONE, NONE};
        root.before = NO_WORD;
        root.last = lm.start_word;
        root.low = 0;
        root.high = lm.n_words;
        root.depth = 0;
        root.finished = root.open = 0.0;
        nodes.push_back(root);
    }

    int32_t length(int32_t word) const { return lm.starts[word + 1] - lm.starts[word]; }

    // The letter of a word at a depth, -1 where it has ended: those that end come first.
    int32_t letter(int32_t word, int32_t depth) const {
        return depth < length(word) ? lm.words[lm.starts[word] + depth] : -1;
    }

    bool is_known(const Node& node) const { return node.low < node.high && length(node.low) == node.depth; }

    double closed(const Node& node, int32_t& before, int32_t& last) const {
        before = node.before;
        last = node.last;
        if (node.depth == 0) return 0.0;
        const bool known = is_known(node);
        const int32_t word = known ? node.low : lm.n_words;
        const double earned = search.alpha * score(lm, node.before, node.last, word) + search.beta;
        before = node.last;
        last = word;
        return earned + (known ? 0.0 : search.unknown_penalty);
    }

    void write(Node& node, uint8_t byte) const {
        if (byte == ' ') {
            int32_t before, last;
            node.finished += closed(node, before, last);
            node.before = before;
            node.last = last;
            node.low = 0;
            node.high = lm.n_words;
            node.depth = 0;
            return;
        }
        int32_t low = node.low, high = node.high;
        // The words of the range are sorted by this letter.
        for (int32_t step = high - low; step > 0;) {
            const int32_t half = step / 2;
            if (letter(low + half, node.depth) < byte) low += half + 1, step -= half + 1;
            else step = half;
        }
        int32_t end = low;
        for (int32_t step = high - low; step > 0;) {
            const int32_t half = step / 2;
            if (letter(end + half, node.depth) <= byte) end += half + 1, step -= half + 1;
            else step = half;
        }
        node.low = low;
        node.high = end;
        node.depth += 1;
    }

    int32_t extended(int32_t parent, int32_t id) {
        for (int32_t child = nodes[parent].child; child != NONE; child = nodes[child].sibling)
            if (nodes[child].id == id) return child;
        Node node = nodes[parent];
        node.parent = parent;
        node.id = id;
        node.child = NONE;
        node.sibling = nodes[parent].child;
        node.beam = NONE;
        for (int32_t at = search.piece_starts[id]; at < search.piece_starts[id + 1]; at++) write(node, search.pieces[at]);
        node.open = node.finished + (node.depth > 0 && node.low == node.high ? search.unknown_penalty : 0.0);
        nodes.push_back(node);
        return nodes[parent].child = static_cast<int32_t>(nodes.size()) - 1;
    }

    double whole(int32_t place) const {
        int32_t before, last;
        const Node& node = nodes[place];
        const double earned = node.finished + closed(node, before, last);
        return earned + search.alpha * score(lm, before, last, lm.end_word);
    }
};

struct Beam {
    int32_t node;
    double blank, token;
};

struct Candidate {
    double score, token;
    int32_t beam, id;  // id NONE: the prefix stays as it is
};

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

// Writes the ids of the best prefix, latest first, to `ids` (T of them at most), its whole score and what the language
// model earned to `scores`; returns their number. Frames are (T, V) natural logarithms.
EXPORT int64_t auricle_ctc_search(
    const double* frames, int64_t n_frames, const NGram* lm, const Search* search, int32_t* ids, double* scores) {
    Tree tree(*lm, *search);
    std::vector<Beam> beams{{0, 0.0, NEVER}}, next;
    std::vector<int32_t> likely;
    std::vector<double> total, blank, token, grown;
    std::vector<Candidate> found;
    tree.nodes[0].beam = 0;
    // A word that is finished earns this at most.
    const double most_earned = std::max(search->beta, 0.0) + std::max(search->unknown_penalty, 0.0);
    for (int64_t t = 0; t < n_frames; t++) {
        const double* frame = frames + t * search->n_entries;
        const double bound = std::min(search->least_log_prob, *std::max_element(frame, frame + search->n_entries));
        likely.clear();
        for (int32_t id = 0; id < search->n_entries; id++)
            if (frame[id] >= bound && id != search->blank) likely.push_back(id);
        const size_t n = beams.size(), k = likely.size();
        total.resize(n);
        blank.resize(n);
        token.resize(n);
        for (size_t i = 0; i < n; i++) {
            const int32_t last = tree.nodes[beams[i].node].id;
            total[i] = logaddexp(beams[i].blank, beams[i].token);
            blank[i] = total[i] + frame[search->blank];
            token[i] = last == NONE ? NEVER : beams[i].token + frame[last];
            if (k && last != NONE && last == search->space) token[i] = total[i] + frame[last];
        }
        if (!k) {
            for (size_t i = 0; i < n; i++) beams[i].blank = blank[i], beams[i].token = token[i];
            continue;
        }
        grown.resize(n * k);
        for (size_t i = 0; i < n; i++) {
            const int32_t last = tree.nodes[beams[i].node].id;
            for (size_t j = 0; j < k; j++) {
                const int32_t id = likely[j];
                const bool repeats = last == id;
                grown[i * k + j] = (repeats ? beams[i].blank : total[i]) + frame[id];
                if (repeats && id == search->space) grown[i * k + j] = NEVER;
            }
        }
        for (size_t i = 0; i < n; i++) {
            const Node& node = tree.nodes[beams[i].node];
            if (node.parent == NONE || tree.nodes[node.parent].beam == NONE) continue;
            const auto place = std::lower_bound(likely.begin(), likely.end(), node.id);
            if (place == likely.end() || *place != node.id) continue;
            double& from = grown[tree.nodes[node.parent].beam * k + (place - likely.begin())];
            token[i] = logaddexp(token[i], from);
            from = NEVER;
        }
        found.clear();
        double best = NEVER;
        for (size_t i = 0; i < n; i++) {
            const double whole = logaddexp(blank[i], token[i]) + tree.nodes[beams[i].node].open;
            found.push_back({whole, token[i], static_cast<int32_t>(i), NONE});
            best = std::max(best, whole);
        }
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < k; j++) {
                const double acoustic = grown[i * k + j];
                if (acoustic == NEVER) continue;
                if (acoustic + tree.nodes[beams[i].node].finished + most_earned < best - search->distance) continue;
                const double whole = acoustic + tree.nodes[tree.extended(beams[i].node, likely[j])].open;
                found.push_back({whole, acoustic, static_cast<int32_t>(i), likely[j]});
                best = std::max(best, whole);
            }
        }
        const double lowest = std::max(best - search->distance, std::numeric_limits<double>::lowest());
        found.erase(
            std::remove_if(found.begin(), found.end(), [&](const Candidate& one) { return !(one.score >= lowest); }),
            found.end());
        const auto better = [](const Candidate& a, const Candidate& b) { return a.score > b.score; };
        std::stable_sort(found.begin(), found.end(), better);
        if (found.size() > static_cast<size_t>(search->beam_width)) found.resize(search->beam_width);
        for (const Beam& beam : beams) tree.nodes[beam.node].beam = NONE;
        next.clear();
        for (const Candidate& one : found) {
            const bool stays = one.id == NONE;
            const int32_t node = stays ? beams[one.beam].node : tree.extended(beams[one.beam].node, one.id);
            tree.nodes[node].beam = static_cast<int32_t>(next.size());
            next.push_back({node, stays ? blank[one.beam] : NEVER, one.token});
        }
        beams.swap(next);
    }
    size_t chosen = 0;
    double best = NEVER;
    for (size_t i = 0; i < beams.size(); i++) {
        const double whole = logaddexp(beams[i].blank, beams[i].token) + tree.whole(beams[i].node);
        if (i == 0 || whole > best) best = whole, chosen = i;
    }
    scores[0] = best;
    scores[1] = tree.whole(beams[chosen].node);
    int64_t n_ids = 0;
    for (int32_t node = beams[chosen].node; tree.nodes[node].parent != NONE; node = tree.nodes[node].parent)
        ids[n_ids++] = tree.nodes[node].id;
    return n_ids;
}

// The most likely path of S ids through (T, V) log-probabilities: the state of each frame, of blank, first id, blank,
// second id ... blank. Operation for operation auricle.decoding.ctc.align; returns 0, or 1 if T frames cannot hold the ids.
extern "C" __attribute__((visibility("default"))) int32_t auricle_ctc_align(const double* log_probs, int64_t n_frames,
                                                                              int64_t n_entries, const int32_t* ids,
                                                                              int64_t n_ids, int32_t blank,
                                                                              int32_t* path) {
    const int64_t n_states = 2 * n_ids + 1;
    std::vector<int32_t> states(n_states, blank);
    std::vector<uint8_t> may_jump(n_states, 0), steps(n_frames * n_states);
    for (int64_t i = 0; i < n_ids; i++) states[2 * i + 1] = ids[i];
    for (int64_t s = 3; s < n_states; s += 2) may_jump[s] = states[s] != states[s - 2];
    std::vector<double> scores(n_states, NEVER), next(n_states);
    scores[0] = 0.0;
    for (int64_t t = 0; t < n_frames; t++) {
        const double* frame = log_probs + t * n_entries;
        for (int64_t s = 0; s < n_states; s++) {
            double best = scores[s];
            uint8_t step = 0;
            if (s >= 1 && scores[s - 1] > best) best = scores[s - 1], step = 1;
            if (may_jump[s] && scores[s - 2] > best) best = scores[s - 2], step = 2;
            steps[t * n_states + s] = step;
            next[s] = best + frame[states[s]];
        }
        scores.swap(next);
    }
    int64_t state = n_states - 1;
    if (n_states > 1 && scores[state - 1] > scores[state]) state--;
    if (scores[state] == NEVER) return 1;
    for (int64_t t = n_frames - 1; t >= 0; t--) {
        path[t] = static_cast<int32_t>(state);
        state -= steps[t * n_states + state];
    }
    return 0;
}
