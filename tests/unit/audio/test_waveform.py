"""Waveforms as features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from auricle.audio.waveform import WaveformFeatures
from auricle.errors import AudioInputError, ConfigError

# float32 around 1.
TOLERANCE = 1e-6


def test_each_row_has_mean_0_and_variance_1_over_its_own_samples() -> None:
    rng = np.random.default_rng(0)
    rows = [(rng.standard_normal(n) * 0.05 + 0.1).astype(np.float32) for n in (16000, 400)]
    features = WaveformFeatures()(rows)
    assert features.values.shape == (2, 16000)
    assert features.lengths.tolist() == [16000, 400]
    for row, n in zip(features.values, (16000, 400), strict=True):
        assert abs(row[:n].double().mean()) < TOLERANCE
        assert abs(row[:n].double().var(correction=0) - 1) < 1e-4  # the floor under a variance of 0.0025
    assert (features.values[1, 400:] == 0).all()


def test_a_row_is_the_same_alone_and_beside_others() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal(n).astype(np.float32) for n in (900, 5000)]
    extractor = WaveformFeatures()
    assert torch.equal(extractor(rows).values[0, :900], extractor(rows[:1]).values[0])


def test_known_answer() -> None:
    values = WaveformFeatures()([np.array([1.0, 3.0], dtype=np.float32)]).values
    torch.testing.assert_close(values, torch.tensor([[-1.0, 1.0]]), atol=TOLERANCE, rtol=0)


def test_without_normalisation_samples_pass_unchanged_and_padding_has_its_value() -> None:
    rows = [np.array([0.5, -0.25], dtype=np.float32), np.array([0.125], dtype=np.float32)]
    features = WaveformFeatures(do_normalize=False, padding_value=-1.0)(rows)
    assert features.values.tolist() == [[0.5, -0.25], [0.125, -1.0]]
    assert features.values.dtype == torch.float32


def test_the_callers_array_is_not_changed_even_if_read_only() -> None:
    waveform = np.arange(5, dtype=np.float32)
    waveform.flags.writeable = False
    WaveformFeatures()([waveform])
    assert waveform.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_silence_and_a_constant_become_zeros(value: float) -> None:
    values = WaveformFeatures()([np.full(1000, value, dtype=np.float32)]).values
    assert values.abs().max() <= TOLERANCE


def test_an_hour_keeps_its_mean() -> None:
    # In float32 sums the mean of a long recording far off centre drifts.
    waveform = np.full(16000 * 600, 0.1, dtype=np.float32)
    waveform[::2] = 0.3
    values = WaveformFeatures()([waveform]).values
    assert values.min() == pytest.approx(-1, abs=1e-4)
    assert values.max() == pytest.approx(1, abs=1e-4)


def test_an_empty_row_has_length_0() -> None:
    features = WaveformFeatures()([np.zeros(0, dtype=np.float32), np.ones(3, dtype=np.float32)])
    assert features.lengths.tolist() == [0, 3]
    assert features.values.isfinite().all()


def test_config_is_read_and_defaults_stand_for_what_is_absent() -> None:
    assert WaveformFeatures.from_config({}) == WaveformFeatures(16000, True, 0.0)
    config = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": False,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0,
        "return_attention_mask": True,
        "sampling_rate": 8000,
    }
    assert WaveformFeatures.from_config(config) == WaveformFeatures(8000, False, 0.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"do_normalise": True}, "unknown key 'do_normalise'; did you mean 'do_normalize'"),
        ({"feature_size": 80}, "feature_size is 80; only 1"),
        ({"padding_side": "left"}, "padding_side is 'left'; only 'right'"),
        ({"sampling_rate": "16k"}, "sampling_rate is '16k'"),
        ({"do_normalize": "no"}, "do_normalize is 'no'"),
        ({"padding_value": None}, "padding_value is None"),
    ],
)
def test_unsupported_config_is_refused_by_name(config: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WaveformFeatures.from_config(config)


@pytest.mark.parametrize(
    ("waveforms", "message"),
    [([], "0 waveforms"), ([np.zeros((2, 100), dtype=np.float32)], r"shape \(2, 100\)")],
)
def test_what_is_no_waveform_is_refused(waveforms: list[np.ndarray], message: str) -> None:
    with pytest.raises(AudioInputError, match=message):
        WaveformFeatures()(waveforms)
