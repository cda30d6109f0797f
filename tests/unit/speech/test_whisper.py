"""The long-form loop against a scripted decoder: chosen tokens in, segments, words, prompts and offsets out."""

from __future__ import annotations

import math
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
from auricle.errors import OptionError
from auricle.results import Transcript
from auricle.speech.whisper import WhisperOptions, WhisperRecognizer

RATE = 16_000

# Text tokens are bytes.
EOS, START, EN, DE, TRANSLATE, TRANSCRIBE, START_OF_LM, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = range(256, 266)
STAMP = 266
VOCABULARY = STAMP + 1501
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
        return bytes(id for id in ids if id < 256).decode(errors="replace")

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


@dataclass
class Script:
    """Lines by recording and by the second at which their window begins; several for several attempts."""

    lines: dict[tuple[int, float], list[Line]]
    language: dict[int, tuple[float, float]] = field(default_factory=dict)  # recording -> p(en), p(de)
    attempts: dict[tuple[int, float], int] = field(default_factory=dict)
    prompts: list[tuple[int, float, list[int]]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)  # rows of each prefill


class Sound:
    """A recording of a number of seconds: every sample says whose it is and where."""

    def __init__(self, seconds: float, number: int = 0, block: int = 70_000) -> None:
        self.n_samples, self.number, self.block = round(seconds * RATE), number, block

    def blocks(self) -> Iterator[np.ndarray]:
        for begin in range(0, self.n_samples, self.block):
            places = np.arange(begin, min(begin + self.block, self.n_samples), dtype=np.float64)
            yield places + self.number * 1e9


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
            logits[at, -1] = distribution(wanted, line.probability)
            if n_last > 1 and place == 0:
                logits[at, 0] = distribution(NO_SPEECH, line.no_speech)
        if n_last == 1 and self.length == self.n_prompt:  # English-only: the start token is the last one
            logits[:, 0, NO_SPEECH] = -30.0
        return logits

    def reorder(self, rows: Tensor) -> None:
        self.rows = [self.rows[row] for row in rows.tolist()]

    def _begin(self, tokens: Tensor) -> None:
        self.n_prompt = tokens.shape[1]
        self.script.batches.append(self.n_rows)
        for place, prompt in zip(self.places, tokens.tolist(), strict=True):
            attempt = self.script.attempts.get(place, 0)
            self.script.attempts[place] = attempt + 1
            self.script.prompts.append((*place, prompt))
            self.lines.append(self.script.lines[place][attempt])

    def _languages(self) -> Tensor:
        logits = torch.zeros(self.n_rows, 1, VOCABULARY)
        for row, (number, _) in enumerate(self.places):
            logits[row, 0, [EN, DE]] = torch.tensor(self.script.language[number]).log() + 20
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


# Words.


def test_words_share_the_frames_that_their_tokens_are_heard_in() -> None:
    options = replace(ENGLISH, return_timestamps="word")
    # Eight tokens in 4 s: each lasts half a second, and the ninth row is what follows the last.
    found, _ = transcribe({0.0: Line(said(0.0, " ab cd", 2.0, 2.0, " e", 4.5))}, 4.5, options)
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
        ({"compression_ratio_threshold": 1.35}, "of the text.*transformers"),
        ({"max_initial_timestamp": math.inf}, "max_initial_timestamp"),
        ({"no_speech_threshold": -0.1}, "no_speech_threshold"),
        ({"max_initial_timestamp": -1.0}, "max_initial_timestamp"),
        ({"best_of": 0}, "best_of"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        WhisperOptions(**changes)


def test_one_temperature_may_be_given_as_a_number() -> None:
    assert WhisperOptions(temperature=0).temperatures == (0.0,)
    assert WhisperOptions(temperature=[0.0, 0.3]).temperatures == (0.0, 0.3)  # type: ignore[arg-type]
