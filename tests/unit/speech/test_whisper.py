"""The long-form loop against a scripted decoder: chosen tokens in, segments, words, prompts and offsets out."""

from __future__ import annotations

import json
import math
import re
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.decoding.generate import GenerateOptions
from auricle.errors import OptionError
from auricle.results import Transcript
from auricle.speech.whisper import WhisperOptions, WhisperRecognizer

RATE = 16_000

# Text tokens are bytes.
EOS, START, EN, DE, TRANSLATE, TRANSCRIBE, START_OF_LM, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = range(256, 266)
STAMP = 266
# Behind the timestamps a word and a mark that writes nothing, as fine-tuned checkpoints add them.
LAUGH, MARK = STAMP + 1501, STAMP + 1502
VOCABULARY = STAMP + 1503
MULTILINGUAL = {"lang_to_id": {"<|en|>": EN, "<|de|>": DE}, "is_multilingual": True}
NAMES = {
    "<|endoftext|>": EOS,
    "<|startoftranscript|>": START,
    "<|en|>": EN,
    "<|de|>": DE,
    "<|translate|>": TRANSLATE,
    "<|transcribe|>": TRANSCRIBE,
    "<|startoflm|>": START_OF_LM,
    "<|startofprev|>": PREVIOUS,
    "<|nospeech|>": NO_SPEECH,
    "<|notimestamps|>": NO_TIMESTAMPS,
}


class ByteTokenizer:
    """One token per byte, and Whisper's special tokens."""

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(bytes([id]) if id < 256 else b"<laugh>" for id in ids if id < 256 or id == LAUGH).decode(
            errors="replace"
        )

    def special(self, token: str) -> int:
        return NAMES[token]

    def has_special(self, token: str) -> bool:
        return token in NAMES


def said(*parts: str | float) -> list[int]:
    """Tokens of texts and, for numbers, of timestamps in seconds."""
    tokens: list[int] = []
    for part in parts:
        tokens += list(part.encode()) if isinstance(part, str) else [STAMP + round(part / 0.02)]
    return tokens


@dataclass
class Line:
    """What the decoder says of one window, once, and how sure it is."""

    tokens: list[int]
    probability: float = 0.99  # of every token
    no_speech: float = 0.01
    odd: dict[int, float] = field(default_factory=dict)  # place -> probability of the token there


@dataclass
class Script:
    """Lines by recording and by the second at which their window begins; several for several attempts."""

    lines: dict[tuple[int, float], list[Line]]
    # Recording, or recording and second of a window -> p(en), p(de).
    language: dict[int | tuple[int, float], tuple[float, float]] = field(default_factory=dict)
    attempts: dict[tuple[int, float], int] = field(default_factory=dict)
    prompts: list[tuple[int, float, list[int]]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)  # rows of each prefill
    heard: list[tuple[int, float]] = field(default_factory=list)  # windows whose language was asked for
    ends_after: int | None = None  # prefills after which the computer is switched off

    def languages(self, place: tuple[int, float]) -> tuple[float, float]:
        return self.language.get(place) or self.language.get(place[0], (0.5, 0.5))


class Sound:
    """A recording of a number of seconds: every sample says whose it is and where."""

    def __init__(self, seconds: float, number: int = 0, block: int = 70_000) -> None:
        self.n_samples, self.number, self.block = round(seconds * RATE), number, block

    def blocks(self) -> Iterator[np.ndarray]:
        for begin in range(0, self.n_samples, self.block):
            places = np.arange(begin, min(begin + self.block, self.n_samples), dtype=np.float64)
            yield places + self.number * 1e9


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[tuple[float, float]]]:
    """Where the detector finds voice in the `Sound` of each number, in seconds; none if it is not here."""
    spans: dict[int, list[tuple[float, float]]] = {}

    class Detector:
        def __init__(self, sample_rate: int) -> None:
            assert sample_rate == RATE

        def __call__(self, samples: np.ndarray) -> np.ndarray:
            places = [divmod(float(first), 1e9) for first in samples[::512]]
            return np.array([self.probability(int(number), first / RATE) for number, first in places])

        def probability(self, number: int, second: float) -> float:
            return float(any(start <= second < end for start, end in spans.get(number, [])))

        def end(self) -> np.ndarray:
            return np.zeros(0)

    monkeypatch.setattr("auricle.speech.stretches.VoiceProbabilities", Detector)
    return spans


class WindowsOfSound:
    """Features that are the recording's number and the window's first sample."""

    sample_rate = RATE
    window_samples = 30 * RATE

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        first = torch.tensor([[[waveform[0]]] for waveform in waveforms], dtype=torch.float64)
        return Features(first, torch.tensor([len(waveform) for waveform in waveforms]))


