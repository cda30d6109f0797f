"""Rotary positions as decoders of text have them: halves that turn together, and longer contexts by slower turns.

Papers: arXiv 2104.09864 (section 3.4); arXiv 2306.15595 (positions divided by a factor); arXiv 2407.21783, whose
published code has the three bands of Llama 3.1.

Dimension key: B batch, H heads, S tokens, K width of a head, R rotated part of K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from auricle.errors import ConfigError

TYPES = ("default", "linear", "llama3")


@dataclass(frozen=True)
class RopeParameters:
    """How positions rotate: `rope_parameters` of newer files, `rope_scaling` of older ones."""

    HARMLESS: ClassVar[frozenset[str]] = frozenset({"finetuned"})

    rope_type: str | None = None
    type: str | None = None  # its older name
    rope_theta: float | None = None
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    partial_rotary_factor: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in TYPES:
            raise ConfigError(f"rope_type {self.kind!r} is not supported; supported are {', '.join(TYPES)}")
        if self.partial_rotary_factor not in (None, 1.0):
            raise ConfigError(f"partial_rotary_factor is {self.partial_rotary_factor}; whole heads rotate here")

    @property
    def kind(self) -> str:
        """How frequencies are scaled."""
        return self.rope_type or self.type or "default"


def frequencies(width: int, theta: float, scaling: RopeParameters | None, device: Any = None) -> Tensor:
    """Radians that each pair of a head's numbers turns by per token, (R / 2)."""
    even = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    plain = 1.0 / theta ** (even / width)
    if scaling is None or scaling.kind == "default":
        return plain
    if scaling.kind == "linear":
        return plain / scaling.factor
    # Llama 3: slow turns are stretched, quick ones stay, and those between are mixed.
    wavelengths = 2 * math.pi / plain
    whole = scaling.original_max_position_embeddings
    share = (whole / wavelengths - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    share = share.clamp(0, 1)
    return (1 - share) * plain / scaling.factor + share * plain


def angles(positions: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines at positions (B, S) or (S,), two times (…, 1, S, R) to be spread over heads."""
    phases = positions[..., None].float() * turns  # (…, S, R / 2)
    phases = torch.cat([phases, phases], -1).unsqueeze(-3)  # (…, 1, S, R)
    return phases.cos(), phases.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn `x` (B, H, S, K): the number `i` of a head with the number `i + K / 2`."""
    cosines, sines = (part.to(x.dtype) for part in rotation)
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat([-second, first], -1) * sines
