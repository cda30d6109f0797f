"""Threads that each compute recordings of their own, instead of all threads sharing every product.

Threads that share a product wait for each other some 40 times a window of Whisper's encoder, and all of them for one
that the system has put aside. Rows of the native kernels depend on no other row, so that the numbers are the same.

Dimension key: B recordings.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

from auricle.engines.cpu.native_library import kernels

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """As many threads as torch has been given, made when they are first needed."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._n_threads = 0

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """`function` of every item, in order, each on one thread of its own."""
        n_threads = torch.get_num_threads()
        if self._pool is None or self._n_threads != n_threads:
            self._pool = ThreadPoolExecutor(n_threads, "auricle-cpu", initializer=compute_alone)
            self._n_threads = n_threads
        return list(self._pool.map(torch.inference_mode()(function), items))


def can_share() -> bool:
    """Whether there are several threads to divide recordings among, and kernels to say so to."""
    return torch.get_num_threads() > 1 and kernels() is not None


def divided(lengths: list[int], n_groups: int) -> list[list[int]]:
    """Rows in at most `n_groups` groups of about the same total length."""
    groups: list[list[int]] = [[] for _ in range(n_groups)]
    loads = [0] * n_groups
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        least = loads.index(min(loads))
        groups[least].append(row)
        loads[least] += lengths[row]
    return [sorted(group) for group in groups if group]


def compute_alone() -> None:
    """Let this thread's products be computed by itself; without kernels, which can say so, nothing changes.

    Not by `torch.set_num_threads`, which threads that begin later would take over; asking for the number first keeps
    torch from setting it on its first operation here. MKL has a number of its own as soon as torch's was set or
    MKL_NUM_THREADS is: teams of threads in every worker then take each other's processors.
    """
    torch.get_num_threads()
    library = kernels()
    if library is None:
        return
    library.auricle_set_threads(ctypes.c_int32(1))
    set_locally = mkl("MKL_Set_Num_Threads_Local")
    if set_locally is not None:
        set_locally(1)


@cache
def mkl(name: str) -> Any:
    """A function of the MKL that is part of torch, None where it has none."""
    path = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    return getattr(ctypes.CDLL(str(path)), name, None) if path.is_file() else None
