"""A checkpoint folder becomes a model with what stands before and behind it; what does not fit is refused by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import auricle
from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import ConfigError, ModelNotFoundError, OptionError, TaskError, TensorError
from auricle.loading import load, task_of
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.pipelines import pipeline

FILES_BUDGET = 12  # of docs/architecture.md: what a reader goes through to understand loading
FUNCTIONS_BUDGET = 50
ALPHABET = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefghijklmnopqrstuvwxyz'"]


def plain(config: Any) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(config)))


def make_checkpoint(folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
    """Write a tiny wav2vec2 CTC checkpoint with a character vocabulary."""
    torch.manual_seed(0)
    config = Wav2Vec2CTC.tiny(vocab_size=len(ALPHABET))
    model = Wav2Vec2CTC(config)
    raw = {**plain(config), "model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"], **changes}
    write_checkpoint(folder, raw, model.state_dict(), dtype)
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(ALPHABET)}))
    (folder / "preprocessor_config.json").write_text('{"feature_extractor_type": "Wav2Vec2FeatureExtractor"}')
    return folder


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    raw = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))


@contextmanager
def functions_called() -> Iterator[set[tuple[str, int]]]:
    """Collect (file, first line) of every distinct function of auricle that runs inside the block."""
    # With the separator: the folder that the repository lies in may have the same name.
    package = str(Path(auricle.__file__).parent) + os.sep
    called: set[tuple[str, int]] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(package) and not code.co_name.startswith("<"):
            called.add((code.co_filename, code.co_firstlineno))

    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)


def test_loaded_model_has_the_weights_of_the_file(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    loaded = load(folder)
    assert (loaded.name, loaded.folder, loaded.revision) == (str(folder), folder, None)
    assert (loaded.kind, loaded.model_type) == ("ctc", "wav2vec2")
    assert not loaded.model.training
    assert loaded.config == Wav2Vec2CTC.tiny(vocab_size=len(ALPHABET))
    assert loaded.features.sample_rate == 16000
    assert loaded.tokenizer.vocab_size == len(ALPHABET)
    torch.manual_seed(0)
    original = Wav2Vec2CTC(Wav2Vec2CTC.tiny(vocab_size=len(ALPHABET))).eval()
    values, lengths = torch.randn(2, 3000), torch.tensor([3000, 2000])
    with torch.inference_mode():
        assert torch.equal(loaded.model(values, lengths)[0], original(values, lengths)[0])


def test_nothing_is_left_on_the_meta_device(tmp_path: Path) -> None:
    model = load(make_checkpoint(tmp_path)).model
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
def test_half_precision_files_run_in_float32_on_the_cpu(tmp_path: Path, stored: torch.dtype) -> None:
    folder = make_checkpoint(tmp_path, stored)
    assert {parameter.dtype for parameter in load(folder).model.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, "torch.bfloat16"])
def test_dtype_is_honoured_by_name_and_by_object(tmp_path: Path, dtype: Any) -> None:
    model = load(make_checkpoint(tmp_path), dtype=dtype).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", ["float8", "int8", torch.int32, "Float32"])
def test_unknown_dtype_is_refused(tmp_path: Path, dtype: Any) -> None:
    with pytest.raises(OptionError, match="expected 'auto', float32, float16, bfloat16"):
        load(make_checkpoint(tmp_path), dtype=dtype)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_device_that_is_not_here_is_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(OptionError, match=f"device '{device}' cannot be used"):
        load(make_checkpoint(tmp_path), device=device)


def test_loading_stays_within_its_reading_distance(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    load(folder)  # imports done, so that class bodies do not count as functions
    with functions_called() as called:
        load(folder)
    assert len({file for file, _ in called}) <= FILES_BUDGET
    assert len(called) <= FUNCTIONS_BUDGET


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("wav2vec", r"model_type is 'wav2vec'; supported are .*did you mean 'wav2vec2'"),
        ("mixtral", r"model_type is 'mixtral'; supported are blip, convnext"),
        (..., r"there is no model_type; supported are"),
    ],
)
def test_unknown_model_type_is_named_with_what_is_supported(tmp_path: Path, model_type: Any, message: str) -> None:
    folder = make_checkpoint(tmp_path)
    change_config(folder, model_type=model_type)
    with pytest.raises(ConfigError, match=message):
        load(folder)


def test_unknown_configuration_is_named_with_its_file(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    change_config(folder, rotary_magic=True)
    with pytest.raises(ConfigError, match=r"config\.json: unknown key 'rotary_magic'"):
        load(folder)


def test_weights_of_another_size_are_refused_by_name(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path)
    change_config(folder, vocab_size=99)
    with pytest.raises(TensorError, match=r"lm_head\.bias is \(32,\) where the model has \(99,\)"):
        load(folder)


@pytest.mark.parametrize("changes", [{"hidden_size": -4}, {"num_attention_heads": 0}, {"hidden_act": "magic"}])
def test_impossible_sizes_are_an_error_of_the_configuration(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = make_checkpoint(tmp_path)
    change_config(folder, **changes)
    with pytest.raises(ConfigError, match=r"config\.json"):
        load(folder)


def test_missing_folder_file_and_weights_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="does not exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        load(tmp_path)
    folder = make_checkpoint(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(TensorError, match="no readable weights"):
        load(folder)


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("Wav2Vec2ForCTC", "automatic-speech-recognition"),
        ("ParakeetForCTC", "automatic-speech-recognition"),
        ("WhisperForConditionalGeneration", "automatic-speech-recognition"),
        ("MoonshineForConditionalGeneration", "automatic-speech-recognition"),
    ],
)
def test_task_is_read_from_the_architecture(tmp_path: Path, architecture: str, task: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    assert task_of(tmp_path) == task


@pytest.mark.parametrize("architecture", ["MixtralForCausalLM", "T5ForConditionalGeneration", "Wav2Vec2ForPreTraining"])
def test_task_of_another_architecture_is_refused_by_name(tmp_path: Path, architecture: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    with pytest.raises(TaskError, match=rf"architectures is \['{architecture}'\].*WhisperForConditionalGeneration"):
        task_of(tmp_path)


@pytest.mark.parametrize("architectures", [None, [], "WhisperForConditionalGeneration"])
def test_task_without_a_list_of_architectures_asks_for_the_task(tmp_path: Path, architectures: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": architectures}))
    with pytest.raises((TaskError, ConfigError), match="architectures is"):
        task_of(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": ...}, r"there is no model_type; supported are"),
        ({"model_type": ["wav2vec2"]}, r"model_type is \['wav2vec2'\]; expected a name"),
        ({"model_type": 3}, "model_type is 3; expected a name"),
        ({"architectures": "Wav2Vec2ForCTC"}, "architectures is 'Wav2Vec2ForCTC'; expected a list of names"),
    ],
)
def test_what_says_whose_a_model_is_is_checked_before_anybody_runs_it(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = make_checkpoint(tmp_path)
    change_config(folder, **changes)
    with pytest.raises(ConfigError, match=message):
        pipeline("automatic-speech-recognition", folder)


def test_encoder_without_a_head_is_refused_before_its_weights(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, architectures=["Wav2Vec2ForPreTraining"])
    with pytest.raises(TaskError, match="Wav2Vec2ForPreTraining"):
        load(folder)


@pytest.mark.parametrize("code", [5, "../fra", "", "a/b", "fra*"])
def test_language_code_cannot_be_a_path_or_pattern(tmp_path: Path, code: Any) -> None:
    with pytest.raises(OptionError, match="no language code"):
        load(make_checkpoint(tmp_path), target_lang=code)


def test_language_of_a_model_without_adapters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="has no adapters for languages"):
        load(make_checkpoint(tmp_path), target_lang="fra")


def make_adapters(folder: Path) -> dict[str, Tensor]:
    """Write a tiny MMS checkpoint with English inside and a French adapter of 4 letters beside it."""
    torch.manual_seed(0)
    config = Wav2Vec2CTC.tiny(vocab_size=6, adapter_attn_dim=4, do_stable_layer_norm=True)
    state = Wav2Vec2CTC(config).state_dict()
    raw = {**plain(config), "model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"]}
    write_checkpoint(folder, raw, state)
    adapter = {name: torch.randn_like(tensor) for name, tensor in state.items() if "adapter_layer" in name}
    adapter["lm_head.weight"] = torch.randn(8, state["lm_head.weight"].shape[1])
    adapter["lm_head.bias"] = torch.randn(8)
    save_file(adapter, folder / "adapter.fra.safetensors")
    special = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    english, french = [*"|a"], [*"|aéç"]
    vocab = {
        "eng": {**special, **{piece: i + 4 for i, piece in enumerate(english)}},
        "fra": {**special, **{piece: i + 4 for i, piece in enumerate(french)}},
    }
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "tokenizer_config.json").write_text('{"target_lang": "eng"}')
    return adapter


def test_adapter_of_a_language_replaces_head_adapters_and_vocabulary(tmp_path: Path) -> None:
    adapter = make_adapters(tmp_path)
    english = load(tmp_path)
    french = load(tmp_path, target_lang="fra")
    assert (english.config.vocab_size, english.tokenizer.vocab_size) == (6, 6)
    assert (french.config.vocab_size, french.tokenizer.vocab_size) == (8, 8)
    state = french.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in adapter.items())
    assert torch.equal(
        state["wav2vec2.feature_projection.projection.weight"],
        english.model.state_dict()["wav2vec2.feature_projection.projection.weight"],
    )


def test_incomplete_adapter_of_a_language_is_refused(tmp_path: Path) -> None:
    adapter = make_adapters(tmp_path)
    lost = next(name for name in adapter if "adapter_layer" in name)
    save_file({k: v for k, v in adapter.items() if k != lost}, tmp_path / "adapter.fra.safetensors")
    with pytest.raises(TensorError, match=f"lacks 1 tensors of the language's adapter, such as {lost}"):
        load(tmp_path, target_lang="fra")


def test_absent_language_names_those_that_exist(tmp_path: Path) -> None:
    make_adapters(tmp_path)
    with pytest.raises(OptionError, match=r"target_lang 'frz' has no file .* did you mean 'fra'"):
        load(tmp_path, target_lang="frz")


def test_finish_of_a_model_runs_after_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    monkeypatch.setattr(Wav2Vec2CTC, "finish", lambda self: seen.append(self.lm_head.bias.clone()), raising=False)
    model = load(make_checkpoint(tmp_path)).model
    assert torch.equal(seen[0], model.lm_head.bias)


def test_no_family_imports_torchs_compiler_to_be_built() -> None:
    code = """
import importlib, sys
from auricle.loading import _build
from auricle.models import MODELS
for place in MODELS.values():
    module, _, name = place.partition(":")
    family = getattr(importlib.import_module(module), name)
    layers = _build(family, family.tiny(), "config.json").modules()
    assert all(layer.weight.is_meta for layer in layers if type(layer).__name__ == "Linear"), name
print("torch._dynamo" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
