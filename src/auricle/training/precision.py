"""In which numbers the networks of the package are trained on this processor."""

from __future__ import annotations

import torch


def fast_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it, else float32: emulated, a training step took twice as long."""
    # Private names of torch, which older and newer releases may lack.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return torch.bfloat16 if any(getattr(torch.cpu, name, bool)() for name in names) else torch.float32
