"""Products through 16-bit integers, against the same products in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.engines.cpu import products
from auricle.engines.cpu.products import PackedLinear, conv1d_channels_last, feed_forward, linear

pytestmark = pytest.mark.skipif(not products.available(), reason="built without native kernels for this processor")

# Rounding to 13 and about 14 bits of a block's largest value: 1.5e-4 on Gaussian numbers, 4e-4 beside an outlier.
CLOSE = 5e-4
ACTIVATIONS = {
    "none": lambda x: x,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


def relative_error(ours: Tensor, exact: Tensor) -> float:
    return ((ours.double() - exact).norm() / exact.norm()).item()


def some_layer(n: int, k: int) -> tuple[Tensor, Tensor, PackedLinear]:
    weight, bias = torch.randn(n, k), torch.randn(n)
    return weight.double(), bias.double(), PackedLinear.pack(weight, bias)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (5, 30, 17), (7, 128, 16), (40, 240, 100), (130, 1100, 33)])
def test_any_shape_is_close_to_float64(m: int, k: int, n: int) -> None:
    torch.manual_seed(0)
    weight, bias, packed = some_layer(n, k)
    x = torch.randn(m, k)

    assert relative_error(linear(x, packed), F.linear(x.double(), weight, bias)) < CLOSE


def test_an_outlier_channel_leaves_the_result_close() -> None:
    torch.manual_seed(0)
    weight, bias, packed = some_layer(96, 512)
    x = torch.randn(64, 512)
    x[:, 3] *= 50

    assert relative_error(linear(x, packed), F.linear(x.double(), weight, bias)) < CLOSE


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_epilogue_is_residual_plus_scaled_activation(name: str) -> None:
    torch.manual_seed(0)
    weight, bias, packed = some_layer(80, 64)
    x, residual = torch.randn(3, 10, 64), torch.randn(3, 10, 80)

    ours = linear(x, packed, name, residual, scale=0.5)  # type: ignore[arg-type]
    product = F.linear(x.double(), weight, bias)

    assert relative_error(ours, residual.double() + 0.5 * ACTIVATIONS[name](product)) < CLOSE


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_activations_are_those_of_torch(name: str) -> None:
    values = torch.linspace(-12, 12, 4001)
    packed = PackedLinear.pack(torch.zeros(4001, 1), values)

    ours = linear(torch.ones(1, 1), packed, name)[0]  # type: ignore[arg-type]

    exact = ACTIVATIONS[name](values.double())
    assert ((ours.double() - exact).abs() / values.abs().clamp(min=1)).max() < 1e-6


@torch.inference_mode()
def test_a_row_depends_neither_on_other_rows_nor_on_threads() -> None:
    torch.manual_seed(0)
    _, _, packed = some_layer(200, 700)
    x = torch.randn(301, 700)
    n_threads = torch.get_num_threads()

    together = linear(x, packed, "gelu")
    alone = torch.cat([linear(x[i : i + 1], packed, "gelu") for i in range(0, 301, 50)])
    try:
        torch.set_num_threads(3)
        on_three = linear(x, packed, "gelu")
    finally:
        torch.set_num_threads(n_threads)

    assert torch.equal(together[::50], alone)
    assert torch.equal(together, on_three)


@pytest.mark.parametrize("shape", [(2, 3), (2, 401)])
def test_feed_forward_has_the_numbers_of_two_products(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    first, second = some_layer(700, 40)[2], some_layer(50, 700)[2]
    x, residual = torch.randn(*shape, 40), torch.randn(shape[1], 50)

    both = feed_forward(x, first, second, "silu", residual, 0.5)

    assert torch.equal(both, linear(linear(x, first, "silu"), second, None, residual, 0.5))


def test_views_are_read_as_they_are() -> None:
    torch.manual_seed(0)
    _, _, packed = some_layer(20, 48)
    x = torch.randn(2, 50, 96)

    part = linear(x[:, ::2, 48:], packed)
    frames = linear(x.view(2, -1).unfold(1, 48, 16), packed)

    assert torch.equal(part, linear(x[:, ::2, 48:].contiguous(), packed))
    assert torch.equal(frames, linear(x.view(2, -1).unfold(1, 48, 16).contiguous(), packed))


@pytest.mark.parametrize(("channels", "kernel", "stride", "padding"), [(80, 3, 1, 1), (128, 3, 2, 1), (24, 10, 5, 0)])
def test_convolution_equals_that_of_torch(channels: int, kernel: int, stride: int, padding: int) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(40, channels, kernel), torch.randn(40), torch.randn(2, 31, channels)
    packed = PackedLinear.pack_conv1d(weight, bias)

    exact = F.conv1d(x.double().transpose(1, 2), weight.double(), bias.double(), stride, padding).transpose(1, 2)
    positions = torch.randn(exact.shape[1:])
    ours = conv1d_channels_last(x, packed, kernel, stride, padding, "gelu", positions)

    assert relative_error(ours, F.gelu(exact) + positions) < CLOSE


def test_the_largest_values_do_not_overflow() -> None:
    packed = PackedLinear.pack(torch.full((16, 256), -3.0))

    assert linear(torch.full((1, 256), 7.0), packed)[0].tolist() == pytest.approx([-3 * 7 * 256] * 16, rel=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_spoils_its_row_alone(value: float) -> None:
    torch.manual_seed(0)
    _, _, packed = some_layer(16, 200)
    x = torch.randn(8, 200)
    x[3, 150] = value

    finite = linear(x, packed).isfinite().all(1)

    assert finite.tolist() == [True, True, True, False, True, True, True, True]


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rows of 8 and was given \(2, 9\)"):
        linear(torch.zeros(2, 9), PackedLinear.pack(torch.zeros(4, 8)))


@pytest.mark.parametrize(("m", "k", "n"), [(1, 30, 17), (9, 33, 16), (130, 192, 48), (60, 700, 33)])
def test_rows_are_normalized_before_the_product(m: int, k: int, n: int) -> None:
    torch.manual_seed(0)
    weight, bias, packed = some_layer(n, k)
    norm = torch.nn.LayerNorm(k, eps=1e-3)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, m, k) * 3 + 5  # far from zero, as residual streams are

    with torch.inference_mode():
        ours = linear(x, packed, norm=norm)
        exact = F.linear(norm.double()(x.double()), weight, bias)

    assert relative_error(ours, exact) < CLOSE


def test_feed_forward_normalizes_as_linear_does() -> None:
    torch.manual_seed(0)
    first, second = some_layer(64, 48)[2], some_layer(48, 64)[2]
    norm = torch.nn.LayerNorm(48)
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(500, 48)

    with torch.inference_mode():
        ours = feed_forward(x, first, second, "gelu", residual=x, norm=norm)
        in_turn = linear(linear(x, first, "gelu", norm=norm), second, residual=x)

    assert torch.equal(ours, in_turn)


def test_a_norm_of_another_width_is_refused() -> None:
    packed = some_layer(8, 16)[2]
    with pytest.raises(ValueError, match=r"rows of 16 are normalized with weights and biases; not by LayerNorm"):
        linear(torch.randn(2, 16), packed, norm=torch.nn.LayerNorm(15))
