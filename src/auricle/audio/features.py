"""From waveforms to what a model takes: the interface, and the table that names who does it.

Dimension key: `B` recordings, `T` steps along time.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from auricle.errors import ConfigError, nearest

if TYPE_CHECKING:
    import numpy as np
    import torch

FEATURES: dict[str, str] = {
    "Wav2Vec2FeatureExtractor": "auricle.audio.waveform:WaveformFeatures",
    "ParakeetFeatureExtractor": "auricle.audio.parakeet_mel:ParakeetFeatures",
    "WhisperFeatureExtractor": "auricle.audio.whisper_mel:WhisperFeatures",
}

# What a family uses when its checkpoint's preprocessor_config.json does not say.
DEFAULT_FEATURES: dict[str, str] = {
    "wav2vec2": "Wav2Vec2FeatureExtractor",
    "hubert": "Wav2Vec2FeatureExtractor",
    "wavlm": "Wav2Vec2FeatureExtractor",
    "wav2vec2_classifier": "Wav2Vec2FeatureExtractor",
    "hubert_classifier": "Wav2Vec2FeatureExtractor",
    "wavlm_classifier": "Wav2Vec2FeatureExtractor",
    "whisper_classifier": "WhisperFeatureExtractor",
    "moonshine": "Wav2Vec2FeatureExtractor",
    "parakeet_ctc": "ParakeetFeatureExtractor",
    "whisper": "WhisperFeatureExtractor",
    "whisper_ctc": "WhisperFeatureExtractor",
}

# A family that computes an extractor's features of recordings of any length, not of windows.
OTHER_FORMS: dict[tuple[str, str], str] = {
    ("WhisperFeatureExtractor", "whisper_ctc"): "auricle.audio.whisper_mel:WhisperFrames",
}

# Where a family's defaults are not those of the extractor that it shares with others.
DEFAULT_SETTINGS: dict[str, dict[str, Any]] = {"moonshine": {"do_normalize": False}}


MEL_FRAMES_PER_SECOND = 100  # of every family's mel features


@dataclass(frozen=True)
class Features:
    """A padded batch as one model family wants it, with the true length of each row.

    `values` is (B, samples) for wav2vec2, HuBERT, WavLM and Moonshine, (B, T, mels) for Parakeet and
    (B, mels, T) for Whisper. `lengths` is (B,) int64: how many steps along the time axis of `values` are
    not padding.
    """

    values: torch.Tensor
    lengths: torch.Tensor

    def in_few_shapes(self, sample_rate: int) -> Features:
        """The same rows, padded to whole seconds along their second axis: (B, samples) or (B, T, mels).

        Libraries prepare their kernels for every new shape and keep them: 10 hours in stretches of any
        length took 700 MB more than in stretches of whole seconds.
        """
        step = sample_rate if self.values.dim() == 2 else MEL_FRAMES_PER_SECOND
        n_rows, length, *rest = self.values.shape
        padded = self.values.new_zeros((n_rows, length + -length % step, *rest))
        padded[:, :length] = self.values
        return Features(padded, self.lengths)


def check_numbers(config: Mapping[str, Any], whole: Sequence[str], others: Sequence[str]) -> None:
    """Refuse values of preprocessor_config.json that are none: `whole` ones count something, and are above 0.

    Raises: ConfigError
    """
    for key in (*whole, *others):
        value, is_whole = config.get(key, 1), key in whole
        fits = isinstance(value, int) and value > 0 if is_whole else isinstance(value, int | float)
        if not fits or isinstance(value, bool):
            expected = "a whole number above 0" if is_whole else "a number"
            raise ConfigError(f"preprocessor_config.json: {key} is {value!r}; expected {expected}")


class FeatureExtractor(Protocol):
    """Turns waveforms into `Features`; a row's result does not depend on its neighbours."""

    sample_rate: int

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FeatureExtractor:
        """Build from preprocessor_config.json as a dict; an empty one gives the family's defaults.

        Raises: ConfigError for a key that asks for something unknown.
        """
        ...

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        """Pad mono float32 waveforms at `sample_rate` and compute their features."""
        ...


def open_features(config: dict[str, Any], model_type: str) -> FeatureExtractor:
    """Build the extractor that a checkpoint's preprocessor_config.json asks for, or the family's own.

    Raises: ConfigError if the file names an extractor that is not in `FEATURES`, or the family has none.
    """
    name = config.get("feature_extractor_type") or DEFAULT_FEATURES.get(model_type)
    config = {**DEFAULT_SETTINGS.get(model_type, {}), **config}
    if name is None:
        raise ConfigError(
            f"model_type {model_type!r} has no feature extractor and preprocessor_config.json names none; "
            f"set its feature_extractor_type to one of {', '.join(FEATURES)}"
        )
    if name not in FEATURES:
        raise ConfigError(
            f"preprocessor_config.json: feature_extractor_type is {name!r}, which is not supported"
            f"{nearest(str(name), FEATURES)}; supported are {', '.join(FEATURES)}"
        )
    module, _, attribute = OTHER_FORMS.get((name, model_type), FEATURES[name]).partition(":")
    extractor = getattr(importlib.import_module(module), attribute)
    return cast("FeatureExtractor", extractor.from_config(config))
