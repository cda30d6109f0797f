"""Who computes a batch: the caller at once, or somebody who puts together what several callers have."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Scheduler(Protocol):
    """Computes rows, maybe together with rows of others."""

    def __call__(self, key: Hashable, rows: Sequence[T], compute: Callable[[Sequence[T]], Sequence[R]]) -> Sequence[R]:
        """Return what `compute` makes of `rows`, one result for each, in order.

        Calls with equal keys may be computed in one: their `compute` must do the same, and what it makes of a row
        must not depend on the other rows.
        """
        ...


def at_once(key: Hashable, rows: Sequence[T], compute: Callable[[Sequence[T]], Sequence[R]]) -> Sequence[R]:
    """Compute rows by themselves, in the calling thread."""
    return compute(rows)
