"""Products and convolutions of fast modules against torch; oneDNN calls in float32, which every processor has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from auricle.engines.cpu import modules_conformer, products
from auricle.engines.cpu.modules_products import (
    FusedConvolution,
    FusedProduct,
    Int16Convolution,
    Int16Product,
    TorchConvolution,
    TorchProduct,
    apply_activation,
)

FLOAT32 = 1e-5  # sums in another order
INT16 = 1e-3  # 16-bit integers, of values near one
ACTIVATIONS = [None, "relu", "gelu", "gelu_tanh", "silu"]
needs_kernels = pytest.mark.skipif(not products.available(), reason="no native kernels here")


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["torch", "fused", pytest.param("int16", marks=needs_kernels)])
def test_products_equal_a_linear_layer(kind: str, activation: str | None) -> None:
    torch.manual_seed(0)
    linear, x, residual = nn.Linear(40, 24), torch.randn(33, 40), torch.randn(33, 24)
    weight, bias = linear.weight.detach(), linear.bias.detach()
    with torch.inference_mode():
        product: Any = {
            "torch": lambda: TorchProduct(weight, bias, torch.float32),
            "fused": lambda: FusedProduct(weight, bias, torch.float32),
            "int16": lambda: Int16Product(weight, bias),
        }[kind]()
        expected = apply_activation(linear(x), activation)
        tolerance = INT16 if kind == "int16" else FLOAT32
        torch.testing.assert_close(product(x, activation), expected, rtol=0, atol=tolerance)
        found = product(x, activation, residual=residual.clone())
        torch.testing.assert_close(found, expected + residual, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (3, 1), (10, 5), (7, 3)])
@pytest.mark.parametrize("kind", ["torch", "fused", pytest.param("int16", marks=needs_kernels)])
def test_convolutions_equal_conv1d(kind: str, kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    convolution, x = nn.Conv1d(16, 24, kernel, stride), torch.randn(50, 16)
    weight, bias = convolution.weight.detach(), convolution.bias
    with torch.inference_mode():
        fast: Any = {
            "torch": lambda: TorchConvolution(weight, bias, stride, torch.float32),
            "fused": lambda: FusedConvolution(weight, bias, stride, torch.float32),
            "int16": lambda: Int16Convolution(weight, bias, stride),
        }[kind]()
        expected = F.gelu(convolution(x.T[None]))[0].T
        torch.testing.assert_close(fast(x, "gelu"), expected, rtol=0, atol=INT16 if kind == "int16" else FLOAT32)


@pytest.mark.parametrize("library", ["native", "torch"])
def test_gated_convolution_equals_its_parts(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "torch":
        monkeypatch.setattr(modules_conformer, "kernels", lambda: None)
    torch.manual_seed(0)
    for n_frames, width, taps in ((1, 8, 9), (4, 12, 9), (100, 20, 15)):
        x, weight, bias = torch.randn(n_frames, 2 * width), torch.randn(taps, width), torch.randn(width)
        gated = F.glu(x, dim=-1).T[None]
        expected = F.silu(F.conv1d(gated, weight.T[:, None], bias, padding=taps // 2, groups=width))[0].T
        found = modules_conformer.gated_convolution(x, weight, bias, "silu")
        torch.testing.assert_close(found, expected, rtol=FLOAT32, atol=FLOAT32)


@pytest.mark.parametrize("library", ["native", "torch"])
def test_strided_convolutions_equal_conv2d(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "torch":
        monkeypatch.setattr(modules_conformer, "kernels", lambda: None)
    torch.manual_seed(0)
    for n_frames, n_bins, n_channels in ((1, 80, 8), (2, 5, 12), (31, 80, 20)):
        features, weight, bias = torch.randn(n_frames, n_bins), torch.randn(3, 3, n_channels), torch.randn(n_channels)
        taps = weight.permute(2, 0, 1)[:, None]
        expected = F.conv2d(features[None, None], taps, bias, stride=2, padding=1).relu()
        found = modules_conformer.convolve_features(features, weight, bias)
        torch.testing.assert_close(found, expected[0].permute(1, 2, 0), rtol=FLOAT32, atol=FLOAT32)
        expected = F.conv2d(expected, taps, bias, stride=2, padding=1, groups=n_channels)
        found = modules_conformer.convolve_channels(found, weight, bias)
        torch.testing.assert_close(found, expected[0].permute(1, 2, 0), rtol=FLOAT32, atol=1e-4)
