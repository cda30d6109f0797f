"""Self-attention of recordings that lie one after the other, each to its own frames only.

Dimension key: T frames of a recording, D width, H heads, K width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from auricle.engines.cpu import products
from auricle.engines.cpu.linear import Arithmetic
from auricle.engines.cpu.modules_rows import offsets


def attend(
    joined: Tensor, lengths: Sequence[int], n_heads: int, arithmetic: Arithmetic, biases: Sequence[Tensor] | None = None
) -> Tensor:
    """Attention from queries, keys and values side by side, (sum of T, 3 D), to (sum of T, D).

    `biases` is (1, H, T, T) for each recording, added to its scores.
    """
    width = joined.shape[1] // 3
    if list(lengths) == [len(joined)]:
        q, k, v = joined.split(width, 1)
        return attend_one(q, k, v, n_heads, arithmetic, None if biases is None else biases[0])
    states = joined.new_zeros(joined.shape[0], width)
    for index, place in enumerate(offsets(lengths)):
        if place.stop > place.start:
            bias = None if biases is None else biases[index]
            q, k, v = joined[place].split(width, 1)
            states[place] = attend_one(q, k, v, n_heads, arithmetic, bias)
    return states


def attend_one(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    n_heads: int,
    arithmetic: Arithmetic,
    bias: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Attention of one recording, (T, D); `bias` is (1, H, T, T), `scale` 1 / sqrt(K) unless it is given."""
    if arithmetic == "int16" and products.attends(q.shape[1], n_heads):
        return products.attention(q[None], k[None], v[None], n_heads, bias=bias, scale=scale)[0]
    query, key, value = (one.unflatten(1, (n_heads, -1)).transpose(0, 1)[None] for one in (q, k, v))  # (1, H, T, K)
    bias = None if bias is None else bias.to(q.dtype)
    y = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)  # (1, H, T, K)
    return y[0].transpose(0, 1).flatten(1)
