"""Attention to keys and values that are packed once, in 16-bit integers, for queries that come later.

Dimension key: R recordings, M queries, T frames, D width, H heads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from auricle.engines.cpu.products import AttentionCall, library, pointer_of

Shape: TypeAlias = tuple[Sequence[int], torch.dtype]  # of a tensor, and its type


class PackedKeysValues:
    """A layer's keys and values as native/attention.cpp packs them, in memory of the `shapes`."""

    def __init__(self, n_frames: int, n_heads: int, width: int, memory: Sequence[Tensor]) -> None:
        self._call, self._memory = _sizes(n_frames, width, n_heads), memory

    def keep(self, row: int, both: Tensor) -> None:
        """Take a recording's keys and values (1, T, 2 D), float32."""
        keys, values = both.chunk(2, dim=2)
        call = AttentionCall.from_buffer_copy(self._call)
        call.k, call.v = pointer_of(keys), pointer_of(values)
        call.k_batch_stride, call.k_row_stride = call.v_batch_stride, call.v_row_stride = both.stride()[:2]
        library().auricle_pack_heads(ctypes.byref(call), *(pointer_of(one[row]) for one in self._memory))

    @classmethod
    def shapes(cls, n_rows: int, n_frames: int, width: int, n_heads: int) -> list[Shape]:
        """Of the memory that keys and values take."""
        integers, floats = ctypes.c_int64(), ctypes.c_int64()
        call = _sizes(n_frames, width, n_heads)
        library().auricle_packed_sizes(ctypes.byref(call), ctypes.byref(integers), ctypes.byref(floats))
        return [((n_rows, n_heads, integers.value), torch.int16), ((n_rows, n_heads, floats.value), torch.float32)]

    def attend(self, q: Tensor, first: Tensor, source: Tensor, y: Tensor) -> None:
        """Attention of queries (M, D), float32, sorted by row, to `y` (M, D).

        `first` (rows + 1,) says where each row's queries begin, and a row hears the recording `source` (rows,).
        """
        call = AttentionCall.from_buffer_copy(self._call)
        call.q, call.y, call.q_row_stride = pointer_of(q), pointer_of(y), q.stride(0)
        memory = (pointer_of(one) for one in (*self._memory, first, source))
        library().auricle_attend_packed(ctypes.byref(call), *memory, ctypes.c_int64(len(source)))


def _sizes(n_frames: int, width: int, n_heads: int) -> AttentionCall:
    head = width // n_heads
    return AttentionCall(n_batches=1, n_heads=n_heads, width=head, n_keys=n_frames, scale=head**-0.5)
