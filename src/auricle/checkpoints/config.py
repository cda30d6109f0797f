"""config.json and its companions, read strictly.

A key that no one here understands may change what a model computes, so it is an error and not a shrug. What
is known to change nothing is listed: once for every family below, and per family in the model's ``HARMLESS``.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auricle.errors import ConfigError, nearest

# Written by the Hub's libraries and by trainers into any config.json; says nothing about what the network computes.
# custom_pipelines names code around the network, which transformers does not run unasked, and nobody here at all.
BOOKKEEPING = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _attn_implementation_internal _commit_hash
    _experts_implementation _name_or_path architectures attn_implementation chunk_size_feed_forward
    custom_pipelines dtype feature_extractor_type finetuning_task gradient_checkpointing id2label
    is_encoder_decoder label2id model_type name_or_path output_attentions output_hidden_states prefix
    problem_type processor_class return_dict return_dict_in_generate tokenizer_class torch_dtype
    torchscript transformers_version unsloth_fixed unsloth_version use_bfloat16 use_cache
    """.split()
)

# Settings of text generation that older checkpoints keep in config.json. They belong to the loop that
# generates, which receives them through `read_generation`; the network itself has no use for them.
GENERATION = frozenset(
    """
    bad_words_ids begin_suppress_tokens bos_token_id decoder_start_token_id diversity_penalty
    do_sample early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty forced_bos_token_id forced_decoder_ids forced_eos_token_id
    length_penalty max_length max_new_tokens min_length no_repeat_ngram_size num_beam_groups
    num_beams num_return_sequences output_scores pad_token_id remove_invalid_values
    repetition_penalty sep_token_id suppress_tokens task_specific_params temperature top_k top_p
    typical_p
    """.split()
)

# Harmless at exactly this value, and a different network at any other.
NEUTRAL: dict[str, Any] = {
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "is_decoder": False,
    "pruned_heads": {},
    "quantization_config": None,
    "tf_legacy_loss": False,
    "tie_encoder_decoder": False,
    "tie_word_embeddings": True,
}

# What old checkpoints have in config.json alone. A language and task that were once forced for everyone are
# not taken over: they would turn every recording into that language.
_NOT_INHERITED = frozenset({"forced_decoder_ids", "task_specific_params"})
# Fields without which generation is wrong, whatever the age of generation_config.json.
_REPAIRED = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
)