class ScriptedEngine:
    """Says what the script says; every word is heard in equal parts of the frames that are looked at."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.model = SimpleNamespace(cross_attention=self.cross_attention)
        self.asked_heads: list[tuple[int, int]] = []

    def encode(self, features: Features) -> tuple[Tensor, Tensor]:
        return features.values, features.lengths

    def decoder(self, states: Tensor, lengths: Tensor, use_cache: bool = True) -> ScriptedStep:
        places = [divmod(int(value), 10**9) for value in states[:, 0, 0].tolist()]
        return ScriptedStep(self.script, [(number, start / RATE) for number, start in places])

    def cross_attention(self, tokens: Tensor, states: Tensor, lengths: Tensor, heads: list[tuple[int, int]]) -> Tensor:
        self.asked_heads = heads
        weights = torch.full((len(tokens), len(heads), tokens.shape[1], 1500), 1e-6)
        for row, (told, n_frames) in enumerate(zip(tokens.tolist(), lengths.tolist(), strict=True)):
            n_before = told.index(NO_TIMESTAMPS)
            n_told = told.index(EOS) if EOS in told else len(told)
            edges = np.linspace(0, n_frames, n_told - n_before + 1).round().astype(int)
            for place, (begin, end) in enumerate(pairwise(edges)):
                weights[row, :, n_before + place, begin:end] = 1.0
        return weights


class ScriptedStep:
    max_length = 448

    def __init__(self, script: Script, places: list[tuple[int, float]]) -> None:
        self.script, self.places = script, places
        self.lines: list[Line] = []
        self.rows = list(range(len(places)))
        self.length = self.n_prompt = 0

    @property
    def n_rows(self) -> int:
        return len(self.rows)

    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        assert tokens.shape[0] == self.n_rows
        if self.length == 0 and tokens.tolist() == [[START]] * self.n_rows and self.script.language:
            self.length = 1
            return self._languages()
        if self.length == 0:
            self._begin(tokens)
        self.length += tokens.shape[1]
        logits = torch.zeros(self.n_rows, n_last, VOCABULARY)
        for at, row in enumerate(self.rows):
            line, place = self.lines[row], self.length - self.n_prompt
            wanted = line.tokens[place] if place < len(line.tokens) else EOS
            logits[at, -1] = distribution(wanted, line.odd.get(place, line.probability))
            if n_last > 1 and place == 0:
                logits[at, 0] = distribution(NO_SPEECH, line.no_speech)
                # Far below the rest, so that only their ratio counts.
                logits[at, 0, [EN, DE]] = torch.tensor(self.script.languages(self.places[row])).log() - 40
        if n_last == 1 and self.length == self.n_prompt:  # English-only: the start token is the last one
            logits[:, 0, NO_SPEECH] = -30.0
        return logits

    def reorder(self, rows: Tensor) -> None:
        self.rows = [self.rows[row] for row in rows.tolist()]

    def _begin(self, tokens: Tensor) -> None:
        if self.script.ends_after is not None and len(self.script.batches) >= self.script.ends_after:
            raise KeyboardInterrupt
        self.n_prompt = tokens.shape[1]
        self.script.batches.append(self.n_rows)
        for place, prompt in zip(self.places, tokens.tolist(), strict=True):
            attempt = self.script.attempts.get(place, 0)
            self.script.attempts[place] = attempt + 1
            self.script.prompts.append((*place, prompt))
            self.lines.append(self.script.lines[place][attempt])

    def _languages(self) -> Tensor:
        logits = torch.zeros(self.n_rows, 1, VOCABULARY)
        for row, place in enumerate(self.places):
            self.script.heard.append(place)
            logits[row, 0, [EN, DE]] = torch.tensor(self.script.languages(place)).log() + 20
        return logits


def distribution(token: int, probability: float) -> Tensor:
    """Logits that give one token a probability and share the rest among the bytes."""
    logits = torch.full((VOCABULARY,), -30.0)
    logits[:256] = np.log((1 - probability) / 256)
    logits[token] = np.log(probability)
    return logits


def recognizer(script: Script, **generation: Any) -> WhisperRecognizer:
    config = SimpleNamespace(max_target_positions=448, decoder_layers=4, decoder_attention_heads=2)
    settings = {**MULTILINGUAL, "begin_suppress_tokens": [32, EOS], **generation}
    return WhisperRecognizer(ScriptedEngine(script), WindowsOfSound(), ByteTokenizer(), config, settings)


ENGLISH = WhisperOptions(language="en", vad=False)
ANY = WhisperOptions(vad=False)


def transcribe(
    lines: dict[float, Line | list[Line]], seconds: float, options: WhisperOptions = ENGLISH
) -> tuple[Transcript, Script]:
    script = Script({(0, start): line if isinstance(line, list) else [line] for start, line in lines.items()})
    [found] = recognizer(script).transcribe([Sound(seconds)], options)
    return found, script


def spans(found: Transcript) -> list[tuple[str, float, float | None]]:
    return [(segment.text, segment.start, segment.end) for segment in found.segments]


# Where windows begin, and what their segments are.


def test_closed_segments_are_kept_and_the_open_one_is_heard_again() -> None:
    found, _ = transcribe(
        {
            0.0: Line(said(0.0, " one", 4.5, 5.0, " two", 21.3, 21.3, " thr")),
            21.3: Line(said(0.0, " three", 3.7)),
        },
        40.0,
    )
    assert spans(found) == [(" one", 0.0, 4.5), (" two", 5.0, 21.3), (" three", 21.3, 25.0)]
    assert found.text == " one two three"
    assert found.duration == 40.0


def test_a_single_closing_timestamp_ends_the_window() -> None:
    found, script = transcribe({0.0: Line(said(0.5, " one", 4.0)), 30.0: Line(said(0.0, " two", 2.0))}, 33.0)
    assert spans(found) == [(" one", 0.5, 4.0), (" two", 30.0, 32.0)]
    assert [start for _, start, _ in script.prompts] == [0.0, 30.0]


def test_a_segment_without_end_lasts_until_its_window_does() -> None:
    found, _ = transcribe({0.0: Line(said(0.8, " one")), 30.0: Line(said(0.0, " two"))}, 31.5)
    assert spans(found) == [(" one", 0.8, 30.0), (" two", 30.0, 31.5)]


def test_times_never_lie_behind_the_recording() -> None:
    found, _ = transcribe({0.0: Line(said(0.0, " hi", 7.0, 9.0, " you", 12.0))}, 6.25)
    assert spans(found) == [(" hi", 0.0, 6.25), (" you", 6.25, 6.25)]


def test_offsets_do_not_drift_over_an_hour() -> None:
    # Each window ends at 29.98 s, which no float adds up exactly.
    starts = [round(index * 29.98, 2) for index in range(120)]
    lines: dict[float, Line | list[Line]] = {start: Line(said(0.0, " a", 29.98, 29.98, " b")) for start in starts}
    found, _ = transcribe(lines, 120 * 29.98)
    assert [segment.end for segment in found.segments] == [round(start + 29.98, 2) for start in starts]


def test_segments_without_text_are_left_out() -> None:
    found, script = transcribe(
        {0.0: Line(said(0.0, "   ", 2.0, 2.0, " b", 3.0)), 30.0: Line(said(0.0, " c", 2.0))}, 33.0
    )
    assert spans(found) == [(" b", 2.0, 3.0), (" c", 30.0, 32.0)]
    assert script.prompts[1][2] == [PREVIOUS, *said(2.0, " b", 3.0), START, EN, TRANSCRIBE]


def test_a_rest_too_short_for_a_word_is_not_decoded() -> None:
    found, script = transcribe({0.0: Line(said(0.0, " a", 29.96, 29.96, " b"))}, 30.0)
    assert spans(found) == [(" a", 0.0, 29.96)]
    assert len(script.prompts) == 1
    assert found.duration == 30.0


def test_a_short_recording_is_decoded_however_short() -> None:
    found, _ = transcribe({0.0: Line(said(0.0, " a", 0.04))}, 0.05)
    assert spans(found) == [(" a", 0.0, 0.04)]


def test_an_empty_recording_has_no_text() -> None:
    found, _ = transcribe({}, 0.0)
    assert found == Transcript(text="", language="en", duration=0.0)


def test_without_timestamps_a_window_is_a_segment() -> None:
    options = replace(ENGLISH, without_timestamps=True)
    found, script = transcribe({0.0: Line(said("a b")), 30.0: Line(said("c"))}, 32.0, options)
    assert spans(found) == [("a b", 0.0, 30.0), ("c", 30.0, 32.0)]
    assert script.prompts[0][2] == [START, EN, TRANSCRIBE, NO_TIMESTAMPS]


def test_segments_carry_what_the_decoder_thought() -> None:
    found, _ = transcribe({0.0: Line(said(0.0, " abc", 2.0), probability=0.8, no_speech=0.3)}, 3.0)
    [segment] = found.segments
    assert segment.language == "en"
    assert segment.temperature == 0.0
    assert segment.tokens == tuple(said(0.0, " abc", 2.0))
    assert segment.no_speech_prob == pytest.approx(0.3, abs=1e-3)
    # Timestamps are forced to begin with, so that they are more probable after the rules than before.
    assert segment.avg_logprob == pytest.approx(np.log(0.8), abs=0.2)
    assert segment.confidence == pytest.approx(0.8, abs=0.05)
    assert segment.compression_ratio == pytest.approx(4 / 12)


# Fallback and silence.

LOOP = said(0.0, *[" again and again"] * 20, 20.0)


def test_a_repetitive_window_is_decoded_again_at_a_higher_temperature() -> None:
    found, script = transcribe({0.0: [Line(LOOP), Line(said(0.0, " fine", 2.0))]}, 5.0)
    assert spans(found) == [(" fine", 0.0, 2.0)]
    assert found.segments[0].temperature == 0.2
    assert script.attempts == {(0, 0.0): 2}
    assert found.warnings == ()


def test_an_improbable_window_is_decoded_again() -> None:
    unsure = Line(said(0.0, " what", 2.0), probability=0.2)
    found, _ = transcribe({0.0: [unsure, unsure, Line(said(0.0, " fine", 2.0))]}, 5.0)
    assert (found.text, found.segments[0].temperature) == (" fine", 0.4)


def test_thresholds_can_be_switched_off() -> None:
    options = replace(ENGLISH, compression_ratio_threshold=None, logprob_threshold=None)
    found, script = transcribe({0.0: Line(LOOP, probability=0.2)}, 25.0, options)
    assert found.text == " again and again" * 20
    assert script.attempts == {(0, 0.0): 1}


def test_if_every_attempt_fails_the_most_probable_varied_one_is_kept_with_a_warning() -> None:
    options = replace(ENGLISH, temperature=(0.0, 0.5, 1.0), best_of=1)
    attempts = [
        Line(LOOP, probability=0.9),
        Line(said(0.0, " maybe", 2.0), probability=0.15),
        Line(said(0.0, " never", 2.0), probability=0.1),
    ]
    found, _ = transcribe({0.0: attempts}, 25.0, options)
    assert (found.text, found.segments[0].temperature) == (" maybe", 0.5)
    [warning] = found.warnings
    assert (warning.kind, warning.start, warning.end) == ("doubtful", 0.0, 25.0)


def test_text_that_repeats_at_every_temperature_is_reported() -> None:
    found, script = transcribe({0.0: [Line(LOOP)] * 3}, 25.0, replace(ENGLISH, temperature=(0.0, 0.5)))
    assert [(one.kind, one.start, one.end) for one in found.warnings] == [("repetition", 0.0, 25.0)]
    assert script.attempts == {(0, 0.0): 3}


def test_what_repeats_at_every_temperature_is_decoded_again_told_nothing_and_without_repetitions() -> None:
    options = replace(ENGLISH, temperature=(0.0, 0.5), initial_prompt="Names", hotwords=("Aurelia",))
    once = Line(said(0.0, " never again", 2.0))
    lines: dict[float, Line | list[Line]] = {0.0: [Line(LOOP), Line(LOOP), once], 30.0: Line(said(0.0, " x", 1.0))}
    found, script = transcribe(lines, 35.0, options)
    assert spans(found) == [(" never again", 0.0, 2.0), (" x", 30.0, 31.0)]
    told = [prompt[: prompt.index(START)] for _, _, prompt in script.prompts]
    always = [PREVIOUS, *said(" Aurelia")]
    assert told == [[*always, *said(" Names")], [*always, *said(" Names")], [], always]
    assert [(one.kind, one.start, one.end) for one in found.warnings] == [("repetition", 0.0, 30.0)]


def test_silence_is_skipped_and_reported_as_one_span() -> None:
    silent = Line(said(0.0, " thanks for watching", 2.0), probability=0.2, no_speech=0.9)
    found, script = transcribe({0.0: silent, 30.0: silent, 60.0: Line(said(0.0, " hi", 1.0))}, 70.0)
    assert spans(found) == [(" hi", 60.0, 61.0)]
    assert [(one.kind, one.start, one.end) for one in found.warnings] == [("no_speech", 0.0, 60.0)]
    assert script.attempts == {(0, 0.0): 1, (0, 30.0): 1, (0, 60.0): 1}


def test_a_window_the_decoder_believes_is_no_silence() -> None:
    found, _ = transcribe({0.0: Line(said(0.0, " psst", 2.0), probability=0.9, no_speech=0.9)}, 5.0)
    assert found.text == " psst"
    found, _ = transcribe(
        {0.0: Line(said(0.0, " psst", 2.0), probability=0.9, no_speech=0.9)},
        5.0,
        replace(ENGLISH, logprob_threshold=None),
    )
    assert found.text == ""


# What a window is told.


def test_the_text_before_is_told_to_the_next_window() -> None:
    first = said(0.0, " one", 4.0, 4.0, " two", 30.0)
    _, script = transcribe({0.0: Line(first), 30.0: Line(said(0.0, " x", 1.0))}, 35.0)
    assert script.prompts[1][2] == [PREVIOUS, *first, START, EN, TRANSCRIBE]


def test_without_conditioning_nothing_is_told_and_the_initial_prompt_is_for_the_first_window() -> None:
    options = replace(ENGLISH, condition_on_previous_text=False, initial_prompt="Aurelia. ")
    _, script = transcribe({0.0: Line(said(0.0, " one", 30.0)), 30.0: Line(said(0.0, " x", 1.0))}, 35.0, options)
    assert script.prompts[0][2] == [PREVIOUS, *said(" Aurelia."), START, EN, TRANSCRIBE]
    assert script.prompts[1][2] == [START, EN, TRANSCRIBE]


def test_a_window_that_needed_a_high_temperature_tells_the_next_one_nothing() -> None:
    options = replace(ENGLISH, temperature=(0.0, 0.4, 0.8), initial_prompt="Names")
    _, script = transcribe(
        {
            0.0: [Line(LOOP), Line(LOOP), Line(said(0.0, " one", 30.0))],
            30.0: [Line(LOOP), Line(said(0.0, " two", 30.0))],
            60.0: Line(said(0.0, " x", 1.0)),
        },
        65.0,
        options,
    )
    told = {start: prompt[: prompt.index(START)] for _, start, prompt in script.prompts}
    assert told == {0.0: [PREVIOUS, *said(" Names")], 30.0: [], 60.0: [PREVIOUS, *said(0.0, " two", 30.0)]}


def test_at_most_half_of_the_positions_are_told() -> None:
    words = " ".join(str(number) for number in range(200))
    _, script = transcribe({0.0: Line(said(0.0, " a", 1.0))}, 5.0, replace(ENGLISH, initial_prompt=words))
    prompt = script.prompts[0][2]
    assert prompt == [PREVIOUS, *said(words)[-223:], START, EN, TRANSCRIBE]


def test_a_window_of_many_tokens_stops_at_the_last_position() -> None:
    endless = said(0.0, "".join(chr(97 + index * 7 % 26) for index in range(500)))
    options = replace(ENGLISH, compression_ratio_threshold=None)
    found, _ = transcribe({0.0: Line(endless)}, 5.0, options)
    assert len(found.segments[0].tokens) == 448 - 3
    found, _ = transcribe({0.0: Line(endless)}, 5.0, replace(options, max_new_tokens=50))
    assert len(found.segments[0].tokens) == 50
    assert [(one.kind, one.start, one.end) for one in found.warnings] == [("truncated", 0.0, 5.0)]
    # What is closed before the limit is kept, and the rest is heard again from there.
    lines = {0.0: Line(said(0.0, " one", 2.0, 2.0, " two", 4.0)), 2.0: Line(said(0.0, " t", 1.0))}
    found, _ = transcribe(lines, 5.0, replace(options, max_new_tokens=9))
    assert (found.text, found.warnings) == (" one t", ())


def test_a_prefix_begins_the_first_window_and_is_not_repeated() -> None:
    options = replace(ENGLISH, prefix="So")
    found, script = transcribe(
        {0.0: Line(said("me day", 4.0, 4.0, " it goes", 30.0)), 30.0: Line(said(0.0, " x", 1.0))}, 35.0, options
    )
    assert script.prompts[0][2] == [START, EN, TRANSCRIBE, *said(0.0, " So")]
    assert script.prompts[1][2][-1] == TRANSCRIBE
    assert spans(found) == [("me day", 0.0, 4.0), (" it goes", 4.0, 30.0), (" x", 30.0, 31.0)]


def test_a_prefix_that_fills_half_of_the_positions_is_refused() -> None:
    with pytest.raises(OptionError, match="prefix: 301 tokens were given and 223 fit"):
        transcribe({}, 5.0, replace(ENGLISH, prefix="x" * 300))


class NamingTokenizer(ByteTokenizer):
    """Reads a special token's name as the token, as the tokenizers library does."""

    def encode(self, text: str) -> list[int]:
        parts = re.split(r"(<\|[a-z.0-9]+\|>)", text)
        return [id for part in parts for id in ([self.named(part)] if part.startswith("<|") else part.encode())]

    def named(self, part: str) -> int:
        return NAMES[part] if part in NAMES else STAMP + round(float(part.strip("<|>")) / 0.02)


