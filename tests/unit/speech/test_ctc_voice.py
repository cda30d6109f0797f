"""CTC models on long recordings, divided by voice: every sample carries the id that its frame emits; 0 is silence."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.decoding.ctc import Token
from auricle.errors import OptionError
from auricle.results import Transcript
from auricle.speech.ctc import CTCOptions, CTCRecognizer
from auricle.speech.ctc_segments import without_invented
from auricle.speech.voice import Region
from auricle.text import CharacterTokenizer

ALPHABET = ["<pad>", "|", *"abcdefghijklmnopqrstuvwxyz"]
TOKENIZER = CharacterTokenizer({token: id for id, token in enumerate(ALPHABET)})
RATE, PER_FRAME, FRAME = 16000, 320, 512


class IdsAreVoice:
    """A detector that takes every frame with an id in it for voice; ids as negative numbers are noise to it."""

    def __init__(self, sample_rate: int) -> None:
        self.held = np.zeros(0, np.float32)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        self.held = np.concatenate((self.held, samples))
        n_frames = len(self.held) // FRAME
        frames, self.held = self.held[: n_frames * FRAME], self.held[n_frames * FRAME :]
        return np.where(frames.reshape(-1, FRAME).max(axis=1) > 0, 0.9, 0.0)

    def end(self) -> np.ndarray:
        return np.array([0.9 if self.held.max() > 0 else 0.0]) if len(self.held) else np.zeros(0)


@pytest.fixture(autouse=True)
def _detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.speech.stretches.VoiceProbabilities", IdsAreVoice)


class Samples:
    """Hands the samples on, padded."""

    sample_rate = RATE

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        values = torch.zeros(len(waveforms), int(lengths.max()))
        for row, waveform in zip(values, waveforms, strict=True):
            row[: len(waveform)] = torch.from_numpy(waveform.copy())
        return Features(values, lengths)


class ReadingEngine:
    """Emits the largest id of each frame; counts the samples it was given, and may be interrupted."""

    def __init__(self, sure: float = 0.9, most_calls: int | None = None) -> None:
        self.sure, self.most_calls = sure, most_calls
        self.calls: list[int] = []
        self.n_samples = 0

    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        if self.most_calls is not None and len(self.calls) >= self.most_calls:
            raise KeyboardInterrupt
        self.calls.append(len(features.values))
        self.n_samples += int(features.lengths.sum())
        lengths = (features.lengths - 400) // PER_FRAME + 1
        n_frames = int(lengths.max())
        frames = features.values[:, : n_frames * PER_FRAME].reshape(len(lengths), -1, PER_FRAME).abs()
        ids = frames.amax(dim=2).long()
        log_probs = torch.full((*ids.shape, len(ALPHABET)), (1 - self.sure) / (len(ALPHABET) - 1)).log()
        return log_probs.scatter(2, ids[..., None], float(np.log(self.sure))), lengths


class Recording:
    """Samples in blocks."""

    sample_rate, duration, name = RATE, None, "made"

    def __init__(self, samples: np.ndarray, block: int = 50_000) -> None:
        self.samples, self.block = samples, block

    def blocks(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.samples), self.block):
            yield self.samples[start : start + self.block]


class Notebook:
    """A journal that keeps JSON, as a file would."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def append(self, entry: dict[str, Any]) -> None:
        self.lines.append(json.dumps(entry))


def recognizer(**engine: Any) -> CTCRecognizer:
    return CTCRecognizer(ReadingEngine(**engine), Samples(), TOKENIZER, PER_FRAME)  # type: ignore[arg-type]


def written(text: str, noise: bool = False) -> np.ndarray:
    """Three frames for each letter and one of silence after it; as noise, the detector does not hear it."""
    ids: list[int] = []
    for letter in text:
        ids += [ALPHABET.index("|" if letter == " " else letter)] * 3 + [0]
    return np.repeat(np.array(ids, np.float32), PER_FRAME) * (-1 if noise else 1)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def babble(n_seconds: float, seed: int) -> np.ndarray:
    rng = random.Random(seed)
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < n_seconds * RATE:
        words = ["".join(rng.choices(ALPHABET[2:], k=rng.randint(1, 7))) for _ in range(rng.randint(1, 20))]
        parts += [written(" ".join(words)), silence(rng.choice([0.3, 1.0, 6.0]))]
    return np.concatenate(parts)


def hear(*samples: np.ndarray, options: CTCOptions | None = None, **engine: Any) -> list[Transcript]:
    return recognizer(**engine).transcribe([Recording(one) for one in samples], options or CTCOptions())  # type: ignore


