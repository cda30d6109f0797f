"""Rotary positions as decoders of text have them: halves that turn together, and longer contexts by slower turns.

Papers: arXiv 2104.09864 (section 3.4); arXiv 2306.15595 (positions divided by a factor); arXiv 2309.00071 (YaRN);
arXiv 2407.21783, whose published code has the three bands of Llama 3.1.

Dimension key: B batch, H heads, S tokens, K width of a head, R rotated part of K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from auricle.errors import ConfigError

# "dynamic" turns as "default" within the length of training, where texts end here, and slower the longer one is.
TYPES = ("default", "linear", "llama3", "yarn", "dynamic")
ELSEWHERE = "engine='transformers' may run it"


@dataclass(frozen=True)
class RopeParameters:
    """How positions rotate: `rope_parameters` of newer files, `rope_scaling` of older ones."""

    HARMLESS: ClassVar[frozenset[str]] = frozenset({"finetuned", "short_factor", "long_factor"})

    rope_type: str | None = None
    type: str | None = None  # its older name
    rope_theta: float | None = None
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int | None = None  # tokens of a text in training; None: max_position_embeddings
    partial_rotary_factor: float | None = None
    # YaRN: turns in a text of training above which a frequency stays, and below which it is divided by the factor.
    beta_fast: float | None = None  # None: 32
    beta_slow: float | None = None  # None: 1
    attention_factor: float | None = None  # of what turns; None: by the factor and the two below
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True  # whether the band between the two limits has whole ends

    def __post_init__(self) -> None:
        if self.kind not in TYPES:
            raise ConfigError(f"rope_type {self.kind!r} is not native; native are {', '.join(TYPES)}; {ELSEWHERE}")
        if self.partial_rotary_factor not in (None, 1.0):
            raise ConfigError(f"partial_rotary_factor is {self.partial_rotary_factor}; whole heads rotate; {ELSEWHERE}")
        if self.factor <= 0:
            raise ConfigError(f"the factor of {self.kind!r} positions is {self.factor}; expected a number above 0")

    @property
    def kind(self) -> str:
        """How frequencies are scaled."""
        return self.rope_type or self.type or "default"

    def for_length(self, trained: int) -> RopeParameters:
        """The same of a model that was trained with texts of so many tokens, where that is not stated."""
        return (
            self if self.original_max_position_embeddings else replace(self, original_max_position_embeddings=trained)
        )


class Turns(NamedTuple):
    """How far the pairs of a head's numbers turn per token, and what they are multiplied by."""

    radians: Tensor  # (R / 2,)
    growth: float = 1.0


def frequencies(width: int, theta: float, scaling: RopeParameters | None, device: Any = None) -> Turns:
    """What each pair of a head's numbers turns by; `scaling` states the length of training where it depends on that."""
    even = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    plain = 1.0 / theta ** (even / width)
    if scaling is None or scaling.kind in ("default", "dynamic"):
        return Turns(plain)
    if scaling.kind == "linear":
        return Turns(plain / scaling.factor)
    # Slow turns are stretched, quick ones stay, and those between are mixed.
    whole = scaling.original_max_position_embeddings
    assert whole is not None, "the model's configuration states it"
    if scaling.kind == "yarn":
        slowest, quickest = scaling.beta_slow or 1.0, scaling.beta_fast or 32.0
        first, last = (
            width * math.log(whole / (times * 2 * math.pi)) / (2 * math.log(theta)) for times in (quickest, slowest)
        )
        if scaling.truncate:
            first, last = math.floor(first), math.ceil(last)
        first, last = max(first, 0), min(last, width - 1)
        share = 1 - (even / 2 - first) / (last - first or 0.001)
    else:
        wavelengths = 2 * math.pi / plain
        share = (whole / wavelengths - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    share = share.clamp(0, 1)
    return Turns((1 - share) * plain / scaling.factor + share * plain, _growth(scaling))


def _growth(scaling: RopeParameters) -> float:
    """How much larger YaRN makes queries and keys, so that attention stays as sharp. Source: arXiv 2309.00071, 3.4."""
    if scaling.kind != "yarn":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    sharper = 0.1 * math.log(max(scaling.factor, 1.0))
    if scaling.mscale and scaling.mscale_all_dim:
        return (sharper * scaling.mscale + 1) / (sharper * scaling.mscale_all_dim + 1)
    return sharper + 1


def angles(positions: Tensor, turns: Turns) -> tuple[Tensor, Tensor]:
    """Cosines and sines at positions (B, S) or (S,), two times (…, 1, S, R) to be spread over heads."""
    phases = positions[..., None].float() * turns.radians  # (…, S, R / 2)
    phases = torch.cat([phases, phases], -1).unsqueeze(-3)  # (…, 1, S, R)
    return phases.cos() * turns.growth, phases.sin() * turns.growth


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn `x` (B, H, S, K): the number `i` of a head with the number `i + K / 2`."""
    cosines, sines = (part.to(x.dtype) for part in rotation)
    first, second = x.chunk(2, -1)
    return x * cosines + torch.cat([-second, first], -1) * sines
