"""Making one recording into many: on waveforms before features are stored, and on features in every step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor


def change_speed(waveform: np.ndarray, factor: float, sample_rate: int) -> np.ndarray:
    """Play `factor` times as fast, pitch included: (samples,) to about (samples / factor,)."""
    return soxr.resample(waveform, sample_rate, sample_rate / factor).astype(np.float32)


def add_noise(waveform: np.ndarray, noise: np.ndarray, ratio_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add a random stretch of `noise`, repeated if short, `ratio_db` decibels under the speech."""
    start = int(rng.integers(0, len(noise)))
    stretch = np.resize(np.roll(noise, -start), len(waveform))
    power = float(np.mean(waveform**2)) + 1e-10
    noise_power = float(np.mean(stretch**2)) + 1e-10
    gain = np.sqrt(power / noise_power * 10 ** (-ratio_db / 10))
    return (waveform + gain * stretch).astype(np.float32)


def place_in_room(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve with a room's impulse response, keeping length, onset and loudness."""
    onset = int(np.argmax(np.abs(response)))
    size = 1 << (len(waveform) + len(response) - 1).bit_length()
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(response, size)
    wet = np.fft.irfft(spectrum, size)[onset : onset + len(waveform)]
    loudness = np.sqrt((np.mean(waveform**2) + 1e-10) / (np.mean(wet**2) + 1e-10))
    return (wet * loudness).astype(np.float32)


def made_up_room(rng: np.random.Generator, sample_rate: int) -> np.ndarray:
    """An impulse response of exponentially decaying noise with 0.1 to 0.6 s to fall by 60 dB."""
    decay = rng.uniform(0.1, 0.6)
    time = np.arange(int(decay * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    tail[0] = rng.uniform(2.0, 12.0)  # the direct sound
    return tail.astype(np.float32)


def disturb(
    waveform: np.ndarray, noises: Sequence[np.ndarray], rooms: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Place in a room half of the time and add noise, 5 to 30 dB under the speech, two times out of three."""
    if rng.random() < 0.5:
        room = rooms[int(rng.integers(len(rooms)))] if rooms and rng.random() < 0.5 else made_up_room(rng, 16000)
        waveform = place_in_room(waveform, room)
    if rng.random() < 0.67:
        noise = noises[int(rng.integers(len(noises)))] if noises else rng.standard_normal(16000).astype(np.float32)
        waveform = add_noise(waveform, noise, rng.uniform(5.0, 30.0), rng)
    return waveform


def stretch_and_warp(features: Tensor, longest: int, generator: torch.Generator) -> Tensor:
    """Stretch time by up to 12 % and shift formants by up to 12 %: (T, M) to (T', M), T' at most `longest`."""
    time, warp = (0.88 + 0.24 * torch.rand(2, generator=generator)).tolist()
    n_frames, n_mels = features.shape
    size = (max(1, min(longest, round(n_frames * time))), round(n_mels * warp))
    resized = F.interpolate(features[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    if size[1] >= n_mels:
        return resized[:, :n_mels]
    floor = resized[:, -4:].mean(1, keepdim=True).expand(-1, n_mels - size[1])
    return torch.cat([resized, floor], dim=1)


def mask_spectrum(features: Tensor, generator: torch.Generator) -> Tensor:
    """Blank two bands of up to 22 bins and one span of up to 0.3 s in every 1.5 s: (T, M), changed in place.

    Source: SpecAugment (arXiv 1904.08779); the number of time masks grows with length as in arXiv 1912.05533.
    """
    n_frames, n_mels = features.shape
    for _ in range(2):
        width = int(torch.randint(0, 23, (1,), generator=generator))
        start = int(torch.randint(0, n_mels - width, (1,), generator=generator))
        features[:, start : start + width] = 0.0
    for _ in range(max(1, n_frames // 150)):
        width = int(torch.randint(0, 31, (1,), generator=generator))
        start = int(torch.randint(0, max(1, n_frames - width), (1,), generator=generator))
        features[start : start + width] = 0.0
    return features
