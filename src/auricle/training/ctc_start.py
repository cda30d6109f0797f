"""Where CTC fine-tuning starts from: any checkpoint of a CTC family, with a head or without, or a Whisper's encoder."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auricle.audio.features import open_features
from auricle.checkpoints.config import build_config, read_features, read_json
from auricle.checkpoints.tensors import load_tensors, read_tensors
from auricle.errors import ConfigError, OptionError
from auricle.hub import locate
from auricle.models import MODELS
from auricle.models.whisper_ctc import ARCHITECTURE
from auricle.text import Tokenizer, open_tokenizer

# What config.json calls a model of each family that has a CTC head, and where its head is.
ARCHITECTURES = {
    "wav2vec2": "Wav2Vec2ForCTC",
    "hubert": "HubertForCTC",
    "wavlm": "WavLMForCTC",
    "parakeet_ctc": "ParakeetForCTC",
    "whisper_ctc": ARCHITECTURE,
}
HEADS = {"parakeet_ctc": "ctc_head"}
ENCODER_ARRAYS = "_fp16.npy"  # a Whisper's encoder alone, one array a tensor, dots of the names as underscores


@dataclass(frozen=True)
class Start:
    """A checkpoint that was read, and not yet made into a model."""

    name: str  # as it was asked for
    family: str  # a key of ARCHITECTURES
    raw: dict[str, Any]  # config.json
    tensors: dict[str, Tensor]  # by their stored names
    features: Any  # a FeatureExtractor
    feature_settings: dict[str, Any]  # preprocessor_config.json
    tokenizer: Tokenizer | None  # None where the checkpoint cannot write
    folder: Path
    languages: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """The name of the layer from states to the vocabulary."""
        return HEADS.get(self.family, "lm_head")

    @property
    def has_head(self) -> bool:
        """Whether the checkpoint has learned to write."""
        return self.tokenizer is not None and f"{self.head}.weight" in self.tensors

    @property
    def width(self) -> int:
        """Of the states that the head reads."""
        if self.family == "parakeet_ctc":
            return int(self.raw.get("encoder_config", {}).get("hidden_size", 1024))
        if self.family == "whisper_ctc":
            return int(self.raw["d_model"])
        config = self.raw
        converted = config.get("output_hidden_size") if config.get("add_adapter") else None
        return int(converted or config.get("hidden_size", 768))

    def fingerprint(self) -> str:
        """Name the configuration and every weight."""
        digest = hashlib.sha256(json.dumps([self.raw, self.feature_settings], sort_keys=True).encode())
        for name in sorted(self.tensors):
            digest.update(name.encode())
            digest.update(self.tensors[name].contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def build(self, vocab_size: int, blank: int, head: Mapping[str, Tensor] | None = None) -> nn.Module:
        """Make the model with a vocabulary of this size, in float32; `head` replaces the checkpoint's own.

        Raises:
            CheckpointError: the weights and config.json do not fit each other.
        """
        where = str(self.folder)
        raw = {**self.raw, "vocab_size": vocab_size, "pad_token_id": blank, "model_type": self.family}
        module, _, attribute = MODELS[self.family].partition(":")
        model_class = getattr(importlib.import_module(module), attribute)
        model: nn.Module = model_class(build_config(model_class, raw, where))
        tensors = {name: value for name, value in self.tensors.items() if not name.startswith(f"{self.head}.")}
        own = {name: value for name, value in self.tensors.items() if name not in tensors}
        tensors |= own if head is None else {f"{self.head}.{name}": value for name, value in head.items()}
        load_tensors(model, tensors, model_class.RENAMES, model_class.IGNORED_TENSORS, torch.float32, where)
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()  # a mapped file is read-only
        return model


def read_start(name: str | Path, target_lang: str | None = None) -> Start:
    """Read a checkpoint to start from: "bundled", a folder, a model of the Hub, or the arrays of a Whisper's encoder.

    Raises:
        CheckpointError: not found, or its files cannot be used.
        OptionError: a family that has no CTC form here.
    """
    folder = locate(name)
    if not (folder / "config.json").is_file() and any(folder.glob(f"*{ENCODER_ARRAYS}")):
        return _encoder_arrays(str(name), folder)
    raw = read_json(folder, "config.json", required=True)
    family = raw.get("model_type")
    family = "whisper_ctc" if family == "whisper" else family
    if family not in ARCHITECTURES:
        known = ", ".join(sorted({*ARCHITECTURES, "whisper"} - {"whisper_ctc"}))
        raise OptionError(f"{name} is a {family!r} model, which has no CTC form here; expected one of {known}")
    settings, tensors = read_features(folder), read_tensors(folder)
    if family == "whisper_ctc":
        tensors = {name: value for name, value in tensors.items() if "encoder." in name or name.startswith("lm_head.")}
    about = read_json(folder, "auricle.json")
    start = Start(
        name=str(name),
        family=family,
        raw=raw,
        tensors=tensors,
        features=open_features(settings, family),
        feature_settings=settings,
        tokenizer=None,
        folder=folder,
        languages=tuple(about.get("languages") or ()),
    )
    if f"{start.head}.weight" not in tensors:
        return start
    try:
        return replace(start, tokenizer=open_tokenizer(folder, family, target_lang))
    except ConfigError:
        return start  # a head without a vocabulary says nothing


def _encoder_arrays(name: str, folder: Path) -> Start:
    """Read a Whisper's encoder from arrays; sizes that no file states are those of every published Whisper."""
    stored = {path.name.removesuffix(ENCODER_ARRAYS): path for path in sorted(folder.glob(f"*{ENCODER_ARRAYS}"))}
    if "conv1_weight" not in stored:
        raise ConfigError(f"{folder} has no conv1_weight{ENCODER_ARRAYS}; expected the arrays of a Whisper's encoder")
    arrays = {key: torch.from_numpy(np.load(path)) for key, path in stored.items()}
    width, n_mels, _ = arrays["conv1_weight"].shape
    n_layers = sum(key.endswith("fc1_weight") for key in arrays)
    raw = {
        "model_type": "whisper",
        "d_model": width,
        "num_mel_bins": n_mels,
        "encoder_layers": n_layers,
        "encoder_attention_heads": width // 64,
        "encoder_ffn_dim": len(arrays["layers_0_fc1_bias"]),
        "decoder_attention_heads": width // 64,
        "max_source_positions": len(arrays["embed_positions_weight"]),
    }
    module = importlib.import_module("auricle.models.whisper_ctc")
    shapes = module.EncoderOnly(build_config(module.WhisperCTC, raw, str(folder))).state_dict()
    names = {key.removeprefix("encoder.").replace(".", "_"): f"model.{key}" for key in shapes}
    unknown = sorted(set(arrays) - set(names))
    if unknown:
        raise ConfigError(f"{folder}: {unknown[0]}{ENCODER_ARRAYS} is no tensor of a Whisper's encoder")
    settings = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": n_mels}
    tensors = {names[key]: value for key, value in arrays.items()}
    return Start(name, "whisper_ctc", raw, tensors, open_features(settings, "whisper_ctc"), settings, None, folder)
