"""config.json and its companions: what is read, and what is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from auricle.checkpoints.config import build_config, read_features, read_generation, read_json
from auricle.errors import ConfigError


@dataclass(frozen=True)
class Part:
    """A nested object."""

    width: int = 4

    HARMLESS = frozenset({"part_dropout"})


@dataclass(frozen=True)
class Settings:
    """One field of every kind that families use."""

    hidden_size: int
    rate: float = 0.5
    bias: bool = False
    act: Literal["gelu", "relu"] = "gelu"
    conv_dim: tuple[int, ...] = (1, 2)
    pair: tuple[int, int] = (1, 2)
    names: list[str] = field(default_factory=list)
    adapter_dim: int | None = None
    tokens: int | list[int] | None = None
    rope: dict[str, Any] | None = None
    part: Part = field(default_factory=Part)

    def __post_init__(self) -> None:
        if self.hidden_size == 13:
            raise ConfigError("hidden_size 13 brings bad luck")
        if self.hidden_size == 14:
            raise ValueError("14 cannot be divided")


class Model:
    """What `build_config` needs of a model class."""

    Config = Settings
    HARMLESS = frozenset({"layerdrop"})


def build(**raw: Any) -> Settings:
    return build_config(Model, {"hidden_size": 8, **raw}, "config.json")


def test_fields_take_the_values_of_the_file() -> None:
    config = build(rate=1, conv_dim=[3, 4], pair=[5, 6], part={"width": 9}, tokens=[1], rope={"a": 1.5})
    assert config == Settings(8, 1.0, False, "gelu", (3, 4), (5, 6), [], None, [1], {"a": 1.5}, Part(9))
    assert isinstance(config.rate, float)


def test_null_is_a_value_only_where_the_field_allows_it() -> None:
    assert build(adapter_dim=None).adapter_dim is None
    with pytest.raises(ConfigError, match=r"config\.json: conv_dim is None \(NoneType\); expected"):
        build(conv_dim=None)


def test_unknown_key_is_named_with_its_nearest() -> None:
    with pytest.raises(ConfigError, match=r"config\.json: unknown key 'hiden_size' \(value 3\); did you mean 'hidden"):
        build(hiden_size=3)


def test_unknown_key_of_a_nested_object_says_where() -> None:
    with pytest.raises(ConfigError, match=r"config\.json: part: unknown key 'widht'"):
        build(part={"widht": 3})


def test_harmless_and_bookkeeping_keys_are_allowed_at_every_depth() -> None:
    raw = {"layerdrop": 0.1, "architectures": ["X"], "dtype": None, "torch_dtype": "float16", "id2label": {"0": "a"}}
    assert build(**raw, part={**raw, "part_dropout": 0.2}) == Settings(8)


def test_what_trainers_note_and_pipelines_around_the_network_are_allowed() -> None:
    around = {
        "kotoba-whisper": {"impl": "kotoba_whisper.KotobaWhisperPipeline", "pt": ["WhisperForConditionalGeneration"]}
    }
    assert build(unsloth_version="2026.4.7", unsloth_fixed=True, custom_pipelines=around) == Settings(8)


def test_generation_settings_in_old_files_are_allowed() -> None:
    assert build(num_beams=5, top_k=50, max_length=448, bos_token_id=1, suppress_tokens=[1]) == Settings(8)


@pytest.mark.parametrize("key", ["is_decoder", "pruned_heads", "quantization_config", "tie_word_embeddings"])
def test_keys_that_change_the_network_are_allowed_only_at_rest(key: str) -> None:
    rest = {"is_decoder": False, "pruned_heads": {}, "quantization_config": None, "tie_word_embeddings": True}
    assert build(**{key: rest[key]}) == Settings(8)
    changed = {"is_decoder": True, "pruned_heads": {"1": [0]}, "quantization_config": {"bits": 4}}
    with pytest.raises(ConfigError, match=f"{key} is .* not supported here"):
        build(**{key: changed.get(key, False)})


def test_code_from_the_repository_is_refused() -> None:
    with pytest.raises(ConfigError, match="never done here"):
        build(auto_map={"AutoModel": "modeling.Model"})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", "8", "hidden_size is '8' (str); expected int"),
        ("hidden_size", 8.5, "hidden_size is 8.5 (float); expected int"),
        ("hidden_size", True, "hidden_size is True (bool); expected int"),
        ("rate", "x", "rate is 'x' (str); expected float"),
        ("rate", True, "rate is True (bool); expected float"),
        ("bias", 1, "bias is 1 (int); expected bool"),
        ("act", "swish", "act is 'swish'; supported: 'gelu', 'relu'"),
        ("conv_dim", [1, "a"], "conv_dim[1] is 'a' (str); expected int"),
        ("conv_dim", 3, "conv_dim is 3 (int); expected tuple[int, ...]"),
        ("pair", [1], "pair has 1 values; expected 2"),
        ("part", 3, "part is 3 (int); expected Part"),
        ("tokens", "a", "tokens is 'a' (str); expected int, list[int] or null"),
    ],
)
def test_value_of_a_wrong_type_is_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(**{key: value})
    assert message in str(caught.value)


def test_missing_field_without_a_default_is_named() -> None:
    with pytest.raises(ConfigError, match="lacks hidden_size"):
        build_config(Model, {}, "config.json")


def test_refusals_of_the_configuration_name_the_file() -> None:
    with pytest.raises(ConfigError, match=r"config\.json: hidden_size 13 brings bad luck"):
        build(hidden_size=13)
    with pytest.raises(ConfigError, match=r"config\.json holds values that do not fit together: 14 cannot"):
        build(hidden_size=14)


def test_folder_of_an_adapter_alone_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ConfigError, match=r"has no config\.json .*it is an adapter .* Merge it"):
        read_json(tmp_path, "config.json", required=True)


def test_absent_file_is_empty_unless_required(tmp_path: Path) -> None:
    assert read_json(tmp_path, "config.json") == {}
    with pytest.raises(ConfigError, match=r"has no config\.json \(it is empty\)"):
        read_json(tmp_path, "config.json", required=True)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"it holds notes\.txt"):
        read_json(tmp_path, "config.json", required=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"{'a': 1}", "is not JSON"),
        (b'{"a": 1', "is not JSON"),
        (b"[1, 2]", "holds a JSON list; expected an object"),
        (b"<html>404</html>", "it starts '<html>404</html>'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git-LFS pointer"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
def test_damaged_json_says_what_arrived(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_json(tmp_path, "config.json")
    assert message in str(caught.value)
    assert str(tmp_path / "config.json") in str(caught.value)


def test_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf{}")
    assert read_json(tmp_path, "config.json") == {}


def test_nested_feature_settings_come_before_the_older_file(tmp_path: Path) -> None:
    assert read_features(tmp_path) == {}
    (tmp_path / "preprocessor_config.json").write_text('{"sampling_rate": 8000}')
    (tmp_path / "processor_config.json").write_text('{"processor_class": "X"}')
    assert read_features(tmp_path) == {"sampling_rate": 8000}
    (tmp_path / "processor_config.json").write_text('{"feature_extractor": {"sampling_rate": 16000}}')
    assert read_features(tmp_path) == {"sampling_rate": 16000}
    (tmp_path / "processor_config.json").write_text('{"feature_extractor": "whisper"}')
    with pytest.raises(ConfigError, match="feature_extractor is a str; expected an object"):
        read_features(tmp_path)


def test_old_generation_settings_are_repaired_from_the_configuration(tmp_path: Path) -> None:
    config = {"eos_token_id": 2, "suppress_tokens": [7], "max_length": 448, "forced_decoder_ids": [[1, 50259]]}
    without = read_generation(tmp_path, config)
    assert without == {"eos_token_id": 2, "suppress_tokens": [7], "max_length": 448}
    (tmp_path / "generation_config.json").write_text(json.dumps({"suppress_tokens": None, "max_length": 20}))
    assert read_generation(tmp_path, config) == {"suppress_tokens": None, "max_length": 20, "eos_token_id": 2}
