"""LoRA against PEFT: the same keys, the same numbers, in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from auricle.checkpoints.config import build_config
from auricle.checkpoints.tensors import load_tensors
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
