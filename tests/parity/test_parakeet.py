"""Our FastConformer CTC against transformers' ParakeetForCTC: features, encoder states, logits."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from transformers import ParakeetCTCConfig, ParakeetFeatureExtractor, ParakeetForCTC

from auricle.audio.parakeet_mel import ParakeetFeatures
from auricle.models.parakeet import EncoderConfig, ParakeetConfig, ParakeetCTC

# float32 sums in another order; logits of these random models are of the order of 1.
TOLERANCE = 1e-4
# Features are logarithms of small powers, divided by a deviation: a few units in the last place more.
FEATURE_TOLERANCE = 2e-4

VARIANTS = {
    "default": {},
    "factor 4": {"subsampling_factor": 4, "conv_kernel_size": 15},
    "no biases": {"attention_bias": False, "convolution_bias": False},
    "unscaled, 128 bins": {"scale_input": False, "num_mel_bins": 128},
}


def make_pair(config: ParakeetConfig) -> tuple[ParakeetCTC, ParakeetForCTC]:
    """Return our model and theirs with the same random weights, statistics and biases included."""
    torch.manual_seed(0)
    names = asdict(config)
    theirs = ParakeetForCTC(ParakeetCTCConfig(**names)).eval()
    with torch.no_grad():
        for name, tensor in theirs.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif tensor.is_floating_point() and tensor.dim() < 2:
                tensor.add_(torch.randn_like(tensor) * 0.2)
            elif tensor.is_floating_point() and tensor.dim() >= 2:
                tensor.copy_(torch.randn_like(tensor) * tensor[0].numel() ** -0.5)
    with torch.device("meta"):
        ours = ParakeetCTC(config).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    return ours, theirs


def waveforms(*seconds: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(int(16000 * s)).astype(np.float32) * 0.1 for s in seconds]


def test_features_equal_transformers() -> None:
    recordings = waveforms(1.0, 0.43, 2.017)
    ours = ParakeetFeatures()(recordings)
    theirs = ParakeetFeatureExtractor()(recordings, sampling_rate=16000, return_tensors="pt")
    assert ours.lengths.tolist() == theirs.attention_mask.sum(1).tolist()
    length = ours.values.shape[1]
    assert (theirs.input_features[:, length:] == 0).all()
    torch.testing.assert_close(ours.values, theirs.input_features[:, :length], atol=FEATURE_TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_states_and_logits_equal_transformers(name: str) -> None:
    config = ParakeetCTC.tiny(**VARIANTS[name])
    ours, theirs = make_pair(config)
    features = ParakeetFeatures(feature_size=config.encoder_config.num_mel_bins)(waveforms(1.0, 0.43, 2.017))
    mask = torch.arange(features.values.shape[1]) < features.lengths[:, None]
    expected = theirs(features.values, attention_mask=mask)
    states = theirs.encoder(features.values, attention_mask=mask).last_hidden_state
    our_states, frames = ours.encode(features.values, features.lengths)
    logits, _ = ours(features.values, features.lengths)
    for row, n in enumerate(frames.tolist()):
        torch.testing.assert_close(our_states[row, :n], states[row, :n], atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(logits[row, :n], expected.logits[row, :n], atol=TOLERANCE, rtol=0)


@torch.inference_mode()
def test_true_size_equals_transformers() -> None:
    # The shape of parakeet-ctc-0.6b.
    ours, theirs = make_pair(ParakeetConfig(encoder_config=EncoderConfig()))
    features = ParakeetFeatures()(waveforms(1.2))
    logits, frames = ours(features.values, features.lengths)
    expected = theirs(features.values).logits
    assert frames.tolist() == [expected.shape[1]]
    torch.testing.assert_close(logits, expected, atol=TOLERANCE * 5, rtol=0)


@torch.inference_mode()
def test_batch_equals_singles() -> None:
    ours, _ = make_pair(ParakeetCTC.tiny())
    extract, recordings = ParakeetFeatures(), waveforms(0.3, 2.5, 0.05, 1.111)
    batch = extract(recordings)
    logits, frames = ours(batch.values, batch.lengths)
    for row, recording in enumerate(recordings):
        alone = extract([recording])
        expected, n = ours(alone.values, alone.lengths)
        assert frames[row] == n[0]
        torch.testing.assert_close(logits[row, : n[0]], expected[0], atol=1e-5, rtol=0)
