"""Recordings for the tests, encoded on the spot with PyAV."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import pytest

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
TONES = ((440.0, 0.25), (1234.5, 0.15), (2900.0, 0.1))  # hertz and amplitude: all below 4 kHz, kept at 8 kHz


def tones(sample_rate: int, seconds: float) -> np.ndarray:
    """Three sines: known at every rate, so that resampling can be checked against the formula."""
    time = np.arange(round(sample_rate * seconds)) / sample_rate
    return sum(amplitude * np.sin(2 * np.pi * frequency * time) for frequency, amplitude in TONES)


def encode_samples(
    container: str,
    codec: str,
    *,
    sample_rate: int = 16000,
    channels: int = 1,
    seconds: float = 2.0,
    samples: np.ndarray | None = None,
    video: bool = False,
    options: dict[str, str] | None = None,
) -> bytes:
    """Encode `samples`, (samples,) or (samples, channels), or else `tones`, as one file."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=options or {}) as output:
        if video:
            pictures = output.add_stream("mpeg4", rate=10)
            pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        sound = output.add_stream(codec, rate=sample_rate)
        sound.codec_context.layout = LAYOUTS[channels]
        if video:
            for index in range(round(seconds * 10)):
                picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), index * 5, np.uint8), format="rgb24")
                picture.pts = index
                output.mux(pictures.encode(picture))
            output.mux(pictures.encode(None))
        values = tones(sample_rate, seconds) if samples is None else samples
        values = values[:, None].repeat(channels, 1) if values.ndim == 1 else values
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(values.T.astype(np.float32)), format="fltp", layout=LAYOUTS[channels]
        )
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, 0, Fraction(1, sample_rate)
        context = sound.codec_context
        converter = av.AudioResampler(context.format, context.layout, context.sample_rate)
        queue = av.AudioFifo()
        for piece in converter.resample(frame):
            queue.write(piece)
        while piece := queue.read(context.frame_size or 1024, partial=True):
            output.mux(sound.encode(piece))
        output.mux(sound.encode(None))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    return encode_samples


@pytest.fixture(scope="session")
def reference() -> Callable[[int, float], np.ndarray]:
    return tones


@pytest.fixture(scope="session")
def wav(encode: Callable[..., bytes]) -> bytes:
    """Two seconds of three tones: 16 kHz, mono, 16 bits."""
    return encode("wav", "pcm_s16le")
