"""Self-attention of recordings that lie one after the other, each to its own frames only.

Dimension key: T frames of a recording, D width, H heads, K width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from auricle.engines.cpu.modules_rows import offsets


def attend(joined: Tensor, lengths: Sequence[int], n_heads: int, biases: Sequence[Tensor] | None = None) -> Tensor:
    """Attention from queries, keys and values side by side, (sum of T, 3 D), to (sum of T, D).

    `biases` is (1, H, T, T) for each recording, added to its scores.
    """
    width = joined.shape[1] // 3
    states = joined.new_zeros(joined.shape[0], width)
    for index, place in enumerate(offsets(lengths)):
        if place.stop > place.start:
            heads = joined[place].view(1, -1, 3, n_heads, width // n_heads).permute(2, 0, 3, 1, 4)  # (3, 1, H, T, K)
            bias = None if biases is None else biases[index].to(joined.dtype)
            y = F.scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=bias)  # (1, H, T, K)
            states[place] = y[0].transpose(0, 1).flatten(1)
    return states
