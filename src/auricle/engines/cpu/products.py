"""Float matrix products, convolutions and attention through 16-bit integers, on vectors or on matrix units.

The native kernels of gemm.cpp and attention.cpp behind pure functions on float32 CPU tensors; relative errors
are about 1e-4 of what torch computes, and a row of a result depends on no other row and not on the number of threads.
Where `available()` is false the callers use torch.

Dimension key: M rows, N outputs, K inputs, B recordings, T frames, S output frames, C channels, D width, H heads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from auricle.engines.cpu.memory import large, lent
from auricle.engines.cpu.native_library import kernels

Shape: TypeAlias = tuple[Sequence[int], torch.dtype]  # of a tensor, and its type
ActivationName = Literal["none", "relu", "gelu", "gelu_tanh", "silu"]
# The numbers of native/activations.h.
ACTIVATIONS: dict[str | None, int] = {None: 0, "none": 0, "relu": 1, "gelu": 2, "gelu_tanh": 3, "silu": 4}

MAX_HEAD_WIDTH = 128  # native/attention.cpp
# Rows a thread, from which two products in one call are not slower than one after the other.
ROWS_FOR_BOTH = 48


def available() -> bool:
    """Whether this processor and this build have the kernels."""
    return kernels() is not None


def on_matrix_units() -> bool:
    """Whether the kernels compute on matrix units, where 16 bits are faster than torch's bfloat16."""
    library = kernels()
    return library is not None and bool(library.auricle_uses_matrix_units())


class _Product(ctypes.Structure):
    """`Product` of gemm.cpp."""

    kept: tuple[object, ...]
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "panels", "scales", "bias", "residual", "y")),
        *((name, ctypes.c_int64) for name in ("n_batches", "n_rows", "x_batch_stride", "x_row_stride")),
        *((name, ctypes.c_int64) for name in ("x_start", "x_size", "residual_batch_stride", "residual_row_stride")),
        *((name, ctypes.c_int64) for name in ("n", "k")),
        ("scale", ctypes.c_float),
        ("activation", ctypes.c_int32),
        ("norm_weight", ctypes.c_void_p),
        ("norm_bias", ctypes.c_void_p),
        ("norm_eps", ctypes.c_float),
    )


