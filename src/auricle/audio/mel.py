"""The mel scale and filter banks that more than one family uses."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, 66.67 Hz a mel, logarithmic above it.
_LINEAR_HZ_PER_MEL = 200.0 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def hz_to_mel(frequency: np.ndarray) -> np.ndarray:
    """Hertz to Slaney mels."""
    linear = frequency / _LINEAR_HZ_PER_MEL
    logarithmic = _BREAK_MEL + np.log(np.maximum(frequency, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(frequency < _BREAK_HZ, linear, logarithmic)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Slaney mels to hertz."""
    linear = mel * _LINEAR_HZ_PER_MEL
    logarithmic = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mel < _BREAK_MEL, linear, logarithmic)


def slaney_filters(n_mels: int, n_fft: int, sample_rate: int) -> Tensor:
    """Triangular filters of unit area from 0 Hz to half the sample rate, (n_mels, n_fft // 2 + 1) float32."""
    edges = mel_to_hz(np.linspace(0.0, hz_to_mel(np.array(sample_rate / 2.0)), n_mels + 2))  # (n_mels + 2,)
    bins = np.linspace(0.0, sample_rate / 2.0, n_fft // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    return torch.from_numpy(triangles.astype(np.float32))