def test_stretches_are_decoded_and_long_silences_told() -> None:
    samples = np.concatenate([silence(20), written("so it is"), silence(60), written("for all"), silence(0.9)])
    one = recognizer()
    [found] = one.transcribe([Recording(samples)], CTCOptions())  # type: ignore[list-item]
    assert found.text == "so it is for all"
    assert "".join(letter.text for part in found.segments for letter in part.characters) == found.text
    assert [part.text for part in found.segments] == ["so it is", "for all"]
    assert found.duration == len(samples) / RATE
    assert [(one.kind, round(one.start or 0, 1), round(one.end or 0, 1)) for one in found.warnings] == [
        ("skipped", 0.0, 19.8),
        ("skipped", 20.8, 80.4),
    ]
    assert one.engine.n_samples < 6 * RATE  # type: ignore[attr-defined]


def test_times_do_not_drift_in_seventy_minutes() -> None:
    """A word begins at a known sample, and is found within the frame that holds it."""
    rng = np.random.default_rng(0)
    n_samples, word = 70 * 60 * RATE, written("mark ")
    starts = np.cumsum(rng.integers(3 * RATE, 40 * RATE, 300))
    starts = starts[starts < n_samples - 2 * RATE]

    class Hour(Recording):
        def blocks(self) -> Iterator[np.ndarray]:
            for begin in range(0, n_samples, 480_000):
                block = np.zeros(480_000 + len(word), np.float32)
                for start in starts[(starts > begin - len(word)) & (starts < begin + 480_000)]:
                    offset = int(start) - begin
                    block[max(0, offset) : offset + len(word)] = word[max(0, -offset) :]
                yield block[:480_000]

    [found] = recognizer().transcribe([Hour(word)], CTCOptions(batch_size=8))  # type: ignore[list-item]
    assert found.duration == 4200.0
    assert len(found.words) == len(starts) > 150
    for heard, start in zip(found.words, starts.tolist(), strict=True):
        assert heard.text == "mark"
        assert abs(heard.start * RATE - start) <= PER_FRAME
        assert abs(heard.end * RATE - (start + 15 * PER_FRAME)) <= PER_FRAME
    ends = [0.0, *(part.end or 0.0 for part in found.segments)]
    assert all(end <= part.start for end, part in zip(ends, found.segments, strict=False))


def test_batches_of_windows_of_all_recordings_equal_singles() -> None:
    recordings = [babble(seconds, seed) for seed, seconds in enumerate((100, 5, 70, 31, 29))]
    singles = [hear(one)[0] for one in recordings]
    assert all(one.text for one in singles)
    for size in (1, 2, 8):
        one = recognizer()
        together = one.transcribe([Recording(part, 7777) for part in recordings], CTCOptions(batch_size=size))  # type: ignore
        assert together == singles
        assert min(size, 2) <= max(one.engine.calls) <= size  # type: ignore[attr-defined]


def test_detection_is_on_above_thirty_seconds_and_off_for_given_windows() -> None:
    for seconds, options, skips in (
        (31, CTCOptions(), True),
        (29, CTCOptions(), False),
        (29, CTCOptions(vad=True), True),
        (31, CTCOptions(vad=False), False),
        (31, CTCOptions(chunk_length_s=10), False),
        (31, CTCOptions(chunk_length_s=10, vad=True), True),
    ):
        [found] = hear(np.concatenate([written("so"), silence(seconds)]), options=options)
        assert found.text == "so"
        assert ("skipped" in [one.kind for one in found.warnings]) is skips


def test_a_given_window_bounds_stretches() -> None:
    one = recognizer()
    one.transcribe([Recording(written("abc " * 200))], CTCOptions(vad=True, chunk_length_s=5, batch_size=1))  # type: ignore
    assert one.engine.n_samples / len(one.engine.calls) <= 5 * RATE  # type: ignore[attr-defined]
    assert len(one.engine.calls) >= 13  # type: ignore[attr-defined]


class RoundingUpEngine(ReadingEngine):
    """Gives a frame to what is left over at the end, too, as models that pad their input do."""

    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        padded = torch.nn.functional.pad(features.values, (0, 400))
        log_probs, _ = super().ctc(Features(padded, features.lengths + 399))
        return log_probs, (features.lengths + PER_FRAME - 1) // PER_FRAME


def test_words_of_stretches_that_touch_do_not_overlap() -> None:
    one = recognizer()
    one.engine = RoundingUpEngine()
    samples = np.repeat(np.resize(np.array([2, 3, 4], np.float32), 3000), PER_FRAME)[: 3000 * PER_FRAME - 77]
    [found] = one.transcribe([Recording(samples)], CTCOptions(vad=True, chunk_length_s=5))  # type: ignore[list-item]
    assert len(found.words) > 10
    for before, after in zip(found.words, found.words[1:], strict=False):
        assert before.end <= after.start
    assert found.words[-1].end == found.duration


