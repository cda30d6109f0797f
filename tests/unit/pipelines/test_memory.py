"""A quarter of an hour through the pipeline holds no more than a few minutes do, but for the text."""

from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.audio.waveform import WaveformFeatures
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
from auricle.pipelines.dialects import CTC
from auricle.speech.ctc import CTCRecognizer
from auricle.text.characters import CharacterTokenizer

RATE = 16000
SAMPLES_PER_FRAME = 320
HEADER_BYTES = 44
MINUTES = 15
ALLOWED_BYTES = 3_000_000  # a second of audio is 64 kB as float32; a quarter of an hour is 57 MB


class MadeUp(io.RawIOBase):
    """A WAV file whose samples are made when they are read: a loud second, a quiet second."""

    def __init__(self, seconds: int) -> None:
        n_bytes = 2 * RATE * seconds
        self.header = b"RIFF" + (n_bytes + 36).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
        self.header += b"\1\0\1\0" + RATE.to_bytes(4, "little") + (2 * RATE).to_bytes(4, "little") + b"\2\0\x10\0data"
        self.header += n_bytes.to_bytes(4, "little")
        self.size, self.place = HEADER_BYTES + n_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self.place, os.SEEK_END: self.size}[whence]
        return self.place

    def read(self, size: int = -1) -> bytes:
        end = min(self.size, self.place + size)
        start, self.place = self.place, max(self.place, end)
        if start < HEADER_BYTES:
            self.place = min(end, HEADER_BYTES)
            return self.header[start : self.place]
        at = np.arange((start - HEADER_BYTES) // 2, (end - HEADER_BYTES + 1) // 2)
        values = np.where(at // RATE % 2, 100, 10_000) * (1 - 2 * (at % 2))
        skipped = (start - HEADER_BYTES) % 2
        return values.astype("<i2").tobytes()[skipped : skipped + end - start]


class Loudness:
    """A model that hears "A" in loud frames and a space in quiet ones."""

    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        values = features.values  # (B, S)
        n_frames = values.shape[1] // SAMPLES_PER_FRAME
        loud = values[:, : n_frames * SAMPLES_PER_FRAME].unflatten(1, (n_frames, SAMPLES_PER_FRAME)).abs().mean(2) > 0.1
        log_probs = torch.full((*loud.shape, 4), -10.0)
        log_probs[..., 2] = torch.where(loud, -10.0, 0.0)
        log_probs[..., 3] = torch.where(loud, 0.0, -10.0)
        return log_probs, features.lengths // SAMPLES_PER_FRAME


@pytest.fixture
def pipe(tmp_path: Path) -> AutomaticSpeechRecognitionPipeline:
    (tmp_path / "vocab.json").write_text('{"<pad>": 0, "<unk>": 1, "|": 2, "A": 3}')
    tokenizer = CharacterTokenizer.from_folder(tmp_path)
    features = WaveformFeatures(do_normalize=False)
    return AutomaticSpeechRecognitionPipeline(CTCRecognizer(Loudness(), features, tokenizer, SAMPLES_PER_FRAME), CTC)


def test_a_quarter_of_an_hour_is_transcribed_in_flat_memory(pipe: Any, tmp_path: Path) -> None:
    peaks: list[tuple[float, int]] = []

    def note(seconds: float) -> None:
        peaks.append((seconds, tracemalloc.get_traced_memory()[1]))
        tracemalloc.reset_peak()

    tracemalloc.start()
    try:
        sources = [MadeUp(60 * MINUTES)]
        (found,) = pipe.transcripts(sources, progress=note, resume=tmp_path / "journal.jsonl", vad=False)
        peaks.append((found.duration, tracemalloc.get_traced_memory()[1]))  # of joining the text
    finally:
        tracemalloc.stop()
    assert found.text.split() == ["A"] * 30 * MINUTES
    early = max(peak for seconds, peak in peaks if seconds <= 180.0)
    assert max(peak for _, peak in peaks) < early + ALLOWED_BYTES
