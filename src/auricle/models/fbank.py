"""Log-mel energies as Kaldi computes them, 25 ms windows every 10 ms; each frame depends on its own samples alone.

Source: Kaldi's feature-window.cc, mel-computations.cc and feature-fbank.cc, without dither and with edges snipped.

Dimension key: B batch, N samples, T frames, W samples of a window, M mels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PREEMPHASIS = 0.97
LOWEST_HZ = 20.0
LEAST_ENERGY = float(torch.finfo(torch.float32).eps)


class Fbank(nn.Module):
    """Waveforms to log-mel energies; it has no weights."""

    window: Tensor
    filters: Tensor

    def __init__(self, n_mels: int, sample_rate: int, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.window_samples, self.hop_samples = window_samples, hop_samples
        self.n_fft = 1 << (window_samples - 1).bit_length()
        window = torch.hamming_window(window_samples, periodic=False)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", mel_filters(n_mels, self.n_fft, sample_rate), persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Frames of so many samples; what is left at the end is not heard."""
        return max(0, (n_samples - self.window_samples) // self.hop_samples + 1)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, T, M) of waveforms (B, N) of at least one window."""
        frames = waveforms.unfold(1, self.window_samples, self.hop_samples)  # (B, T, W)
        frames = frames - frames.mean(2, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], 2)
        frames = (frames - PREEMPHASIS * before) * self.window
        spectrum = torch.fft.rfft(F.pad(frames, (0, self.n_fft - self.window_samples)))
        power = spectrum.real.square() + spectrum.imag.square()  # (B, T, n_fft / 2 + 1)
        return (power @ self.filters).clamp(min=LEAST_ENERGY).log()


def mel_filters(n_mels: int, n_fft: int, sample_rate: int) -> Tensor:
    """Triangles of height one on Kaldi's mel scale, (n_fft / 2 + 1, M); the highest bin is in none of them."""
    low, high = (1127.0 * math.log(1 + hertz / 700) for hertz in (LOWEST_HZ, sample_rate / 2))
    width = (high - low) / (n_mels + 1)
    left = low + width * torch.arange(n_mels)
    bins = 1127.0 * (1 + torch.arange(n_fft // 2) * (sample_rate / n_fft) / 700).log()[:, None]
    rising, falling = (bins - left) / width, (left + 2 * width - bins) / width
    return F.pad(torch.minimum(rising, falling).clamp(min=0), (0, 0, 0, 1))
