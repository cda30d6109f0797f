"""The arithmetics of the CPU engine's matrix products, and which one a processor is best at."""

from __future__ import annotations

from typing import Literal

import torch

from auricle.engines.cpu import products
from auricle.engines.cpu.native_library import is_limited

Arithmetic = Literal["float32", "bfloat16", "int16"]


def best_arithmetic(flags: frozenset[str], kind: str) -> Arithmetic:
    """What is fastest for a kind of model on a processor with these instruction sets, and keeps the text.

    Matrix units are used through 16-bit integers, or through torch's bfloat16 where no kernels were built for them. In
    bfloat16 the bundled CTC model's text differs from float32's by 0.42 % of its words, in 16-bit integers by 0.08 %:
    CTC models never take it, and neither do classifiers, whose scores people compare.
    """
    keeps_text_in_bfloat16 = kind not in ("ctc", "audio", "image")
    takes_bfloat16 = keeps_text_in_bfloat16 and torch.backends.mkldnn.is_available() and "amx_bf16" in flags
    if products.available() and (products.on_matrix_units() or is_limited() or not takes_bfloat16):
        return "int16"
    return "bfloat16" if takes_bfloat16 else "float32"
