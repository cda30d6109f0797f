"""LoRA against PEFT: the same keys, the same numbers, in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from torch import nn

from auricle.checkpoints.config import build_config
from auricle.checkpoints.tensors import load_tensors
from auricle.loading import load
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.training.lora import LoraOptions, add_lora, lora_layers, save_adapter, tensors_to_save

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

SAME = 1e-5  # float32 sums in another order


def oracle_and_ours() -> tuple[Any, Wav2Vec2CTC]:
    torch.manual_seed(0)
    small = Wav2Vec2CTC.tiny()
    names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "conv_dim")
    sizes = {
        name: getattr(small, name) for name in (*names, "num_conv_pos_embeddings", "num_conv_pos_embedding_groups")
    }
    theirs = transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**sizes)).eval()
    ours = Wav2Vec2CTC(build_config(Wav2Vec2CTC, theirs.config.to_dict(), "config.json"))
    load_tensors(ours, theirs.state_dict(), Wav2Vec2CTC.RENAMES, Wav2Vec2CTC.IGNORED_TENSORS)
    return theirs, ours.eval()


def disturb(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(0, 0.1, generator=generator)
        model.get_submodule("lm_head").bias.normal_(0, 0.1, generator=generator)  # type: ignore[union-attr,operator]


def test_peft_loads_what_is_saved_and_hears_the_same(tmp_path: Path) -> None:
    theirs, ours = oracle_and_ours()
    options = LoraOptions(rank=3, alpha=5.0, trained=("lm_head",))
    add_lora(ours, options)
    disturb(ours)
    theirs.save_pretrained(tmp_path / "base")
    save_adapter(ours, options, str(tmp_path / "base"), tmp_path / "adapter")
    loaded = peft.PeftModel.from_pretrained(theirs, tmp_path / "adapter").eval()
    sound = torch.randn(1, 4000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = loaded(sound).logits
        logits, _ = ours(sound, torch.tensor([4000]))
    torch.testing.assert_close(logits, expected, rtol=SAME, atol=SAME)
    written = tensors_to_save(ours)  # before theirs changes the weights, which both hold
    merged = loaded.merge_and_unload().state_dict()
    for name, value in written.items():
        if name in merged:
            assert torch.allclose(value, merged[name], rtol=SAME, atol=SAME), name


def test_keys_and_settings_are_those_that_peft_writes(tmp_path: Path) -> None:
    theirs, ours = oracle_and_ours()
    options = LoraOptions(rank=3, alpha=5.0, dropout=0.1, trained=("lm_head",))
    names = add_lora(ours, options)
    save_adapter(ours, options, "some/base", tmp_path / "ours")
    config = peft.LoraConfig(
        r=3, lora_alpha=5.0, lora_dropout=0.1, target_modules=names, modules_to_save=["lm_head"], inference_mode=True
    )
    peft.get_peft_model(theirs, config).save_pretrained(tmp_path / "theirs")
    written, expected = (load_file(tmp_path / one / "adapter_model.safetensors") for one in ("ours", "theirs"))
    assert {name: value.shape for name, value in written.items()} == {
        name: value.shape for name, value in expected.items()
    }
    said, says = (json.loads((tmp_path / one / "adapter_config.json").read_text()) for one in ("ours", "theirs"))
    for name, value in said.items():
        if name == "target_modules":
            assert sorted(value) == sorted(says[name])
        elif name != "base_model_name_or_path":
            assert says[name] == value, name


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # PEFT's, of just that
@pytest.mark.parametrize(
    ("settings", "n_parameters"),
    [
        ({"modules_to_save": ["embed_tokens"]}, 2),
        ({"modules_to_save": ["proj_out"]}, 2),
        ({"target_modules": ["q_proj", "proj_out"]}, 2),
        ({"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}, 1),
        ({}, 1),
    ],
)
def test_weights_that_an_adapter_parts_are_two_from_then_on(
    tmp_path: Path, settings: dict[str, Any], n_parameters: int
) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "vocab_size": 8, "pad_token_id": 2}
    layers = {
        f"{part}_num_{name}": 2 for part in ("encoder", "decoder") for name in ("hidden_layers", "attention_heads")
    }
    theirs = transformers.MoonshineForConditionalGeneration(transformers.MoonshineConfig(**sizes, **layers)).eval()
    theirs.save_pretrained(tmp_path / "base")
    pieces = Tokenizer(models.Unigram([(piece, -1.0) for piece in "<>abcdef"], unk_id=0))
    pieces.save(str(tmp_path / "base" / "tokenizer.json"))
    adapted = peft.get_peft_model(theirs, peft.LoraConfig(**{"r": 2, "target_modules": ["q_proj"], **settings})).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                value.normal_(0, 0.3, generator=generator)
    adapted.save_pretrained(tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": "../base"}))
    sound, tokens = torch.randn(1, 4000, generator=generator), torch.tensor([[1, 4, 5]])
    ours: Any = load(tmp_path / "adapter").model
    with torch.no_grad():
        expected = adapted(input_values=sound, decoder_input_ids=tokens).logits
        logits = ours(sound, torch.tensor([4000]), tokens)
    torch.testing.assert_close(logits, expected, rtol=SAME, atol=SAME)
    assert len({id(ours.proj_out.weight), id(ours.model.decoder.embed_tokens.weight)}) == n_parameters
