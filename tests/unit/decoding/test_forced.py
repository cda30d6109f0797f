"""Alignment of a given text, against a plain search of the same states and on frames made by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from auricle.decoding import forced
from auricle.decoding.forced import ForcedAligner, ForcedOptions, FoundWord
from auricle.decoding.forced_graph import Reading
from auricle.errors import OptionError

BLANK, SPACE, V = 0, 1, 6  # ids 2 to 5 are letters
OPTIONS = ForcedOptions()
TOLERANCE = 2e-3  # float32 sums of some hundred frames
PEAK = 0.9  # probability of what frames made by hand are meant to say


def plain_states(words: list[list[Reading]]) -> dict[tuple, tuple[set[int], list[tuple[tuple, float]]]]:
    """Each state by name: the ids it scores (the best of them) and where it comes from at which price."""
    states: dict[tuple, tuple[set[int], list[tuple[tuple, float]]]] = {}
    for n in range(len(words) + 1):
        states["border", n] = ({BLANK, SPACE}, [(("border", n), 0.0)])
        states["garbage", n] = (set(), [(("garbage", n), 0.0), (("border", n), -OPTIONS.garbage_entry)])
        for before in range(n):
            price = -min(OPTIONS.skipped_word * (n - before), OPTIONS.skipped_most)
            states["garbage", n][1].append((("garbage", before), price))
            states["garbage", n][1].append((("border", before), price - OPTIONS.garbage_entry))
    for n, readings in enumerate(words):
        for r, parts in enumerate(readings):
            place = 0
            for position, id in [(k, id) for part in parts for k, id in enumerate(part)]:
                name = ("id", n, r, place)
                states[name] = ({id}, [(name, 0.0)])
                ids = list(itertools.chain(*parts))
                if place == 0:
                    states[name][1].extend([(("border", n), 0.0), (("garbage", n), 0.0)])
                    if n and len(readings) == 1 and len(words[n - 1]) == 1 and words[n - 1][0][-1][-1] != id:
                        last = len(list(itertools.chain(*words[n - 1][0]))) - 1
                        states[name][1].append((("id", n - 1, 0, last), 0.0))
                else:
                    gap = ("gap", n, r, place)
                    states[gap] = (
                        {BLANK} if position else {BLANK, SPACE},
                        [(gap, 0.0), (("id", n, r, place - 1), 0.0)],
                    )
                    states[name][1].append((gap, 0.0))
                    if ids[place - 1] != id:
                        states[name][1].append((("id", n, r, place - 1), 0.0))
                place += 1
            states["border", n + 1][1].append((("id", n, r, place - 1), 0.0))
    return states


def plain_score(words: list[list[Reading]], log_probs: np.ndarray) -> float:
    """The best path's score, state by state."""
    states = plain_states(words)
    scores = {("border", 0): 0.0}
    for frame in log_probs:
        silence = max(frame[BLANK], frame[SPACE])
        after = {}
        for name, (ids, sources) in states.items():
            heard = max(frame[list(ids)]) if ids else max(silence, frame.max() - OPTIONS.garbage_frame)
            after[name] = max(scores.get(source, -np.inf) + price for source, price in sources) + heard
        scores = after
    n = len(words)
    ends = [("border", n), ("garbage", n)]
    ends += [("id", n - 1, r, sum(map(len, parts)) - 1) for r, parts in enumerate(words[-1])] if n else []
    return float(max(scores[end] for end in ends))


def random_words(random: np.random.Generator, n_words: int, most: int) -> list[list[Reading]]:
    def part() -> tuple[int, ...]:
        return tuple(random.integers(2, V, random.integers(1, 4)).tolist())

    return [
        [tuple(part() for _ in range(random.integers(1, 3))) for _ in range(random.integers(1, most + 1))]
        for _ in range(n_words)
    ]


def random_frames(random: np.random.Generator, n_frames: int, sharpness: float) -> np.ndarray:
    logits = random.normal(size=(n_frames, V)) * sharpness
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def say(*ids: int, vocab_size: int = V) -> np.ndarray:
    """Frames that say these ids, one each."""
    frames = np.full((len(ids), vocab_size), (1 - PEAK) / (vocab_size - 1))
    frames[np.arange(len(ids)), list(ids)] = PEAK
    return np.log(frames).astype(np.float32)


def align(words: list[list[Reading]], log_probs: np.ndarray, options: ForcedOptions = OPTIONS) -> ForcedAligner:
    aligner = ForcedAligner(words, BLANK, SPACE, V, options)
    aligner.add(log_probs)
    aligner.finish()
    return aligner


def starts(found: list[FoundWord | None]) -> list[int | None]:
    return [None if one is None else one.spans[0].start for one in found]


@pytest.mark.parametrize("seed", range(40))
def test_its_path_scores_as_the_best_of_a_plain_search(seed: int) -> None:
    random = np.random.default_rng(seed)
    words = random_words(random, int(random.integers(1, 7)), most=4)
    log_probs = random_frames(random, int(random.integers(3, 50)), sharpness=float(random.choice([0.5, 2.0, 5.0])))

    aligner = align(words, log_probs, replace(OPTIONS, floor=-np.inf))

    assert aligner.score == pytest.approx(plain_score(words, log_probs), abs=TOLERANCE)