class _Attention(ctypes.Structure):
    """`Attention` of attention.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "valid", "bias", "y")),
        *((name, ctypes.c_int64) for name in ("n_batches", "n_heads", "width", "n_queries", "n_keys")),
        *((f"{name}_{part}_stride", ctypes.c_int64) for name in "qkv" for part in ("batch", "row")),
        *((f"bias_{part}_stride", ctypes.c_int64) for part in ("batch", "head", "row")),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("position", "distances", "distance_scales")),
        ("n_distances", ctypes.c_int64),
    )


@dataclass(frozen=True, slots=True, eq=False)
class PackedLinear:
    """A weight (N, K) as the kernels read it, in half the bytes of float32."""

    n: int
    k: int
    panels: Tensor  # int16, see native/blocks.h
    scales: Tensor  # float32, one a block of K and output
    bias: Tensor | None  # (N,) float32

    @classmethod
    def pack(cls, weight: Tensor, bias: Tensor | None = None) -> PackedLinear:
        """Quantise the weight (N, K) of a linear layer."""
        weight = weight.detach().float().contiguous()
        n, k = weight.shape
        native = _library()
        tile, block, align = native.auricle_tile_columns(), native.auricle_block(), native.auricle_k_align()
        n_panels = -(-n // tile)
        panels = large([n_panels, -(-k // align) * align, tile], torch.int16)
        scales = torch.zeros(n_panels, -(-k // block), tile)
        native.auricle_pack_weight(_pointer(weight), n, k, _pointer(panels), _pointer(scales))
        return cls(n, k, panels, scales, None if bias is None else bias.detach().float().contiguous())

    @classmethod
    def pack_conv1d(cls, weight: Tensor, bias: Tensor | None = None) -> PackedLinear:
        """Quantise the weight (N, C, kernel) of a convolution for `conv1d_channels_last`."""
        return cls.pack(weight.detach().transpose(1, 2).flatten(1), bias)  # (N, kernel * C)

    @property
    def nbytes(self) -> int:
        """What it occupies."""
        return sum(tensor.nbytes for tensor in (self.panels, self.scales, self.bias) if tensor is not None)


def linear(
    x: Tensor,
    packed: PackedLinear,
    activation: ActivationName | None = None,
    residual: Tensor | None = None,
    scale: float = 1.0,
    norm: nn.LayerNorm | None = None,
) -> Tensor:
    """residual + scale * activation(norm(x) W^T + bias), float32 (..., K) to (..., N).

    `x` may be a view of any strides as long as its rows are contiguous, overlapping rows included; what has more than
    three dimensions, or none, is brought to three. `residual` broadcasts over the first of three dimensions.
    """
    shape = (*x.shape[:-1], packed.n)
    if x.shape[-1] != packed.k:
        raise ValueError(f"the product takes rows of {packed.k} and was given {tuple(x.shape)}")
    x = _three_dimensions(x)  # (B, T, K)
    rows = _Rows(x, x.shape[0], x.shape[1], x.stride(1), 0, 2**62, norm)
    return _multiply(rows, packed, activation, residual, scale).view(shape)


def feed_forward(
    x: Tensor,
    first: PackedLinear,
    second: PackedLinear,
    activation: ActivationName | None,
    residual: Tensor | None = None,
    scale: float = 1.0,
    norm: nn.LayerNorm | None = None,
) -> Tensor:
    """residual + scale * second(activation(first(norm(x)))), float32 (..., K) to (..., N): the numbers of two `linear`.

    What lies between the two is never written to memory: faster for many rows, and half the memory.
    """
    shape = (*x.shape[:-1], second.n)
    if x.shape[-1] != first.k or first.n != second.k:
        raise ValueError(f"rows of {x.shape[-1]} and products of {first.k} to {first.n} and {second.k} do not fit")
    x = _three_dimensions(x.reshape(-1, first.k))  # (1, M, K)
    if residual is not None:
        residual = residual.float().expand(shape).reshape(1, -1, shape[-1])  # (1, M, N)
    # Few rows are divided among threads by columns, which two products at once cannot be.
    if x.shape[1] < ROWS_FOR_BOTH * torch.get_num_threads():
        return linear(linear(x, first, activation, norm=norm), second, None, residual, scale).view(shape)
    rows = _Rows(x, 1, x.shape[1], x.stride(1), 0, 2**62, norm)
    y = lent(1, x.shape[1], second.n)
    products = (
        _product(rows, first, activation, None, 1.0, y),
        _product(_Rows(y, 1, x.shape[1], first.n, 0, 2**62), second, None, residual, scale, y),
    )
    _library().auricle_multiply_twice(*(ctypes.byref(product) for product in products))
    return y.view(shape)


def conv1d_channels_last(
    x: Tensor,
    packed: PackedLinear,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    activation: ActivationName | None = None,
    residual: Tensor | None = None,
    scale: float = 1.0,
) -> Tensor:
    """residual + scale * activation(conv(x) + bias), float32 (B, T, C) to (B, S, N), padded with zeros.

    `packed` comes from `PackedLinear.pack_conv1d`; `residual` is (S, N), (1, S, N) or (B, S, N).
    """
    n_channels = packed.k // kernel
    if x.ndim != 3 or x.shape[2] != n_channels or packed.k % kernel:
        raise ValueError(f"the convolution takes (B, T, {packed.k / kernel:g}) and was given {tuple(x.shape)}")
    if x.stride(2) != 1 or x.stride(1) != n_channels or x.dtype != torch.float32:
        x = x.float().contiguous()
    n_frames = (x.shape[1] + 2 * padding - kernel) // stride + 1
    if n_frames <= 0:
        raise ValueError(f"{x.shape[1]} frames are fewer than a kernel of {kernel} with padding {padding} needs")
    rows = _Rows(x, x.shape[0], n_frames, stride * n_channels, -padding * n_channels, x.shape[1] * n_channels)
    return _multiply(rows, packed, activation, residual, scale)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    n_heads: int,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    scale: float | None = None,
    positions: tuple[Tensor, PackedDistances] | None = None,
) -> Tensor:
    """softmax(scale q k^T + bias) v of each head, float32 (B, S, D) and twice (B, T, D) to (B, S, D).

    Heads lie side by side in D, as products leave them; q, k and v may be slices of one product. `mask` (B, T) is True
    for keys that are seen, and a query that sees none gets zeros. `bias` broadcasts to (B, H, S, T). `scale` is
    1 / sqrt(D / H) unless it is given. `positions`, instead of a bias, are other queries (B, S, D), S = T, times the
    vectors of distances, which are packed with their own scale.
    """
    (B, S, D), T = q.shape, k.shape[1]
    if not attends(D, n_heads) or k.shape != (B, T, D) or v.shape != (B, T, D):
        raise ValueError(
            f"attention of {n_heads} heads at most {MAX_HEAD_WIDTH} wide takes (B, S, D) and twice (B, T, D), "
            f"and was given {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )
    q, k, v = _three_dimensions(q), _three_dimensions(k), _three_dimensions(v)
    if mask is not None:
        mask = mask.to(torch.bool).expand(B, T).contiguous()
    bias_strides: tuple[int, ...] = (0, 0, 0)
    if bias is not None:
        bias = bias.float().expand(B, n_heads, S, T)
        bias = bias if bias.stride(3) == 1 else bias.contiguous()
        bias_strides = bias.stride()[:3]
    y = lent(B, S, D)
    if y.numel() and T:
        call = _Attention(
            *(_pointer(tensor) for tensor in (q, k, v, mask, bias, y)),
            *(B, n_heads, D // n_heads, S, T),
            *(stride for tensor in (q, k, v) for stride in tensor.stride()[:2]),
            *(*bias_strides, (D // n_heads) ** -0.5 if scale is None else scale),
        )
        if positions is not None:
            position, distances = positions
            distances.give(call, position, q, T)
        _library().auricle_attend(ctypes.byref(call))
    return y if T else y.zero_()


class PackedDistances:
    """Vectors of the distances n - 1 down to -(n - 1), packed for the scores of `attention` (native/attention.cpp)."""

    def __init__(self, distances: Tensor, n_heads: int, scale: float) -> None:
        """Take (2 n - 1, D) float32, heads side by side; `scale` multiplies the scores."""
        distances = distances.float().contiguous()
        n_places, width = distances.shape
        self.n_distances, self._width = (n_places + 1) // 2, width
        call, sizes = _sizes_of(n_places, width, n_heads), (ctypes.c_int64(), ctypes.c_int64())
        call.k, call.k_row_stride, call.scale = _pointer(distances), width, scale
        _library().auricle_distance_sizes(ctypes.byref(call), *(ctypes.byref(size) for size in sizes))
        self._packed = torch.empty(sizes[0].value, dtype=torch.int16), torch.empty(sizes[1].value)
        _library().auricle_pack_distances(ctypes.byref(call), *(_pointer(one) for one in self._packed))

    def give(self, call: _Attention, position: Tensor, q: Tensor, n_keys: int) -> None:
        """Put these distances, and the queries for them, into the kernel's argument."""
        if position.shape != q.shape or position.stride()[:2] != q.stride()[:2] or q.shape[1] != n_keys:
            raise ValueError(f"positions need queries like q, {tuple(q.shape)}, as many as keys, {n_keys}")
        if n_keys > self.n_distances or q.shape[2] != self._width or position.dtype != torch.float32:
            raise ValueError(f"distances of {self.n_distances} frames, {self._width} wide, do not fit {tuple(q.shape)}")
        call.position, call.n_distances = _pointer(position), self.n_distances
        call.distances, call.distance_scales = (_pointer(one) for one in self._packed)


