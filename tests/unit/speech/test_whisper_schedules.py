"""Sequential and batched decoding of a tiny random Whisper: the same text, times, words and warnings.

A random decoder is never sure, so that every window goes through fallback, and it repeats itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from auricle.audio.features import Features
from auricle.engines import make_engine
from auricle.models.whisper import Whisper
from auricle.results import Transcript
from auricle.speech.whisper import WhisperOptions, WhisperRecognizer

pytestmark = pytest.mark.usefixtures("every_engine")

RATE = 16_000
EOS, START, ENGLISH, GERMAN, TRANSLATE, TRANSCRIBE, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = range(90, 99)
GENERATION = {
    "eos_token_id": EOS,
    "decoder_start_token_id": START,
    "prev_sot_token_id": PREVIOUS,
    "no_timestamps_token_id": NO_TIMESTAMPS,
    "lang_to_id": {"<|en|>": ENGLISH, "<|de|>": GERMAN},
    "task_to_id": {"translate": TRANSLATE, "transcribe": TRANSCRIBE},
    "is_multilingual": True,
    "begin_suppress_tokens": [0, EOS],
    "suppress_tokens": [],
    "alignment_heads": [[0, 1], [1, 0], [1, 3]],
}
# Float32 sums differ with the size of a batch.
TOLERANCE = 1e-4


class Letters:
    """One printable character per text token."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - 32 for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(id + 32) for id in ids if id < EOS)

    def special(self, token: str) -> int:
        raise AssertionError(f"the generation config has everything, {token} is not looked up")

    def has_special(self, token: str) -> bool:
        return False


class Spoken:
    """A recording whose samples say where they are; voice is where `spans`, in seconds, are."""

    def __init__(self, seconds: float, seed: int, spans: Sequence[tuple[float, float]]) -> None:
        self.n_samples, self.seed, self.spans = round(seconds * RATE), seed, spans

    def blocks(self) -> Iterator[np.ndarray]:
        for begin in range(0, self.n_samples, 50_000):
            yield np.arange(begin, min(begin + 50_000, self.n_samples), dtype=np.float64) + self.seed * 1e9


class RandomFeatures:
    """Random frames that depend on the recording and the place only."""

    sample_rate = RATE
    window_samples = 30 * RATE

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        windows = torch.zeros(len(waveforms), 80, 3000)
        for window, waveform in zip(windows, waveforms, strict=True):
            seed, position = divmod(int(waveform[0]), 10**9)
            numbers = torch.randn(80, 9000, generator=torch.Generator().manual_seed(seed))
            first, n_frames = position // 160, len(waveform) // 160
            window[:, :n_frames] = numbers[:, first : first + n_frames] * 0.5
        return Features(windows, torch.tensor([len(one) // 160 for one in waveforms]))


SOUNDS = [
    Spoken(62.0, 0, [(3.2, 20.0), (21.2, 34.4), (40.0, 52.0)]),
    Spoken(9.0, 1, [(1.0, 8.0)]),
    Spoken(33.0, 2, [(6.4, 8.0), (20.0, 28.0)]),
]


@pytest.fixture
def recognizer(monkeypatch: pytest.MonkeyPatch) -> WhisperRecognizer:
    class Detector:
        def __init__(self, sample_rate: int) -> None:
            pass

        def __call__(self, samples: np.ndarray) -> np.ndarray:
            places = [divmod(float(first), 1e9) for first in samples[::512]]
            spans = {sound.seed: sound.spans for sound in SOUNDS}
            return np.array([float(any(a <= place / RATE < b for a, b in spans[int(seed)])) for seed, place in places])

        def end(self) -> np.ndarray:
            return np.zeros(0)

    monkeypatch.setattr("auricle.speech.stretches.VoiceProbabilities", Detector)
    config = Whisper.tiny(vocab_size=NO_TIMESTAMPS + 1 + 1501, max_source_positions=1500, max_target_positions=64)
    torch.manual_seed(0)
    model = Whisper(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layer_norm" not in name and "encoder.embed_positions" not in name:
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))) * 0.35)
        # So that there is more text than timestamps.
        model.model.decoder.embed_tokens.weight[:EOS] *= 2
        model.model.decoder.embed_tokens.weight[NO_TIMESTAMPS:] *= 0.4
    features: Any = RandomFeatures()
    return WhisperRecognizer(make_engine(model), features, Letters(), config, GENERATION)


def told(transcript: Transcript) -> dict[str, Any]:
    """What must be equal to the last bit."""
    return {
        "text": transcript.text,
        "spans": [(one.start, one.end, one.text, one.language, one.temperature) for one in transcript.segments],
        "words": [(one.text, one.start, one.end) for one in transcript.words],
        "warnings": transcript.warnings,
        "language": transcript.language,
    }