def test_unsure_words_without_voice_are_dropped_and_told() -> None:
    noise = written("uh ", noise=True)
    samples = np.concatenate([written("so it "), silence(2), noise, silence(1.5), written("is"), silence(30)])
    [found] = hear(samples, sure=0.52)
    assert found.text == "so it is"
    assert "".join(letter.text for part in found.segments for letter in part.characters) == found.text
    (dropped,) = [one for one in found.warnings if one.kind == "hallucination"]
    assert "'uh'" in dropped.message
    assert dropped.start == pytest.approx(0.48 + 2, abs=0.05)
    [found] = hear(samples, sure=0.9)
    assert found.text == "so it uh is"
    [found] = hear(samples, sure=0.52, options=CTCOptions(vad=False))
    assert found.text == "so it uh is"
    assert [one.kind for one in found.warnings] == []


def test_segments_told_while_a_recording_is_heard_leave_out_what_its_text_does() -> None:
    samples = np.concatenate(
        [written("so it "), silence(2), written("uh ", noise=True), silence(1.5), written("is"), silence(30)]
    )
    notebook, one = Notebook(), recognizer(sure=0.52)
    [found] = one.transcribe([Recording(samples)], CTCOptions(), journals=[notebook])  # type: ignore[list-item]
    told = [segment.text for entry in notebook.entries() for segment in one.heard(entry)]
    assert one.joint.join(told) == found.text == "so it is"


def test_short_noise_gives_no_text_if_the_decoder_is_unsure() -> None:
    noise = np.concatenate([silence(1), written("uh oh", noise=True), silence(1)])
    [found] = hear(noise, sure=0.52)
    assert (found.text, found.segments) == ("", ())
    (warning,) = found.warnings
    assert warning.kind == "no_speech"
    assert "'uh oh'" in warning.message
    assert hear(noise, sure=0.9)[0].text == "uh oh"
    assert hear(noise, sure=0.52, options=CTCOptions(vad=False))[0].text == "uh oh"


def test_segments_that_the_decoder_doubts_are_told() -> None:
    [found] = hear(np.concatenate([written("so"), silence(1), written("it")]), sure=0.45)
    assert found.text == "soit"
    (warning,) = found.warnings
    assert (warning.kind, warning.start, warning.end) == ("doubtful", found.segments[0].start, found.segments[-1].end)


def test_silence_alone_is_skipped_and_has_no_speech() -> None:
    one = recognizer()
    [found] = one.transcribe([Recording(silence(600))], CTCOptions())  # type: ignore[list-item]
    assert found.text == ""
    assert [warning.kind for warning in found.warnings] == ["skipped", "no_speech"]
    assert one.engine.calls == []  # type: ignore[attr-defined]


def test_words_next_to_dropped_ones_stay_apart() -> None:
    tokens = [Token(id, at, at + 1, 0.9 if at < 4 or at > 6 else 0.2) for at, id in enumerate([2, 3, 1, 4, 1, 5, 1, 6])]
    kept, dropped = without_invented(tokens, TOKENIZER, 1, [Region(0, 4), Region(7, 9)])
    assert TOKENIZER.decode([token.id for token in kept]) == "ab c e"
    assert [[token.id for token in run] for run in dropped] == [[5]]


@pytest.mark.parametrize("options", [CTCOptions(batch_size=3), CTCOptions(vad=False, batch_size=1)])
@pytest.mark.parametrize("most_calls", [0, 1, 3, 7])
def test_an_interrupted_run_goes_on_without_decoding_again(options: CTCOptions, most_calls: int) -> None:
    recordings = [Recording(babble(seconds, seed)) for seed, seconds in enumerate((250, 20, 180))]
    plain = recognizer()
    wanted = plain.transcribe(recordings, options)  # type: ignore[arg-type]
    notebooks = [Notebook() for _ in recordings]
    broken = recognizer(most_calls=most_calls)
    with pytest.raises(KeyboardInterrupt):
        broken.transcribe(recordings, options, journals=notebooks)  # type: ignore[arg-type]
    resumed = recognizer()
    assert resumed.transcribe(recordings, options, journals=notebooks) == wanted  # type: ignore[arg-type]
    again = plain.engine.n_samples - resumed.engine.n_samples  # type: ignore[attr-defined]
    # Frames that waited for a pause, without detection, are computed again: a minute and a window at most.
    waiting = 0 if options.vad is None else 95 * RATE
    assert again >= broken.engine.n_samples - waiting  # type: ignore[attr-defined]
    last = recognizer(most_calls=0)
    assert last.transcribe(recordings, options, journals=notebooks) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vad": True, "stride_length_s": 2.0}, r"stride_length_s=2\.0 has no effect with vad=True"),
        ({"vad": True, "chunk_length_s": 0.5}, r"chunk_length_s=0\.5 with vad=True"),
        ({"vad": False, "vad_threshold": 0.4}, r"vad_threshold=0\.4 has no effect with vad=False"),
        ({"chunk_length_s": 10, "min_silence_s": 1.0}, r"min_silence_s=1\.0 has no effect with chunk_length_s"),
        ({"vad_threshold": 2.0}, r"vad_threshold=2\.0"),
        ({"speech_pad_s": -1.0}, r"speech_pad_s=-1\.0; expected at least 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CTCOptions(**given)
