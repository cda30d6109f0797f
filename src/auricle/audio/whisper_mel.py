"""Log-mel features of the `whisper` family: one window of fixed length, 25 ms frames, the loudest 80 dB kept.

Paper: arXiv 2212.04356, section 2.2. The floor, the range and the scaling are the constants of openai/whisper
`audio.py`, `log_mel_spectrogram`; they are part of what the weights were trained on.

Dimension key: `B` windows, `F` frames of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auricle.audio.features import Features, check_numbers
from auricle.audio.mel import slaney_filters
from auricle.errors import AudioInputError, AudioTooLargeError, ConfigError, nearest

POWER_FLOOR = 1e-10  # energy below which a bin counts as silent: -100 dB
RANGE_BELS = 8.0  # what lies further below the window's loudest bin is raised to there
OFFSET_BELS = 4.0  # (bels + 4) / 4 brings speech to about -1 … 1
SCALE_BELS = 4.0

# The filters end at 8 kHz: any other rate would place them elsewhere than the weights expect.
SAMPLE_RATE = 16_000

_SETTINGS = ("feature_size", "sampling_rate", "hop_length", "chunk_length", "n_fft", "padding_value")
# Derived from the settings (older files carry the filters themselves), or about objects of other libraries.
_BOOKKEEPING = frozenset(
    {
        "feature_extractor_type",
        "processor_class",
        "image_processor_type",
        "return_attention_mask",
        "mel_filters",
        "n_samples",
        "nb_max_frames",
    }
)
# Settings that this family's checkpoints never use otherwise: any other value would change the features.
_FIXED: dict[str, Any] = {
    "sampling_rate": SAMPLE_RATE,
    "dither": 0.0,
    "padding_side": "right",
    "do_normalize": False,
}


class WhisperFeatures:
    """Waveforms to (B, n_mels, F) log-mel windows, each computed from its own samples alone."""

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = SAMPLE_RATE,
        hop_length: int = 160,
        chunk_length: int = 30,
        n_fft: int = 400,
        padding_value: float = 0.0,
    ) -> None:
        self.sample_rate = sampling_rate
        self.hop_samples = hop_length
        self.window_samples = chunk_length * sampling_rate  # chunk_length is in seconds
        self.window_frames = self.window_samples // hop_length
        self.n_fft = n_fft
        self.padding_value = padding_value
        self.taper = torch.hann_window(n_fft)
        self.filters = slaney_filters(feature_size, n_fft, sampling_rate)  # (n_mels, n_fft // 2 + 1)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WhisperFeatures:
        """Build from preprocessor_config.json.

        Raises:
            ConfigError: for an unknown key, or a value that these features do not have.
        """
        known = (*_SETTINGS, *_FIXED)
        for key, value in config.items():
            if key not in known and key not in _BOOKKEEPING:
                raise ConfigError(
                    f"preprocessor_config.json has the unknown key {key!r}; "
                    f"expected {', '.join(known)}{nearest(key, known)}"
                )
            if key in _FIXED and value is not None and value != _FIXED[key]:
                raise ConfigError(
                    f"preprocessor_config.json: {key} is {value!r}; Whisper features are computed with "
                    f"{_FIXED[key]!r} only, and cannot give what this checkpoint was trained on"
                )
        check_numbers(config, _SETTINGS[:-1], _SETTINGS[-1:])
        return cls(**{key: config[key] for key in _SETTINGS if key in config})

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        """Mono float32 waveforms of at most one window each; `lengths` counts the frames that begin in sound.

        Raises:
            AudioInputError: if there is no waveform, or one is not one-dimensional.
            AudioTooLargeError: if a waveform is longer than one window.
        """
        if not len(waveforms):
            raise AudioInputError("0 waveforms arrived; expected at least 1")
        for waveform in waveforms:
            if waveform.ndim != 1:
                raise AudioInputError(f"a waveform of shape {waveform.shape} arrived; expected (samples,), mono")
            if len(waveform) > self.window_samples:
                raise AudioTooLargeError(
                    f"a waveform of {len(waveform) / self.sample_rate:.2f} s was given to features that take "
                    f"windows of {self.window_samples / self.sample_rate:g} s; cut it into windows first, or "
                    "transcribe it with the long-form loop, which does"
                )
        values = torch.stack([self.window(waveform) for waveform in waveforms])  # (B, n_mels, F)
        lengths = [-(-len(waveform) // self.hop_samples) for waveform in waveforms]
        return Features(values, torch.tensor(lengths, dtype=torch.int64))

    def window(self, samples: np.ndarray) -> Tensor:
        """One window, (n_mels, F): padded at its end, or cut, to the family's length."""
        waveform = torch.full((self.window_samples,), self.padding_value)
        n_samples = min(len(samples), self.window_samples)
        waveform[:n_samples] = torch.from_numpy(np.array(samples[:n_samples], dtype=np.float32))
        spectrum = torch.stft(waveform, self.n_fft, self.hop_samples, window=self.taper, return_complex=True)
        # The last frame is centred on the first sample after the window and is left out.
        spectrum = spectrum[:, : self.window_frames]  # (n_fft // 2 + 1, F)
        # Through the magnitude, as openai/whisper does: trained encoders enlarge a rounding 4000 times.
        power = spectrum.abs().square()
        bels = (self.filters @ power).clamp(min=POWER_FLOOR).log10()  # (n_mels, F)
        return (bels.clamp(min=bels.max() - RANGE_BELS) + OFFSET_BELS) / SCALE_BELS


class WhisperFrames(WhisperFeatures):
    """The same features of a recording and a few seconds of the silence after it, (B, F, n_mels).

    For encoders that hear recordings of any length up to a window (models/whisper_ctc.py). `lengths` counts a row's
    frames without the silence, which is there as far as the window goes.
    """

    silence_frames = 300  # the model's own default

    @property
    def longest_s(self) -> float:
        """Seconds that a recording may last."""
        return self.window_samples / self.sample_rate

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        """Mono float32 waveforms of at most one window each; beyond their silence rows end in zeros.

        Raises:
            AudioInputError: if there is no waveform, or one is not one-dimensional.
            AudioTooLargeError: if a waveform is longer than one window.
        """
        windows = super().__call__(waveforms)
        heard = (windows.lengths + self.silence_frames).clamp(max=self.window_frames)  # (B,)
        longest = int(heard.max())
        values = windows.values[:, :, :longest].transpose(1, 2)  # (B, F, n_mels)
        return Features(values * (torch.arange(longest) < heard[:, None])[..., None], windows.lengths)
