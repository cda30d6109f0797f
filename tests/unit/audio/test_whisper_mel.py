"""Whisper's log-mel windows: against transformers, and by hand where the answer is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from auricle.audio.whisper_mel import WhisperFeatures
from auricle.errors import AudioInputError, AudioTooLargeError, ConfigError

# Two float32 Fourier transforms, then a logarithm: rounding differs, above all in bins close to the floor.
SAME_FEATURES = 1e-5


def noisy_tone(seconds: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * 16000)) / 16000
    tone = 0.3 * np.sin(2 * np.pi * 440 * time) * np.exp(-time)
    return (tone + 0.01 * generator.standard_normal(len(time))).astype(np.float32)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.01, 3.21, 30.0])
def test_window_equals_transformers(n_mels: int, seconds: float) -> None:
    from transformers import WhisperFeatureExtractor

    oracle = WhisperFeatureExtractor(feature_size=n_mels)
    waveform = noisy_tone(seconds)

    ours = WhisperFeatures(feature_size=n_mels).window(waveform)
    theirs = oracle(waveform, sampling_rate=16000, return_tensors="pt").input_features[0]

    assert ours.shape == (n_mels, 3000)
    assert (ours - theirs).abs().max() < SAME_FEATURES


def test_every_setting_of_the_config_is_honoured_as_transformers_does() -> None:
    from transformers import WhisperFeatureExtractor

    config = {"feature_size": 40, "hop_length": 128, "n_fft": 512, "chunk_length": 2, "padding_value": 0.01}
    waveform = noisy_tone(1.5)

    ours = WhisperFeatures.from_config(config).window(waveform)
    oracle = WhisperFeatureExtractor(**config)
    theirs = oracle(waveform, sampling_rate=16000, return_tensors="pt").input_features[0]

    assert ours.shape == (40, 250)
    assert (ours - theirs).abs().max() < SAME_FEATURES


def test_lengths_equal_the_attention_mask_of_transformers() -> None:
    from transformers import WhisperFeatureExtractor

    waveforms = [noisy_tone(seconds) for seconds in (0.5, 1.00001, 1.00625, 30.0)]

    ours = WhisperFeatures()(waveforms)
    theirs = WhisperFeatureExtractor()(waveforms, sampling_rate=16000, return_tensors="pt", return_attention_mask=True)

    assert ours.lengths.tolist() == theirs.attention_mask.sum(1).tolist()
    assert (ours.values - theirs.input_features).abs().max() < SAME_FEATURES


def test_row_of_a_batch_equals_the_row_alone() -> None:
    loud, quiet = noisy_tone(2.0), 1e-3 * noisy_tone(1.0, seed=1)
    features = WhisperFeatures()

    together = features([loud, quiet]).values

    assert torch.equal(together[1], features([quiet]).values[0])


def test_silence_is_flat_at_minus_one_and_a_half() -> None:
    # log10(1e-10) = -10, and (-10 + 4) / 4 = -1.5.
    silence = WhisperFeatures().window(np.zeros(16000, dtype=np.float32))

    assert torch.equal(silence, torch.full((80, 3000), -1.5))


def test_nothing_is_more_than_eight_bels_below_the_loudest_bin() -> None:
    window = WhisperFeatures().window(noisy_tone(1.0))

    assert math.isclose(float(window.max() - window.min()), 2.0, abs_tol=1e-6)


def test_tone_is_loudest_in_the_filter_that_holds_its_frequency() -> None:
    # Slaney: 80 filters up to 8 kHz have centres 37.2 Hz apart below 1 kHz, so 440 Hz is nearest to the 12th.
    time = np.arange(16000) / 16000
    window = WhisperFeatures().window(np.sin(2 * np.pi * 440 * time).astype(np.float32))

    assert int(window[:, 50].argmax()) == 11


def test_window_cuts_what_is_beyond_its_end() -> None:
    long = noisy_tone(31.0)
    features = WhisperFeatures()

    assert torch.equal(features.window(long), features.window(long[: 30 * 16000]))


def test_batch_refuses_a_waveform_longer_than_a_window() -> None:
    with pytest.raises(AudioTooLargeError, match=r"31\.00 s was given to features that take windows of 30 s"):
        WhisperFeatures()([noisy_tone(31.0)])


@pytest.mark.parametrize("waveforms", [[], [np.zeros((2, 160), dtype=np.float32)]])
def test_nothing_and_stereo_are_refused(waveforms: list[np.ndarray]) -> None:
    with pytest.raises(AudioInputError, match="expected"):
        WhisperFeatures()(waveforms)


def test_the_waveform_given_is_not_changed() -> None:
    waveform = noisy_tone(0.1)
    before = waveform.copy()

    WhisperFeatures()([waveform])

    assert np.array_equal(waveform, before)


def test_read_only_and_strided_waveforms_are_accepted() -> None:
    waveform = noisy_tone(0.2)
    waveform.setflags(write=False)
    features = WhisperFeatures()

    assert torch.equal(features.window(waveform[::2]), features.window(waveform[::2].copy()))


def test_config_of_a_published_checkpoint_is_read() -> None:
    published = {
        "chunk_length": 30,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 128,
        "hop_length": 160,
        "mel_filters": [[0.0]],
        "n_fft": 400,
        "n_samples": 480000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": 16000,
        "dither": 0.0,
    }

    assert WhisperFeatures.from_config(published).filters.shape == (128, 201)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"dither": 0.0001}, "dither is 0.0001"),
        ({"sampling_rate": 8000}, "sampling_rate is 8000"),
        ({"padding_side": "left"}, "padding_side is 'left'"),
        ({"do_normalize": True}, "do_normalize is True"),
        ({"hop_lenght": 160}, "unknown key 'hop_lenght'.*did you mean 'hop_length'"),
    ],
)
def test_config_that_would_change_the_features_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WhisperFeatures.from_config(config)
