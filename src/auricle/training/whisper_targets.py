"""What a Whisper decoder is to write for a window, and when each token was spoken.

Sequences follow arXiv 2212.04356, figure 1 and section 2.3: where a sentence is cut by the window's end, only its
opening timestamp is written, so that the long-form loop hears it again from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from auricle.speech.whisper_tokens import WhisperTokenizer, WhisperTokens
from auricle.text.tokenizer import N_TIMESTAMPS
from auricle.training.whisper_states import LabelledWindow
from auricle.training.whisper_windows import Spoken

TIME_WEIGHT = 2.5  # of a timestamp in the loss: few they are, and the long-form loop depends on them
STEP_S = 0.02  # seconds that a timestamp token, and an encoder frame, counts
MARK_FRAMES = 10  # frames beside a timestamp that its token is taken to be heard in
Span = tuple[int, int]  # encoder frames [first, end)
NO_SPAN = (0, 0)


class Vocabulary:
    """The tokens that are trained, numbered without gaps: text, control tokens, timestamps, and one for all others.

    A word is written by the tokenizer's own tokens if all are frequent, else by the fewest frequent ones and letters.
    """

    def __init__(self, text: Sequence[int], tokenizer: WhisperTokenizer, tokens: WhisperTokens) -> None:
        """Take the ids of the text tokens to train; must hold every letter alone and after a space."""
        self.tokens = tokens
        self._tokenizer = tokenizer
        english, transcribe = tokens.languages["en"], tokens.tasks["transcribe"]
        control = [tokens.eos, tokens.start, english, transcribe, tokens.no_speech, tokens.no_timestamps]
        times = range(tokens.timestamp_begin, tokens.timestamp_begin + N_TIMESTAMPS)
        self.ids = [*text, *control, tokens.previous, *times]
        self.n_text, self.n_free = len(text), len(text) + len(control) + 1
        self.eos, self.start, self.english, self.transcribe, self.no_speech, self.no_timestamps, self.previous = range(
            self.n_text, self.n_free
        )
        self.first_time = self.n_free
        self.unseen = len(self.ids)  # stands for every token that is not in `ids`
        self.size = len(self.ids) + 1
        self._number = {id: number for number, id in enumerate(self.ids)}
        self._pieces = {tokenizer.decode([id]): number for number, id in enumerate(text)}
        self._longest = max(map(len, self._pieces))
        self._words: dict[str, list[int]] = {}

    def word(self, word: str) -> list[int]:
        """The numbers that write " word"."""
        if word not in self._words:
            ids = self._tokenizer.encode(" " + word)
            known = all(id in self._number for id in ids)
            self._words[word] = [self._number[id] for id in ids] if known else self._fewest(" " + word)
        return self._words[word]

    def anyhow(self, word: str, rng: np.random.Generator) -> list[int]:
        """Some numbers that write " word", drawn piece by piece from the left."""
        text, at, found = " " + word, 0, []
        while at < len(text):
            sizes = [
                n for n in range(1, self._longest + 1) if text[at : at + n] in self._pieces and at + n <= len(text)
            ]
            at_once = sizes[int(rng.integers(len(sizes)))]
            found.append(self._pieces[text[at : at + at_once]])
            at += at_once
        return found

    def as_written(self, word: str) -> list[int]:
        """The tokenizer's own tokens of " word", rare ones as `unseen`: what a user's prompt holds."""
        return [self._number.get(id, self.unseen) for id in self._tokenizer.encode(" " + word)]

    def time(self, seconds: float) -> int:
        """The number of a timestamp."""
        return self.first_time + min(N_TIMESTAMPS - 1, max(0, round(seconds / STEP_S)))

    def length(self, number: int) -> int:
        """Characters that a text token writes."""
        return max(1, len(self._tokenizer.decode([self.ids[number]]).strip()))

    def _fewest(self, text: str) -> list[int]:
        best: list[list[int] | None] = [[]] + [None] * len(text)
        for end in range(1, len(text) + 1):
            for start in range(max(0, end - self._longest), end):
                number, before = self._pieces.get(text[start:end]), best[start]
                if number is None or before is None:
                    continue
                reached = best[end]
                if reached is None or len(before) + 1 < len(reached):
                    best[end] = [*before, number]
        found = best[-1]
        assert found is not None, "every letter is in the vocabulary"
        return found


def frequent_tokens(words: Iterable[str], tokenizer: WhisperTokenizer, least: int) -> list[int]:
    """The tokens that write `words` at least `least` times, and every letter alone and after a space."""
    counts: Counter[int] = Counter()
    for word, n in Counter(words).items():
        for id in tokenizer.encode(" " + word):
            counts[id] += n
    letters = [*"abcdefghijklmnopqrstuvwxyz'", *(f" {letter}" for letter in "abcdefghijklmnopqrstuvwxyz'"), " "]
    always = {ids[0] for ids in map(tokenizer.encode, letters) if len(ids) == 1}
    return sorted(always | {id for id, n in counts.items() if n >= least})


@dataclass(frozen=True)
class Example:
    """Numbers in, numbers out: `outputs[i]` follows `inputs[i]`, counts by `weights[i]`, is heard in `spans[i]`."""

    inputs: list[int]
    outputs: list[int]
    weights: list[float]
    spans: list[Span]

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class TargetOptions:
    """How sequences are drawn."""

    timed: float = 0.6  # share with timestamps
    with_history: float = 0.35
    respelled: float = 0.08  # words written by other pieces than usual
    corrupted: float = 0.08  # text tokens that are read wrong


EXACT = TargetOptions(with_history=0.0, respelled=0.0, corrupted=0.0)


def make_example(
    window: LabelledWindow, vocabulary: Vocabulary, options: TargetOptions, rng: np.random.Generator
) -> Example | None:
    """Draw a sequence for a window; None where speech is in it, but no whole word."""
    v = vocabulary
    if not window.spoken:
        return Example([v.start], [v.no_speech], [1.0], [NO_SPAN])
    if not any(one.words for one in window.spoken):
        return None
    timed = bool(rng.random() < options.timed)
    body = _timed(window.spoken, v, options, rng) if timed else _plain(window.spoken, v, options, rng)
    head = [v.start, v.english, v.transcribe] + ([] if timed else [v.no_timestamps])
    before = _history(window.history, v, rng) if window.history and rng.random() < options.with_history else []
    numbers = [*before, *head, *(number for number, _ in body)]
    # Whether times are wanted is the user's choice: nothing is learnt from that place.
    told = [TIME_WEIGHT if v.first_time <= number < v.unseen else 1.0 for number, _ in body]
    weights = [0.0] * len(before) + [1.0, 0.1] + ([] if timed else [0.0]) + told
    spans = [NO_SPAN] * (len(before) + len(head) - 1) + [span for _, span in body]
    inputs = [
        int(rng.integers(v.n_text)) if number < v.n_text and rng.random() < options.corrupted else number
        for number in numbers[:-1]
    ]
    return Example(inputs, numbers[1:], weights[-len(inputs) :], spans[-len(inputs) :])


def _text(spoken: Spoken, v: Vocabulary, options: TargetOptions, rng: np.random.Generator) -> list[tuple[int, Span]]:
    """The tokens of a sentence, a word's time divided among its tokens by their letters."""
    found = []
    for word, (start, end) in zip(spoken.words, spoken.times, strict=True):
        numbers = v.anyhow(word, rng) if rng.random() < options.respelled else v.word(word)
        ends = np.cumsum([v.length(number) for number in numbers])
        edges = start + (max(end, start + STEP_S) - start) * np.concatenate(([0.0], ends / ends[-1]))
        for number, first, last in zip(numbers, edges, edges[1:], strict=False):
            found.append((number, _span(first, last)))
    return found


