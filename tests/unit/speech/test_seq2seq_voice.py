"""Moonshine on recordings divided by voice: the guard, the warnings, the journal. Loud is voice, in these tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from auricle.audio.waveform import WaveformFeatures
from auricle.errors import OptionError
from auricle.speech.seq2seq import Seq2SeqOptions, Seq2SeqRecognizer

RATE, FRAME = 16000, 512


class LoudIsVoice:
    """A detector that takes every frame with a sample above 0.1 for voice."""

    def __init__(self, sample_rate: int) -> None:
        self.held = np.zeros(0, np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        self.held = np.concatenate((self.held, samples))
        n_frames = len(self.held) // FRAME
        frames, self.held = self.held[: n_frames * FRAME], self.held[n_frames * FRAME :]
        return np.where(np.abs(frames.reshape(-1, FRAME)).max(axis=1) > 0.1, 0.9, 0.0)

    def end(self) -> np.ndarray:
        return np.zeros(1 if len(self.held) else 0)


@pytest.fixture(autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.speech.stretches.VoiceProbabilities", LoudIsVoice)


class Letters:
    """Ids 0 to 2 are special; the others are letters."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(ord("a") + (id - 3) % 26) for id in ids if id > 2)


class Sound:
    """A recording given in blocks."""

    def __init__(self, samples: np.ndarray, block: int = 50_000) -> None:
        self.samples, self.block = samples.astype(np.float32), block

    def blocks(self) -> Iterator[np.ndarray]:
        for begin in range(0, len(self.samples), self.block):
            yield self.samples[begin : begin + self.block]


class Notebook:
    """A journal that keeps JSON, as a file would."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def append(self, entry: dict[str, Any]) -> None:
        self.lines.append(json.dumps(entry))


class SpellingEngine:
    """Writes one letter for each full second of a stretch; `margin` is by how much it prefers it."""

    def __init__(self, margin: float = 9.0, most_calls: int = 10**9) -> None:
        self.margin, self.most_calls = margin, most_calls
        self.seconds: list[int] = []

    def encode(self, features: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.most_calls:
            raise KeyboardInterrupt
        self.most_calls -= 1
        self.seconds += (features.lengths // RATE).tolist()
        return features.values, features.lengths

    def decoder(self, states: torch.Tensor, lengths: torch.Tensor, use_cache: bool = True) -> Any:
        return SpellingStep((lengths // RATE).tolist(), self.margin)


class SpellingStep:
    max_length = 194

    def __init__(self, seconds: list[int], margin: float) -> None:
        self.seconds, self.margin = seconds, margin
        self.length, self.n_rows = 0, len(seconds)

    def advance(self, tokens: torch.Tensor, n_last: int = 1) -> torch.Tensor:
        logits = torch.zeros(self.n_rows, 1, 40)
        for row, letters in enumerate(self.seconds):
            logits[row, 0, 3 + self.length if self.length < letters else 2] = self.margin
        self.length += tokens.shape[1]
        return logits

    def reorder(self, rows: torch.Tensor) -> None:
        self.seconds = [self.seconds[row] for row in rows.tolist()]


def recognizer(**engine: Any) -> Seq2SeqRecognizer:
    config = SimpleNamespace(decoder_start_token_id=1, eos_token_id=2, max_position_embeddings=194)
    features = WaveformFeatures.from_config({"do_normalize": False})
    return Seq2SeqRecognizer(SpellingEngine(**engine), features, Letters(), config, {})  # type: ignore[arg-type]


def sound(*parts: tuple[float, float]) -> np.ndarray:
    """(level, seconds) after (level, seconds)."""
    return np.concatenate([np.full(round(seconds * RATE), level) for level, seconds in parts])


LONG = sound((0, 20), (0.5, 3.2), (0, 2), (0.5, 2), (0, 60), (0.5, 4.2), (0, 0.5))


def test_only_stretches_with_voice_are_decoded_and_the_rest_is_told() -> None:
    one = recognizer()
    [found] = one.transcribe([Sound(LONG)])
    assert found.text == "abcdefg abcd"
    assert one.engine.seconds == [7, 4]  # type: ignore[attr-defined]
    assert [(round(part.start, 1), round(part.end or 0, 1)) for part in found.segments] == [(19.8, 27.4), (87.0, 91.6)]
    assert [(one.kind, round(one.start or 0, 1), round(one.end or 0, 1)) for one in found.warnings] == [
        ("skipped", 0.0, 19.8),
        ("skipped", 27.4, 87.0),
    ]
    assert found.duration == len(LONG) / RATE


def test_detection_is_on_above_thirty_seconds_only() -> None:
    short = sound((0, 20), (0.5, 3.2))
    assert recognizer().transcribe([Sound(short)])[0].segments[0].start == 0.0
    assert recognizer().transcribe([Sound(short)], Seq2SeqOptions(vad=True))[0].segments[0].start > 19
    assert recognizer().transcribe([Sound(LONG)], Seq2SeqOptions(vad=False))[0].segments[0].start == 0.0


def test_recordings_together_come_to_what_they_come_to_alone() -> None:
    sounds = [Sound(LONG), Sound(sound((0.5, 3))), Sound(np.zeros(40 * RATE)), Sound(LONG[30 * RATE :], 777)]
    together = recognizer().transcribe(sounds)
    assert together == [recognizer().transcribe([one])[0] for one in sounds]
    assert [one.kind for one in together[2].warnings] == ["skipped", "no_speech"]


def test_unsure_text_is_dropped_where_no_voice_is_and_told() -> None:
    quiet, loud = Sound(sound((0.05, 5))), Sound(sound((0.5, 5)))
    [found] = recognizer(margin=2.0).transcribe([quiet])
    assert (found.text, found.segments) == ("", ())
    assert [(one.kind, one.start, one.end) for one in found.warnings] == [("no_speech", 0.0, 5.0)]
    assert "'abcde'" in found.warnings[0].message
    assert recognizer(margin=2.0).transcribe([quiet], Seq2SeqOptions(vad=False))[0].text == "abcde"
    assert recognizer(margin=9.0).transcribe([quiet])[0].text == "abcde"
    [found] = recognizer(margin=2.0).transcribe([loud])
    assert found.text == "abcde"
    assert [one.kind for one in found.warnings] == ["doubtful"]


@pytest.mark.parametrize("most_calls", [0, 1, 2])
def test_an_interrupted_run_goes_on_without_decoding_again(most_calls: int) -> None:
    sounds = [Sound(LONG), Sound(np.concatenate([LONG, LONG]))]
    wanted = recognizer().transcribe(sounds)
    notebooks = [Notebook(), Notebook()]
    broken = recognizer(most_calls=most_calls)
    with pytest.raises(KeyboardInterrupt):
        broken.transcribe(sounds, journals=notebooks)
    resumed = recognizer()
    assert resumed.transcribe(sounds, journals=notebooks) == wanted
    assert len(broken.engine.seconds) + len(resumed.engine.seconds) == 6  # type: ignore[attr-defined]
    assert recognizer(most_calls=0).transcribe(sounds, journals=notebooks) == wanted


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"vad": False, "min_silence_s": 1.0}, r"min_silence_s=1\.0 has no effect with vad=False"),
        ({"vad_threshold": 0.0}, r"vad_threshold=0\.0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        Seq2SeqOptions(**given)
