"""Memory in huge pages: for what is read from end to end at every step, weights and keys and values of recordings,
and for results of products, which is used again as soon as nobody holds them.

With pages of 4 KiB a processor spends a third of such a pass looking addresses up: 20 against 29 GB/s on two cores of
an AMD EPYC. Fresh pages for every result were a twelfth of the time of Whisper's encoder.
"""

from __future__ import annotations

import math
import mmap
import weakref
from collections import defaultdict, deque
from collections.abc import Sequence

import torch
from torch import Tensor

HUGE_PAGE = 2 << 20
LEAST = 1 << 20  # bytes: what is smaller is no gain alone
LINE = 64  # bytes of a cache line, which every tensor of a block begins with
MOST_IDLE = 64  # pages of results that are kept for the next ones

# Pages of results that nobody holds, by their number. A deque's own operations are all that several threads need.
_idle: defaultdict[int, deque[mmap.mmap]] = defaultdict(deque)


def large(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor of zeros in pages of its own, huge ones where the system has them."""
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes < LEAST or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(*shape, dtype=dtype)
    return torch.frombuffer(_pages(-(-n_bytes // HUGE_PAGE)), dtype=dtype, count=math.prod(shape)).view(*shape)


def lent(*shape: int) -> Tensor:
    """A float32 tensor of any numbers, in memory that goes to the next one when this and its views end."""
    n_bytes = math.prod(shape) * torch.float32.itemsize
    if n_bytes < LEAST or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(*shape)
    n_pages = -(-n_bytes // HUGE_PAGE)
    try:
        pages = _idle[n_pages].pop()
    except IndexError:
        pages = _pages(n_pages)
    view = memoryview(pages)  # which the tensor's storage holds, and nobody else
    weakref.finalize(view, _take_back, n_pages, pages).atexit = False
    return torch.frombuffer(view, dtype=torch.float32, count=math.prod(shape)).view(*shape)


def _take_back(n_pages: int, pages: mmap.mmap) -> None:
    if n_pages + sum(one * len(kept) for one, kept in list(_idle.items())) <= MOST_IDLE:
        _idle[n_pages].append(pages)


def _pages(number: int) -> mmap.mmap:
    # Shared memory, which is Python's default, has huge pages on hardly any system.
    pages = mmap.mmap(-1, number * HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


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
