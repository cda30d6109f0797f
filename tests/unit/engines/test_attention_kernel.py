"""The attention kernel against softmax attention in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from auricle.engines.cpu import products
from auricle.engines.cpu.products import PackedDistances, PackedKeysValues, attention

pytestmark = pytest.mark.skipif(not products.available(), reason="built without native kernels for this processor")

# Queries, keys, probabilities and values are rounded to about 14 bits of a block's largest.
CLOSE = 1e-3


def exact_attention(
    q: Tensor, k: Tensor, v: Tensor, n_heads: int, mask: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    q, k, v = (x.double().unflatten(2, (n_heads, -1)).transpose(1, 2) for x in (q, k, v))  # (B, H, T, K)
    scores = q @ k.transpose(2, 3) * q.shape[3] ** -0.5
    if bias is not None:
        scores = scores + bias.double()
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], -torch.inf)
    return (scores.softmax(3) @ v).transpose(1, 2).flatten(2)


def relative_error(ours: Tensor, exact: Tensor) -> float:
    return ((ours.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("width", [3, 16, 32, 64, 80, 96, 128])
@pytest.mark.parametrize(("n_queries", "n_keys"), [(1, 1), (50, 50), (5, 300), (131, 129), (17, 3200)])
def test_any_shape_is_close_to_float64(width: int, n_queries: int, n_keys: int) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, n, 3 * width) for n in (n_queries, n_keys, n_keys))

    assert relative_error(attention(q, k, v, 3), exact_attention(q, k, v, 3)) < CLOSE


@pytest.mark.parametrize("sharpness", [0.1, 4.0])
def test_flat_and_sharp_softmax_are_close(sharpness: float) -> None:
    torch.manual_seed(0)
    q, k, v = sharpness * torch.randn(1, 200, 128), torch.randn(1, 700, 128), torch.randn(1, 700, 128)

    assert relative_error(attention(q, k, v, 2), exact_attention(q, k, v, 2)) < CLOSE


def test_slices_of_one_product_are_read_as_they_are() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 70, 3 * 128).chunk(3, 2)

    assert torch.equal(attention(q, k, v, 2), attention(q.contiguous(), k.contiguous(), v.contiguous(), 2))


def test_hidden_keys_and_bias() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 150, 128) for _ in range(3))
    mask = torch.arange(150) < torch.tensor([[150], [20]])
    mask[0, 40:60] = False
    bias = torch.randn(1, 2, 150, 150)

    ours = attention(q, k, v, 2, mask, bias)
    v[1, 20:], k[1, 20:] = torch.nan, torch.inf  # what is hidden may be anything

    assert relative_error(ours, exact_attention(q, k.nan_to_num(), v.nan_to_num(), 2, mask, bias)) < CLOSE
    assert torch.equal(ours, attention(q, k, v, 2, mask, bias))


def test_a_query_that_sees_nothing_gets_zeros() -> None:
    x = torch.ones(1, 4, 16)

    assert attention(x, x, x, 1, torch.zeros(1, 4, dtype=torch.bool)).abs().max() == 0


def test_a_row_depends_neither_on_other_rows_nor_on_threads() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(3, 140, 192) for _ in range(3))
    n_threads = torch.get_num_threads()

    together = attention(q, k, v, 3)
    alone = attention(q[1:2, 77:78], k[1:2], v[1:2], 3)
    try:
        torch.set_num_threads(3)
        on_three = attention(q, k, v, 3)
    finally:
        torch.set_num_threads(n_threads)

    assert torch.equal(together[1:2, 77:78], alone)
    assert torch.equal(together, on_three)


def distance_scores(position: Tensor, distances: Tensor, n_heads: int) -> Tensor:
    """Scores by distance (B, H, T, T), each query's product with the vectors of its distances taken one by one."""
    n_frames, n_kept = position.shape[1], (len(distances) + 1) // 2
    frames = torch.arange(n_frames)
    places = n_kept - 1 - frames[:, None] + frames  # (T, T)
    vectors = distances.double()[places].unflatten(2, (n_heads, -1))  # (T, T, H, K)
    queries = position.double().unflatten(2, (n_heads, -1))  # (B, T, H, K)
    return torch.einsum("bihk,ijhk->bhij", queries, vectors) * queries.shape[3] ** -0.5


@pytest.mark.parametrize("width", [16, 48, 64, 128])
@pytest.mark.parametrize(("n_frames", "n_kept"), [(1, 1), (13, 13), (50, 90), (129, 129), (200, 1024)])
def test_relative_positions_are_close_to_float64(width: int, n_frames: int, n_kept: int) -> None:
    torch.manual_seed(0)
    q, k, v, position = (torch.randn(2, n_frames, 3 * width) for _ in range(4))
    distances = torch.randn(2 * n_kept - 1, 3 * width)
    mask = torch.arange(n_frames) < torch.tensor([[n_frames], [n_frames // 2 + 1]])

    ours = attention(q, k, v, 3, mask, positions=(position, PackedDistances(distances, 3, width**-0.5)))

    exact = exact_attention(q, k, v, 3, mask, distance_scores(position, distances, 3))
    assert relative_error(ours, exact) < CLOSE


def test_relative_positions_do_not_depend_on_how_many_distances_are_packed() -> None:
    torch.manual_seed(0)
    q, k, v, position = (torch.randn(1, 70, 96) for _ in range(4))
    distances = torch.randn(2 * 400 - 1, 96)

    few, many = (PackedDistances(distances[400 - n : 399 + n], 2, 0.1) for n in (70, 400))

    assert torch.equal(
        attention(q, k, v, 2, positions=(position, few)), attention(q, k, v, 2, positions=(position, many))
    )


def test_distances_that_do_not_reach_are_refused() -> None:
    x = torch.zeros(1, 8, 32)
    packed = PackedDistances(torch.zeros(2 * 7 - 1, 32), 2, 1.0)
    with pytest.raises(ValueError, match="distances of 7 frames, 32 wide, do not fit"):
        attention(x, x, x, 2, positions=(x, packed))
    with pytest.raises(ValueError, match="as many as keys, 6"):
        attention(x, x[:, :6], x[:, :6], 2, positions=(x, packed))


def test_heads_too_wide_are_refused() -> None:
    x = torch.zeros(1, 2, 129)
    with pytest.raises(ValueError, match="1 heads at most 128 wide"):
        attention(x, x, x, 1)


@pytest.mark.parametrize("n_keys", [40, 1600])
def test_keys_and_values_packed_once_give_the_numbers_of_those_packed_at_once(n_keys: int) -> None:
    torch.manual_seed(0)
    recordings, q = torch.randn(3, n_keys, 2 * 192), torch.randn(40, 192)
    first, source = torch.tensor([0, 1, 18, 18, 40]), torch.tensor([2, 0, 1, 2])  # the third row asks nothing
    memory = [torch.empty(shape, dtype=dtype) for shape, dtype in PackedKeysValues.shapes(3, n_keys, 192, 3)]
    packed, y = PackedKeysValues(n_keys, 3, 192, memory), torch.zeros(40, 192)
    for row in (1, 0, 2):
        packed.keep(row, recordings[row : row + 1])
    packed.attend(q, first, source, y)

    for begin, end, row in zip(first.tolist(), first.tolist()[1:], source.tolist(), strict=False):
        k, v = recordings[row : row + 1].chunk(2, 2)
        if end > begin:
            assert torch.equal(y[begin:end], attention(q[None, begin:end], k, v, 3)[0])
