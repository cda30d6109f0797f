"""LoRA: of a large model's linear layers only a narrow detour is trained, a few thousandths of the weights.

    W x + (alpha / rank) B A x,  A (rank, in) drawn at random, B (out, rank) zero: at first nothing is changed.

What is trained is kept as PEFT keeps it (adapter_config.json, adapter_model.safetensors), or merged into the weights,
which then load like any others.

Paper: arXiv 2106.09685, section 4.1; the initialisation is that of its authors' code (microsoft/LoRA).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.checkpoints.tensors import write_tensors
from auricle.errors import OptionError

# Linear layers of attention and of the network after it, by the names that the families' checkpoints give them.
ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj", "o_proj", "linear_q", "linear_k", "linear_v", "linear_out")
FEED_FORWARD = ("fc1", "fc2", "intermediate_dense", "output_dense", "linear1", "linear2")
PREFIX = "base_model.model."  # what PEFT puts before the names of a model's own modules


@dataclass(frozen=True)
class LoraOptions:
    """What is added, and where."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05  # of what the detour is given, in training
    targets: str | None = None  # a pattern that names of linear layers match from end to end; None: the two above
    attention_only: bool = False
    trained: tuple[str, ...] = ()  # modules that are trained whole, such as a new head

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise OptionError(f"rank is {self.rank!r}; expected 1 or more, such as 16")
        if not math.isfinite(self.alpha) or self.alpha <= 0:
            raise OptionError(f"alpha is {self.alpha!r}; expected a number above 0, such as twice the rank")
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout is {self.dropout!r}; expected 0 or more, and below 1")
        try:
            re.compile(self.targets or "")
        except re.error as error:
            raise OptionError(
                f"targets is {self.targets!r}, which is no regular expression ({error}); expected such as "
                "'.*\\.(q|v)_proj'"
            ) from None

    @property
    def scale(self) -> float:
        """What the detour is multiplied by."""
        return self.alpha / self.rank

    def matches(self, name: str) -> bool:
        """Whether a linear layer of this name gets a detour."""
        if self.targets is not None:
            return re.fullmatch(self.targets, name) is not None
        last = name.rsplit(".", 1)[-1]
        return last in ATTENTION or (not self.attention_only and last in FEED_FORWARD)


class LoraLinear(nn.Linear):
    """A linear layer that stays as it is, and a detour that learns; its own names and tensors are unchanged."""

    def __init__(self, linear: nn.Linear, options: LoraOptions, generator: torch.Generator) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.scale, self.dropout, self.training = options.scale, options.dropout, linear.training
        bound = 1 / math.sqrt(self.in_features)  # kaiming_uniform_ with a = sqrt(5)
        drawn = torch.empty(options.rank, self.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(drawn.to(linear.weight))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, options.rank).to(linear.weight))

    def forward(self, x: Tensor) -> Tensor:
        detour = F.linear(F.linear(F.dropout(x, self.dropout, self.training), self.lora_A), self.lora_B)
        return F.linear(x, self.weight, self.bias) + self.scale * detour

    @property
    def change(self) -> Tensor:
        """What the detour adds to the weight, (out, in)."""
        return self.scale * (self.lora_B @ self.lora_A)


def add_lora(model: nn.Module, options: LoraOptions, seed: int = 1) -> list[str]:
    """Freeze a model and give its linear layers detours; the names of these layers, in order.

    Raises:
        OptionError: no linear layer has a name that is meant, or a module that is to be trained is not there.
    """
    modules = dict(model.named_modules())
    linears = {name: module for name, module in modules.items() if type(module) is nn.Linear}
    chosen = [name for name in linears if options.matches(name) and not _is_in(name, options.trained)]
    absent = [name for name in options.trained if name not in modules]
    if absent:
        raise OptionError(
            f"{', '.join(absent)} is to be trained whole, and no module is called so; such as {_some(modules)}"
        )
    if not chosen:
        meant = (
            f"match {options.targets!r}" if options.targets else f"end in one of {', '.join(ATTENTION + FEED_FORWARD)}"
        )
        raise OptionError(f"no linear layer has a name to {meant}; there are {_some(linears)}")
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name in chosen:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, LoraLinear(linears[name], options, generator))
    for name in options.trained:
        model.get_submodule(name).requires_grad_(True)
    return chosen


def lora_layers(model: nn.Module) -> dict[str, LoraLinear]:
    """The layers with detours by their names."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}


def tensors_to_save(model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors by its own names, with every detour merged into its layer's weight."""
    layers = lora_layers(model)
    found = {name: value for name, value in model.state_dict().items() if not name.endswith((".lora_A", ".lora_B"))}
    with torch.no_grad():
        for name, layer in layers.items():
            found[f"{name}.weight"] = layer.weight + layer.change
    return found


def save_adapter(model: nn.Module, options: LoraOptions, base: str, folder: Path) -> None:
    """Write what was trained, alone, as PEFT keeps it; `base` is the name or path of the model that it belongs to.

    Raises:
        OptionError: the model has no detours.
    """
    layers = lora_layers(model)
    if not layers:
        raise OptionError("the model has no LoRA layers to save; call add_lora before training")
    tensors = {}
    for name, layer in layers.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = layer.lora_A
        tensors[f"{PREFIX}{name}.lora_B.weight"] = layer.lora_B
    for module in options.trained:
        for name, value in model.get_submodule(module).state_dict().items():
            tensors[f"{PREFIX}{module}.{name}"] = value
    folder.mkdir(parents=True, exist_ok=True)
    stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    write_tensors(folder / "adapter_model.safetensors", stored)
    config = _peft_config(options, base, list(layers))
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _peft_config(options: LoraOptions, base: str, names: Sequence[str]) -> dict[str, Any]:
    return {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": options.alpha,
        "lora_dropout": options.dropout,
        "modules_to_save": [name.rsplit(".", 1)[-1] for name in options.trained] or None,
        "peft_type": "LORA",
        "r": options.rank,
        # Whole names: the last parts alone would also match layers that were left out.
        "target_modules": list(names),
        "task_type": None,
        "use_dora": False,
        "use_rslora": False,
    }


def _is_in(name: str, modules: Sequence[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _some(names: Mapping[str, object]) -> str:
    shown = [name for name in names if name][:6]
    return ", ".join(shown) + (" and others" if len(names) > len(shown) + 1 else "") if shown else "none"
