"""How a model that writes text runs on the CPU: in native code with 8-bit weights, or as it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from auricle.engines.cpu.native_library import kernels
from auricle.engines.cpu.text_decoder import NativeTextStep, TextDecoder, can_run
from auricle.engines.text_step import ModelTextStep
from auricle.errors import OptionError

DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True)
class TextRunner:
    """A model that writes, in its arithmetic."""

    model: Any
    arithmetic: str  # "int8", "float32" or "bfloat16"
    decoder: TextDecoder | None  # where the native code runs it

    def begin(self, n_pads: Tensor) -> NativeTextStep | ModelTextStep:
        """Begin texts, one row for each of `n_pads` (B,), after so many pads."""
        if self.decoder is None:
            return ModelTextStep(self.model, n_pads, torch.device("cpu"))
        return NativeTextStep(self.decoder, n_pads)


def run_text(model: Any, dtype: torch.dtype | None) -> TextRunner:
    """Prepare a model; a dtype of None is 8-bit weights where the native code has them, else float32.

    Raises:
        OptionError: for an arithmetic that the CPU engine does not have.
    """
    if dtype is None and kernels() is not None and can_run(model):
        return TextRunner(model, "int8", TextDecoder(model.to("cpu").eval()))
    kind = torch.float32 if dtype is None else dtype
    if kind not in DTYPES:
        raise OptionError(f"the cpu engine does not compute in {dtype}; expected 'auto', float32 or bfloat16")
    return TextRunner(model.to("cpu", kind).eval(), DTYPES[kind], None)
