"""Adapters as PEFT keeps them, loaded as models."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from auricle.checkpoints.lora import read_lora
from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import ConfigError, TensorError
from auricle.loading import load
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.pipelines import pipeline
from auricle.training.lora import LoraOptions, add_lora, lora_layers, save_adapter
from auricle.training.vocabulary import build_vocabulary

SOUND = torch.randn(1, 4000, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def adapted(tmp_path: Path) -> tuple[Wav2Vec2CTC, Path]:
    """A base, and an adapter with a head and a vocabulary of its own, as a model and as folders."""
    torch.manual_seed(0)
    vocabulary = build_vocabulary(["abcdef"])
    base = Wav2Vec2CTC(Wav2Vec2CTC.tiny(vocab_size=len(vocabulary)))
    raw = {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2", **asdict(base.config)}
    write_checkpoint(tmp_path / "base", raw, base.state_dict())
    vocabulary.save(tmp_path / "base")
    (tmp_path / "base" / "preprocessor_config.json").write_text("{}")
    other = build_vocabulary(["xyz"])
    base.lm_head = torch.nn.Linear(32, len(other))
    options = LoraOptions(rank=2, alpha=3.0, trained=("lm_head",))
    add_lora(base, options)
    with torch.no_grad():
        for layer in lora_layers(base).values():
            layer.lora_B.normal_(0, 0.2, generator=torch.Generator().manual_seed(4))
    save_adapter(base, options, "../base", tmp_path / "adapter")
    other.save(tmp_path / "adapter")
    return base.eval(), tmp_path / "adapter"


def change(folder: Path, **settings: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def test_an_adapter_loads_as_the_model_that_was_trained(adapted: tuple[Wav2Vec2CTC, Path]) -> None:
    model, folder = adapted
    loaded = load(folder)
    with torch.no_grad():
        expected, _ = model(SOUND, torch.tensor([4000]))
        logits, _ = loaded.model(SOUND, torch.tensor([4000]))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    assert loaded.tokenizer.encode("zyx") == [3, 2, 1]


def test_a_pipeline_takes_the_folder_of_an_adapter(adapted: tuple[Wav2Vec2CTC, Path]) -> None:
    recognize = pipeline("automatic-speech-recognition", adapted[1])
    assert set(recognize(SOUND[0].numpy())["text"]) <= set("xyz ")


def test_arithmetic_that_is_not_here_is_refused(adapted: tuple[Wav2Vec2CTC, Path]) -> None:
    change(adapted[1], use_dora=True)
    with pytest.raises(ConfigError, match="use_dora is True"):
        load(adapted[1])


def test_rank_stabilised_adapters_are_scaled_by_the_root(adapted: tuple[Wav2Vec2CTC, Path]) -> None:
    lora = read_lora(adapted[1])
    assert lora is not None
    assert lora.scale == 1.5
    change(adapted[1], use_rslora=True)
    lora = read_lora(adapted[1])
    assert lora is not None
    assert lora.scale == pytest.approx(3 / 2**0.5)


def test_an_adapter_of_another_model_is_refused(adapted: tuple[Wav2Vec2CTC, Path], tmp_path: Path) -> None:
    small = Wav2Vec2CTC(Wav2Vec2CTC.tiny(num_hidden_layers=1))
    raw = {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2", **asdict(small.config)}
    write_checkpoint(tmp_path / "base", raw, small.state_dict())
    with pytest.raises(TensorError, match="no such layer"):
        load(adapted[1])


def test_a_whole_model_is_no_adapter(adapted: tuple[Wav2Vec2CTC, Path], tmp_path: Path) -> None:
    assert read_lora(tmp_path / "base") is None