@pytest.mark.parametrize("token", ["<|startoftranscript|>", "<|endoftext|>", "<|de|>", "<|0.00|>", "<|30.00|>"])
@pytest.mark.parametrize("name", ["initial_prompt", "hotwords", "prefix"])
def test_names_of_special_tokens_are_refused_as_words_of_a_prompt(name: str, token: str) -> None:
    model = recognizer(Script({(0, 0.0): [Line(said(0.0, " a", 1.0))]}))
    model.tokenizer = model.decoder.tokenizer = NamingTokenizer()
    words: Any = (f"see {token}",) if name == "hotwords" else f"see {token}"
    with pytest.raises(OptionError, match=rf"{name}: .*{re.escape(token)}"):
        model.transcribe([Sound(2.0)], replace(ENGLISH, **{name: words}))


def test_suppressed_tokens_do_not_occur() -> None:
    line = Line(said(0.0, " a#b", 2.0), probability=0.9)
    options = replace(ENGLISH, logprob_threshold=None)
    assert "#" in transcribe({0.0: line}, 5.0, options)[0].text
    assert "#" not in transcribe({0.0: line}, 5.0, replace(options, suppress_tokens=(-1,)))[0].text
    assert "b" not in transcribe({0.0: line}, 5.0, replace(options, suppress_tokens=(98,)))[0].text


