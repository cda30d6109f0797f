"""A language for a multilingual wav2vec2 (MMS): small adapters in every layer and a head, upon a frozen model.

A language is a file of a few megabytes, `adapter.<language>.safetensors`, beside the model that all share; any pre-norm
wav2vec2, such as XLS-R, can be given adapters.

Paper: MMS (arXiv 2305.13516, section 4.3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from auricle.checkpoints.tensors import read_adapter, write_tensors
from auricle.errors import OptionError
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.training.ctc_labels import Labels
from auricle.training.ctc_objective import CTCObjective, CTCSettings
from auricle.training.ctc_start import Start, read_start

WIDTH = 16  # inside an adapter, where the checkpoint has none: that of the published ones
SPREAD = 0.02  # deviation of fresh weights


class MMSObjective(CTCObjective):
    """A wav2vec2 whose adapters and head learn one language."""

    def __init__(self, start: Start, labels: Labels, settings: CTCSettings, language: str) -> None:
        """Take what `read_mms` read; the encoder is frozen whatever the settings say.

        Raises:
            OptionError: the model has no place for adapters.
        """
        self.language = language
        # Its convolutions are as frozen as the rest: what they give is computed once.
        super().__init__(start, labels, replace(settings, freeze="feature-encoder"))

    def save(self, folder: Path) -> None:
        """Write a whole model of this language, and the language alone beside it."""
        super().save(folder)
        if self.labels.vocabulary is not None:
            self.labels.vocabulary.save(folder, self.language)
        parameters = cast(Wav2Vec2CTC, self.model).adapter_parameters()
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in parameters.items()}
        write_tensors(folder / f"adapter.{self.language}.safetensors", tensors)

    def _freeze(self) -> None:
        self.model.requires_grad_(False)
        for parameter in cast(Wav2Vec2CTC, self.model).adapter_parameters().values():
            parameter.requires_grad_(True)


def read_mms(name: str | Path, language: str, seed: int = 1) -> Start:
    """Read a wav2vec2 checkpoint with adapters for `language`: its own, else those it has, else fresh ones.

    Raises:
        CheckpointError: not found, or its files cannot be used.
        OptionError: no language code, or a model without a place for adapters.
    """
    if not re.fullmatch(r"\w[\w-]*", language):
        raise OptionError(f"target_lang is {language!r}; expected a code such as 'tur' or 'deu'")
    try:
        start = read_start(name, language)
    except OptionError:
        start = read_start(name)  # which does not write this language yet
    raw, tensors = dict(start.raw), dict(start.tensors)
    if start.family != "wav2vec2" or not raw.get("do_stable_layer_norm"):
        raise OptionError(
            f"{name} is a {start.family!r} model{'' if raw.get('do_stable_layer_norm') else ' in its post-norm form'}, "
            "which has no place for language adapters; take an MMS or XLS-R checkpoint, or leave --target-lang out"
        )
    try:
        own = _named(read_adapter(start.folder, language))
        tensors = {**{key: value for key, value in _named(tensors).items() if key not in own}, **own}
    except OptionError:
        if start.tokenizer is not None and _writes(start, language):
            raise  # a vocabulary without its adapter would be learned from nothing, and nobody would know
    if raw.get("adapter_attn_dim") is None:
        raw["adapter_attn_dim"] = WIDTH
    fresh = _fresh(raw, torch.Generator().manual_seed(seed))
    return replace(start, raw=raw, tensors={**fresh, **_named(tensors)})


def _writes(start: Start, language: str) -> bool:
    return getattr(start.tokenizer, "target_lang", None) == language


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names of a whole model: those of a bare encoder lack the prefix."""
    return {key if not key.startswith("encoder.") else f"wav2vec2.{key}": value for key, value in tensors.items()}


def _fresh(raw: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
    """Adapters that change nearly nothing yet, for every layer."""
    width, narrow = int(raw.get("hidden_size", 768)), int(raw["adapter_attn_dim"])
    found: dict[str, Tensor] = {}
    for layer in range(int(raw.get("num_hidden_layers", 12))):
        start = f"wav2vec2.encoder.layers.{layer}.adapter_layer"
        found[f"{start}.norm.weight"], found[f"{start}.norm.bias"] = torch.ones(width), torch.zeros(width)
        for name, shape in (("linear_1", (narrow, width)), ("linear_2", (width, narrow))):
            found[f"{start}.{name}.weight"] = torch.empty(shape).normal_(0.0, SPREAD, generator=generator)
            found[f"{start}.{name}.bias"] = torch.zeros(shape[0])
    return found
