"""Which rows are computed together: those of like length, so that little is padding. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def batches(seconds: Sequence[float], max_rows: int, max_seconds: float) -> list[list[int]]:
    """Divide rows, by their place, into batches, the shortest first.

    A batch has at most `max_rows`, and lasts at most `max_seconds` with all its rows padded to the longest; a row that
    is longer is alone.

    >>> batches([3.0, 1.0, 10.0, 1.5], max_rows=2, max_seconds=10.0)
    [[1, 3], [0], [2]]
    """
    found: list[list[int]] = []
    for place in sorted(range(len(seconds)), key=lambda place: (seconds[place], place)):
        has_room = bool(found) and len(found[-1]) < max_rows
        if has_room and (len(found[-1]) + 1) * seconds[place] <= max_seconds:
            found[-1].append(place)
        else:
            found.append([place])
    return found
