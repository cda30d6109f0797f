"""Channels and provenance through the pipeline, with a recognizer that says the level of what it hears."""

from __future__ import annotations

import hashlib
import io
import logging
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import auricle
from auricle.engines.cpu.linear import best_arithmetic
from auricle.engines.cpu.native_library import cpu_flags
from auricle.errors import AudioInputError, OptionError
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
from auricle.pipelines.dialects import CTC, SEQ2SEQ, WHISPER
from auricle.pipelines.provenance import ModelIdentity, folder_digest
from auricle.pipelines.speech_parameters import Dialect, read_speech_parameters
from auricle.results import Segment, Transcript, Warning, Word

RATE = 16000


@dataclass(frozen=True)
class FakeOptions:
    phrases: tuple[str, ...] = ("a",)
    path: Path | None = None


FAKE = Dialect("a fake", FakeOptions, {"phrases": "phrases"}, {}, {None: None, "word": "word"})


class Levels:
    """Says, for each second with sound, that sound's level in hundredths."""

    def __init__(self, warnings: tuple[Warning, ...] = ()) -> None:
        self.rows: list[int] = []
        self.warnings = warnings

    def transcribe(
        self, audios: Any, options: Any, progress: Callable[[float], None] | None = None
    ) -> list[Transcript]:
        self.rows.append(len(audios))
        found = []
        for audio in audios:
            samples = audio.read()
            segments = []
            for second in range(len(samples) // RATE):
                level = round(100 * float(np.abs(samples[second * RATE : (second + 1) * RATE]).max()))
                if level:
                    word = Word(f"{level}", float(second), second + 0.9, 0.5)
                    segments.append(Segment(word.text, word.start, word.end, (word,), confidence=0.5))
            text = " ".join(one.text for one in segments)
            found.append(Transcript(text, tuple(segments), duration=len(samples) / RATE, warnings=self.warnings))
            if progress is not None:
                progress(sum(one.duration or 0.0 for one in found))
        return found


@pytest.fixture
def recognizer() -> Levels:
    return Levels()


@pytest.fixture
def pipe(recognizer: Levels) -> AutomaticSpeechRecognitionPipeline:
    return AutomaticSpeechRecognitionPipeline(recognizer, FAKE, name="me/fake")


def call() -> np.ndarray:
    """A call of four seconds: 10 and 30 on the left, 50 on the right, then both at once: (2, 64000)."""
    left = np.repeat([0.1, 0.0, 0.3, 0.2], RATE)
    right = np.repeat([0.0, 0.5, 0.0, 0.6], RATE)
    return np.stack([left, right]).astype(np.float32)


def wav_bytes(samples: np.ndarray) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples.T * 32767).astype("<i2").tobytes())
    return written.getvalue()


def test_split_call_is_one_transcript_in_the_order_of_speech(pipe: Any) -> None:
    (found,) = pipe.transcripts([call()], channels="split")
    assert found.text == "10\n50\n30 20\n60"
    assert [(one.channel, one.text) for one in found.segments] == [
        (0, "10"),
        (1, "50"),
        (0, "30"),
        (0, "20"),
        (1, "60"),
    ]
    assert found.duration == 4.0


def test_every_kind_of_recording_can_be_split(pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = wav_bytes(call())
    (tmp_path / "a.wav").write_bytes(content)
    stdin = SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)
    for source in (str(tmp_path / "a.wav"), content, io.BytesIO(content), "-", call(), call().T,
                   torch.from_numpy(call()), {"array": call(), "sampling_rate": RATE, "id": 1}):  # fmt: skip
        assert pipe(source, channels="split")["text"] == "10\n50\n30 20\n60"


def test_chunks_carry_their_channel_with_and_without_times(pipe: Any) -> None:
    chunks = pipe(call(), channels="split", return_timestamps="word")["chunks"]
    assert chunks[1] == {"channel": 1, "text": "50", "timestamp": (1.0, 1.9)}
    assert pipe(call(), channels="split")["chunks"][0] == {"channel": 0, "text": "10"}
    assert "chunks" not in pipe(call())


