"""Streams whose words, pauses and mistakes are constructed: what becomes final, when, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from auricle.errors import OptionError
from auricle.results import Segment, Transcript, Word
from auricle.speech.streaming import StreamingTranscriber, StreamOptions, StreamUpdate, Utterance, widest_gap

RATE = 16000
FRAME = 512


@dataclass
class Speech:
    """Words at known times. A sample's value is its place, so that what hears a part knows which part it is."""

    words: list[Word]
    seconds: float
    unsure_s: float = 0.8  # words that end this near to the end of sound cut off in speech are heard wrong
    jitter_s: float = 0.0
    glue: str = " "
    seed: int = 0
    heard: list[tuple[float, float]] = field(default_factory=list)  # the spans that were transcribed
    options: list[Any] = field(default_factory=list)
    language_probability: float | None = None

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def samples(self) -> np.ndarray:
        return np.arange(round(self.seconds * RATE), dtype=np.float32)

    def transcribe(self, audios: Any, options: Any) -> list[Transcript]:
        (audio,) = audios
        samples = audio.read()
        start, end = samples[0] / RATE, (samples[-1] + 1) / RATE
        self.heard.append((float(start), float(end)))
        self.options.append(options)
        found = []
        ends_in_pause = all(word.end <= end - 0.25 for word in self.words if word.start < end)
        for word in self.words:
            if word.end <= start + 0.02 or word.start >= end - 0.02:
                continue
            text = word.text
            if word.start < start or word.end > end:
                text = f"{text[0]}~"  # cut
            elif not ends_in_pause and end - word.end < self.unsure_s and self.rng.random() < 0.5:
                text = f"{text}{self.rng.integers(1000)}"
            shift = float(self.rng.normal(0, self.jitter_s)) if self.jitter_s else 0.0
            found.append(Word(text, max(word.start + shift, start) - start, min(word.end + shift, end) - start, 0.9))
        text = self.glue.join(word.text for word in found)
        segments = (Segment(text, 0.0, end - start, tuple(found)),) if found else ()
        return [Transcript(text, segments, language="en", language_probability=self.language_probability)]

    def voice(self) -> Detector:
        return Detector(self.words)


