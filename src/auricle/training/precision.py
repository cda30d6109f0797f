"""In which numbers the networks of the package are trained on this processor."""

from __future__ import annotations

import torch

from auricle.engines.cpu.native_library import cpu_flags


def fast_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it, else float32: emulated, a training step took twice as long."""
    return torch.bfloat16 if {"avx512_bf16", "amx_bf16"} & cpu_flags() else torch.float32