def _span(start: float, end: float) -> Span:
    first = min(N_TIMESTAMPS - 2, max(0, round(start / STEP_S)))
    return first, min(N_TIMESTAMPS - 1, max(first + 1, round(end / STEP_S)))


def _opening(seconds: float, v: Vocabulary) -> tuple[int, Span]:
    return v.time(seconds), _span(seconds, seconds + MARK_FRAMES * STEP_S)


def _closing(seconds: float, v: Vocabulary) -> tuple[int, Span]:
    return v.time(seconds), _span(seconds - MARK_FRAMES * STEP_S, seconds)


def _timed(
    spoken: Sequence[Spoken], v: Vocabulary, options: TargetOptions, rng: np.random.Generator
) -> list[tuple[int, Span]]:
    """Sentences between their timestamps, and the end."""
    found: list[tuple[int, Span]] = []
    for one in spoken:
        if not one.words:
            continue
        start, end = one.times[0][0], one.times[-1][1]
        found.append(_opening(start, v))
        if one.is_cut and len(found) > 1:
            break  # heard again from here
        found += _text(one, v, options, rng)
        found.append(_closing(end, v))
        if one.is_cut:  # a sentence longer than the window: its rest begins where the last whole word ends
            found.append(_opening(end, v))
    last = found[-1][1][1]
    return [*found, (v.eos, (min(last, N_TIMESTAMPS - 2), min(N_TIMESTAMPS - 1, last + MARK_FRAMES)))]


def _plain(
    spoken: Sequence[Spoken], v: Vocabulary, options: TargetOptions, rng: np.random.Generator
) -> list[tuple[int, Span]]:
    """Every whole word, and the end."""
    found = [token for one in spoken for token in _text(one, v, options, rng)]
    last = found[-1][1][1]
    return [*found, (v.eos, (min(last, N_TIMESTAMPS - 2), min(N_TIMESTAMPS - 1, last + MARK_FRAMES)))]


def _history(words: Sequence[str], v: Vocabulary, rng: np.random.Generator) -> list[int]:
    """What was said before, behind its own token; half of the time with timestamps, as the loop hands it on."""
    kept = words[-int(rng.integers(1, len(words) + 1)) :]
    write = v.as_written if rng.random() < 0.3 else v.word
    if rng.random() < 0.5:
        return [v.previous, *(number for word in kept for number in write(word))]
    found, now = [v.previous, v.time(rng.uniform(0, 5))], float(rng.uniform(0, 5))
    for word in kept:
        found += write(word)
        now += 0.4
        if rng.random() < 0.06:
            found += [v.time(now % 28), v.time((now + rng.uniform(0, 1)) % 28)]
    return [*found, v.time(now % 28)]
