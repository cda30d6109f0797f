"""Memory in huge pages for what is read from end to end at every step: weights, and keys and values of recordings.

With pages of 4 KiB a processor spends a third of such a pass looking addresses up: 20 against 29 GB/s on two cores of
an AMD EPYC.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

HUGE_PAGE = 2 << 20
LEAST = 1 << 20  # bytes: what is smaller is no gain alone
LINE = 64  # bytes of a cache line, which every tensor of a block begins with


def large(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor of zeros in pages of its own, huge ones where the system has them."""
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes < LEAST or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(*shape, dtype=dtype)
    pages = mmap.mmap(-1, -(-n_bytes // HUGE_PAGE) * HUGE_PAGE)
    pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype, count=math.prod(shape)).view(*shape)


class Block:
    """One large piece of memory that several tensors are cut from."""

    def __init__(self, n_bytes: int) -> None:
        self.bytes = large([n_bytes], torch.uint8)
        self._used = 0

    def take(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """The next tensor; its numbers are what was last written there."""
        begin, self._used = self._used, self._used + room_for(shape, dtype)
        n_bytes = math.prod(shape) * dtype.itemsize
        return self.bytes[begin : begin + n_bytes].view(dtype).view(*shape)

    def clear(self) -> None:
        """Begin again; who has tensors of the block must have let go of them."""
        self._used = 0


def room_for(shape: Sequence[int], dtype: torch.dtype) -> int:
    """Bytes that a tensor takes in a block."""
    return -(-math.prod(shape) * dtype.itemsize // LINE) * LINE