def read_json(folder: Path, name: str, required: bool = False) -> dict[str, Any]:
    """Read one JSON object of a checkpoint; an absent file is ``{}`` unless `required`.

    Raises:
        ConfigError: The file is required and absent, is no JSON, or holds something other than an object.
    """
    path = folder / name
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        if not required:
            return {}
        found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) if folder.is_dir() else ""
        state = f"it holds {found}" if found else "it is empty" if folder.is_dir() else "it is no folder"
        if (folder / "adapter_config.json").is_file():
            raise ConfigError(
                f"{folder} has no {name} ({state}); it is an adapter (PEFT, LoRA) and not a whole model. Merge it into "
                "the model that its adapter_config.json names (peft: merge_and_unload, save_pretrained), and give that."
            ) from None
        raise ConfigError(
            f"{folder} has no {name} ({state}); expected a checkpoint folder as the Hub serves it. "
            "Give the folder that holds config.json, or a model name such as 'org/model'."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text: {error}. Download it again.") from error
    if text.startswith("version https://git-lfs"):
        raise ConfigError(
            f"{path} is a git-LFS pointer and not the file itself. Run 'git lfs pull' in {folder}, "
            "or download the model by its Hub name."
        )
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        state = "is empty" if not text.strip() else f"is not JSON ({error})"
        raise ConfigError(f"{path} {state}; it starts {text[:40]!r}. Download it again.") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds a JSON {type(raw).__name__}; expected an object.")
    return raw


def build_config(model_class: type, raw: Mapping[str, Any], where: str) -> Any:
    """Build ``model_class.Config`` from a config.json; a field of a dataclass type reads a nested object.

    `where` names the file in messages. ``HARMLESS`` of the model holds for nested objects too,
    and a nested dataclass may add its own.

    Raises:
        ConfigError: A key is unknown, a value has the wrong type, or a key without a default is missing.
    """
    harmless = frozenset(getattr(model_class, "HARMLESS", ()))
    return _build(model_class.Config, raw, where, harmless)  # type: ignore[attr-defined]


def read_features(folder: Path, part: str = "feature_extractor") -> dict[str, Any]:
    """Return the settings of the feature extractor, or of the `part` "image_processor".

    They are in processor_config.json or in a file of their own.

    Newer checkpoints nest them; a folder that has both was saved anew, and the nested ones are the newer.
    """
    nested = read_json(folder, "processor_config.json").get(part)
    if nested is None:
        return read_json(folder, "preprocessor_config.json")
    if not isinstance(nested, dict):
        raise ConfigError(
            f"{folder / 'processor_config.json'}: {part} is a {type(nested).__name__}; expected an object."
        )
    return nested


def read_generation(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return generation_config.json; what an old one lacks comes from `config`, the content of config.json.

    Without the file, all of config.json's settings of generation are taken, save a forced language and task.
    """
    generation = read_json(folder, "generation_config.json")
    inherited = _REPAIRED if generation else sorted(GENERATION - _NOT_INHERITED)
    found = {key: config[key] for key in inherited if config.get(key) is not None and key not in generation}
    return {**generation, **found}


def _build(config_class: type, raw: Mapping[str, Any], where: str, harmless: frozenset[str]) -> Any:
    harmless = harmless | frozenset(getattr(config_class, "HARMLESS", ()))
    hints = typing.get_type_hints(config_class)
    fields = {field.name: field for field in dataclasses.fields(config_class) if field.init}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key in fields:
            values[key] = _convert(value, hints[key], f"{where}: {key}", harmless)
        elif key not in harmless and key not in BOOKKEEPING and key not in GENERATION:
            _refuse_unless_neutral(key, value, where, fields)
    absent = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if absent:
        raise ConfigError(f"{where} lacks {', '.join(absent)}, which {config_class.__qualname__} needs.")
    try:
        return config_class(**values)
    except ConfigError as error:
        raise error if where in str(error) else ConfigError(f"{where}: {error}") from None
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(f"{where} holds values that do not fit together: {error}") from error


def _refuse_unless_neutral(key: str, value: Any, where: str, known: Mapping[str, Any]) -> None:
    if key in NEUTRAL:
        if value == NEUTRAL[key]:
            return
        raise ConfigError(
            f"{where}: {key} is {value!r}, which changes what the model computes and is not supported here; "
            f"supported is {NEUTRAL[key]!r}. Use a checkpoint without it, or try engine='transformers'."
        )
    if key == "auto_map":
        raise ConfigError(
            f"{where}: auto_map asks to run Python code from the checkpoint's repository, which is never "
            "done here. Use a checkpoint of the same architecture that needs no code of its own."
        )
    raise ConfigError(
        f"{where}: unknown key {key!r} (value {_short(value)}){nearest(key, known) or '.'} "
        "It may change what the model computes, so it is not skipped. Correct the key, or remove it if it "
        "only concerns training."
    )


def _convert(value: Any, hint: Any, where: str, harmless: frozenset[str]) -> Any:
    """Check one JSON value against a field's type; JSON lists become tuples where the field wants one."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, arguments, where, harmless)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _build(typing.cast(type, hint), value, where, harmless)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{where} is {value!r}; supported: {', '.join(map(repr, arguments))}.")
        return value
    container = origin or hint
    if container in (tuple, list) and isinstance(value, list | tuple):
        item = arguments[0] if arguments else Any
        fixed = container is tuple and arguments and arguments[-1] is not Ellipsis
        if fixed and len(arguments) != len(value):
            raise ConfigError(f"{where} has {len(value)} values; expected {len(arguments)}: {_short(value)}.")
        return container(_convert(part, item, f"{where}[{i}]", harmless) for i, part in enumerate(value))
    if container is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = container is Any or (isinstance(container, type) and isinstance(value, container))
    if not fits or (isinstance(value, bool) and container is int):
        raise ConfigError(f"{where} is {_short(value)} ({type(value).__name__}); expected {_type_name(hint)}.")
    return value


def _convert_union(value: Any, arguments: tuple[Any, ...], where: str, harmless: frozenset[str]) -> Any:
    if value is None and type(None) in arguments:
        return None
    choices = [choice for choice in arguments if choice is not type(None)]
    if len(choices) == 1:
        return _convert(value, choices[0], where, harmless)
    for choice in choices:
        try:
            return _convert(value, choice, where, harmless)
        except ConfigError:
            continue
    names = [_type_name(choice) for choice in choices] + ["null"] * (type(None) in arguments)
    expected = f"{', '.join(names[:-1])} or {names[-1]}"
    raise ConfigError(f"{where} is {_short(value)} ({type(value).__name__}); expected {expected}.")


def _type_name(hint: Any) -> str:
    return str(hint) if typing.get_args(hint) else getattr(hint, "__name__", str(hint))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
