"""Recordings of different lengths in one tensor without padding: their frames one after the other.

Dimension key: B recordings, T frames of one, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Products see one of few shapes: libraries prepare kernels for every new one, and keep them.
ROUND_TO = 32


def offsets(lengths: Sequence[int]) -> list[slice]:
    """Where each recording's frames lie."""
    slices, start = [], 0
    for length in lengths:
        slices.append(slice(start, start + length))
        start += length
    return slices


def join(rows: Sequence[Tensor], width: int) -> Tensor:
    """Recordings (T, D) as one float32 tensor, with zeros up to a multiple of `ROUND_TO` after the last."""
    n_frames = sum(map(len, rows))
    joined = torch.zeros(-(-max(n_frames, 1) // ROUND_TO) * ROUND_TO, width)
    for row, place in zip(rows, offsets([len(row) for row in rows]), strict=True):
        joined[place] = row
    return joined


def separate(x: Tensor, lengths: Sequence[int]) -> Tensor:
    """Frames (sum of T, D) as (B, longest T, D), zeros where a recording has ended; at least one frame."""
    if len(lengths) == 1 and lengths[0]:
        return x[None, : lengths[0]]
    rows = x.new_zeros(len(lengths), max(1, *lengths), x.shape[1])
    for row, length, place in zip(rows, lengths, offsets(lengths), strict=True):
        row[:length] = x[place]
    return rows
