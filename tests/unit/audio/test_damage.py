"""Bytes damaged at random are decoded or refused, quickly and within bounds; nothing else may happen."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest

from auricle.audio.decode import AudioLimits, load_audio
from auricle.errors import AudioError

N_ROUNDS = 60
SECONDS_EACH = 5.0  # far above the few milliseconds that are normal, far below what feels like a hang
LIMITS = AudioLimits(max_read_duration=4000.0)  # an hour of filled silence and the recording itself


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip, overwrite, cut out, double or cut off some bytes, mostly near the header."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(5)
        end = min(len(data), 400) if rng.random() < 0.6 else len(data)
        start = int(rng.integers(0, max(1, end)))
        size = int(rng.integers(1, 40))
        if kind == 0:
            for index in rng.integers(0, max(1, end), size):
                data[index % max(1, len(data))] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            data[start : start + size] = rng.choice([b"\0", b"\xff", b"\x7f"]) * size
        elif kind == 2:
            del data[start : start + size]
        elif kind == 3:
            data[start:start] = data[start : start + size * 10]
        else:
            del data[int(rng.integers(1, len(data) + 1)) :]
        if not data:
            return b""
    return bytes(data)


@pytest.mark.parametrize(
    ("container", "codec", "sample_rate", "video"),
    [
        ("wav", "pcm_s16le", 16000, False),
        ("wav", "pcm_f32le", 8000, False),
        ("flac", "flac", 16000, False),
        ("mp3", "libmp3lame", 44100, False),
        ("ogg", "libopus", 48000, False),
        ("webm", "libopus", 48000, False),
        ("ipod", "aac", 44100, False),
        ("mp4", "aac", 44100, True),
        ("matroska", "libopus", 48000, True),
        ("aiff", "pcm_s16be", 16000, False),
    ],
)
def test_damaged_files_decode_or_are_refused(encode, container, codec, sample_rate, video, capfd):
    whole = encode(container, codec, sample_rate=sample_rate, seconds=0.5, video=video)
    seed = sum(map(ord, container + codec))
    for index in range(N_ROUNDS):
        content = damage(whole, np.random.default_rng((seed, index)))
        started = time.monotonic()
        with contextlib.suppress(AudioError):
            samples = load_audio(content, limits=LIMITS)
            assert samples.size
            assert np.isfinite(samples).all()
        assert time.monotonic() - started < SECONDS_EACH, (seed, index)
    assert capfd.readouterr() == ("", "")
