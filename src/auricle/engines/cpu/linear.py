"""The arithmetics of the CPU engine's matrix products, and which one a processor is best at."""

from __future__ import annotations

from typing import Literal

import torch

from auricle.engines.cpu import products

Arithmetic = Literal["float32", "bfloat16", "int16"]


def best_arithmetic(flags: frozenset[str]) -> Arithmetic:
    """What is fastest on a processor with these instruction sets and near enough to float32."""
    if torch.backends.mkldnn.is_available() and "amx_bf16" in flags:
        return "bfloat16"
    return "int16" if products.available() else "float32"
