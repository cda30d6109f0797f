"""Finds and loads the native kernels that fit this processor, if the package was built with any.

The library uses the OpenMP runtime that torch has loaded, so that both share one pool of threads and
`torch.set_num_threads` holds for both.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch

from auricle.engines.cpu.native_sources import sources_number
from auricle.errors import OptionError

logger = logging.getLogger("auricle")

# What setup.py compiles each library for; the best one last.
_AVX2 = frozenset({"avx2", "fma", "f16c"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"}
NEEDED_FLAGS: dict[str, frozenset[str]] = {
    "avx2": _AVX2,
    "avx512": _AVX512,
    "amx": _AVX512 | {"amx_tile", "amx_int8"},
}
# Limits the instruction set: "plain" (no native kernels), "avx2", "avx512" or "amx".
ISA_VARIABLE = "AURICLE_CPU_ISA"
_refused: set[str] = set()  # libraries that the system does not let run
_stale: set[str] = set()  # libraries that were built from other sources


@cache
def cpu_flags() -> frozenset[str]:
    """The instruction sets of this processor, as Linux names them; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def is_limited() -> bool:
    """Whether kernels may not use all that this processor has; torch is not to do so in their place."""
    return bool(_refused) or os.environ.get(ISA_VARIABLE, "amx") not in ("amx", "plain")


@cache
def kernels() -> ctypes.CDLL | None:
    """The library of the best instruction set that this processor has and the package was built for, or None.

    Raises:
        OptionError: if `AURICLE_CPU_ISA` is set to something else than it may be.
    """
    limit = os.environ.get(ISA_VARIABLE, "amx")
    order = ["plain", *NEEDED_FLAGS]
    if limit not in order:
        raise OptionError(f"{ISA_VARIABLE} is {limit!r}; expected one of {', '.join(order)}, or unset for the best")
    assert torch.get_num_threads() > 0, "torch is loaded first: its OpenMP runtime is the one that the kernels use"
    number = sources_number(Path(__file__).with_name("native"))
    _stale.clear()
    for isa in reversed(order[1 : order.index(limit) + 1]):
        path = _built(isa)
        if path is not None and NEEDED_FLAGS[isa] <= cpu_flags():
            try:
                library = ctypes.CDLL(str(path))
            except OSError as error:
                logger.warning("the native kernels %s cannot be loaded (%s); slower ones compute", path.name, error)
                continue
            if _is_stale(library, number):
                _stale.add(path.name)
            elif library.auricle_prepare():
                return library
            else:
                _refused.add(path.name)
                logger.warning("the system does not let the native kernels %s run; slower ones compute", path.name)
    if _stale:
        logger.warning(
            "the native kernels %s were built from other sources than those that lie beside them, so torch computes, "
            "slower; build them anew: pip install -e . in the repository",
            ", ".join(sorted(_stale)),
        )
    return None


def kernels_name() -> str | None:
    """The instruction set that the kernels are for, None where there are none."""
    library = kernels()
    return None if library is None else Path(library._name).name.removeprefix("kernels_").partition(".")[0]


def stale_kernels() -> str | None:
    """The names of libraries that are not used because they were built from other sources, None where all fit."""
    kernels()
    return ", ".join(sorted(_stale)) or None


def _is_stale(library: Any, number: int | None) -> bool:
    """Whether it was compiled from other sources than those of this `number`, which Python's side was written for."""
    if number is None:
        return False
    try:
        stated = library.auricle_sources
    except AttributeError:  # from before there was a number
        return True
    stated.restype = ctypes.c_uint64
    return bool(stated() != number)


def _built(isa: str) -> Path | None:
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"kernels_{isa}{suffix}")
        if path.is_file():
            return path
    return None
