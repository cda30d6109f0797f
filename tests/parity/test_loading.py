"""Checkpoints that transformers wrote, in every file format, load here and compute what they compute there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn

from auricle.checkpoints.tensors import write_checkpoint
from auricle.loading import Loaded, load

# float32 sums in another order; the outputs of these random models are of the order of 1.
TOLERANCE = 1e-4

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
WAVEFORM = {
    **SMALL,
    "vocab_size": 8,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "pad_token_id": 0,
}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}


def wav2vec2() -> nn.Module:
    return transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**WAVEFORM))


def mms() -> nn.Module:
    large = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "adapter_attn_dim": 4}
    return transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**WAVEFORM, **large))


def hubert() -> nn.Module:
    return transformers.HubertForCTC(transformers.HubertConfig(**WAVEFORM))


def wavlm() -> nn.Module:
    return transformers.WavLMForCTC(transformers.WavLMConfig(**WAVEFORM))


def parakeet() -> nn.Module:
    encoder = {**SMALL, "subsampling_conv_channels": 8}
    config = transformers.ParakeetCTCConfig(vocab_size=8, pad_token_id=7, encoder_config=encoder)
    return transformers.ParakeetForCTC(config)


def whisper() -> nn.Module:
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "decoder_start_token_id": 1}
    config = transformers.WhisperConfig(
        vocab_size=8, d_model=32, encoder_layers=2, decoder_layers=2, begin_suppress_tokens=None, **HEADS, **ids
    )
    return transformers.WhisperForConditionalGeneration(config)


def moonshine() -> nn.Module:
    layers = {"encoder_num_hidden_layers": 2, "decoder_num_hidden_layers": 2}
    heads = {"encoder_num_attention_heads": 2, "decoder_num_attention_heads": 2}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "vocab_size": 8}
    config = transformers.MoonshineConfig(**sizes, **layers, **heads, pad_token_id=2)
    return transformers.MoonshineForConditionalGeneration(config)


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    function.__name__: function for function in (wav2vec2, mms, hubert, wavlm, parakeet, whisper, moonshine)
}


def save_single(model: Any, folder: Path) -> None:
    model.save_pretrained(folder)


def save_sharded(model: Any, folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size="20KB")
    assert (folder / "model.safetensors.index.json").exists()


def save_float16(model: Any, folder: Path) -> None:
    model.half().save_pretrained(folder)
    model.float()


def save_bfloat16(model: Any, folder: Path) -> None:
    model.bfloat16().save_pretrained(folder)
    model.float()


def save_pickle(model: Any, folder: Path) -> None:
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    torch.save(old_names(model), folder / "pytorch_model.bin")


def save_old_pickle(model: Any, folder: Path) -> None:
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    torch.save(old_names(model), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def old_names(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors as libraries before PyTorch's parametrizations named them; tied ones under both names."""
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {}
    for name, tensor in model.state_dict().items():
        for new_ending, old_ending in old.items():
            name = name.replace(new_ending, old_ending)
        state[name] = tensor
    return state


FORMATS = [save_single, save_sharded, save_float16, save_bfloat16, save_pickle, save_old_pickle]


def add_companions(folder: Path) -> None:
    """Write a vocabulary of 8, as characters and as subwords; the family takes what it needs."""
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    pieces = ["<pad>", "<s>", "</s>", "<unk>", "|", "a", "b", "c"]
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    if kind in ("wav2vec2", "hubert", "wavlm"):
        (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    else:
        if kind == "parakeet_ctc":
            pieces = [*pieces[1:], "<pad>"]
        backend = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=pieces.index("<unk>")))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Metaspace()
        backend.add_special_tokens(list(special.values()))
        backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(special))


def outputs(theirs: Any, loaded: Loaded) -> tuple[Tensor, Tensor]:
    """Return logits of both models for the same random input."""
    generator = torch.Generator().manual_seed(1)
    shape = {"whisper": (1, 80, 3000), "parakeet_ctc": (1, 120, 80)}.get(loaded.model_type, (1, 4000))
    values = torch.randn(shape, generator=generator)
    steps = shape[2] if loaded.model_type == "whisper" else shape[1]
    lengths = torch.tensor([steps])
    with torch.inference_mode():
        if loaded.kind == "ctc":
            return theirs(values).logits, loaded.model(values, lengths)[0]
        tokens = torch.tensor([[1, 5, 6]])
        cache = loaded.model.new_cache(*loaded.model.encode(values, lengths))
        name = "input_features" if loaded.model_type == "whisper" else "input_values"
        expected = theirs(**{name: values}, decoder_input_ids=tokens).logits
        return expected, loaded.model.decode(tokens, cache, n_last=3)


@pytest.mark.parametrize("save", FORMATS, ids=lambda save: save.__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoint_of_transformers_computes_the_same(
    family: str, save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    theirs = FAMILIES[family]().eval()
    save(theirs, tmp_path)
    add_companions(tmp_path)
    loaded = load(tmp_path)
    expected, found = outputs(theirs, loaded)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoint_written_here_loads_in_transformers(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = FAMILIES[family]().eval()
    theirs.save_pretrained(tmp_path / "theirs")
    add_companions(tmp_path / "theirs")
    loaded = load(tmp_path / "theirs")
    raw = json.loads((tmp_path / "theirs" / "config.json").read_text())
    write_checkpoint(tmp_path / "ours", raw, loaded.model.state_dict())
    back, report = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    # What hides frames in training has no part in inference and is not kept here.
    assert {name.split(".")[-1] for name in report["missing_keys"]} <= {"masked_spec_embed"}
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    expected, _ = outputs(theirs, loaded)
    found, _ = outputs(back.eval(), loaded)
    assert (found - expected).abs().max() < TOLERANCE


def test_language_adapter_of_transformers_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = mms().eval()
    theirs.save_pretrained(tmp_path)
    adapter = {name: torch.randn_like(tensor) * 0.1 for name, tensor in theirs._get_adapters().items()}
    adapter["lm_head.weight"], adapter["lm_head.bias"] = torch.randn(9, 32), torch.randn(9)
    save_file(adapter, tmp_path / "adapter.fra.safetensors")
    alphabet = ["<pad>", "<s>", "</s>", "<unk>", *"|abcé"]
    vocab = {piece: i for i, piece in enumerate(alphabet)}
    (tmp_path / "vocab.json").write_text(json.dumps({"eng": {**vocab}, "fra": vocab}))
    (tmp_path / "tokenizer_config.json").write_text('{"target_lang": "eng"}')
    loaded = load(tmp_path, target_lang="fra")
    again = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path, target_lang="fra", ignore_mismatched_sizes=True)
    expected, found = outputs(again.eval(), loaded)
    assert found.shape[-1] == 9
    assert (found - expected).abs().max() < TOLERANCE