OPTIONS = WhisperOptions(
    temperature=(0.0, 0.6),
    best_of=2,
    max_new_tokens=16,
    logprob_threshold=-0.6,
    condition_on_previous_text=False,
    return_timestamps="word",
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_beams": 2, "hotwords": ("Ohm",), "carry_initial_prompt": True, "initial_prompt": "Hi", "prefix": "So"},
        {"multilingual": True, "hallucination_silence_threshold": 4.0},
    ],
    ids=["greedy", "beams and prompts", "languages and silence"],
)
def test_both_schedules_and_all_batch_sizes_come_to_the_same(
    recognizer: WhisperRecognizer, changes: dict[str, Any]
) -> None:
    options = replace(OPTIONS, **changes)
    sequential = recognizer.transcribe(SOUNDS, replace(options, batch_size=1))
    wanted = [told(one) for one in sequential]
    runs = [
        recognizer.transcribe(SOUNDS, replace(options, schedule="batched", batch_size=1)),
        recognizer.transcribe(SOUNDS, replace(options, schedule="batched", batch_size=8)),
        [recognizer.transcribe([sound], replace(options, batch_size=8))[0] for sound in SOUNDS],
    ]
    for run in runs:
        assert [told(one) for one in run] == wanted
        confidences = [[one.confidence for one in transcript.segments] for transcript in run]
        for found, expected in zip(confidences, sequential, strict=True):
            assert found == pytest.approx([one.confidence for one in expected.segments], abs=TOLERANCE)
    assert sum(len(one["text"]) for one in wanted) > 20


@pytest.mark.parametrize("vad", [None, False])
def test_windows_are_no_longer_than_is_asked(
    recognizer: WhisperRecognizer, monkeypatch: pytest.MonkeyPatch, vad: bool | None
) -> None:
    heard: list[int] = []
    encode = recognizer._encode

    def noted(windows: Sequence[np.ndarray]) -> Any:
        heard.extend(map(len, windows))
        return encode(windows)

    monkeypatch.setattr(recognizer, "_encode", noted)
    options = replace(OPTIONS, vad=vad, chunk_length_s=8.0, batch_size=4)
    texts = [one.text for one in recognizer.transcribe(SOUNDS, options)]
    assert max(heard) <= 8 * RATE < 9 * RATE
    assert all(texts)
    heard.clear()
    recognizer.transcribe(SOUNDS, replace(options, chunk_length_s=0.0, schedule="batched"))
    assert max(heard) > 8 * RATE


def test_the_text_does_not_depend_on_the_times_asked_for(recognizer: WhisperRecognizer) -> None:
    options = replace(OPTIONS, hallucination_silence_threshold=2.0, logprob_threshold=-5.0, multilingual=True)
    found = [recognizer.transcribe(SOUNDS, replace(options, return_timestamps=one)) for one in (False, "word")]
    texts = [[(one.text, [part.start for part in one.segments], one.warnings) for one in run] for run in found]
    assert texts[0] == texts[1]
    assert not any(one.words for one in found[0])
    assert any(one.words for one in found[1])


def test_times_are_ordered_and_within_the_recording(recognizer: WhisperRecognizer) -> None:
    for schedule in ("sequential", "batched"):
        for transcript in recognizer.transcribe(SOUNDS, replace(OPTIONS, schedule=schedule)):
            segments = [(one.start, one.end) for one in transcript.segments]
            words = [(one.start, one.end) for one in transcript.words]
            assert words
            for spans in (segments, words):
                assert all(0.0 <= start <= end <= transcript.duration for start, end in spans)
                assert all(before[1] <= after[0] for before, after in pairwise(spans))
            assert all(one.confidence is not None and 0 < one.confidence <= 1 for one in transcript.segments)
            assert all(0 < one.language_probability <= 1 for one in transcript.segments)


def test_every_search_runs_on_whole_recordings(recognizer: WhisperRecognizer) -> None:
    for changes in (
        {"n_beams": 4, "n_beam_groups": 2},
        {"penalty_alpha": 0.6, "top_k": 4, "temperature": 0.0},
        {"do_sample": True, "top_p": 0.9, "typical_p": 0.9, "temperature": 0.8},
        {"use_cache": False, "max_new_tokens": 6},
    ):
        options = replace(OPTIONS, schedule="batched", **changes)
        assert all(one.text for one in recognizer.transcribe(SOUNDS[:2], options))


def test_without_a_cache_the_text_is_the_same(recognizer: WhisperRecognizer) -> None:
    options = replace(OPTIONS, max_new_tokens=6)
    texts = [
        recognizer.transcribe(SOUNDS[1:2], replace(options, use_cache=use_cache))[0].text for use_cache in (True, False)
    ]
    assert texts[0] == texts[1] != ""
