"""Log-mel features of the `parakeet` family: pre-emphasis, 25 ms windows, per-recording normalisation of each bin.

Source: the NeMo preprocessor's defaults as kept by the checkpoints' preprocessor_config.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auricle.audio.features import Features, check_numbers
from auricle.audio.mel import slaney_filters
from auricle.errors import ConfigError, nearest

# Added to the power before the logarithm, and to the deviation before dividing.
LOG_GUARD = 2.0**-24
DEVIATION_GUARD = 1e-5

_BOOKKEEPING = {
    "feature_extractor_type",
    "processor_class",
    "padding_side",
    "padding_value",
    "return_attention_mask",
    "do_normalize",
}


class ParakeetFeatures:
    """Waveforms to (B, T, n_mels) normalised log-mel energies."""

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16000,
        hop_length: int = 160,
        n_fft: int = 512,
        win_length: int = 400,
        preemphasis: float | None = 0.97,
    ) -> None:
        self.sample_rate = sampling_rate
        self.hop_samples = hop_length
        self.n_fft = n_fft
        self.window = torch.hann_window(win_length, periodic=False)
        self.preemphasis = preemphasis or 0.0
        self.filters = slaney_filters(feature_size, n_fft, sampling_rate)  # (n_mels, n_fft // 2 + 1)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ParakeetFeatures:
        """Build from preprocessor_config.json.

        Raises:
            ConfigError: for a key that is not one of the feature's own, or a value that it cannot have.
        """
        known = ("feature_size", "sampling_rate", "hop_length", "n_fft", "win_length", "preemphasis")
        for key in config:
            if key not in known and key not in _BOOKKEEPING:
                raise ConfigError(
                    f"preprocessor_config.json has the unknown key {key!r}; "
                    f"expected {', '.join(known)}{nearest(key, known)}"
                )
        check_numbers(config, known[:-1], () if config.get("preemphasis") is None else known[-1:])
        return cls(**{key: config[key] for key in known if key in config})

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        """Mono float32 waveforms to features; rows shorter than the longest end in zeros."""
        rows = [self.normalize(self.log_mel(torch.from_numpy(np.ascontiguousarray(w)))) for w in waveforms]
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        return Features(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """One waveform (samples,) to (samples // hop, n_mels) log energies, before normalisation."""
        n_frames = waveform.shape[0] // self.hop_samples
        if n_frames == 0:
            return torch.zeros(0, self.filters.shape[0])
        emphasised = torch.cat([waveform[:1], waveform[1:] - self.preemphasis * waveform[:-1]])
        spectrum = torch.stft(
            emphasised.float(),
            self.n_fft,
            self.hop_samples,
            self.window.shape[0],
            self.window,
            pad_mode="constant",
            return_complex=True,
        )  # (n_fft // 2 + 1, frames + 1)
        power = spectrum.real.square() + spectrum.imag.square()
        return (self.filters @ power + LOG_GUARD).log().T[:n_frames]

    @staticmethod
    def normalize(features: Tensor) -> Tensor:
        """(T, n_mels) with zero mean and unit deviation over time in every bin; one frame is only centred."""
        n_frames = features.shape[0]
        if n_frames == 0:
            return features
        centred = features - features.mean(0)
        deviation = (centred.square().sum(0) / max(n_frames - 1, 1)).sqrt()
        return centred / (deviation + DEVIATION_GUARD)