def test_special_tokens_are_never_chosen() -> None:
    line = Line([*said(0.0, " a"), PREVIOUS, NO_SPEECH, START, TRANSLATE, *said(2.0)], probability=0.9)
    found, _ = transcribe({0.0: line}, 5.0, replace(ENGLISH, suppress_tokens=(), logprob_threshold=None))
    assert not {PREVIOUS, NO_SPEECH, START, TRANSLATE} & set(found.segments[0].tokens)


def test_the_first_timestamp_is_held_to_its_limit() -> None:
    line = Line(said(3.0, " a", 4.0), probability=0.9)
    options = replace(ENGLISH, logprob_threshold=None)
    assert transcribe({0.0: line}, 5.0, options)[0].segments[0].start <= 1.0
    anywhere = replace(options, max_initial_timestamp=None)
    assert transcribe({0.0: line}, 5.0, anywhere)[0].segments[0].start == 3.0


def test_beams_find_the_scripted_text_too() -> None:
    found, _ = transcribe({0.0: Line(said(0.0, " one", 2.0))}, 5.0, replace(ENGLISH, n_beams=3, patience=2.0))
    assert spans(found) == [(" one", 0.0, 2.0)]


# Languages and tasks.


def test_the_language_is_detected_once_with_its_probability() -> None:
    script = Script(
        {(0, 0.0): [Line(said(0.0, " ja", 30.0))], (0, 30.0): [Line(said(0.0, " ja", 1.0))]}, {0: (0.2, 0.7)}
    )
    [found] = recognizer(script).transcribe([Sound(35.0)], ANY)
    assert (found.language, found.segments[1].language) == ("de", "de")
    assert found.language_probability == pytest.approx(0.7 / 0.9)
    assert all(prompt[-3:] == [START, DE, TRANSCRIBE] for _, _, prompt in script.prompts)
    [probabilities] = recognizer(script).detect_languages([Sound(35.0)], ANY)
    assert probabilities == pytest.approx({"en": 0.2 / 0.9, "de": 0.7 / 0.9})


@pytest.mark.parametrize("language", ["de", "German", "<|de|>", "de-AT", "DE"])
def test_a_language_is_known_by_code_and_name(language: str) -> None:
    options = WhisperOptions(language=language, task="translate")
    found, script = transcribe({0.0: Line(said(0.0, " yes", 1.0))}, 5.0, options)
    assert script.prompts[0][2] == [START, DE, TRANSLATE]
    assert (found.language, found.language_probability) == ("de", None)


def test_a_language_that_does_not_exist_or_is_not_the_checkpoint_s_is_refused() -> None:
    with pytest.raises(OptionError, match="did you mean 'german'"):
        transcribe({}, 1.0, WhisperOptions(language="germann"))
    with pytest.raises(OptionError, match=r"french.* none of the 2 languages"):
        transcribe({}, 1.0, WhisperOptions(language="fr"))


def test_a_checkpoint_s_own_language_and_task_are_its_defaults() -> None:
    script = Script({(0, 0.0): [Line(said(0.0, " yes", 1.0))] * 2})
    model = recognizer(script, forced_decoder_ids=[[1, DE], [2, TRANSLATE]])
    model.transcribe([Sound(2.0)])
    model.transcribe([Sound(2.0)], WhisperOptions(language="en", task="transcribe"))
    assert [prompt for _, _, prompt in script.prompts] == [[START, DE, TRANSLATE], [START, EN, TRANSCRIBE]]


def test_an_english_only_checkpoint_has_neither_language_nor_task() -> None:
    script = Script({(0, 0.0): [Line(said(0.0, " yes", 1.0))]})
    model = recognizer(script, is_multilingual=False)
    [found] = model.transcribe([Sound(2.0)])
    assert found.language == "en"
    assert script.prompts[0][2] == [START]
    with pytest.raises(OptionError, match=r"language='de'.*English-only"):
        model.transcribe([Sound(2.0)], WhisperOptions(language="de"))
    with pytest.raises(OptionError, match=r"task='translate'.*English-only"):
        model.transcribe([Sound(2.0)], WhisperOptions(task="translate"))
    with pytest.raises(OptionError, match="English-only"):
        model.detect_languages([Sound(2.0)])


# Batches, memory, progress.


def long_and_short() -> tuple[Script, list[Sound]]:
    script = Script(
        {
            (0, 0.0): [Line(said(0.0, " one", 12.0, 12.0, " tw"))],
            (0, 12.0): [Line(LOOP), Line(said(0.0, " two", 30.0))],
            (0, 42.0): [Line(said(0.0, " three", 2.0))],
            (1, 0.0): [Line(said(0.0, " short", 2.0))],
            (2, 0.0): [Line(LOOP), Line(said(0.0, " eins", 9.0))],
            (3, 0.0): [Line(said(0.0, " thank you", 1.0), probability=0.2, no_speech=0.9)],
            (3, 30.0): [Line(said(0.0, " y", 1.0))],
        },
        {0: (0.9, 0.1), 1: (0.8, 0.1), 2: (0.1, 0.8), 3: (0.6, 0.4)},
    )
    return script, [Sound(45.0, 0), Sound(3.0, 1), Sound(10.0, 2), Sound(32.0, 3, block=RATE)]


def test_recordings_decoded_together_come_to_what_they_come_to_alone() -> None:
    script, sounds = long_and_short()
    together = recognizer(script).transcribe(sounds, ANY)
    assert script.batches[0] == 4
    alone = []
    for sound in sounds:
        script, _ = long_and_short()
        alone += recognizer(script).transcribe([sound], ANY)
    assert together == alone
    assert [one.text for one in together] == [" one two three", " short", " eins", " y"]


def test_no_recordings_give_no_transcripts() -> None:
    assert recognizer(Script({})).transcribe([]) == []