class PackedKeysValues:
    """A layer's keys and values as native/attention.cpp packs them, in memory of the `shapes`, for later queries."""

    def __init__(self, n_frames: int, n_heads: int, width: int, memory: Sequence[Tensor]) -> None:
        self._call, self._memory = _sizes_of(n_frames, width, n_heads), memory

    def keep(self, row: int, both: Tensor) -> None:
        """Take a recording's keys and values (1, T, 2 D), float32."""
        keys, values = both.chunk(2, dim=2)
        call = _Attention.from_buffer_copy(self._call)
        call.k, call.v = _pointer(keys), _pointer(values)
        call.k_batch_stride, call.k_row_stride = call.v_batch_stride, call.v_row_stride = both.stride()[:2]
        _library().auricle_pack_heads(ctypes.byref(call), *(_pointer(one[row]) for one in self._memory))

    @classmethod
    def shapes(cls, n_rows: int, n_frames: int, width: int, n_heads: int) -> list[Shape]:
        """Of the memory that keys and values take."""
        integers, floats = ctypes.c_int64(), ctypes.c_int64()
        call = _sizes_of(n_frames, width, n_heads)
        _library().auricle_packed_sizes(ctypes.byref(call), ctypes.byref(integers), ctypes.byref(floats))
        return [((n_rows, n_heads, integers.value), torch.int16), ((n_rows, n_heads, floats.value), torch.float32)]

    def attend(self, q: Tensor, first: Tensor, source: Tensor, y: Tensor) -> None:
        """Attention of queries (M, D), float32, sorted by row, to `y` (M, D).

        `first` (rows + 1,) says where each row's queries begin, and a row hears the recording `source` (rows,).
        """
        call = _Attention.from_buffer_copy(self._call)
        call.q, call.y, call.q_row_stride = _pointer(q), _pointer(y), q.stride(0)
        memory = (_pointer(one) for one in (*self._memory, first, source))
        _library().auricle_attend_packed(ctypes.byref(call), *memory, ctypes.c_int64(len(source)))


