"""wav2vec2, HuBERT and WavLM on their own: padding, lengths, dtypes, loading, training, refusals."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from auricle.checkpoints.config import build_config
from auricle.checkpoints.tensors import load_tensors
from auricle.errors import ConfigError, OptionError, TensorError
from auricle.models.hubert import HubertCTC
from auricle.models.speech_encoder import valid_frames
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.models.wavlm import WavLMCTC, distance_buckets

# The same sums in float32, in blocks of another size.
BATCH_TOLERANCE = 1e-5
# bfloat16 has 8 bits of mantissa; a handful of layers of order 1 lose a few of them.
BFLOAT16_TOLERANCE = 0.15

LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
VARIANTS = {
    "wav2vec2 base": (Wav2Vec2CTC, {}),
    "wav2vec2 large": (Wav2Vec2CTC, LARGE),
    "wav2vec2 layer norm, post-norm": (Wav2Vec2CTC, {"feat_extract_norm": "layer"}),
    "MMS": (Wav2Vec2CTC, {**LARGE, "adapter_attn_dim": 6}),
    "conv adapter": (Wav2Vec2CTC, {"add_adapter": True, "output_hidden_size": 24}),
    "wide conv adapter": (Wav2Vec2CTC, {"add_adapter": True, "adapter_kernel_size": 5, "adapter_stride": 1}),
    "hubert base": (HubertCTC, {}),
    "hubert large": (HubertCTC, LARGE),
    "hubert no projection norm": (HubertCTC, {"feat_proj_layer_norm": False}),
    "hubert batch norm": (HubertCTC, {"conv_pos_batch_norm": True}),
    "wavlm base": (WavLMCTC, {}),
    "wavlm large": (WavLMCTC, {**LARGE, "num_buckets": 16, "max_bucket_distance": 20}),
}
every_variant = pytest.mark.parametrize("name", VARIANTS)


def make_model(name: str) -> Wav2Vec2CTC:
    """Build a variant with every weight random, norms and their statistics included."""
    torch.manual_seed(0)
    model_class, changes = VARIANTS[name]
    # No layer is left out in training: by chance it would have no gradient.
    model = model_class(model_class.tiny(**{"layerdrop": 0.0, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() < 2:
                parameter.add_(torch.randn_like(parameter) * 0.3)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return model.eval()


def make_batch(*lengths: int, padding: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    values = torch.full((len(lengths), max(lengths)), padding)
    for row, n in zip(values, lengths, strict=True):
        row[:n] = torch.randn(n, generator=generator)
    return values, torch.tensor(lengths)


@every_variant
@torch.inference_mode()
def test_a_row_gives_in_a_batch_what_it_gives_alone(name: str) -> None:
    model = make_model(name)
    # Padding of 3 instead of 0: whatever reads it shows.
    values, lengths = make_batch(16000, 400, 4321, 40000, 801, padding=3.0)
    logits, frames = model(values, lengths)
    for row, n in enumerate(lengths.tolist()):
        alone, alone_frames = model(values[row : row + 1, :n], lengths[row : row + 1])
        assert alone_frames.tolist() == [frames[row]]
        assert alone.shape[1] == max(frames[row], 1)
        n_frames = int(frames[row])
        torch.testing.assert_close(logits[row, :n_frames], alone[0, :n_frames], atol=BATCH_TOLERANCE, rtol=0)


@every_variant
@torch.inference_mode()
def test_more_padding_changes_nothing(name: str) -> None:
    model = make_model(name)
    values, lengths = make_batch(8000)
    logits, _ = model(values, lengths)
    # 7 samples more give no further frame, but the first convolution sees them.
    for n in (7, 12000):
        padded, frames = model(nn.functional.pad(values, (0, n), value=3.0), lengths)
        assert frames.tolist() == [logits.shape[1]]
        assert (padded[:, : logits.shape[1]] - logits).abs().max() <= BATCH_TOLERANCE


@pytest.mark.parametrize(
    ("n_samples", "n_frames"), [(399, 0), (400, 1), (401, 1), (719, 1), (720, 2), (721, 2), (16000, 49)]
)
@pytest.mark.parametrize("name", ["wav2vec2 base", "hubert large", "wavlm base"])
@torch.inference_mode()
def test_a_frame_needs_400_samples_and_the_next_320_more(name: str, n_samples: int, n_frames: int) -> None:
    logits, frames = make_model(name)(*make_batch(n_samples))
    assert frames.tolist() == [n_frames]
    assert logits.shape == (1, max(n_frames, 1), 20)
    assert logits.isfinite().all()


@every_variant
@torch.inference_mode()
def test_rows_shorter_than_a_frame_have_length_0_and_disturb_nobody(name: str) -> None:
    model = make_model(name)
    # Of 12 samples the first convolution makes one frame, of which no statistics can be made.
    values, lengths = make_batch(5000, 399, 12, 1)
    lengths[3] = 0
    logits, frames = model(values, lengths)
    assert frames.tolist()[1:] == [0, 0, 0]
    assert logits.isfinite().all()
    alone, _ = model(values[:1], lengths[:1])
    assert (logits[0] - alone[0]).abs().max() <= BATCH_TOLERANCE
    _, frames = model(values[1:, :399], lengths[1:])
    assert frames.tolist() == [0, 0, 0]


def test_a_row_without_frames_keeps_its_first_to_look_at() -> None:
    # Attention over nothing is a division by zero in some kernels.
    assert valid_frames(torch.tensor([0, 2]), 3).tolist() == [[True, False, False], [True, True, False]]


def test_samples_per_frame_is_the_product_of_the_strides() -> None:
    assert make_model("wavlm base").samples_per_frame == 320
    assert make_model("conv adapter").samples_per_frame == 320 * 8


@torch.inference_mode()
def test_conv_adapter_counts_the_frames_it_leaves() -> None:
    model = make_model("conv adapter")
    logits, frames = model(*make_batch(16000, 400))  # 49 and 1 frames, halved 3 times
    assert logits.shape[1] == 7
    assert frames.tolist() == [7, 1]


@every_variant
@torch.inference_mode()
def test_bfloat16_is_close_to_float32(name: str) -> None:
    model = make_model(name)
    values, lengths = make_batch(6000, 3000)
    expected, frames = model(values, lengths)
    logits, _ = model.to(torch.bfloat16)(values, lengths)
    assert logits.dtype == torch.bfloat16
    for row, n in enumerate(frames.tolist()):
        assert (logits[row, :n].float() - expected[row, :n]).abs().max() <= BFLOAT16_TOLERANCE


@every_variant
def test_training_gives_every_parameter_a_gradient(name: str) -> None:
    model = make_model(name).train()
    logits, frames = model(*make_batch(9000, 5000, 300))
    assert frames[2] == 0
    logits[:2, 0].square().sum().backward()
    lost = [
        key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()
    ]
    # Softmax does not see what is added to all scores of a query, as the key's bias is.
    assert [key for key in lost if not key.endswith("k_proj.bias")] == []


def test_batch_norm_learns_from_real_frames_only() -> None:
    model = make_model("hubert batch norm").train()
    values, lengths = make_batch(9000, 5000, padding=3.0)
    learned = []
    for n in (0, 4000):
        twin = copy.deepcopy(model)
        twin(nn.functional.pad(values, (0, n)), lengths)
        learned.append(twin.get_buffer("hubert.encoder.pos_conv_embed.batch_norm.running_mean"))
    torch.testing.assert_close(*learned, atol=BATCH_TOLERANCE, rtol=0)


@every_variant
@torch.inference_mode()
def test_model_built_on_meta_equals_the_one_it_is_loaded_from(name: str) -> None:
    source = make_model(name)
    with torch.device("meta"):
        model = type(source)(source.config)
    load_tensors(model, source.state_dict(), model.RENAMES, model.IGNORED_TENSORS)
    batch = make_batch(3000)
    assert torch.equal(model.eval()(*batch)[0], source(*batch)[0])


@pytest.mark.parametrize("name", ["wav2vec2 base", "hubert base", "wavlm base"])
@pytest.mark.parametrize("with_prefix", [True, False])
def test_both_spellings_of_weight_norm_and_pretraining_leftovers_load(name: str, with_prefix: bool) -> None:
    source = make_model(name)
    spelled = {}
    for key, value in source.state_dict().items():
        key = key.replace("conv.weight_g", "conv.parametrizations.weight.original0")
        key = key.replace("conv.weight_v", "conv.parametrizations.weight.original1")
        spelled[key if with_prefix else key.removeprefix(f"{source.prefix}.")] = value
    prefix = f"{source.prefix}." if with_prefix else ""
    spelled[f"{prefix}masked_spec_embed"] = torch.zeros(32)
    spelled["quantizer.codevectors"] = spelled["project_q.weight"] = torch.zeros(1)
    model = type(source)(source.config)
    load_tensors(model, spelled, model.RENAMES, model.IGNORED_TENSORS)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())


def test_checkpoint_without_a_head_is_an_error_that_names_it() -> None:
    model = make_model("hubert base")
    tensors = {key.removeprefix("hubert."): value for key, value in model.state_dict().items() if "lm_head" not in key}
    with pytest.raises(TensorError, match=r"2 missing: lm_head\.weight, lm_head\.bias"):
        load_tensors(model, tensors, model.RENAMES, model.IGNORED_TENSORS)


def test_adapter_parameters_are_the_language_adapters_and_the_head() -> None:
    names = set(make_model("MMS").adapter_parameters())
    layers = {
        f"wav2vec2.encoder.layers.{layer}.adapter_layer.{part}.{kind}"
        for layer in range(2)
        for part in ("norm", "linear_1", "linear_2")
        for kind in ("weight", "bias")
    }
    assert names == layers | {"lm_head.weight", "lm_head.bias"}


def test_another_language_is_laid_over_a_checkpoint_with_its_own_vocabulary() -> None:
    english, french = make_model("MMS"), Wav2Vec2CTC(Wav2Vec2CTC.tiny(**VARIANTS["MMS"][1], vocab_size=7))
    tensors = {**english.state_dict(), **french.adapter_parameters()}
    model = Wav2Vec2CTC(french.config)
    load_tensors(model, tensors, model.RENAMES, model.IGNORED_TENSORS)
    for key, value in model.state_dict().items():
        source = french if key in french.adapter_parameters() else english
        assert torch.equal(value, source.state_dict()[key])


@pytest.mark.parametrize("name", ["wav2vec2 large", "hubert base", "wavlm base"])
def test_model_without_language_adapters_says_so(name: str) -> None:
    with pytest.raises(OptionError, match="no language adapters"):
        make_model(name).adapter_parameters()


@pytest.mark.parametrize(
    ("model_class", "changes", "message"),
    [
        (
            Wav2Vec2CTC,
            {"feat_extract_norm": "batch"},
            "feat_extract_norm is 'batch'; expected 'group' or 'layer'",
        ),
        (Wav2Vec2CTC, {"hidden_act": "gelu_nev"}, "hidden_act is 'gelu_nev'; did you mean 'gelu_new'"),
        (Wav2Vec2CTC, {"conv_stride": [5, 2]}, r"have \(7, 2, 7\) entries"),
        (Wav2Vec2CTC, {"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        (Wav2Vec2CTC, {"num_attention_heads": 7}, "hidden_size is 768 and num_attention_heads 7"),
        (Wav2Vec2CTC, {"adapter_attn_dim": 16}, "do_stable_layer_norm"),
        (HubertCTC, {"add_adapter": True}, "unknown key 'add_adapter'"),
        (Wav2Vec2CTC, {"feat_proj_layer_norm": False}, "unknown key 'feat_proj_layer_norm'"),
        (WavLMCTC, {"num_buckets": 320, "max_bucket_distance": 80}, "more than a quarter"),
    ],
)
def test_unsupported_config_is_refused_by_name(
    model_class: type[Wav2Vec2CTC], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build_config(model_class, changes, "config.json")


@pytest.mark.parametrize("model_class", [Wav2Vec2CTC, HubertCTC, WavLMCTC])
def test_config_of_an_old_checkpoint_is_read(model_class: type[Wav2Vec2CTC]) -> None:
    # Keys and values as files of 2021 on the Hub have them, and no adapter keys.
    raw = {
        "architectures": ["ForCTC"],
        "attention_dropout": 0.1,
        "conv_bias": True,
        "conv_dim": [512] * 7,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "do_stable_layer_norm": True,
        "feat_extract_activation": "gelu",
        "feat_extract_dropout": 0.0,
        "feat_extract_norm": "layer",
        "final_dropout": 0.0,
        "freeze_feat_extract_train": True,
        "gradient_checkpointing": True,
        "hidden_dropout_prob": 0.1,
        "hidden_size": 1024,
        "layer_norm_eps": 1e-05,
        "mask_channel_selection": "static",
        "mask_time_min_space": 1,
        "no_mask_time_overlap": False,
        "num_attention_heads": 16,
        "num_feat_extract_layers": 7,
        "num_hidden_layers": 24,
        "pad_token_id": 37,
        "replace_prob": 0.5,
        "vocab_size": 38,
    }
    config = build_config(model_class, raw, "config.json")
    assert (config.hidden_size, config.conv_dim, config.vocab_size) == (1024, (512,) * 7, 38)


def test_near_distances_have_buckets_of_their_own_and_far_ones_share() -> None:
    # 16 buckets: 8 a side, of which 4 are exact and 4 spread logarithmically up to 32 frames.
    distances = torch.tensor([0, -1, -3, -4, -7, -20, -32, -500, 1, 3, 4, 500])
    assert distance_buckets(distances, 16, 32).tolist() == [0, 1, 3, 4, 5, 7, 7, 7, 9, 11, 12, 15]


@torch.inference_mode()
def test_position_bias_depends_on_distance_alone() -> None:
    encoder = make_model("wavlm base").base.encoder
    bias, mask = encoder.context(6, None)
    assert mask is None
    assert bias is not None
    assert bias.shape == (1, 4, 6, 6)
    assert torch.equal(bias[..., 1:, 1:], bias[..., :-1, :-1])
    assert not torch.equal(bias, bias.transpose(2, 3))
