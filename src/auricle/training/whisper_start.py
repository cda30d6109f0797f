"""Where fine-tuning of a Whisper starts from, and what is written of it at the end.

generation_config.json is written whole: what an old one lacks is filled in from the tokenizer, so that times, languages
and tasks are there in auricle and in transformers alike.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auricle.audio.whisper_mel import WhisperFeatures
from auricle.checkpoints.config import read_features, read_json
from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import OptionError
from auricle.hub import locate
from auricle.loading import load
from auricle.models.whisper import Whisper
from auricle.speech.whisper_tokens import WhisperTokens, alignment_heads, read_tokens
from auricle.text import SubwordTokenizer

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
)
# Settings of generation in config.json, which belong to generation_config.json; a language that everyone is forced to
# write is in neither.
MOVED = ("forced_decoder_ids", "suppress_tokens", "begin_suppress_tokens", "max_length", "torch_dtype", "dtype")


@dataclass(frozen=True)
class WhisperStart:
    """A Whisper with a decoder, ready to be trained, in float32."""

    name: str  # as it was asked for
    folder: Path
    model: Whisper
    raw: dict[str, Any]  # config.json
    features: WhisperFeatures
    feature_settings: dict[str, Any]
    tokenizer: SubwordTokenizer
    generation: dict[str, Any]
    tokens: WhisperTokens

    @property
    def family(self) -> str:
        """Its model_type."""
        return "whisper"

    @property
    def languages(self) -> tuple[str, ...]:
        """The language that the checkpoint was tuned for, if it says one."""
        return (self.tokens.language,) if self.tokens.language else ()

    def fingerprint(self) -> str:
        """Name the configuration, the vocabulary and every weight."""
        said = [self.raw, self.feature_settings, self.generation]
        digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
        for name in TOKENIZER_FILES:
            if (self.folder / name).is_file():
                digest.update((self.folder / name).read_bytes())
        for name, value in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def read_whisper(name: str | Path) -> WhisperStart:
    """Read a Whisper checkpoint with a decoder: a folder, or a model of the Hub.

    Raises:
        CheckpointError: not found, or its files cannot be used.
        OptionError: it is no Whisper, or has no decoder.
    """
    # Told before anything else that a model of another family may lack, such as a tokenizer.
    family = read_json(locate(name), "config.json").get("model_type")
    loaded = load(name) if family in (None, "whisper") else None
    if loaded is None or not isinstance(loaded.model, Whisper):
        raise OptionError(
            f"{name} is a {family!r} model without a decoder of text; sequence-to-sequence fine-tuning is for Whisper "
            "checkpoints with one. Choose such a checkpoint, or another method (--method ctc)"
        )
    for parameter in loaded.model.parameters():
        parameter.data = parameter.data.clone()  # a mapped file is read-only
    return WhisperStart(
        name=str(name),
        folder=loaded.folder,
        model=loaded.model,
        raw=read_json(loaded.folder, "config.json", required=True),
        features=loaded.features,
        feature_settings=read_features(loaded.folder),
        tokenizer=loaded.tokenizer,
        generation=loaded.generation,
        tokens=read_tokens(loaded.generation, loaded.tokenizer),
    )


def whole_generation(start: WhisperStart, language: str | None, task: str) -> dict[str, Any]:
    """generation_config.json as transformers and auricle need it; `language` is the one it was tuned for, if one."""
    tokens, config = start.tokens, start.model.config
    heads = alignment_heads(
        start.generation, config.decoder_layers, config.decoder_attention_heads, tokens.multilingual
    )
    filled: dict[str, Any] = {
        "alignment_heads": [list(pair) for pair in heads],
        "begin_suppress_tokens": list(tokens.blank),
        "bos_token_id": config.bos_token_id,
        "decoder_start_token_id": tokens.start,
        "eos_token_id": tokens.eos,
        "is_multilingual": tokens.multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": config.max_target_positions,
        "no_timestamps_token_id": tokens.no_timestamps,
        "pad_token_id": config.pad_token_id,
        "prev_sot_token_id": tokens.previous,
        "return_timestamps": False,
        "suppress_tokens": list(tokens.suppressed),
    }
    if tokens.multilingual:
        filled["lang_to_id"] = {f"<|{code}|>": id for code, id in tokens.languages.items()}
        filled["task_to_id"] = dict(tokens.tasks)
    kept = {name: value for name, value in start.generation.items() if name != "forced_decoder_ids"}
    kept["alignment_heads"] = filled["alignment_heads"]
    if tokens.multilingual:
        kept["task"] = task
        kept.pop("language", None)
        if language is not None:
            kept["language"] = language
    return {**filled, **kept}


def write_whisper(start: WhisperStart, tensors: Mapping[str, Tensor], generation: dict[str, Any], folder: Path) -> None:
    """Write the Hub's format: config.json, float32 weights, tokenizer, features and generation_config.json.

    Raises:
        TensorError: the disk refuses.
    """
    raw = {name: value for name, value in start.raw.items() if name not in MOVED}
    raw |= {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper"}
    stored = {
        name: value
        for name, value in tensors.items()
        if not (name == "proj_out.weight" and start.model.config.tie_word_embeddings)
    }
    write_checkpoint(folder, raw, stored, torch.float32)
    for name in TOKENIZER_FILES:
        if (start.folder / name).is_file() and start.folder != folder:
            shutil.copyfile(start.folder / name, folder / name)
    settings = {"feature_extractor_type": "WhisperFeatureExtractor", **start.feature_settings}
    settings["processor_class"] = "WhisperProcessor"
    for name, content in (("preprocessor_config.json", settings), ("generation_config.json", generation)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