class Detector:
    """The probability of voice of each frame: 1 within words, 0 elsewhere."""

    def __init__(self, words: list[Word]) -> None:
        self.words, self.held = words, np.zeros(0, np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        self.held = np.concatenate((self.held, samples))
        n_frames = len(self.held) // FRAME
        frames, self.held = self.held[: n_frames * FRAME].reshape(-1, FRAME), self.held[n_frames * FRAME :]
        middles = frames.mean(axis=1) / RATE
        return np.array([float(any(word.start <= at < word.end for word in self.words)) for at in middles])


def speech(n_words: int, pauses: dict[int, float] | None = None, **given: Any) -> Speech:
    """Words of 0.3 s, 0.1 s apart, after half a second; before some there are longer pauses."""
    words, at = [], 0.5
    for number in range(n_words):
        at += (pauses or {}).get(number, 0.0)
        words.append(Word(f"word{number}", at, at + 0.3, 0.9))
        at += 0.4
    return Speech(words, at + 1.5, **given)


def blocks(samples: np.ndarray, seconds: float = 0.1) -> Iterator[np.ndarray]:
    size = round(seconds * RATE)
    return (samples[at : at + size] for at in range(0, len(samples), size))


def run(given: Speech, vad: bool = True, block_s: float = 0.1, options: Any = None, **how: Any) -> list[StreamUpdate]:
    made = StreamingTranscriber(
        given, options, RATE, StreamOptions(**how), detector=given.voice() if vad else None, clock=lambda: 0.0
    )
    updates = []
    for block in blocks(given.samples(), block_s):
        updates += made.feed(block)
        assert made.held <= made.how.buffer_s
    return updates + made.end()


def finals(updates: list[StreamUpdate]) -> list[str]:
    return [word.text for update in updates for word in update.final]


@pytest.mark.parametrize("vad", [True, False])
@pytest.mark.parametrize("latency", [0.3, 1.0, 2.0])
@pytest.mark.parametrize(("n_words", "jitter_s"), [(10, 0.0), (150, 0.0), (150, 0.05)])
def test_final_words_are_those_of_the_whole_recording(vad: bool, latency: float, n_words: int, jitter_s: float) -> None:
    given = speech(n_words, {7: 1.0, 40: 3.0, 41: 3.0}, jitter_s=jitter_s)
    updates = run(given, vad, latency=latency, buffer_s=10.0)
    assert finals(updates) == [word.text for word in given.words]


def test_what_is_final_never_changes_and_text_only_grows() -> None:
    updates = run(speech(120, {30: 1.0, 70: 0.3}, jitter_s=0.05), buffer_s=10.0)
    for before, after in pairwise(updates):
        assert after.text.startswith(before.final_text)
    final = [word for update in updates for word in update.final]
    assert updates[-1].text == updates[-1].final_text == " ".join(word.text for word in final)
    assert all(before.end <= after.start for before, after in pairwise(final))
    assert all(
        word.start <= word.end <= update.end for update in updates for word in (*update.final, *update.tentative)
    )


def test_utterances_are_told_when_they_begin_and_when_they_have_ended() -> None:
    given, told = speech(10, {5: 1.5}), list[Utterance]()
    given.words.append(Word("", given.seconds - 1.0, given.seconds - 0.6, 0.9))  # a voice without a word
    understood = replace(given, words=given.words[:-1])
    made = StreamingTranscriber(
        understood, None, RATE, StreamOptions(), detector=given.voice(), clock=lambda: 0.0, on_utterance=told.append
    )
    ends = []
    for block in blocks(given.samples()):
        n_told = len(told)
        ends += [update.end for update in made.feed(block) if update.ends_utterance]
        assert len(told) <= n_told + 1
    made.end()
    assert [one.end is None for one in told] == [True, False] * 3
    assert [one.is_empty for one in told] == [False] * 5 + [True]
    assert [one.end for one in told[1:4:2]] == ends
    assert [one.start for one in told[::2]] == pytest.approx([0.2, 3.7, given.seconds - 1.3], abs=0.1)


def test_a_pause_ends_an_utterance_however_low_the_threshold() -> None:
    ends = [update for update in run(speech(10, {5: 1.0}), threshold=0.1) if update.ends_utterance]
    assert len(ends) == 2


def test_a_pause_ends_an_utterance_and_makes_it_final() -> None:
    given = speech(10, {5: 1.0})
    ends = [update for update in run(given) if update.ends_utterance]
    assert [update.text.split()[-1] for update in ends] == ["word4", "word9"]
    assert all(not update.tentative for update in ends)
    # The pause, one piece of 0.1 s and the frame that voice reaches into.
    assert 0.6 <= ends[0].end - given.words[4].end <= 0.75


def test_silence_is_never_decoded() -> None:
    given = speech(4, {0: 20.0, 2: 20.0})
    run(given)
    for start, end in given.heard:
        assert any(start - 0.1 <= word.start and word.end <= end + 0.4 for word in given.words)
        assert end - start < 2.5
    assert len(given.heard) <= 6
    nothing = Speech([], 60.0)
    assert run(nothing) == []
    assert nothing.heard == []


def test_clicks_begin_no_utterance() -> None:
    clicks = Speech([Word("click", at, at + 0.04, 0.9) for at in (1.0, 2.0, 3.0)], 5.0)
    assert run(clicks) == []
    assert clicks.heard == []


def test_the_beginning_of_the_first_word_is_heard() -> None:
    given = speech(3)
    run(given)
    start = given.heard[0][0]
    assert given.words[0].start - 0.35 <= start <= given.words[0].start - 0.25


def test_no_more_than_the_bound_is_heard_at_once_however_long_nobody_pauses() -> None:
    given = speech(400, unsure_s=1e9)  # wrong so often that hypotheses hardly ever agree
    updates = run(given, buffer_s=8.0, latency=1.0)
    assert max(end - start for start, end in given.heard) <= 8.0
    assert len(finals(updates)) == pytest.approx(400, abs=20)
    wordless = Speech([], 60.0)
    assert run(wordless, vad=False, buffer_s=8.0) == []
    assert max(end - start for start, end in wordless.heard) <= 8.0


def test_every_hypothesis_waits_for_so_much_new_sound() -> None:
    given = speech(20, unsure_s=0.0)
    run(given, latency=0.5)
    ends = [end for _, end in given.heard]
    steps = np.diff(ends[:-1])  # the last one is of the pause
    assert np.allclose(steps, 0.5, atol=0.1001)


def test_a_block_that_had_to_wait_is_decoded_once() -> None:
    given = speech(20)
    run(given, block_s=5.0, vad=False)
    assert len(given.heard) == 2


def test_latency_is_the_wait_for_sound_and_the_time_to_compute() -> None:
    given = speech(4, unsure_s=0.0)  # words end at 0.8, 1.2, 1.6, 2.0
    time = 0.0

    def transcribe(audios: Any, options: Any) -> list[Transcript]:
        nonlocal time
        time += 0.25
        return given.transcribe(audios, options)

    class Slow:
        pass

    slow: Any = Slow()
    slow.transcribe = transcribe
    made = StreamingTranscriber(slow, None, RATE, StreamOptions(latency=1.0), clock=lambda: time)
    updates = [update for block in blocks(given.samples(), 0.5) for update in made.feed(block)]
    # At 1 s the first word, at 2 s again and two more; each hypothesis takes 0.25 s.
    assert [(len(update.final), len(update.tentative)) for update in updates[:2]] == [(0, 2), (1, 3)]
    assert [update.moment for update in updates[:2]] == [1.25, 2.25]
    assert updates[1].latencies_s == pytest.approx((2.25 - 0.8,))
    assert updates[0].latency_s is None


def test_computing_longer_than_the_sound_lasts_adds_up() -> None:
    given = speech(20, unsure_s=0.0)
    time = 0.0

    class Slow:
        def transcribe(self, audios: Any, options: Any) -> list[Transcript]:
            nonlocal time
            time += 3.0
            return given.transcribe(audios, options)

    made = StreamingTranscriber(Slow(), None, RATE, StreamOptions(latency=1.0), clock=lambda: time)
    updates = [update for block in blocks(given.samples(), 1.0) for update in made.feed(block)]
    assert [update.moment for update in updates[:3]] == [4.0, 7.0, 10.0]


def test_words_that_bring_their_spaces_are_joined_without_others() -> None:
    given = speech(12, {6: 1.0}, glue="", unsure_s=0.0)
    given.words = [replace(word, text=f" {word.text}") for word in given.words]
    updates = run(given)
    assert updates[-1].text == " ".join(f"word{number}" for number in range(12))


def test_utterances_of_one_word_that_brings_its_space_are_joined_by_that_space() -> None:
    given = speech(3, {1: 1.0, 2: 1.0})
    given.words = [replace(word, text=f" {word.text}") for word in given.words]
    assert run(given)[-1].text == "word0 word1 word2"


@dataclass(frozen=True)
class PromptOptions:
    initial_prompt: str | None = None
    condition_on_previous_text: bool | None = None
    language: str | None = None


def test_final_text_whose_sound_is_gone_is_the_prompt_of_models_that_take_one() -> None:
    given = speech(60, {30: 1.0})
    run(given, options=PromptOptions(initial_prompt="Names."), buffer_s=8.0)
    prompts = [options.initial_prompt for options in given.options]
    assert prompts[0] == "Names."
    at = next(place for place, (start, _) in enumerate(given.heard) if start > given.words[30].start - 0.4)
    assert prompts[at].startswith("Names. ")
    assert prompts[at].endswith("word28 word29")
    assert all(len(prompt) <= 207 for prompt in prompts)
    # What is told is not heard as well.
    for prompt, (start, _) in zip(prompts, given.heard, strict=True):
        told = [word for word in given.words if word.text in prompt.split()]
        assert all(word.start < start for word in told)
    unconditioned = speech(60)
    run(unconditioned, options=PromptOptions(condition_on_previous_text=False))
    assert {options.initial_prompt for options in unconditioned.options} == {None}


def test_a_language_that_is_sure_holds_until_the_utterance_ends() -> None:
    given = speech(20, {10: 1.0}, language_probability=0.9)
    run(given, options=PromptOptions())
    second = next(place for place, (start, _) in enumerate(given.heard) if start > given.words[10].start - 0.4)
    languages = [options.language for options in given.options]
    assert languages[0] is None
    assert languages[second - 1] == "en"
    assert languages[second] is None


@pytest.mark.parametrize(
    "wrong", [{"latency": 0.0}, {"latency": True}, {"latency": 9.0}, {"latency": np.nan}, {"buffer_s": 60.0}]
)
def test_times_that_cannot_be_kept_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(wrong))}=.*expected a number from"):
        StreamOptions(**wrong)
    with pytest.raises(OptionError, match="buffer_s=3 is too short for latency=1 and"):
        StreamOptions(latency=1, buffer_s=3)


def test_sound_is_cut_in_the_widest_of_the_later_gaps() -> None:
    words = [Word("a", 0, 1, 1), Word("b", 3, 4, 1), Word("c", 4.2, 5, 1), Word("d", 5.1, 6, 1)]
    assert widest_gap(words, 2.5) == pytest.approx(4.1)
    assert widest_gap(words, 1.0) == 2.0
    assert widest_gap(words, 9.0) == pytest.approx(5.05)
    assert widest_gap(words[:1], 0.0) is None


def test_no_word_waits_longer_than_its_time_even_if_hypotheses_never_agree() -> None:
    given = speech(60, unsure_s=1e9)
    updates = run(given, latency=1.0, overdue_s=2.0)
    assert len(finals(updates)) == 60
    assert max(update.latency_s or 0.0 for update in updates) <= 4.1
