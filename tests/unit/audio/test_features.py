"""The table of feature extractors and what families add to it."""

from __future__ import annotations

import pytest

from auricle.audio.features import open_features
from auricle.errors import ConfigError


def test_moonshine_hears_samples_as_they_are() -> None:
    assert open_features({}, "moonshine").do_normalize is False  # type: ignore[attr-defined]
    assert open_features({}, "wav2vec2").do_normalize is True  # type: ignore[attr-defined]


def test_a_checkpoint_overrules_its_familys_default() -> None:
    assert open_features({"do_normalize": True}, "moonshine").do_normalize is True  # type: ignore[attr-defined]


def test_unknown_extractor_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'WhisperFeatureExtractor'"):
        open_features({"feature_extractor_type": "WhisperFeatureExtracter"}, "whisper")