def _sizes_of(n_frames: int, width: int, n_heads: int) -> _Attention:
    head = width // n_heads
    return _Attention(n_batches=1, n_heads=n_heads, width=head, n_keys=n_frames, scale=head**-0.5)


def attends(width: int, n_heads: int) -> bool:
    """Whether `attention` takes heads like these."""
    return width % n_heads == 0 and width // n_heads <= MAX_HEAD_WIDTH


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where the rows of a product's left side lie, in floats; see native/gemm.cpp."""

    x: Tensor
    n_batches: int
    n_rows: int
    stride: int
    start: int
    size: int
    norm: nn.LayerNorm | None = None


def _multiply(
    rows: _Rows, packed: PackedLinear, activation: ActivationName | None, residual: Tensor | None, scale: float
) -> Tensor:
    y = lent(rows.n_batches, rows.n_rows, packed.n)
    if y.numel():
        _library().auricle_multiply(ctypes.byref(_product(rows, packed, activation, residual, scale, y)))
    return y


def _product(
    rows: _Rows,
    packed: PackedLinear,
    activation: ActivationName | None,
    residual: Tensor | None,
    scale: float,
    y: Tensor,
) -> _Product:
    """The kernel's argument; it keeps the tensors that it points to."""
    residual_strides = (0, 0)
    if residual is not None:
        residual = _three_dimensions(residual).expand(rows.n_batches, rows.n_rows, packed.n)
        residual_strides = (residual.stride(0), residual.stride(1))
    product = _Product(
        *(_pointer(tensor) for tensor in (rows.x, packed.panels, packed.scales, packed.bias, residual, y)),
        *(rows.n_batches, rows.n_rows, rows.x.stride(0), rows.stride, rows.start, rows.size, *residual_strides),
        *(packed.n, packed.k, scale, ACTIVATIONS[activation]),
    )
    norm_weights: list[Tensor] = []
    if rows.norm is not None:
        if rows.norm.normalized_shape != (packed.k,) or rows.norm.bias is None:
            raise ValueError(f"rows of {packed.k} are normalized with weights and biases; not by {rows.norm}")
        norm_weights = [one.detach().float().contiguous() for one in (rows.norm.weight, rows.norm.bias)]
        product.norm_weight, product.norm_bias = (_pointer(one) for one in norm_weights)
        product.norm_eps = rows.norm.eps
    product.kept = (rows.x, packed, residual, y, norm_weights)
    return product


def _three_dimensions(x: Tensor) -> Tensor:
    """`x` as (B, T, K) float32 with contiguous rows, without a copy where that is possible."""
    if x.ndim != 3:
        x = x[None] if x.ndim == 2 else x.reshape(1, -1, x.shape[-1])
    return x if x.stride(2) == 1 and x.dtype == torch.float32 else x.float().contiguous()


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p | None:
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


def _library() -> ctypes.CDLL:
    found = kernels()
    assert found is not None, "callers ask available() first"
    return found
