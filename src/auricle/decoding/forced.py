"""Where a given text is in the sound: the best path of CTC log-probabilities through the states of the text.

Dimension key: `T` frames, `V` vocabulary entries, `W` states in the window, `N` words in the window.

The sound may have what the text lacks, and the text what the sound lacks: from every border a path may go into
garbage, which stands for any sound at a price per frame, pass over words there at a price, and come back before a
later word. The search is Viterbi's, exact within a window of states that follows the best path; what all paths that
are left have in common is given out at once, so that memory does not grow with the recording.

Source: Graves et al. 2006 for the states of CTC; Kuerzinger et al. 2020 (CTC segmentation) for the free ends; Pratap et
al. 2023 (MMS, section 3.1.4) for a wildcard in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auricle.decoding.forced_graph import Graph, Reading, build_graph

STEP_FRAMES = 256  # frames between two looks at what all paths have in common
# How a state was reached, in two bits: by staying, from its left neighbour, from the one before, in another way.
OTHERWISE = 3
NEVER = np.float32(-np.inf)


@dataclass(frozen=True)
class ForcedOptions:
    """Prices in natural logarithms, and how much is searched; the prices were measured by benchmarks/alignment.py."""

    garbage_entry: float = 6.0  # to leave the text
    garbage_frame: float = 2.5  # for a frame of garbage, beside its likeliest entry; silence costs nothing
    skipped_word: float = 1.0  # for each word that is passed over
    skipped_most: float = 40.0  # for any number of words that are passed over at once
    floor: float = -12.0  # no entry of a frame is less likely: one bad frame does not decide about a word
    window: int = 16_384  # states that are searched, about ten minutes of text; doubled in garbage, step by step
    beam: float = 100.0  # paths that are this far below the best are given up
    pending_bytes: int = 128 << 20  # of frames that wait for all paths to agree; with more the best one is believed


@dataclass(frozen=True)
class Span:
    """One id of the text and the frames that the path spends on it; `end` is exclusive."""

    start: int
    end: int
    log_prob: float  # the mean over its frames


@dataclass(frozen=True)
class FoundWord:
    """The way in which a word was said, and where."""

    reading: int
    spans: tuple[Span, ...]  # one for each id of the reading


@dataclass(frozen=True)
class _Record:
    """How the states of one frame were reached; each state and word counts from the window's first."""

    low: int  # first state of the window
    low_word: int
    log_probs: np.ndarray  # (V,)
    by_one: np.ndarray  # (W / 8,) bits: the lower of the two
    by_two: np.ndarray  # (W / 8,) bits: the higher
    arcs: np.ndarray  # of the window's arc targets: 0 for none, else which source
    entered: np.ndarray  # (N / 8,) bits: garbage that came from its border
    passed: np.ndarray  # (N,) the word before which this garbage was entered, or was in the frame before

    @property
    def n_bytes(self) -> int:
        arrays = (self.log_probs, self.by_one, self.by_two, self.arcs, self.entered, self.passed)
        return sum(array.nbytes for array in arrays)


