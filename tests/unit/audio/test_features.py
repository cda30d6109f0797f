"""The table of feature extractors and what families add to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from auricle.audio.features import Features, open_features
from auricle.errors import ConfigError


def test_moonshine_hears_samples_as_they_are() -> None:
    assert open_features({}, "moonshine").do_normalize is False  # type: ignore[attr-defined]
    assert open_features({}, "wav2vec2").do_normalize is True  # type: ignore[attr-defined]


def test_a_checkpoint_overrules_its_familys_default() -> None:
    assert open_features({"do_normalize": True}, "moonshine").do_normalize is True  # type: ignore[attr-defined]


def test_unknown_extractor_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'WhisperFeatureExtractor'"):
        open_features({"feature_extractor_type": "WhisperFeatureExtracter"}, "whisper")


@pytest.mark.parametrize(
    ("shape", "padded"),
    [((2, 16001), (2, 32000)), ((1, 16000), (1, 16000)), ((2, 101, 80), (2, 200, 80)), ((1, 0), (1, 0))],
)
def test_few_shapes_are_whole_seconds_with_the_rows_as_they_were(shape: tuple[int, ...], padded: tuple) -> None:
    values = torch.randn(shape)
    features = Features(values, torch.full((shape[0],), shape[1]))
    rounded = features.in_few_shapes(16000)
    assert rounded.values.shape == padded
    assert torch.equal(rounded.values[:, : shape[1]], values)
    assert not rounded.values[:, shape[1] :].any()
    assert rounded.lengths is features.lengths


@pytest.mark.parametrize("family", ["whisper", "parakeet_ctc"])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"hop_length": "160"}, "hop_length is '160'; expected a whole number above 0"),
        ({"n_fft": 0}, "n_fft is 0; expected a whole number above 0"),
        ({"feature_size": True}, "feature_size is True; expected a whole number above 0"),
        ({"sampling_rate": "16000"}, "sampling_rate is '16000'"),
    ],
)
def test_settings_that_are_no_numbers_are_refused_by_name(family: str, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_features(setting, family)
