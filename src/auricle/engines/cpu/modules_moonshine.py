"""Moonshine's encoder: its linear layers in a faster arithmetic, all else as it is.

Dimension key: T frames, N outputs, K inputs.
"""

from __future__ import annotations

from torch import Tensor, nn

from auricle.engines.cpu.linear import Arithmetic
from auricle.engines.cpu.modules_products import product_of
from auricle.models.moonshine import Encoder


class FastLinear(nn.Module):
    """Stands for `nn.Linear`, float32 in and out."""

    def __init__(self, linear: nn.Linear, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.product = product_of(linear, arithmetic)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., K) to (..., N)."""
        return self.product(x).float()


def replace_moonshine_encoder(encoder: Encoder, arithmetic: Arithmetic) -> None:
    """Replace its linear layers, in place."""
    replace_linears(encoder.layers, arithmetic)


def replace_linears(module: nn.Module, arithmetic: Arithmetic) -> None:
    """Replace the linear layers under a module, in place."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, FastLinear(child, arithmetic))