class ForcedAligner:
    """Takes the frames of a recording as they come; `finish` gives each word, or None for one that was passed over.

    A state of garbage before word n is written -1 - n.
    """

    def __init__(
        self, words: Sequence[Sequence[Reading]], blank: int, space: int, vocab_size: int, options: ForcedOptions
    ) -> None:
        """Take the text as ids, each word in one or more readings; `space` is -1 where words have no id between them.

        Raises: OptionError for words without readings.
        """
        self.options = options
        self.graph: Graph = build_graph(words, blank, vocab_size)
        self.silent = [blank] if space < 0 else [blank, space]
        self.vocab_size = vocab_size
        self.n_words = len(words)
        self.found: list[FoundWord | None] = [None] * len(words)
        self.open: _Open | None = None  # the word that the committed path is in
        self.records: list[_Record] = []
        self.n_frames = 0
        self.n_committed = 0
        self.score = 0.0  # log-probability of the best path, prices included; whole after `finish`
        self.width = options.window
        self.low_word, self.high_word = 0, 0
        self.scores = np.zeros(1, np.float32)
        self.garbage = np.full(1, NEVER)
        self._move(0)
        # The frame before the first one: nothing but the first border.
        self.scores[0] = 0.0

    def add(self, log_probs: np.ndarray) -> None:
        """Search on through the next frames (T, V)."""
        for frame in np.maximum(log_probs, self.options.floor).astype(np.float32, copy=False):
            self._advance(frame)
            self.n_frames += 1
            if self.n_frames % STEP_FRAMES == 0:
                self._commit_what_is_sure()

    def finish(self) -> list[FoundWord | None]:
        """End the path behind the text, and give every word."""
        if self.n_frames:
            state = self._last_state()
            self.score += float(
                self.garbage[-1 - state - self.low_word] if state < 0 else self.scores[state - self.low]
            )
            self._commit(state, 0)
        self._close()
        return self.found

    # --- the window ---

    def _move(self, low_word: int, best_word: int = 0) -> None:
        """Let the window begin at the border of `low_word`; states that come in are not reached yet."""
        borders = self.graph.borders
        low = int(borders[low_word])
        until = max(low + self.width, int(borders[best_word]) + self.width // 2)
        high_word = int(np.searchsorted(borders, until, side="right")) - 1
        high_word = min(self.n_words, max(high_word, low_word + 1, best_word + 1))
        high = int(borders[high_word]) + 1
        gone, gone_words = low - int(borders[self.low_word]), low_word - self.low_word
        self.scores = _resized(self.scores[gone:], high - low)
        self.garbage = _resized(self.garbage[gone_words:], high_word + 1 - low_word)
        self.low, self.low_word, self.high_word = low, low_word, high_word
        graph, window = self.graph, slice(low, high)
        self.columns, self.jumps = graph.columns[window], graph.jumps[window]
        self.local_borders = borders[low_word : high_word + 1] - low
        self.local_firsts = _between(graph.firsts, low, high) - low
        self.words_of_firsts = graph.words[self.local_firsts + low] - low_word
        inside = slice(*np.searchsorted(graph.arc_targets, [low, high]))
        # An arc from before the window comes from a state that no path is in any more.
        self.arc_targets = graph.arc_targets[inside] - low
        sources = graph.arc_sources[inside] - low
        self.arc_sources = np.where(sources < 0, self.arc_targets[:, None], sources)
        self.prices = (self.options.skipped_word * np.arange(len(self.garbage))).astype(np.float32)

    # --- one frame ---

    def _advance(self, frame: np.ndarray) -> None:
        silence = frame[self.silent].max()
        heard = np.concatenate([frame, np.array([silence, NEVER], np.float32)])  # (V + 2,)
        before, garbage = self.scores, self.garbage
        reached = before.copy()
        by_one = np.zeros(len(before), dtype=bool)
        by_two = np.zeros(len(before), dtype=bool)
        np.greater(before[:-1], before[1:], out=by_one[1:])
        np.maximum(before[1:], before[:-1], out=reached[1:])
        jumped = before[:-2] + self.jumps[2:]
        np.greater(jumped, reached[2:], out=by_two[2:])
        np.maximum(reached[2:], jumped, out=reached[2:])
        by_one[by_two] = False
        arcs = self._follow_arcs(before, reached, by_one, by_two)
        self._leave_garbage(garbage, reached, by_one, by_two, arcs)
        self.scores = reached + heard[self.columns]
        any_sound = max(silence, frame.max() - self.options.garbage_frame)
        entered, passed = self._pass_over(before[self.local_borders] - np.float32(self.options.garbage_entry))
        self.garbage += any_sound
        bits = np.packbits(by_one), np.packbits(by_two)
        self.records.append(_Record(self.low, self.low_word, frame, *bits, arcs, np.packbits(entered), passed))

    def _follow_arcs(self, before: np.ndarray, reached: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
        arcs = np.zeros(len(self.arc_targets), dtype=np.uint8)
        if len(arcs):
            candidates = before[self.arc_sources]  # (A, 3)
            best = candidates.max(axis=1)
            better = best > reached[self.arc_targets]
            arcs[better] = candidates.argmax(axis=1)[better] + 1
            targets = self.arc_targets[better]
            reached[targets] = best[better]
            one[targets] = two[targets] = True
        return arcs

    def _leave_garbage(
        self, garbage: np.ndarray, reached: np.ndarray, one: np.ndarray, two: np.ndarray, arcs: np.ndarray
    ) -> None:
        candidates = garbage[self.words_of_firsts]
        better = candidates > reached[self.local_firsts]
        targets = self.local_firsts[better]
        reached[targets] = candidates[better]
        one[targets] = two[targets] = True
        if len(arcs):
            arcs[np.isin(self.arc_targets, targets)] = 0

    def _pass_over(self, from_border: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Let garbage be entered and words be passed over there; return what came from a border, and from which."""
        entered = from_border > self.garbage
        base = np.maximum(self.garbage, from_border)
        each, each_from = _running_best(base + self.prices)
        each -= self.prices
        most, most_from = _running_best(base)
        most -= np.float32(self.options.skipped_most)
        stays = base >= np.maximum(each, most)
        own = np.arange(len(base), dtype=np.int32)
        passed = np.where(stays, own, np.where(each >= most, each_from, most_from))
        self.garbage = np.where(stays, base, np.maximum(each, most))
        return entered, passed.astype(np.int32)

    # --- the path ---

    def _commit_what_is_sure(self) -> None:
        """Give up hopeless paths, and give out the frames in which all the others are one."""
        best = max(self.scores.max(), self.garbage.max())
        self.score += float(best)
        for values in (self.scores, self.garbage):
            values -= best
            values[values < -self.options.beam] = NEVER
        alive = np.flatnonzero(self.scores > NEVER) + self.low
        lost = -1 - (np.flatnonzero(self.garbage > NEVER) + self.low_word)
        states, keep = np.concatenate([alive, lost]), 0
        while len(states) > 1 and keep < len(self.records):
            states = np.unique(self._before(self.records[-1 - keep], states))
            keep += 1
        best, low_word = self._best_state(), self.low_word
        if keep == len(self.records) and self._pending_bytes() > self.options.pending_bytes:
            self._only(best)
            states, keep = np.array([best]), 0
        if keep < len(self.records):
            self._commit(int(states[0]), keep)
            low_word = self._word_of(int(states[0]))
        wider, narrower = min(2 * self.width, len(self.graph.columns)), max(self.width // 2, self.options.window)
        self.width = wider if best < 0 else narrower
        self._move(low_word, self._word_of(best))

    def _pending_bytes(self) -> int:
        return sum(record.n_bytes for record in self.records)

    def _word_of(self, state: int) -> int:
        return -1 - state if state < 0 else int(self.graph.words[state])

    def _only(self, state: int) -> None:
        """Give up all paths but one."""
        for values, place in ((self.scores, state - self.low), (self.garbage, -1 - state - self.low_word)):
            score = values[place] if place >= 0 else NEVER
            values[:] = NEVER
            if place >= 0:
                values[place] = score

    def _best_state(self) -> int:
        if self.garbage.max() > self.scores.max():
            return -1 - (int(self.garbage.argmax()) + self.low_word)
        return int(self.scores.argmax()) + self.low

    def _last_state(self) -> int:
        """The best state that ends the text; the best of all, where the window has not come there."""
        if self.high_word < self.n_words:
            return self._best_state()
        last = self.low + len(self.scores) - 1
        ends = [last]
        if self.n_words:
            words = self.graph.words
            ends += [first - 2 for first in self.graph.firsts[words[self.graph.firsts] == self.n_words - 1][1:]]
            ends.append(last - 1)
        best = max((state for state in ends if state >= self.low), key=lambda state: self.scores[state - self.low])
        if self.garbage[-1] > self.scores[best - self.low]:
            return -1 - self.n_words
        return best

    def _before(self, record: _Record, states: np.ndarray) -> np.ndarray:
        """The states of the frame before which the paths of `states` come from."""
        sources = np.empty_like(states)
        is_garbage = states < 0
        words = -1 - states[is_garbage] - record.low_word
        passed = record.passed[words]
        sources[is_garbage] = np.where(
            _bits(record.entered, passed),
            self.graph.borders[passed + record.low_word],
            -1 - (passed + record.low_word),
        )
        texts = states[~is_garbage]
        local = texts - record.low
        moves = _bits(record.by_one, local) + 2 * _bits(record.by_two, local)
        came = texts - moves
        others = np.flatnonzero(moves == OTHERWISE)
        came[others] = self._other_sources(record, texts[others])
        sources[~is_garbage] = came
        return sources

    def _other_sources(self, record: _Record, states: np.ndarray) -> np.ndarray:
        """Where states were reached from that came by an arc or out of garbage."""
        sources = -1 - self.graph.words[states]
        targets = self.graph.arc_targets
        if len(record.arcs):
            first = int(np.searchsorted(targets, record.low))
            places = np.minimum(np.searchsorted(targets, states), first + len(record.arcs) - 1)
            arcs = np.where(targets[places] == states, record.arcs[places - first], 0)
            by_arc = np.flatnonzero(arcs)
            sources[by_arc] = self.graph.arc_sources[places[by_arc], arcs[by_arc] - 1]
        return sources

    def _commit(self, state: int, keep: int) -> None:
        """Give out all frames but the last `keep`, on the path that ends in `state`."""
        records, self.records = self.records[: len(self.records) - keep], self.records[len(self.records) - keep :]
        path = np.array([state])
        states = []
        for record in reversed(records):
            states.append(int(path[0]))
            path = self._before(record, path)
        for record, one in zip(records, reversed(states), strict=True):
            self._pass_frame(one, record.log_probs)
            self.n_committed += 1

    def _pass_frame(self, state: int, log_probs: np.ndarray) -> None:
        """Take the next frame of the path into account."""
        place = -1 if state < 0 else int(self.graph.places[state])
        if place < 0:
            return
        word, reading = int(self.graph.words[state]), int(self.graph.readings[state])
        if self.open is None or self.open.word != word:
            self._close()
            self.open = _Open(word, reading, [])
        spans, score = self.open.spans, float(log_probs[self.graph.columns[state]])
        if place < len(spans):
            start, end, total = spans[place]
            spans[place] = (start, end + 1, total + score)
        else:
            spans.append((self.n_committed, self.n_committed + 1, score))

    def _close(self) -> None:
        if self.open is not None:
            spans = tuple(Span(start, end, total / (end - start)) for start, end, total in self.open.spans)
            self.found[self.open.word] = FoundWord(self.open.reading, spans)
        self.open = None


@dataclass
class _Open:
    """A word that the path has begun: start, end and summed log-probability of each id so far."""

    word: int
    reading: int
    spans: list[tuple[int, int, float]]


def _resized(values: np.ndarray, length: int) -> np.ndarray:
    resized = np.full(length, NEVER, np.float32)
    resized[: min(len(values), length)] = values[:length]
    return resized


def _between(ascending: np.ndarray, low: int, high: int) -> np.ndarray:
    return ascending[slice(*np.searchsorted(ascending, [low, high]))]


def _running_best(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest value up to each place, and the last place that has it."""
    best = np.maximum.accumulate(values)
    places = np.arange(len(values), dtype=np.int32)
    return best, np.maximum.accumulate(np.where(values >= best, places, 0))


def _bits(packed: np.ndarray, places: np.ndarray) -> np.ndarray:
    return (packed[places >> 3] >> (7 - (places & 7)).astype(np.uint8)) & 1