def test_channels_of_a_recording_are_rows_of_one_batch(pipe: Any, recognizer: Levels) -> None:
    mono, stereo = call()[0], call()
    texts = [one["text"] for one in pipe([stereo, mono, stereo], channels="split", batch_size=2)]
    assert recognizer.rows == [3, 2]
    assert texts == ["10\n50\n30 20\n60", "10 30 20", "10\n50\n30 20\n60"]


def test_progress_of_split_recordings_is_in_seconds_of_the_recording(pipe: Any) -> None:
    heard: list[float] = []
    list(pipe.transcripts([call(), call()], channels="split", progress=heard.append))
    assert heard == [2.0, 4.0, 4.0, 6.0, 8.0, 8.0]


def test_mix_is_the_default_and_an_index_hears_one_channel(pipe: Any) -> None:
    assert pipe(call()) == pipe(call(), channels="mix") == {"text": "5 25 15 40"}
    assert pipe(call(), channels=0) == {"text": "10 30 20"}
    assert pipe(call(), channels=1) == {"text": "50 60"}


def test_channel_that_is_not_there_is_refused_for_that_recording(pipe: Any) -> None:
    with pytest.raises(AudioInputError, match=r"channel 2 .* which has 2"):
        pipe(call(), channels=2)
    results = pipe([call()[0], call()], channels=1, on_error="return")
    assert results[0]["error_type"] == "AudioInputError"
    assert "which has 1, counted from 0" in results[0]["error"]
    assert results[1] == {"text": "50 60"}


@pytest.mark.parametrize("value", ["left", -1, True, 1.0, [0]])
def test_other_values_of_channels_are_refused_at_once(pipe: Any, value: Any) -> None:
    with pytest.raises(OptionError, match="channels="):
        pipe("absent.wav", channels=value)


def test_equal_channels_are_transcribed_once_with_a_warning(pipe: Any, recognizer: Levels) -> None:
    (found,) = pipe.transcripts([np.stack([call()[0]] * 2)], channels="split")
    assert recognizer.rows == [1]
    assert found.text == "10 30 20"
    assert found.warnings[0].kind == "recording"
    assert "same samples" in found.warnings[0].message


def test_whisper_times_words_where_channels_are_split_and_chunks_are_as_asked() -> None:
    request = read_speech_parameters({"channels": "split"}, WHISPER)
    assert (request.options.return_timestamps, request.times) == ("word", None)
    assert read_speech_parameters({"channels": 1}, WHISPER).options.return_timestamps is False
    for dialect in (CTC, SEQ2SEQ):
        assert read_speech_parameters({"channels": "split"}, dialect).channels == "split"


# Provenance


def test_provenance_says_what_made_the_transcript(recognizer: Levels) -> None:
    identity = ModelIdentity("me/fake", commit="c" * 40, adapter="fra", engine="reference", dtype="float32")
    pipe = AutomaticSpeechRecognitionPipeline(recognizer, FAKE, identity=identity)
    content = wav_bytes(call())
    (found,) = pipe.transcripts([content], phrases=["one", "two"], channels=1)
    made = found.provenance
    assert made is not None
    assert (made.model, made.revision, made.engine, made.device, made.dtype) == (
        "me/fake", "c" * 40, "reference", "cpu", "float32")  # fmt: skip
    assert made.auricle_version == auricle.__version__
    assert made.torch_version == torch.__version__
    assert made.options == {"phrases": ["one", "two"], "path": None, "channels": 1, "target_lang": "fra"}
    assert made.audio_sha256 == hashlib.sha256(content).hexdigest()


def test_digest_of_samples_is_of_float32_and_that_of_files_of_their_bytes(pipe: Any, tmp_path: Path) -> None:
    content = wav_bytes(call())
    (tmp_path / "a.wav").write_bytes(content)
    sources = [str(tmp_path / "a.wav"), content, io.BytesIO(content), call()[0], torch.from_numpy(call()[0])]
    digests = [one.provenance.audio_sha256 for one in pipe.transcripts(sources)]
    of_bytes, of_samples = hashlib.sha256(content).hexdigest(), hashlib.sha256(call()[0].tobytes()).hexdigest()
    assert digests == [of_bytes] * 3 + [of_samples] * 2


