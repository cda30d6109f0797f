"""The convolutions of Conformer encoders, channels last: the native kernels, or torch where there are none.

Dimension key: F feature frames, M mel bins, T frames, C channels, D width, K taps.
"""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.engines.cpu.modules_products import apply_activation
from auricle.engines.cpu.native_library import kernels
from auricle.engines.cpu.products import ACTIVATIONS


def convolve_features(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Map (F, M) to (F / 2, M / 2, C) by a 3 x 3 convolution of stride 2 and a relu; `weight` is (3, 3, C)."""
    if kernels() is None:
        y = F.conv2d(x[None, None], weight.permute(2, 0, 1)[:, None], bias, stride=2, padding=1)
        return F.relu_(y)[0].permute(1, 2, 0).contiguous()
    return _strided("auricle_convolve_features", x, weight, bias)


def convolve_channels(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Map (F, M, C) to (F / 2, M / 2, C) by a 3 x 3 convolution of stride 2 in each channel; `weight` is (3, 3, C)."""
    if kernels() is None:
        n_channels = x.shape[2]
        weight = weight.permute(2, 0, 1)[:, None]  # (C, 1, 3, 3)
        y = F.conv2d(x.permute(2, 0, 1)[None], weight, bias, stride=2, padding=1, groups=n_channels)
        return y[0].permute(1, 2, 0).contiguous()
    return _strided("auricle_convolve_channels", x, weight, bias)


def gated_convolution(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """Map (T, 2 D) to (T, D): a gate, a convolution over time in each channel, an activation; `weight` is (K, D)."""
    library, (n_taps, width) = kernels(), weight.shape
    if library is None:
        gated = F.glu(x.float(), dim=-1).T[None]  # (1, D, T)
        y = F.conv1d(gated, weight.T[:, None], bias, padding=n_taps // 2, groups=width)
        return apply_activation(y[0].T.contiguous(), activation)
    x = x.float().contiguous()
    y = torch.empty(len(x), width)
    addresses = (ctypes.c_void_p(one.data_ptr()) for one in (x, weight, bias, y))
    sizes = (ctypes.c_int64(size) for size in (len(x), width, n_taps))
    library.auricle_gated_convolution(*addresses, *sizes, ctypes.c_int32(ACTIVATIONS[activation]))
    return y


def _strided(function: str, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x, n_channels = x.contiguous(), len(bias)
    y = torch.empty((x.shape[0] - 1) // 2 + 1, (x.shape[1] - 1) // 2 + 1, n_channels)
    addresses = (ctypes.c_void_p(one.data_ptr()) for one in (x, weight, bias, y))
    sizes = (ctypes.c_int64(size) for size in (x.shape[0], x.shape[1], n_channels))
    getattr(kernels(), function)(*addresses, *sizes)
    return y