@pytest.mark.parametrize("seed", range(8))
def test_frames_given_out_early_are_those_of_a_search_at_the_end(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    words = random_words(random, 20, most=2)
    log_probs = random_frames(random, 150, sharpness=3.0)
    at_the_end = align(words, log_probs)

    monkeypatch.setattr(forced, "STEP_FRAMES", 7)
    early = align(words, log_probs)

    assert early.score == pytest.approx(at_the_end.score, abs=TOLERANCE)
    # Random frames have ways that score alike to the last digit; what differs is one of these.
    same = [one == other for one, other in zip(early.found, at_the_end.found, strict=True)]
    assert sum(same) >= len(words) - 1


def test_words_are_where_they_are_said() -> None:
    words = [[((2, 3),)], [((4,),)], [((4, 4),)]]

    found = align(words, say(0, 2, 3, 1, 4, 4, 0, 1, 4, 0, 4, 0)).found

    assert starts(found) == [1, 4, 8]
    assert [(span.start, span.end) for one in found if one for span in one.spans] == [
        (1, 2),
        (2, 3),
        (4, 6),
        (8, 9),
        (10, 11),
    ]
    assert found[0] is not None
    assert found[0].spans[0].log_prob == pytest.approx(np.log(PEAK))


def test_the_reading_that_is_said_is_the_one_that_is_found() -> None:
    words = [[((2,),)], [((3, 4),), ((5,), (4,))], [((2,),)]]

    first = align(words, say(2, 1, 3, 4, 1, 2)).found
    second = align(words, say(2, 1, 5, 1, 4, 1, 2)).found

    assert (first[1].reading, second[1].reading) == (0, 1)
    assert starts(second) == [0, 2, 6]


def test_a_passage_that_is_not_said_does_not_shift_the_others() -> None:
    random = np.random.default_rng(0)
    said = [[(tuple(random.integers(2, V, 4).tolist()),)] for _ in range(40)]
    missing = [[(tuple(random.integers(2, V, 4).tolist()),)] for _ in range(300)]
    frames = say(*itertools.chain(*([*itertools.chain(*[(id, 0) for id in word[0][0]]), 1] for word in said)))

    found = align([*said[:20], *missing, *said[20:]], frames).found

    assert starts([*found[:20], *found[320:]]) == [9 * place for place in range(40)]
    assert not any(found[20:320])


def test_sound_that_the_text_lacks_is_passed_over() -> None:
    words: list[list[Reading]] = [[((2, 3, 4, 5),)], [((5, 4, 3, 2),)], [((2, 4, 3, 5),)], [((5, 3, 2, 4),)]]
    noise = np.random.default_rng(1).integers(2, 30, 400).tolist()
    said = [*noise, 0, 2, 3, 4, 5, 1, 5, 4, 3, 2, 1, *noise, 1, 2, 4, 3, 5, 1, 5, 3, 2, 4, 0]
    aligner = ForcedAligner(words, BLANK, SPACE, 30, OPTIONS)

    aligner.add(say(*said, vocab_size=30))

    assert starts(aligner.finish()) == [401, 406, 812, 817]


def test_the_window_widens_until_it_finds_the_text_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forced, "STEP_FRAMES", 64)
    random = np.random.default_rng(2)
    words = [[(tuple(random.integers(2, 30, 6).tolist()),)] for _ in range(400)]
    said = [*range(20), *range(300, 400)]
    ids = itertools.chain(*([*itertools.chain(*[(id, 0) for id in words[place][0][0]]), 1] for place in said))

    narrow = ForcedAligner(words, BLANK, SPACE, 30, replace(OPTIONS, window=240))
    narrow.add(say(*ids, vocab_size=30))
    found = narrow.finish()

    assert all(found[340:])
    assert found[399].spans[0].start == 13 * 119  # type: ignore[union-attr]
    assert starts(found[:20]) == [13 * place for place in range(20)]


def test_memory_does_not_grow_with_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    words = [[(tuple(random.integers(2, V, 5).tolist()),)] for _ in range(300)]
    frames = say(*itertools.chain(*([*itertools.chain(*[(id, 0) for id in word[0][0]]), 1] for word in words)))
    aligner = ForcedAligner(words, BLANK, SPACE, V, OPTIONS)

    most = 0
    for start in range(0, len(frames), 100):
        aligner.add(frames[start : start + 100])
        most = max(most, len(aligner.records))

    assert most < 3 * forced.STEP_FRAMES < len(frames) / 4
    assert all(aligner.finish())


def test_no_frames_find_no_word() -> None:
    assert align([[((2,),)]], np.zeros((0, V), np.float32)).found == [None]


def test_a_word_that_cannot_be_said_is_refused() -> None:
    with pytest.raises(OptionError, match="word 1 has 0 readings"):
        ForcedAligner([[((2,),)], []], BLANK, SPACE, V, OPTIONS)
