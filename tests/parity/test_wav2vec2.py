"""Our wav2vec2, HuBERT and WavLM against transformers': waveform features, conv features, states, logits.

Compared on single rows; in padded batches only where theirs respects the mask, which the base form's
statistics over time, HuBERT's batch norm and the convolutions after the encoder do not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from auricle.audio.waveform import WaveformFeatures
from auricle.checkpoints.config import build_config
from auricle.checkpoints.tensors import load_tensors, write_checkpoint
from auricle.models.hubert import HubertCTC
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.models.wavlm import WavLMCTC

# float32 sums in another order; features, states and logits of these random models are of the order of 1.
TOLERANCE = 1e-4
# Our sums are in float64, theirs in float32.
WAVEFORM_TOLERANCE = 1e-5

FAMILIES: dict[str, tuple[type[Wav2Vec2CTC], str]] = {
    "wav2vec2": (Wav2Vec2CTC, "Wav2Vec2"),
    "hubert": (HubertCTC, "Hubert"),
    "wavlm": (WavLMCTC, "WavLM"),
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
VARIANTS = {
    ("wav2vec2", "base"): {},
    ("wav2vec2", "base, odd"): {
        "conv_bias": True,
        "hidden_act": "relu",
        "feat_extract_activation": "gelu_new",
        "num_conv_pos_embeddings": 15,
        "layer_norm_eps": 1e-3,
    },
    ("wav2vec2", "large"): LARGE,
    ("wav2vec2", "large, post-norm"): {**LARGE, "do_stable_layer_norm": False},
    ("wav2vec2", "base, pre-norm"): {"do_stable_layer_norm": True, "hidden_act": "silu"},
    ("wav2vec2", "MMS"): {**LARGE, "adapter_attn_dim": 6},
    ("wav2vec2", "conv adapter"): {"add_adapter": True},
    ("wav2vec2", "conv adapter, narrower"): {
        **LARGE,
        "add_adapter": True,
        "output_hidden_size": 24,
        "num_adapter_layers": 2,
        "adapter_stride": 3,
    },
    ("hubert", "base"): {},
    ("hubert", "large"): LARGE,
    ("hubert", "no projection norm"): {"feat_proj_layer_norm": False},
    ("hubert", "batch norm"): {"conv_pos_batch_norm": True, **LARGE},
    ("wavlm", "base"): {},
    ("wavlm", "large"): LARGE,
    # Far buckets are reached within the recording.
    ("wavlm", "few buckets"): {"num_buckets": 16, "max_bucket_distance": 20},
    ("wavlm", "conv adapter"): {"add_adapter": True, **LARGE},
}
MASKED = [
    (family, name)
    for (family, name), changes in VARIANTS.items()
    if changes.get("feat_extract_norm") == "layer" and name != "batch norm" and "adapter" not in name
]
TRUE_SIZES = {
    "wav2vec2": {"vocab_size": 32},
    "hubert": {"vocab_size": 32},
    "wavlm": {"vocab_size": 32},  # wavlm-base-plus: the defaults
}


def make_pair(family: str, **changes: object) -> tuple[Wav2Vec2CTC, nn.Module]:
    """Return our model, loaded as from a checkpoint, and theirs, with every weight random, norms included."""
    torch.manual_seed(0)
    model_class, name = FAMILIES[family]
    their_config = getattr(transformers, f"{name}Config")(**changes)
    theirs = getattr(transformers, f"{name}ForCTC")(their_config).eval()
    with torch.no_grad():
        for key, tensor in theirs.state_dict().items():
            if key.endswith(("original0", "weight_g", "running_var")):
                tensor.uniform_(0.5, 2.0)
            elif tensor.dim() >= 2 and tensor[0].numel() > 1:
                tensor.copy_(torch.randn_like(tensor) * tensor[0].numel() ** -0.5)
            elif tensor.is_floating_point():
                tensor.add_(torch.randn_like(tensor) * 0.3)
        if family == "wavlm":  # the bias by distance must matter as much as the scores do
            theirs.wavlm.encoder.layers[0].attention.rel_attn_embed.weight.normal_()
    config = build_config(model_class, their_config.to_dict(), "config.json")
    with torch.device("meta"):
        ours = model_class(config)
    load_tensors(ours, theirs.state_dict(), ours.RENAMES, ours.IGNORED_TENSORS)
    return ours.eval(), theirs


def waveforms(*n_samples: int) -> list[np.ndarray]:
    """Make noise that grows louder, off centre: neither normalisation is trivial."""
    rng = np.random.default_rng(0)
    return [(rng.standard_normal(n) * np.linspace(0.01, 0.3, n) + 0.02).astype(np.float32) for n in n_samples]


def largest(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


def differences(ours: Wav2Vec2CTC, theirs: nn.Module, values: Tensor) -> list[float]:
    """Return the largest difference of conv features, encoder states and logits for one whole row."""
    lengths = torch.tensor([values.shape[1]])
    their_base = getattr(theirs, ours.prefix)
    features, _, _ = ours.base.feature_extractor(values, lengths)
    states, frames = ours.encode(values, lengths)
    logits, _ = ours(values, lengths)
    assert frames.tolist() == [states.shape[1]]
    return [
        largest(features, their_base.feature_extractor(values).transpose(1, 2)),
        largest(states, their_base(values).last_hidden_state),
        largest(logits, theirs(values).logits),
    ]


@pytest.mark.parametrize("do_normalize", [True, False])
@pytest.mark.parametrize("padding_value", [0.0, -1.0])
def test_waveform_features_equal_transformers(do_normalize: bool, padding_value: float) -> None:
    recordings = waveforms(16000, 401, 7001)
    config = {"do_normalize": do_normalize, "padding_value": padding_value}
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True, **config)
    theirs = extractor(recordings, sampling_rate=16000, padding=True, return_tensors="pt")
    ours = WaveformFeatures.from_config(extractor.to_dict())(recordings)
    assert ours.lengths.tolist() == theirs.attention_mask.sum(1).tolist()
    difference = largest(ours.values, theirs.input_values)
    print(f"waveform features, do_normalize {do_normalize}: {difference:.1e}")
    assert difference <= WAVEFORM_TOLERANCE


@pytest.mark.parametrize(("family", "name"), VARIANTS)
@torch.inference_mode()
def test_features_states_and_logits_equal_transformers(family: str, name: str) -> None:
    changes = VARIANTS[family, name]
    ours, theirs = make_pair(family, **vars(FAMILIES[family][0].tiny(**changes)))
    values = WaveformFeatures()(waveforms(25001)).values
    found = differences(ours, theirs, values)
    print(f"{family} | {name} | " + " | ".join(f"{value:.1e}" for value in found))
    assert max(found) <= TOLERANCE


# Of their WavLM: it mixes a boolean mask with a float bias.
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning")
@pytest.mark.parametrize(("family", "name"), MASKED)
@torch.inference_mode()
def test_padded_batch_equals_transformers_with_its_mask(family: str, name: str) -> None:
    ours, theirs = make_pair(family, **vars(FAMILIES[family][0].tiny(**VARIANTS[family, name])))
    features = WaveformFeatures()(waveforms(16000, 401, 7001))
    mask = torch.arange(features.values.shape[1]) < features.lengths[:, None]
    states, frames = ours.encode(features.values, features.lengths)
    logits, _ = ours(features.values, features.lengths)
    their_states = getattr(theirs, family)(features.values, attention_mask=mask.long()).last_hidden_state
    their_logits = theirs(features.values, attention_mask=mask.long()).logits
    for row, n in enumerate(frames.tolist()):
        assert largest(states[row, :n], their_states[row, :n]) <= TOLERANCE
        assert largest(logits[row, :n], their_logits[row, :n]) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_true_size_equals_transformers(family: str) -> None:
    ours, theirs = make_pair(family, **TRUE_SIZES[family])
    values = WaveformFeatures()(waveforms(16000)).values
    found = differences(ours, theirs, values)
    print(f"{family} | true size | " + " | ".join(f"{value:.1e}" for value in found))
    assert max(found) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_transformers_loads_what_we_save(family: str, tmp_path: Path) -> None:
    ours, theirs = make_pair(family, **vars(FAMILIES[family][0].tiny(**LARGE)))
    write_checkpoint(tmp_path, theirs.config.to_dict(), ours.state_dict())
    loaded, info = type(theirs).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] - {f"{family}.masked_spec_embed"}
    assert not info["unexpected_keys"]
    values = WaveformFeatures()(waveforms(5000)).values
    assert largest(loaded.eval()(values).logits, theirs(values).logits) <= TOLERANCE
