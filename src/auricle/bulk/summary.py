"""How far a run is, and what it came to."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    rows: int  # that are done, those of earlier runs included
    total: int | None  # None: nobody knows how many there are
    failed: int  # rows that could not be transcribed
    seconds: float  # of sound, in this run
    new_rows: int  # in this run
    took: float  # seconds since this run began

    @property
    def rows_per_second(self) -> float:
        """Rows of this run for each second it took."""
        return self.new_rows / self.took if self.took > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds to the end at that pace; None where they cannot be known."""
        if self.total is None or not self.new_rows:
            return None
        return (self.total - self.rows) / self.rows_per_second

    def __str__(self) -> str:
        of = f"/{self.total}" if self.total is not None else ""
        hours = self.seconds / 60 / self.took if self.took > 0 else 0.0
        failed = f", {self.failed} failed" if self.failed else ""
        left = "" if self.remaining is None else f", {_clock(self.remaining)} left"
        return f"{self.rows}{of} rows{failed}; {self.rows_per_second:.1f} rows/s, {hours:.2f} h of sound a minute{left}"


@dataclass(frozen=True)
class Summary:
    """What a run came to."""

    rows: int  # in the dataset
    new_rows: int  # transcribed, or failed, in this run
    failed: int  # of all rows
    seconds: float  # of sound, in this run
    shards: int
    took: float


class Counter:
    """Counts what is done, and tells it."""

    def __init__(self, rows: int, total: int | None, failed: int) -> None:
        self.rows, self.total, self.failed = rows, total, failed
        self.new_rows, self.seconds = 0, 0.0
        self._begun = time.monotonic()

    def add(self, failed: int, rows: int, seconds: float) -> None:
        """Count rows of this run."""
        self.rows += rows
        self.new_rows += rows
        self.failed += failed
        self.seconds += seconds

    @property
    def took(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._begun

    def progress(self) -> Progress:
        """Return how far it is."""
        return Progress(self.rows, self.total, self.failed, self.seconds, self.new_rows, self.took)

    def summary(self, rows: int, failed: int, shard_size: int) -> Summary:
        """Return what it came to, of so many rows."""
        return Summary(rows, self.new_rows, failed, self.seconds, -(-rows // shard_size), self.took)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
