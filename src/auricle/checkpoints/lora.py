"""LoRA adapters as PEFT keeps them (adapter_config.json, adapter_model.safetensors), merged into a model's weights.

Once merged nothing is left of them: every engine computes the model as any other.
Source: PEFT `tuners/lora/layer.py`, get_delta_weight; arXiv 2106.09685, section 4.1; rank-stabilised: arXiv 2312.03732.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from auricle.checkpoints.config import read_json
from auricle.checkpoints.tensors import read_file
from auricle.errors import ConfigError, TensorError

CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."  # what PEFT puts before a model's own names
_MATRIX = re.compile(r"(.+)\.lora_([AB])\.weight")
# Settings that change the arithmetic, and the values at which they do not.
PLAIN: dict[str, Any] = {
    "alpha_pattern": {},
    "bias": "none",
    "fan_in_fan_out": False,
    "peft_type": "LORA",
    "rank_pattern": {},
    "use_dora": False,
}


@dataclass(frozen=True)
class Lora:
    """An adapter and the model that it belongs to."""

    where: str
    base: str  # a Hub name or a folder
    scale: float
    tensors: dict[str, Tensor]  # by their names without PEFT's prefix

    def whole(self, renames: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
        """The tensors that replace those of the model, such as a new head, by the model's own names."""
        return {_renamed(name, renames): value for name, value in self.tensors.items() if not _MATRIX.fullmatch(name)}

    def merged(self, tensors: Mapping[str, Tensor], renames: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
        """The model's stored tensors by its own names, with every change added, in float32.

        Raises:
            TensorError: a change is of a layer that the model lacks, has another shape, or one of its two matrices is
            missing.
        """
        found = {_renamed(name, renames): value for name, value in tensors.items()}
        pairs: dict[str, dict[str, Tensor]] = {}
        for name, value in self.tensors.items():
            match = _MATRIX.fullmatch(name)
            if match is not None:
                pairs.setdefault(match[1], {})[match[2]] = value.float()
        for layer, pair in pairs.items():
            name = _renamed(f"{layer}.weight", renames)
            if name not in found or set(pair) != {"A", "B"}:
                lost = "the model has no such layer" if name not in found else "it has one of its two matrices alone"
                raise TensorError(
                    f"{self.where} changes {layer}, and {lost}; check that base_model_name_or_path, which is "
                    f"{self.base!r}, is the model that it was trained on"
                )
            change = self.scale * (pair["B"] @ pair["A"])
            if change.shape != found[name].shape:
                raise TensorError(
                    f"{self.where}: the change of {layer} is {tuple(change.shape)} and its weight in {self.base} "
                    f"{tuple(found[name].shape)}; the adapter was trained on another model"
                )
            found[name] = found[name].float() + change
        return {**found, **self.whole(renames)}


def read_lora(folder: Path) -> Lora | None:
    """Read the adapter in a folder; None where the folder is a whole model, or has none.

    Raises:
        ConfigError: its settings ask for arithmetic that is not here. TensorError: its weights cannot be read.
    """
    if (folder / "config.json").exists() or not (folder / CONFIG).is_file():
        return None
    settings = read_json(folder, CONFIG, required=True)
    for name, plain in PLAIN.items():
        if settings.get(name, plain) not in (plain, None):
            raise ConfigError(
                f"{folder / CONFIG}: {name} is {settings[name]!r}; supported is {plain!r}. Merge the adapter into its "
                "model (peft: merge_and_unload, save_pretrained), and give that"
            )
    base, rank, alpha = settings.get("base_model_name_or_path"), settings.get("r"), settings.get("lora_alpha")
    if not isinstance(base, str) or not base or not isinstance(rank, int) or not isinstance(alpha, int | float):
        raise ConfigError(
            f"{folder / CONFIG}: base_model_name_or_path is {base!r}, r {rank!r} and lora_alpha {alpha!r}; expected "
            "the name or folder of a model and two numbers"
        )
    path = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if path is None:
        raise TensorError(f"{folder} has {CONFIG} and none of {', '.join(WEIGHTS)}; copy the adapter's weights, too")
    # A folder that lies beside the adapter is found wherever both are moved.
    beside = folder / base
    name = str(beside) if not Path(base).is_absolute() and (beside / "config.json").is_file() else base
    scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    return Lora(str(folder), name, scale, {key.removeprefix(PREFIX): value for key, value in read_file(path).items()})


def _renamed(name: str, renames: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name