def test_progress_ends_at_the_seconds_of_all_recordings() -> None:
    script, sounds = long_and_short()
    heard: list[float] = []
    recognizer(script).transcribe(sounds, ANY, progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == pytest.approx(45.0 + 3.0 + 10.0 + 32.0)


def test_a_long_recording_takes_the_memory_of_a_window() -> None:
    starts = [30.0 * index for index in range(40)]
    lines = {(0, start): [Line(said(0.0, " a", 30.0))] for start in starts}
    model = recognizer(Script(lines))
    tracemalloc.start()
    model.transcribe([Sound(1200.0)], ENGLISH)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 20 minutes of these samples are 154 MB, a window 4 MB; a few copies of it live at a time.
    assert peak < 30_000_000


# Tokens that a checkpoint added behind the timestamps.


@pytest.mark.parametrize("times", [False, "segment", "word"])
def test_tokens_added_behind_the_timestamps_are_text(times: Any) -> None:
    tokens = [*said(0.0, " ab "), LAUGH, *said(" c", 2.0, 2.0), MARK, LAUGH, *said(3.0)]
    found, _ = transcribe({0.0: Line(tokens)}, 3.0, replace(ENGLISH, return_timestamps=times))
    assert spans(found) == [(" ab <laugh> c", 0.0, 2.0), ("<laugh>", 2.0, 3.0)]
    if times == "word":
        assert [word.text for word in found.words] == [" ab", " <laugh>", " c", "<laugh>"]
        assert [word.start for word in found.words] == sorted(word.start for word in found.words)


def test_a_window_of_added_tokens_alone_has_text() -> None:
    found, _ = transcribe({0.0: Line([*said(0.0), LAUGH, LAUGH, *said(1.0)])}, 2.0)
    assert spans(found) == [("<laugh><laugh>", 0.0, 1.0)]
    assert found.segments[0].confidence == pytest.approx(0.99, abs=0.01)


# Words.


def test_words_share_the_frames_that_their_tokens_are_heard_in() -> None:
    options = replace(ENGLISH, return_timestamps="word")
    # Eight tokens in 4 s: each lasts half a second, and the ninth row is what follows the last.
    script = Script({(1, 0.0): [Line(said(0.0, " ab cd", 2.0, 2.0, " e", 4.5))]})
    # The sound of a number above 0 is equally loud from its beginning: no pause is trimmed.
    [found] = recognizer(script).transcribe([Sound(4.5, number=1)], options)
    assert [(word.text, word.start, word.end) for word in found.segments[0].words] == [
        (" ab", 0.0, pytest.approx(1.5, abs=0.041)),
        (" cd", pytest.approx(1.5, abs=0.041), pytest.approx(2.0, abs=0.041)),
    ]
    [last] = found.segments[1].words
    assert (last.text, last.end) == (" e", pytest.approx(4.0, abs=0.041))
    assert all(0.9 < word.confidence <= 1.0 for word in found.words)


def test_words_lie_within_the_samples_their_window_used() -> None:
    options = replace(ENGLISH, return_timestamps="word")
    found, _ = transcribe(
        {
            0.0: Line(said(0.0, " one two", 4.0, 4.0, " three fo")),
            4.0: Line(said(0.0, " three four", 3.0)),
        },
        8.0,
        options,
    )
    times = [(word.start, word.end) for word in found.words]
    assert [word.text for word in found.words] == [" one", " two", " three", " four"]
    assert all(start <= end for start, end in times)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(times))
    assert times[1][1] <= 4.0 <= times[2][0]


def test_the_text_does_not_depend_on_the_times_asked_for() -> None:
    texts = []
    for times in (False, "segment", "word"):
        script, sounds = long_and_short()
        found = recognizer(script).transcribe(sounds, replace(ANY, return_timestamps=times))
        texts.append([(one.text, spans(one)) for one in found])
        assert any(one.words for one in found) == (times == "word")
    assert texts[0] == texts[1] == texts[2]


def test_word_times_use_the_checkpoint_s_alignment_heads_or_the_upper_half() -> None:
    options = replace(ENGLISH, return_timestamps="word")
    for settings, heads in (
        ({"alignment_heads": [[1, 1], [3, 0]]}, [(1, 1), (3, 0)]),
        ({}, [(2, 0), (2, 1), (3, 0), (3, 1)]),
    ):
        model = recognizer(Script({(0, 0.0): [Line(said(0.0, " a", 1.0))]}), **settings)
        model.transcribe([Sound(2.0)], options)
        assert model.engine.asked_heads == heads


def test_a_window_without_text_has_no_words() -> None:
    options = replace(ENGLISH, return_timestamps="word", suppress_blank=False)
    found, _ = transcribe({0.0: Line(said(0.0))}, 2.0, options)
    assert (found.text, found.words) == ("", ())