def test_digest_of_a_folder_changes_with_any_of_its_weights_or_settings(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).integers(0, 256, 3 << 20, np.uint8)
    (tmp_path / "model.safetensors").write_bytes(weights.tobytes())
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "notes.md").write_text("anything")
    first = folder_digest(tmp_path)
    assert first.startswith("sha256:")
    (tmp_path / "notes.md").write_text("something else")
    assert folder_digest(tmp_path) == first
    (tmp_path / "config.json").write_text("{ }")
    second = folder_digest(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((weights + 1).tobytes())
    third = folder_digest(tmp_path)
    (tmp_path / "language_model").mkdir()
    (tmp_path / "language_model" / "words.arpa").write_text("\\data\\")
    assert len({first, second, third, folder_digest(tmp_path)}) == 4


def test_digest_of_several_folders_is_that_of_all_their_files(tmp_path: Path) -> None:
    base, lora = tmp_path / "base", tmp_path / "lora"
    for folder, text in ((base, "{}"), (lora, "{ }")):
        folder.mkdir()
        (folder / "config.json").write_text(text)
    identity = ModelIdentity("tuned", folder=base, lora=lora)
    before = identity.revision
    assert len({before, folder_digest(base), folder_digest(lora)}) == 3
    (lora / "config.json").write_text("{  }")
    assert ModelIdentity("tuned", folder=base, lora=lora).revision != before


def test_options_name_the_models_own_language_model_within_its_folder() -> None:
    pipe: Any = auricle.pipeline(model="bundled", device="cpu")
    (transcript,) = pipe.transcripts([np.zeros(8000, np.float32)])
    assert transcript.provenance.options["own_lm"] == "language_model/words.safetensors"


def test_pipeline_of_a_folder_knows_its_model(tmp_path: Path) -> None:
    pipe = auricle.pipeline(model="bundled", device="cpu", engine="reference")
    identity = pipe.identity  # type: ignore[attr-defined]
    assert (identity.name, identity.engine, identity.device, identity.dtype) == (
        "bundled",
        "reference",
        "cpu",
        "float32",
    )
    assert identity.revision.startswith("sha256:")


def test_clipped_samples_are_told_with_their_times_for_every_channel(pipe: Any) -> None:
    clipped = call()
    clipped[1, 20000:24000] = np.clip(2 * np.sin(np.arange(4000) / 5), -1, 1)
    (found,) = pipe.transcripts([clipped], channels="split")
    (warning,) = found.warnings
    assert warning.kind == "clipped"
    assert warning.message.startswith("channel 1: ")
    assert (warning.start, warning.end) == (pytest.approx(1.25, abs=0.01), pytest.approx(1.5, abs=0.01))


# What callers of the plain dictionary are told


def test_what_was_dropped_is_logged_for_those_who_get_text_alone(caplog: pytest.LogCaptureFixture) -> None:
    warnings = (Warning("hallucination", "text was dropped", 3.0, 5.5), Warning("skipped", "no voice", 6.0, 9.0),
                Warning("recording", "cut off"))  # fmt: skip
    pipe = AutomaticSpeechRecognitionPipeline(Levels(warnings), FAKE)
    with caplog.at_level(logging.WARNING, logger="auricle"):
        pipe(call())
    assert [one.getMessage() for one in caplog.records] == [
        "hallucination from 3.0 to 5.5 s: text was dropped",
        "recording: cut off",
    ]
    caplog.clear()
    list(pipe.transcripts([call()]))
    assert caplog.records == []


def test_pipeline_tells_the_arithmetic_that_it_chose() -> None:
    pipe = auricle.pipeline(model="bundled", device="cpu")
    identity = pipe.identity  # type: ignore[attr-defined]
    assert (identity.engine, identity.dtype) == ("cpu", best_arithmetic(cpu_flags(), "ctc"))
