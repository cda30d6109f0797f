"""How far a rate may be off because other recordings could have been chosen: bootstrap intervals, and of differences.

Utterances with the same numbers are one cell, and how often each cell is drawn is multinomial. That is the same as
drawing utterances one by one, and a thousand resamples of 100,000 utterances take a second.
Source: Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from auricle.errors import OptionError

LEVEL = 0.95
RESAMPLES = 1000
SEED = 0
MIN_SPEAKERS = 10  # with fewer, resampling speakers says little
_CELLS_AT_ONCE = 4_000_000
Drawn = Literal["utterance", "speaker"]


@dataclass(frozen=True)
class Interval:
    """Where the middle `level` of the resampled rates lie."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """How the rates of two models on the same utterances differ, first minus second."""

    difference: float
    low: float
    high: float
    first_better: float  # share of the resamples in which the first has fewer errors; ties count half
    n_utterances: int
    drawn: Drawn


def interval(
    errors: np.ndarray,
    lengths: np.ndarray,
    groups: Sequence[str] | None = None,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Interval | None:
    """Return the percentile interval of ``errors.sum() / lengths.sum()``; None for fewer than two to draw from.

    `groups` names what is drawn as a whole, such as each utterance's speaker; without it utterances are drawn.

    Raises:
        OptionError: `level` is not between 0 and 1, there are no resamples, or `seed` is negative.
    """
    _check(level, resamples, seed)
    table = _grouped(np.stack([errors, lengths], axis=1), groups)
    if len(table) < 2:
        return None
    sums = _resampled(table, resamples, seed)
    rates = sums[:, 0] / np.maximum(sums[:, 1], 1)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def compare(
    first: np.ndarray,
    second: np.ndarray,
    lengths: np.ndarray,
    groups: Sequence[str] | None = None,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison | None:
    """Compare two models' errors on the same utterances, which are drawn together; None for fewer than two.

    Raises:
        OptionError: `level` is not between 0 and 1, there are no resamples, or `seed` is negative.
    """
    _check(level, resamples, seed)
    table = _grouped(np.stack([first, second, lengths], axis=1), groups)
    if len(table) < 2:
        return None
    sums = _resampled(table, resamples, seed)
    differences = (sums[:, 0] - sums[:, 1]) / np.maximum(sums[:, 2], 1)
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return Comparison(
        difference=float((first.sum() - second.sum()) / max(int(lengths.sum()), 1)),
        low=float(low),
        high=float(high),
        first_better=float(np.mean(differences < 0) + np.mean(differences == 0) / 2),
        n_utterances=len(lengths),
        drawn="utterance" if groups is None else "speaker",
    )


def what_to_draw(speakers: Sequence[str | None]) -> list[str] | None:
    """Return the speakers where each utterance has one and there are enough of them; else None: utterances."""
    known = [speaker for speaker in speakers if speaker]
    return known if len(known) == len(speakers) and len(set(known)) >= MIN_SPEAKERS else None


def _grouped(table: np.ndarray, groups: Sequence[str] | None) -> np.ndarray:
    if groups is None:
        return table
    _, places = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((int(places.max()) + 1 if len(places) else 0, table.shape[1]), dtype=table.dtype)
    np.add.at(sums, places, table)
    return sums


def _resampled(table: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the column sums (resamples, columns) of tables whose rows are drawn with replacement."""
    random = np.random.default_rng(seed)
    cells, counts = np.unique(table, axis=0, return_counts=True)
    shares = counts / counts.sum()
    at_once = max(1, _CELLS_AT_ONCE // len(cells))
    parts = []
    for start in range(0, resamples, at_once):
        drawn = random.multinomial(len(table), shares, size=min(at_once, resamples - start))
        parts.append(drawn @ cells)
    return np.concatenate(parts).astype(np.float64)


def _check(level: float, resamples: int, seed: int) -> None:
    if not 0 < level < 1:
        raise OptionError(f"level={level!r}; expected a number between 0 and 1, such as 0.95")
    if resamples < 1:
        raise OptionError(f"resamples={resamples!r}; expected 1 or more, such as {RESAMPLES}")
    if seed < 0:
        raise OptionError(f"seed={seed!r}; expected 0 or more")