# Options.


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"return_timestamps": "char"}, "times no characters"),
        ({"return_timestamps": True}, "return_timestamps=True"),
        ({"task": "translte"}, "did you mean 'translate'"),
        ({"temperature": ()}, "one or more"),
        ({"temperature": (0.0, -1.0)}, "0 or more"),
        ({"temperature": 0.5, "n_beams": 3}, "n_beams=3"),
        ({"temperature": 0.0, "top_k": 3}, "top_k=3"),
        ({"patience": 2.0}, "n_beams above 1"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"compression_ratio_threshold": -1.0}, "compression_ratio_threshold"),
        ({"compression_ratio_threshold": 0.9}, "of the text.*transformers"),
        ({"max_initial_timestamp": math.inf}, "max_initial_timestamp"),
        ({"no_speech_threshold": -0.1}, "no_speech_threshold"),
        ({"max_initial_timestamp": -1.0}, "max_initial_timestamp"),
        ({"schedule": "batch"}, "did you mean 'batched'"),
        ({"schedule": "batched", "condition_on_previous_text": True}, "cannot be told the text before"),
        ({"schedule": "batched", "prompt_reset_on_temperature": 0.2}, "prompt_reset_on_temperature=0.2"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"carry_initial_prompt": True}, "no initial_prompt"),
        ({"vad": False, "vad_threshold": 0.7}, "vad_threshold=0.7 detects voice"),
        ({"vad_threshold": 1.5}, "threshold=1.5"),
        ({"min_silence_s": -1.0}, "min_silence_s"),
        ({"multilingual": True, "language": "de"}, "language='de' fixes it"),
        ({"language_detection_threshold": 2.0}, "language_detection_threshold=2"),
        ({"language_detection_segments": 0}, "1 window or more"),
        ({"hotwords": "Aurelia"}, "is one text"),
        ({"clip_timestamps": (3.0, 2.0)}, "rising seconds"),
        ({"clip_timestamps": (2.0, 2.0)}, "rising seconds"),
        ({"clip_timestamps": "1,x"}, "start,end,start,end"),
        ({"clip_timestamps": (-1.0,)}, "rising seconds"),
        ({"hallucination_silence_threshold": -1.0}, "hallucination_silence_threshold"),
        ({"do_sample": False, "temperature": 0.5}, "leave one of them out"),
        ({"do_sample": True, "temperature": (0.0, 0.5)}, "leave one of them out"),
        ({"temperature": 0.0, "top_p": 0.9}, "top_p=0.9 is for sampling"),
        ({"temperature": 0.5, "n_beam_groups": 2}, "n_beam_groups=2 is for temperature 0"),
        ({"temperature": 0.5, "penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha=0.6 is for temperature 0"),
        ({"penalty_alpha": 0.6}, "top_k"),
        ({"n_beams": 3, "n_beam_groups": 2}, "equal size"),
        ({"min_new_tokens": 9, "max_new_tokens": 3}, "min_new_tokens=9"),
        ({"best_of": 0}, "best_of"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        WhisperOptions(**changes)


def test_one_temperature_may_be_given_as_a_number() -> None:
    assert WhisperOptions(temperature=0).temperatures == (0.0,)
    assert WhisperOptions(temperature=[0.0, 0.3]).temperatures == (0.0, 0.3)  # type: ignore[arg-type]
    assert WhisperOptions(do_sample=False).temperatures == (0.0,)
    assert WhisperOptions(do_sample=True).temperatures == (0.2, 0.4, 0.6, 0.8, 1.0)
    assert replace(WhisperOptions(do_sample=True), seed=1).temperatures == (0.2, 0.4, 0.6, 0.8, 1.0)


def test_searches_are_for_temperature_0_and_samplers_for_those_above() -> None:
    options = WhisperOptions(
        n_beams=4, n_beam_groups=2, diversity_penalty=0.3, patience=2.0, top_k=5, top_p=0.9, typical_p=0.8,
        epsilon_cutoff=0.01, eta_cutoff=0.02, best_of=3, min_new_tokens=2, max_length=40, min_length=5,
    )  # fmt: skip
    assert options.search(7, 0.0) == GenerateOptions(
        eos=7, temperature=0.0, n_beams=4, n_beam_groups=2, diversity_penalty=0.3, patience=2.0, early_stopping=True,
        renormalize=True, min_new_tokens=2, max_length=40, min_length=5,
    )  # fmt: skip
    assert options.search(7, 0.4) == GenerateOptions(
        eos=7, temperature=0.4, top_k=5, top_p=0.9, typical_p=0.8, epsilon_cutoff=0.01, eta_cutoff=0.02, best_of=3,
        early_stopping=True, renormalize=True, min_new_tokens=2, max_length=40, min_length=5,
    )  # fmt: skip
    contrastive = WhisperOptions(penalty_alpha=0.6, top_k=4)
    assert (contrastive.search(7, 0.0).top_k, contrastive.search(7, 0.0).penalty_alpha) == (4, 0.6)
    assert (contrastive.search(7, 0.2).top_k, contrastive.search(7, 0.2).penalty_alpha) == (4, 0.0)


def test_a_length_with_the_prompt_is_held_to_the_decoder_s_positions() -> None:
    endless = said(0.0, "".join(chr(97 + index * 7 % 26) for index in range(500)))
    options = replace(ENGLISH, compression_ratio_threshold=None)
    for max_length, n_tokens in ((20, 20 - 3), (10_000, 448 - 3)):
        found, _ = transcribe({0.0: Line(endless)}, 5.0, replace(options, max_length=max_length))
        assert len(found.segments[0].tokens) == n_tokens


@pytest.mark.parametrize("max_length", [1, 2, 3])
def test_a_length_that_the_prompt_alone_fills_is_named(max_length: int) -> None:
    with pytest.raises(OptionError, match=f"^max_length={max_length} counts the prompt, which alone has 3 tokens"):
        transcribe({0.0: Line(said(0.0, " a", 1.0))}, 2.0, replace(ENGLISH, max_length=max_length))


def test_a_length_with_the_prompt_leaves_room_for_text_however_long_the_history() -> None:
    first = said(0.0, "x y " * 30, 30.0)
    options = replace(ENGLISH, max_length=140, compression_ratio_threshold=None)
    lines: dict[float, Line | list[Line]] = {0.0: Line(first), 30.0: Line(said(0.0, " z" * 200))}
    found, script = transcribe(lines, 35.0, options)
    assert script.prompts[1][2] == [PREVIOUS, *first[-69:], START, EN, TRANSCRIBE]
    assert len(found.segments[1].tokens) == 140 - 73


def test_clips_are_pairs_of_seconds_and_the_last_end_may_be_left_out() -> None:
    assert WhisperOptions().clips == [(0.0, None)]
    assert WhisperOptions(clip_timestamps="0").clips == [(0.0, None)]
    assert WhisperOptions(clip_timestamps=(1, 2, 2, 5)).clips == [(1.0, 2.0), (2.0, 5.0)]
    assert WhisperOptions(clip_timestamps="1,2,3.5").clips == [(1.0, 2.0), (3.5, None)]


# Stretches of voice, and two schedules.

# Regions are padded by 0.2 s, and frames are 0.032 s: these stretches begin at 3.0, 41.4 and 60.6 s.
SPOKEN = [(3.2, 19.2), (41.6, 57.6), (60.8, 76.8)]
BATCHED = WhisperOptions(language="en", schedule="batched", temperature=(0.0, 0.5), best_of=2)
SEQUENTIAL = replace(BATCHED, schedule="sequential")
UNCONDITIONED = replace(SEQUENTIAL, condition_on_previous_text=False)
SHORT_LOOP = said(0.0, *[" again"] * 12, 9.0)


def spoken_script() -> Script:
    """Everything that can happen to windows: a tail heard again, fallback, silence, doubt, repetition."""
    unsure = Line(said(0.0, " maybe not", 2.0), probability=0.2)
    return Script(
        {
            (0, 3.0): [Line(said(0.0, " one", 4.0, 4.0, " tw"))],
            (0, 7.0): [Line(SHORT_LOOP), Line(said(0.0, " two", 9.0))],
            (0, 41.4): [Line(said(0.0, " thank you", 2.0), probability=0.2, no_speech=0.9)],
            (0, 60.6): [unsure] * 2,
            (1, 0.0): [Line(said(0.0, " short", 2.0))],
            (2, 3.0): [*[Line(SHORT_LOOP)] * 2, Line(said(0.5, " x", 3.0, 3.0, " y", 3.5))],
            (2, 41.4): [Line(said(0.0, " drei", 2.0, 2.5, " vier", 5.0, 5.0, " f"))],
            (2, 46.4): [Line(said(0.2, " f", 1.0))],
        },
    )


def spoken_sounds() -> list[Sound]:
    return [Sound(80.0, 0), Sound(3.0, 1), Sound(60.0, 2)]


def put_voice(voice: dict[int, list[tuple[float, float]]]) -> None:
    voice.update({0: SPOKEN, 1: [(0.32, 2.24)], 2: SPOKEN[:2]})


def test_only_stretches_of_voice_are_decoded_and_gaps_are_reported(voice: dict[int, Any]) -> None:
    put_voice(voice)
    script = spoken_script()
    found = recognizer(script).transcribe(spoken_sounds(), UNCONDITIONED)
    assert spans(found[0]) == [(" one", 3.0, 7.0), (" two", 7.0, 16.0), (" maybe not", 60.6, 62.6)]
    assert [(one.kind, one.start, one.end) for one in found[0].warnings] == [
        ("skipped", 0.0, 3.0),
        ("unheard", 16.0, 19.4),
        ("skipped", 19.4, 41.4),
        ("no_speech", 41.4, 57.8),
        ("skipped", 57.8, 60.6),
        ("unheard", 62.6, 77.0),
        ("doubtful", 60.6, 77.0),
        ("skipped", 77.0, 80.0),
    ]
    assert [one.duration for one in found] == [80.0, 3.0, 60.0]
    # The computed windows begin where a stretch or an unclosed tail does.
    assert sorted({place for *place, _ in map(list, script.prompts) for place in [tuple(place)]}) == sorted(
        script.lines
    )


@pytest.mark.parametrize("times", ["segment", "word"])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_batched_is_sequential_without_conditioning(voice: dict[int, Any], batch_size: int, times: Any) -> None:
    put_voice(voice)
    sequential = recognizer(spoken_script()).transcribe(
        spoken_sounds(), replace(UNCONDITIONED, return_timestamps=times, batch_size=1)
    )
    script = spoken_script()
    batched = recognizer(script).transcribe(
        spoken_sounds(), replace(BATCHED, return_timestamps=times, batch_size=batch_size)
    )
    assert batched == sequential
    assert script.batches[0] == min(batch_size, 6)
    one_by_one = [
        recognizer(spoken_script()).transcribe([sound], replace(BATCHED, return_timestamps=times))[0]
        for sound in spoken_sounds()
    ]
    assert one_by_one == sequential
    assert any(one.words for one in sequential) == (times == "word")


def test_in_sequence_stretches_are_told_the_text_before_and_together_they_are_not(voice: dict[int, Any]) -> None:
    put_voice(voice)
    told = {}
    for options in (replace(BATCHED, initial_prompt="Names"), replace(SEQUENTIAL, initial_prompt="Names")):
        script = spoken_script()
        recognizer(script).transcribe([Sound(60.0, 2)], options)
        told[options.schedule] = [prompt[: prompt.index(START)] for _, _, prompt in script.prompts]
    names, drei = [PREVIOUS, *said(" Names")], [PREVIOUS, *said(0.0, " drei", 2.0, 2.5, " vier", 5.0)]
    assert sorted(told["batched"]) == [[], [], [], names, names]
    # What had to be held to repeat nothing tells the next one nothing.
    assert told["sequential"] == [names, names, [], [], drei]


def test_hot_words_and_a_carried_prompt_are_told_to_every_window(voice: dict[int, Any]) -> None:
    put_voice(voice)
    for schedule in ("batched", "sequential"):
        options = replace(
            UNCONDITIONED,
            schedule=schedule,
            hotwords=["Aurelia", " Ohm "],
            initial_prompt="Hi.",
            carry_initial_prompt=True,
            prefix="So",
        )
        script = spoken_script()
        recognizer(script).transcribe([Sound(80.0, 0)], options)
        always = [PREVIOUS, *said(" Aurelia, Ohm Hi."), START, EN, TRANSCRIBE]
        by_window = {start: prompt for _, start, prompt in script.prompts}
        assert by_window.pop(3.0) == [*always, *said(0.0, " So")]
        assert all(prompt == always for prompt in by_window.values())


def test_hot_words_stay_in_front_when_the_history_is_cut() -> None:
    words = " ".join(str(number) for number in range(200))
    options = replace(ENGLISH, initial_prompt=words, hotwords=("Ohm",))
    _, script = transcribe({0.0: Line(said(0.0, " a", 1.0))}, 5.0, options)
    assert script.prompts[0][2] == [PREVIOUS, *said(" Ohm"), *said(words)[-219:], START, EN, TRANSCRIBE]
    with pytest.raises(OptionError, match="hotwords: 301 tokens were given and 223 fit"):
        transcribe({}, 5.0, replace(ENGLISH, hotwords=("x" * 300,)))


@pytest.mark.parametrize("schedule", ["sequential", "batched"])
def test_only_clips_are_heard_each_as_a_recording_at_its_place(voice: dict[int, Any], schedule: Any) -> None:
    voice[0] = SPOKEN
    lines = {
        (0, 2.5): [Line(said(0.5, " clip", 9.0))],
        (0, 41.4): [Line(said(0.0, " long", 9.0))],
        (0, 60.6): [Line(said(0.0, " rest", 9.0))],
    }
    options = WhisperOptions(language="en", schedule=schedule, clip_timestamps=(2.5, 12.5, 28.8))
    [found] = recognizer(Script(lines)).transcribe([Sound(80.0)], options)
    assert spans(found) == [(" clip", 3.0, 11.5), (" long", 41.4, 50.4), (" rest", 60.6, 69.6)]
    assert [(one.kind, one.start, one.end) for one in found.warnings] == [
        ("skipped", 28.8, 41.4),
        ("unheard", 50.4, 57.8),
        ("skipped", 57.8, 60.6),
        ("unheard", 69.6, 77.0),
        ("skipped", 77.0, 80.0),
    ]
    lines = {(0, 2.5): [Line(said(0.5, " clip", 4.0))], (0, 20.0): [Line(said(0.0, " two", 1.0))]}
    options = WhisperOptions(language="en", schedule=schedule, clip_timestamps="2.5,5,20,21.5", vad=False)
    [found] = recognizer(Script(lines)).transcribe([Sound(80.0)], options)
    assert spans(found) == [(" clip", 3.0, 5.0), (" two", 20.0, 21.0)]
    assert (found.warnings, found.duration) == ((), 21.5)


def test_the_language_of_a_long_clip_is_heard_without_losing_the_rest_of_it() -> None:
    places = (0.0, 30.0, 60.0, 90.0, 120.0, 200.0)
    script = Script({(0, place): [Line(said(0.0, " a", 9.0))] for place in places}, {0: (0.9, 0.1)})
    options = WhisperOptions(clip_timestamps=(0.0, 150.0, 200.0, 230.0), vad=False)
    [found] = recognizer(script).transcribe([Sound(240.0)], options)
    assert [one.start for one in found.segments] == list(places)
    assert script.heard == [(0, 0.0), (0, 30.0), (0, 60.0)]


def test_without_voice_detection_batches_are_cut_where_it_is_quiet() -> None:
    # Positions grow, so that the quietest place is the first that may be cut at.
    script = Script({(0, start): [Line(said(0.0, " a", 1.0))] for start in (0.0, 20.1, 40.2)})
    [found] = recognizer(script).transcribe([Sound(60.0)], replace(BATCHED, vad=False))
    assert spans(found) == [(" a", 0.0, 1.0), (" a", 20.1, 21.1), (" a", 40.2, 41.2)]


# What nobody said.


@pytest.mark.parametrize(
    ("line", "dropped"),
    [
        (Line(said(0.0, " thank you", 2.0), probability=0.5), True),
        (Line(said(0.0, " thank you", 2.0), probability=0.95, no_speech=0.4), True),
        (Line(said(0.0, " thank you", 2.0), probability=0.95), False),
    ],
    ids=["improbable", "half silent", "confident"],
)
def test_a_short_recording_without_voice_keeps_confident_text_only(
    voice: dict[int, Any], line: Line, dropped: bool
) -> None:
    [found] = recognizer(Script({(0, 0.0): [line]})).transcribe([Sound(5.0)], WhisperOptions(language="en"))
    assert (found.text == "") == dropped
    assert [(one.kind, one.start, one.end) for one in found.warnings] == [("no_speech", 0.0, 2.0)] * dropped
    assert all("thank you" in one.message for one in found.warnings)
    assert transcribe({0.0: line}, 5.0)[0].text == " thank you"
    voice[0] = [(0.32, 1.28)]
    [found] = recognizer(Script({(0, 0.0): [line]})).transcribe([Sound(5.0)], WhisperOptions(language="en"))
    assert found.text == " thank you"


def test_improbable_text_in_a_pause_of_a_stretch_is_dropped(voice: dict[int, Any]) -> None:
    voice[0] = [(3.2, 6.4), (9.6, 12.8)]
    line = Line(said(0.0, " one", 3.6, 4.4, " thanks", 6.0, 6.4, " two", 9.8), probability=0.5)
    [found] = recognizer(Script({(0, 3.0): [line]})).transcribe([Sound(40.0)], UNCONDITIONED)
    assert spans(found) == [(" one", 3.0, 6.6), (" two", 9.4, 12.8)]
    kinds = [(one.kind, one.start, one.end) for one in found.warnings]
    assert kinds == [("skipped", 0.0, 3.0), ("hallucination", 7.4, 9.0), ("skipped", 13.0, 40.0)]
    line = replace(line, probability=0.95)
    [found] = recognizer(Script({(0, 3.0): [line]})).transcribe([Sound(40.0)], UNCONDITIONED)
    assert found.text == " one thanks two"


def test_a_window_with_voice_and_no_text_is_tried_again(voice: dict[int, Any]) -> None:
    voice[0] = [(3.2, 6.4)]
    options = replace(UNCONDITIONED, suppress_blank=False)
    for attempts, text, kinds in (
        ([Line(said(0.0)), Line(said(0.0, " hi", 3.4))], " hi", []),
        ([Line(said(0.0)), Line(said(0.0, " hi", 1.0))], " hi", ["unheard"]),
        ([Line(said(0.0)), Line(said(0.0))], "", ["no_speech"]),
    ):
        script = Script({(0, 3.0): attempts})
        [found] = recognizer(script).transcribe([Sound(40.0)], options)
        assert found.text == text
        assert [one.kind for one in found.warnings if one.kind != "skipped"] == kinds
        assert script.attempts == {(0, 3.0): 2}


def test_a_loop_too_fast_to_be_spoken_is_dropped_but_for_its_first() -> None:
    loop = [part for at in range(6) for part in (2 + at * 0.02, " bla bla", 2.02 + at * 0.02)]
    options = replace(ENGLISH, compression_ratio_threshold=None)
    found, _ = transcribe({0.0: Line(said(0.0, " so", 2.0, *loop, 5.0, " end", 6.0))}, 10.0, options)
    assert found.text == " so bla bla end"
    assert [(one.kind, one.start, one.end) for one in found.warnings] == [("hallucination", 2.02, 2.12)]


def test_an_improbable_segment_is_reported_at_its_place() -> None:
    line = Line(said(0.0, " sure", 2.0, 2.0, " hm", 3.0))
    model = recognizer(Script({(0, 0.0): [line]}))
    line.odd = {7: 0.1, 8: 0.2, 9: 0.2}
    [found] = model.transcribe([Sound(5.0)], ENGLISH)
    assert found.text == " sure hm"
    assert [(one.kind, one.start, one.end) for one in found.warnings] == [("doubtful", 2.0, 3.0)]


def test_silence_before_odd_words_is_skipped() -> None:
    options = replace(ENGLISH, hallucination_silence_threshold=2.0, logprob_threshold=None, max_initial_timestamp=None)
    lines: dict[float, Line | list[Line]] = {
        0.0: Line(said(5.0, " uh", 6.0), probability=0.1),
        5.0: Line(said(0.0, " hello", 1.0)),
    }
    found, _ = transcribe(lines, 9.0, options)
    assert spans(found) == [(" hello", 5.0, 6.0)]
    assert [(one.kind, one.start, one.end) for one in found.warnings] == [("hallucination", 5.0, 6.0)]
    assert found.words == ()


def test_odd_words_soon_after_speech_in_the_window_before_are_kept() -> None:
    options = replace(ENGLISH, hallucination_silence_threshold=4.0, logprob_threshold=None, max_initial_timestamp=None)
    letters = " a b c d e f g h i j k l m n o p q r s t"  # 1.5 s each
    for before, text in ((said(0.0, letters, 30.0), letters + " uh"), (said(0.0), "")):
        lines: dict[float, Line | list[Line]] = {
            0.0: Line(before),
            30.0: Line(said(3.0, " uh", 5.9), probability=0.1),
            33.0: Line(said(0.0)),
        }
        assert transcribe(lines, 36.0, replace(options, suppress_blank=False))[0].text == text


# Languages of several windows.


def test_the_language_is_the_one_that_windows_of_speech_agree_on(voice: dict[int, Any]) -> None:
    voice[0] = SPOKEN
    places = (3.0, 41.4, 60.6)
    script = Script({(0, place): [Line(said(0.0, " a", 1.0))] for place in places})
    script.language = {(0, 3.0): (0.9, 0.1), (0, 41.4): (0.2, 0.8), (0, 60.6): (0.1, 0.9)}
    [found] = recognizer(script).transcribe([Sound(80.0)])
    assert found.language == "de"
    assert found.language_probability == pytest.approx(0.6)
    assert found.language_probabilities == pytest.approx({"en": 0.4, "de": 0.6})
    assert script.heard == [(0, place) for place in places]
    assert [one.language_probability for one in found.segments] == pytest.approx([0.1, 0.8, 0.9])
    languages = [(one.start, one.end) for one in found.warnings if one.kind == "language"]
    assert languages == [(3.0, 19.4)]  # which sounds like English
    [probabilities] = recognizer(script).detect_languages([Sound(80.0)])
    assert probabilities == pytest.approx({"en": 0.4, "de": 0.6})


def test_more_windows_are_heard_where_the_first_ones_do_not_tell(voice: dict[int, Any]) -> None:
    voice[0] = SPOKEN
    for threshold, n_heard in ((0.5, 1), (0.7, 2), (None, 1)):
        script = Script({(0, place): [Line(said(0.0, " a", 1.0))] for place in (3.0, 41.4, 60.6)})
        script.language = {0: (0.4, 0.6)}
        options = WhisperOptions(language_detection_segments=1, language_detection_threshold=threshold)
        [found] = recognizer(script).transcribe([Sound(80.0)], options)
        assert (len(script.heard), found.language) == (n_heard, "de")
        assert [one.kind for one in found.warnings].count("language") == (threshold == 0.7)


@pytest.mark.parametrize("schedule", ["sequential", "batched"])
def test_a_language_changes_where_it_is_clear_or_twice_likely(voice: dict[int, Any], schedule: Any) -> None:
    # Five stretches, from 0.0, 12.6, 25.4, 38.2 and 51.0 s.
    voice[0] = [(round(12.8 * at, 1), 12.8 * at + 6.4) for at in range(5)]
    chances = [0.1, 0.9, 0.4, 0.4, 0.45]  # of German
    places = [0.0, *(12.8 * at - 0.2 for at in range(1, 5))]
    script = Script({(0, round(place, 1)): [Line(said(0.0, " a", 1.0))] for place in places})
    script.language = {(0, round(place, 1)): (1 - one, one) for place, one in zip(places, chances, strict=True)}
    options = WhisperOptions(multilingual=True, schedule=schedule, condition_on_previous_text=False)
    [found] = recognizer(script).transcribe([Sound(60.0)], options)
    assert [one.language for one in found.segments] == ["en", "de", "de", "en", "en"]
    assert [one.language_probability for one in found.segments] == pytest.approx([0.9, 0.9, 0.4, 0.6, 0.55])
    changes = [(one.start, one.message) for one in found.warnings if one.kind == "language"]
    assert changes == [
        (12.6, "the language changes from English to German"),
        (38.2, "the language changes from German to English"),
    ]
    assert [prompt[1] for _, _, prompt in sorted(script.prompts)] == [EN, DE, DE, EN, EN]


def test_a_given_language_is_not_doubted() -> None:
    script = Script({(0, 0.0): [Line(said(0.0, " a", 1.0))]}, {0: (0.05, 0.95)})
    [found] = recognizer(script).transcribe([Sound(5.0)], ENGLISH)
    assert (script.heard, found.warnings, found.language_probability) == ([], (), None)
    assert found.segments[0].language_probability == pytest.approx(0.05)


# Journals.


class Notes:
    """A journal as a file keeps it: only what JSON can say."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def append(self, entry: dict[str, Any]) -> None:
        self.lines.append(json.dumps(entry))


@pytest.mark.parametrize(
    "options",
    [
        replace(SEQUENTIAL, language=None, initial_prompt="Names"),
        replace(BATCHED, language=None, batch_size=2),
        replace(SEQUENTIAL, language=None, multilingual=True),
        replace(BATCHED, language=None, multilingual=True, batch_size=3, return_timestamps="word"),
        replace(SEQUENTIAL, language=None, vad=False, return_timestamps="word"),
    ],
    ids=["in sequence", "batched", "languages", "batched languages", "without voice"],
)
def test_an_interrupted_run_goes_on_and_decodes_nothing_twice(voice: dict[int, Any], options: WhisperOptions) -> None:
    voice[0] = SPOKEN

    def script() -> Script:
        found = spoken_script()
        if options.vad is False:
            found.lines = {
                (0, 0.0): [Line(said(0.0, " one", 29.0, 29.0, " tw"))],
                (0, 29.0): [Line(SHORT_LOOP), Line(said(0.0, " two", 29.5))],
                (0, 59.0): [Line(said(0.0, " thank you", 2.0), probability=0.2, no_speech=0.9)],
            }
        found.language = {0: (0.2, 0.8), (0, 41.4): (0.6, 0.4), (0, 60.6): (0.7, 0.3)}
        return found

    whole = script()
    wanted = recognizer(whole).transcribe([Sound(80.0)], options)
    n_prefills = len(whole.batches)
    assert n_prefills >= 3
    for ends_after in range(n_prefills):
        first, second, notes = script(), script(), Notes()
        first.ends_after = ends_after
        with pytest.raises(KeyboardInterrupt):
            recognizer(first).transcribe([Sound(80.0)], options, journals=[notes])
        done = {(0, entry["start"]) for entry in notes.entries() if "unit" in entry}
        heard: list[float] = []
        found = recognizer(second).transcribe([Sound(80.0)], options, heard.append, [notes])
        assert found == wanted
        assert not done & second.attempts.keys()
        assert done | second.attempts.keys() == whole.attempts.keys()
        assert heard == sorted(heard)
        assert heard[-1] == 80.0
        # What is finished is only read.
        third = Script({})
        assert recognizer(third).transcribe([Sound(80.0)], options, journals=[notes]) == wanted
        assert (third.attempts, third.heard) == ({}, [])
