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

from torch import Tensor, nn

from auricle.checkpoints.config import read_json
from auricle.checkpoints.tensors import read_file
from auricle.errors import ConfigError, TensorError

CONFIG, WEIGHTS = "adapter_config.json", ("adapter_model.safetensors", "adapter_model.bin")
PREFIX = "base_model.model."  # what PEFT puts before a model's own names
_MATRIX = re.compile(r"(.+)\.lora_([AB])\.weight")
_OTHER = re.compile(r"\.lora_embedding_[AB]$|\.lora_magnitude_vector|\.base_layer\.|\.token_adapter\.")
# Settings that change the arithmetic, and the values at which they do not; null is none of them, too.
PLAIN: dict[str, Any] = {
    "alora_invocation_tokens": None,
    "alpha_pattern": {},
    "arrow_config": None,
    "bias": "none",
    "fan_in_fan_out": False,
    "kasa_config": None,
    "layer_replication": None,
    "lora_bias": False,
    "monteclora_config": None,
    "peft_type": "LORA",
    "rank_pattern": {},
    "target_parameters": None,
    "trainable_token_indices": None,
    "use_bdlora": None,
    "use_dora": False,
    "use_qalora": False,
}
# Ways to begin that take something away from the base's weights: what is added to them whole would be too much.
CHANGES_THE_BASE = ("corda", "loftq", "lora_ga", "olora", "pissa")
MERGE = "Merge the adapter into its model (peft: merge_and_unload, save_pretrained), and give that"


@dataclass(frozen=True)
class Lora:
    """An adapter and the model that it belongs to."""

    where: str
    base: str  # a Hub name or a folder
    scale: float
    tensors: dict[str, Tensor]  # by their names without PEFT's prefix
    revision: str | None = None  # of the base, where that is a model of the Hub
    keeps_ties: bool = False  # whether what the base shares between two layers is changed in both

    def whole(self, renames: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
        """The tensors that replace those of the model, such as a new head, by the model's own names."""
        return {_renamed(name, renames): value for name, value in self.tensors.items() if not _MATRIX.fullmatch(name)}

    def parted(self, model: nn.Module, renames: Sequence[tuple[str, str]]) -> list[list[str]]:
        """The names of each parameter that layers of the model share, and that the adapter changes in one of them.

        PEFT leaves the others as they were, so that these are parameters of their own from then on.
        """
        owners: dict[int, list[str]] = {}
        for name, value in model.state_dict(keep_vars=True).items():
            owners.setdefault(id(value), []).append(name)
        changed = {*self.whole(renames), *(_renamed(f"{layer}.weight", renames) for layer in self._pairs())}
        shared = [names for names in owners.values() if len(names) > 1 and changed.intersection(names)]
        return [] if self.keeps_ties else shared

    def merged(
        self,
        tensors: Mapping[str, Tensor],
        renames: Sequence[tuple[str, str]],
        parted: Sequence[Sequence[str]] = (),
    ) -> dict[str, Tensor]:
        """The model's stored tensors by its own names, with every change added, in float32.

        Of the names that are `parted` each has a tensor, where the base stores one for all.

        Raises:
            TensorError: a change is of a layer that the model lacks, has another shape, or one of its two matrices is
            missing; or of something else than a linear layer.
        """
        found = {_renamed(name, renames): value for name, value in tensors.items()}
        for names in parted:
            stored = next((found[name] for name in names if name in found), None)
            found.update({} if stored is None else {name: found.get(name, stored) for name in names})
        other = [name for name in self.tensors if _OTHER.search(name)]
        for layer, pair in self._pairs().items():
            if any(value.dim() != 2 for value in pair.values()):
                other.append(layer)
                continue
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
        if other:
            raise TensorError(f"{self.where} changes {other[0]}; supported are changes of linear layers. {MERGE}")
        return {**found, **self.whole(renames)}

    def _pairs(self) -> dict[str, dict[str, Tensor]]:
        """The two matrices of each changed layer."""
        pairs: dict[str, dict[str, Tensor]] = {}
        for name, value in self.tensors.items():
            match = _MATRIX.fullmatch(name)
            if match is not None:
                pairs.setdefault(match[1], {})[match[2]] = value.float()
        return pairs


def read_lora(folder: Path, with_weights: bool = True) -> Lora | None:
    """Read the adapter in a folder; None where the folder is a whole model, or has none.

    Without weights its tensors are left out, which may not have been fetched yet.

    Raises:
        ConfigError: its settings ask for arithmetic that is not here. TensorError: its weights cannot be read.
    """
    if (folder / "config.json").exists() or not (folder / CONFIG).is_file():
        return None
    settings = read_json(folder, CONFIG, required=True)
    for name, plain in PLAIN.items():
        if settings.get(name, plain) not in (plain, None):
            raise ConfigError(f"{folder / CONFIG}: {name} is {settings[name]!r}; supported is {plain!r}. {MERGE}")
    begun = settings.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(CHANGES_THE_BASE):
        raise ConfigError(
            f"{folder / CONFIG}: init_lora_weights is {begun!r}, which changes the base's weights, too; supported are "
            f"those that leave them as they are. {MERGE}"
        )
    base, rank, alpha = settings.get("base_model_name_or_path"), settings.get("r"), settings.get("lora_alpha")
    if not isinstance(base, str) or not base or not isinstance(rank, int) or not isinstance(alpha, int | float):
        raise ConfigError(
            f"{folder / CONFIG}: base_model_name_or_path is {base!r}, r {rank!r} and lora_alpha {alpha!r}; expected "
            "the name or folder of a model and two numbers"
        )
    path = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if path is None and with_weights:
        raise TensorError(f"{folder} has {CONFIG} and none of {', '.join(WEIGHTS)}; copy the adapter's weights, too")
    # A folder that lies beside the adapter is found wherever both are moved.
    beside = folder / base
    name = str(beside) if not Path(base).is_absolute() and (beside / "config.json").is_file() else base
    tensors = read_file(path) if path is not None and with_weights else {}
    scale = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    return Lora(
        where=str(folder),
        base=name,
        scale=scale,
        tensors={key.removeprefix(PREFIX): value for key, value in tensors.items()},
        revision=settings.get("revision"),
        keeps_ties=bool(settings.get("ensure_weight_tying")),
    )


def _renamed(name: str, renames: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name
