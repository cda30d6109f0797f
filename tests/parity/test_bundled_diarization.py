"""The bundled diarization on recordings that everyone has: one voice, another, and nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from auricle.audio.decode import load_audio
from auricle.pipelines import pipeline

SAMPLES = Path(__file__).parents[2] / "samples"
RATE = 16000


def test_two_voices_are_told_apart_and_noise_is_nobody() -> None:
    who = pipeline("speaker-diarization")
    assert who.diarizer.config.vad
    one, other = load_audio(SAMPLES / "jfk.flac"), load_audio(SAMPLES / "librispeech-1320-122612-0008.ogg")
    noise = 0.003 * np.random.default_rng(0).standard_normal(8 * RATE).astype(np.float32)
    heard = who(np.concatenate([one, noise, other]), num_speakers=2)
    assert len(heard["speakers"]) == 2
    first, second = len(one) / RATE, (len(one) + len(noise)) / RATE
    for turn in heard["turns"]:
        assert turn["end"] < first + 0.5 or turn["start"] > second - 0.5
        assert turn["speaker"] == heard["speakers"][int(turn["start"] > first)]
