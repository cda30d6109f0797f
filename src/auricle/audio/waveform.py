"""Waveforms as features: what wav2vec2, HuBERT, WavLM and Moonshine hear.

Dimension key: `B` recordings, `S` samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from auricle.audio.features import Features
from auricle.errors import AudioInputError, ConfigError, nearest

# Keeps silence finite. Source: the value that the published checkpoints were trained with.
VARIANCE_FLOOR = 1e-7

# Keys of preprocessor_config.json that change nothing here; the lengths always say what is padding.
_HARMLESS = frozenset({"feature_extractor_type", "processor_class", "tokenizer_class", "return_attention_mask"})
_KNOWN = ("do_normalize", "sampling_rate", "padding_value", "feature_size", "padding_side")


@dataclass(frozen=True)
class WaveformFeatures:
    """Pads waveforms; with `do_normalize`, first moves each to mean 0 and variance 1 over its own samples."""

    sample_rate: int = 16000
    do_normalize: bool = True
    padding_value: float = 0.0

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WaveformFeatures:
        """Build from preprocessor_config.json as a dict; an empty one gives the defaults.

        Raises: ConfigError for a key that is unknown or a value that is not supported.
        """
        for key in config:
            if key not in _HARMLESS and key not in _KNOWN:
                raise ConfigError(
                    f"preprocessor_config.json: unknown key {key!r}{nearest(key, _KNOWN)}; known here are "
                    f"{', '.join((*_KNOWN, *_HARMLESS))}"
                )
        for key, supported in (("feature_size", 1), ("padding_side", "right")):
            if config.get(key, supported) != supported:
                raise ConfigError(
                    f"preprocessor_config.json: {key} is {config[key]!r}; only {supported!r} is supported"
                )
        rate = config.get("sampling_rate", 16000)
        do_normalize, padding = config.get("do_normalize", True), config.get("padding_value", 0.0)
        for key, value, kind, fits in (
            ("sampling_rate", rate, "samples a second", isinstance(rate, int) and rate > 0),
            ("do_normalize", do_normalize, "true or false", isinstance(do_normalize, bool)),
            ("padding_value", padding, "a number", isinstance(padding, int | float)),
        ):
            if not fits:
                raise ConfigError(f"preprocessor_config.json: {key} is {value!r}; expected {kind}")
        return cls(rate, do_normalize, float(padding))

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        """Normalise and pad mono float32 waveforms to (B, S); the caller's arrays are not changed.

        Raises: AudioInputError if there is no waveform, or one is not one-dimensional.
        """
        if not len(waveforms):
            raise AudioInputError("0 waveforms arrived; expected at least 1")
        for waveform in waveforms:
            if waveform.ndim != 1:
                raise AudioInputError(f"a waveform of shape {waveform.shape} arrived; expected (samples,), mono")
        lengths = [len(waveform) for waveform in waveforms]
        values = np.full((len(lengths), max(lengths)), self.padding_value, dtype=np.float32)  # (B, S)
        for row, waveform in zip(values, waveforms, strict=True):
            row[: len(waveform)] = _normalize(waveform) if self.do_normalize else waveform
        return Features(torch.from_numpy(values), torch.tensor(lengths, dtype=torch.int64))


def _normalize(waveform: np.ndarray) -> np.ndarray:
    """Move to mean 0 and variance 1; the sums are in float64, so that hours lose nothing."""
    if not waveform.size:
        return waveform
    centred = waveform - waveform.mean(dtype=np.float64).astype(np.float32)
    return centred / np.sqrt(np.square(centred).mean(dtype=np.float64) + VARIANCE_FLOOR).astype(np.float32)
