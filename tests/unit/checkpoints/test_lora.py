"""Adapters as PEFT keeps them, loaded as models."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from auricle.checkpoints.lora import read_lora
from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import ConfigError, ModelNotFoundError, TensorError
from auricle.loading import load, task_of
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


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("use_dora", True),
        ("lora_bias", True),
        ("use_qalora", True),
        ("rank_pattern", {"q_proj": 4}),
        ("alora_invocation_tokens", [7]),
        ("trainable_token_indices", [1, 2]),
        ("target_parameters", ["experts.weight"]),
        ("layer_replication", [[0, 2], [1, 2]]),
        ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "olora"),
    ],
)
def test_arithmetic_that_is_not_here_is_refused(adapted: tuple[Wav2Vec2CTC, Path], setting: str, value: object) -> None:
    change(adapted[1], **{setting: value})
    with pytest.raises(ConfigError, match=f"{setting} is .*Merge the adapter into its model"):
        load(adapted[1])


@pytest.mark.parametrize("value", [True, False, "gaussian", None])
def test_how_an_adapter_began_is_no_matter_where_the_base_stays(
    adapted: tuple[Wav2Vec2CTC, Path], value: object
) -> None:
    change(adapted[1], init_lora_weights=value)
    assert read_lora(adapted[1]) is not None


def test_changes_of_other_layers_than_linear_ones_are_refused(adapted: tuple[Wav2Vec2CTC, Path]) -> None:
    path = adapted[1] / "adapter_model.safetensors"
    layer = "base_model.model.wav2vec2.feature_extractor.conv_layers.0.conv"
    more = {f"{layer}.lora_A.weight": torch.zeros(2, 1, 10), f"{layer}.lora_B.weight": torch.zeros(16, 2, 1)}
    save_file({**load_file(path), **more}, path)
    with pytest.raises(TensorError, match=r"changes wav2vec2\.feature_extractor\.conv_layers\.0\.conv; supported are"):
        load(adapted[1])


def test_a_base_that_is_not_there_is_told_with_its_adapter(adapted: tuple[Wav2Vec2CTC, Path]) -> None:
    change(adapted[1], base_model_name_or_path="../gone")
    for read in (load, task_of):
        with pytest.raises(ModelNotFoundError, match=r"adapter is an adapter, .*'\.\./gone', leads to no model"):
            read(adapted[1])


def test_the_revision_of_the_base_is_that_of_the_adapter_s_training(
    adapted: tuple[Wav2Vec2CTC, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def find(name: object, *, revision: object = None, **_: object) -> Path:
        asked.append((name, revision))
        return adapted[1].parent / "base" if name == "org/base" else adapted[1]

    change(adapted[1], base_model_name_or_path="org/base", revision="v2")
    monkeypatch.setattr("auricle.loading.locate", find)
    load(adapted[1])
    assert asked == [(adapted[1], None), ("org/base", "v2")]


def test_rank_stabilised_adapters_are_scaled_by_the_root(adapted: tuple[Wav2Vec2CTC, Path]) -> None:
    lora = read_lora(adapted[1])
    assert lora is not None
    assert lora.scale == 1.5
    change(adapted[1], use_rslora=True)
    lora = read_lora(adapted[1])
    assert lora is not None
    assert lora.scale == pytest.approx(3 / 2**0.5)


def test_the_task_of_an_adapter_is_known_before_its_weights_are_fetched(adapted: tuple[Wav2Vec2CTC, Path]) -> None:
    (adapted[1] / "adapter_model.safetensors").unlink()
    assert task_of(adapted[1]) == "automatic-speech-recognition"
    with pytest.raises(TensorError, match=r"none of adapter_model\.safetensors"):
        load(adapted[1])


def test_an_adapter_of_another_model_is_refused(adapted: tuple[Wav2Vec2CTC, Path], tmp_path: Path) -> None:
    small = Wav2Vec2CTC(Wav2Vec2CTC.tiny(num_hidden_layers=1))
    raw = {"architectures": ["Wav2Vec2ForCTC"], "model_type": "wav2vec2", **asdict(small.config)}
    write_checkpoint(tmp_path / "base", raw, small.state_dict())
    with pytest.raises(TensorError, match="no such layer"):
        load(adapted[1])


def test_a_whole_model_is_no_adapter(adapted: tuple[Wav2Vec2CTC, Path], tmp_path: Path) -> None:
    assert read_lora(tmp_path / "base") is None
