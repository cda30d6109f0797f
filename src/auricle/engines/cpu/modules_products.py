"""What fast modules multiply with: a weight prepared once, in one of three arithmetics.

Results are float32, or bfloat16 where the next step rounds to that anyway; what is added to is always float32.

Dimension key: T frames, N outputs, K inputs, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.engines.cpu import products
from auricle.engines.cpu.linear import Arithmetic

# The configs' names of activations, and the products' own.
ACTIVATIONS: dict[str, str] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
# oneDNN's names: what follows a product, and which form of it.
_FUSED: dict[str | None, tuple[str, str | None]] = {
    None: ("none", None),
    "relu": ("relu", None),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "silu": ("swish", None),
}


class Product(Protocol):
    """Rows times a weight: activation(norm(x) W^T + bias), and what is to be added."""

    def __call__(
        self,
        x: Tensor,
        activation: str | None = None,
        residual: Tensor | None = None,
        norm: nn.LayerNorm | None = None,
    ) -> Tensor:
        """Map (..., K) to (..., N); float32 with a residual, which may be overwritten."""
        ...


class Convolution(Protocol):
    """A convolution over frames that lie one after the other."""

    def __call__(self, x: Tensor, activation: str | None = None, padding: int = 0) -> Tensor:
        """Map (T, C), with so many zeros before and after, to ((T + 2 padding - kernel) // stride + 1, N)."""
        ...


def make_product(weight: Tensor, bias: Tensor | None, arithmetic: Arithmetic) -> Product:
    """The product of a weight (N, K)."""
    weight, bias = weight.detach(), None if bias is None else bias.detach()
    if arithmetic == "int16":
        return Int16Product(weight, bias)
    if arithmetic == "bfloat16" and fuses_bfloat16():
        return FusedProduct(weight, bias, torch.bfloat16)
    return TorchProduct(weight, bias, torch.bfloat16 if arithmetic == "bfloat16" else torch.float32)


def product_of(linear: nn.Linear, arithmetic: Arithmetic, factor: float = 1.0) -> Product:
    """The product of a linear layer, times a number."""
    bias = None if linear.bias is None else linear.bias.detach() * factor
    return make_product(linear.weight.detach() * factor, bias, arithmetic)


def joined_product(linears: list[nn.Linear], arithmetic: Arithmetic) -> Product:
    """One product for several linear layers of the same input; their outputs lie side by side."""
    biases = [torch.zeros(one.out_features) if one.bias is None else one.bias.detach() for one in linears]
    return make_product(torch.cat([one.weight.detach() for one in linears]), torch.cat(biases), arithmetic)


def make_convolution(weight: Tensor, bias: Tensor | None, stride: int, arithmetic: Arithmetic) -> Convolution:
    """The convolution of a weight (N, C, kernel)."""
    weight, bias = weight.detach(), None if bias is None else bias.detach()
    if arithmetic == "int16":
        return Int16Convolution(weight, bias, stride)
    if arithmetic == "bfloat16" and fuses_bfloat16():
        return FusedConvolution(weight, bias, stride, torch.bfloat16)
    return TorchConvolution(weight, bias, stride, torch.bfloat16 if arithmetic == "bfloat16" else torch.float32)


def fuses_bfloat16() -> bool:
    """Whether oneDNN has bfloat16 products with an activation in them on this processor."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def feed_forward_of(
    first: nn.Linear, second: nn.Linear, activation: str, arithmetic: Arithmetic, factor: float = 1.0
) -> Callable[..., Tensor]:
    """Two linear layers with an activation between them, the second's result times a number.

    Called with rows (..., K), `residual` (..., N), to which the result is added, and perhaps the `norm` of the rows.
    """
    one, other = product_of(first, arithmetic), product_of(second, arithmetic, factor)
    if isinstance(one, Int16Product) and isinstance(other, Int16Product):
        name: Any = activation
        return partial(products.feed_forward, first=one.packed, second=other.packed, activation=name)
    return lambda x, residual, norm=None: other(one(x, activation, norm=norm), residual=residual)


def normalized(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """What the layer normalization makes of rows, as a function, without the hooks of a module."""
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def apply_activation(x: Tensor, activation: str | None) -> Tensor:
    """The activation, in place."""
    in_place: dict[str | None, Callable[[Tensor], Tensor]] = {
        None: lambda x: x,
        "relu": F.relu_,
        "gelu": torch.ops.aten.gelu_,
        "gelu_tanh": lambda x: torch.ops.aten.gelu_(x, approximate="tanh"),
        "silu": lambda x: F.silu(x, inplace=True),
    }
    return in_place[activation](x)


class TorchProduct:
    """What `torch.nn.Linear` computes, in float32 or bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.weight = weight.to(dtype)
        self.bias = None if bias is None else bias.to(dtype)

    def __call__(
        self,
        x: Tensor,
        activation: str | None = None,
        residual: Tensor | None = None,
        norm: nn.LayerNorm | None = None,
    ) -> Tensor:
        x = x if norm is None else normalized(x, norm)
        y = apply_activation(F.linear(x.to(self.weight.dtype), self.weight, self.bias), activation)
        if residual is None:
            return y
        return y.add_(residual) if y.dtype == residual.dtype else residual + y


class FusedProduct:
    """oneDNN's product with the activation in it, on a weight laid out as its kernels read it."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.packed: Any = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype).contiguous(), None)
        self.bias = None if bias is None else bias.to(dtype)

    def __call__(
        self,
        x: Tensor,
        activation: str | None = None,
        residual: Tensor | None = None,
        norm: nn.LayerNorm | None = None,
    ) -> Tensor:
        name, form = _FUSED[activation]
        x = x if norm is None else normalized(x, norm)
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(self.dtype), self.packed, self.bias, name, [], form)
        return y if residual is None else residual + y


class Int16Product:
    """The native kernels, with everything in them."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.packed = products.PackedLinear.pack(weight, bias)

    def __call__(
        self,
        x: Tensor,
        activation: str | None = None,
        residual: Tensor | None = None,
        norm: nn.LayerNorm | None = None,
    ) -> Tensor:
        return products.linear(x, self.packed, activation, residual, norm=norm)  # type: ignore[arg-type]


class TorchConvolution:
    """A sum of products: each of `stride` neighbouring taps, which read every value once.

    conv1d wants channels first, and takes twice the time.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int, dtype: torch.dtype) -> None:
        taps = weight.permute(2, 1, 0).to(dtype)  # (kernel, C, N)
        self.kernel, self.stride = taps.shape[0], stride
        self.parts = [taps[i : i + stride].flatten(0, 1).contiguous() for i in range(0, self.kernel, stride)]
        self.bias = torch.zeros(weight.shape[0], dtype=dtype) if bias is None else bias.to(dtype)

    def __call__(self, x: Tensor, activation: str | None = None, padding: int = 0) -> Tensor:
        x = F.pad(x, (0, 0, padding, padding))
        n_frames, n_channels = (x.shape[0] - self.kernel) // self.stride + 1, x.shape[1]
        x = x.to(self.bias.dtype).contiguous()
        step = self.stride * n_channels
        y = self.bias
        for i, part in enumerate(self.parts):
            rows = x.as_strided((n_frames, part.shape[0]), (step, 1), x.storage_offset() + i * step)
            y = torch.addmm(y, rows, part)  # (T', N)
        return apply_activation(y, activation)


class FusedConvolution:
    """oneDNN's channels-last convolution with the activation in it."""

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int, dtype: torch.dtype) -> None:
        self.dtype, self.stride = dtype, stride
        self.weight = weight[:, :, None].to(dtype).contiguous(memory_format=torch.channels_last)  # (N, C, 1, kernel)
        self.bias = None if bias is None else bias.to(dtype)

    def __call__(self, x: Tensor, activation: str | None = None, padding: int = 0) -> Tensor:
        name, form = _FUSED[activation]
        x = F.pad(x, (0, 0, padding, padding))
        image = x.to(self.dtype).contiguous()[None, None].permute(0, 3, 1, 2)  # (1, C, 1, T), channels last in memory
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            image, self.weight, self.bias, [0, 0], [1, self.stride], [1, 1], 1, name, [], form
        )  # (1, N, 1, T')
        return y[0, :, 0].T


class Int16Convolution:
    """The native kernels, which read overlapping rows where they lie."""

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int) -> None:
        self.kernel, self.stride = weight.shape[2], stride
        self.packed = products.PackedLinear.pack_conv1d(weight, bias)

    def __call__(self, x: Tensor, activation: str | None = None, padding: int = 0) -> Tensor:
        return products.conv1d_channels_last(
            x[None],
            self.packed,
            self.kernel,
            self.stride,
            padding,
            activation,  # type: ignore[arg-type]
        )[0]
