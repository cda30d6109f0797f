"""What a dataset was found to hold, and what of it was left out, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

# Why a row is left out.
MISSING = "no such file"
NO_FILE = "a folder, a pipe or a device"
NO_AUDIO = "no audio"
EMPTY = "empty text"
UNREADABLE = "unreadable line"
NOT_UTF8 = "not UTF-8"
DUPLICATE = "duplicate id"
COMMAND = "a command, which is never run"
ARCHIVE = "a place within a Kaldi archive"
OUTSIDE = "a path that leaves the dataset's folder"
NO_RECORDING = "its recording is not listed"
BAD_TIMES = "its times are no stretch of a recording"

KEPT = 1000  # places that are kept by name; all are counted
SHOWN = 3  # places that are shown for each reason


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One row that is left out: its id, or its line and file, and the reason."""

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a split holds."""

    rows: int
    n_texts: int  # rows that have a text
    n_timed: int  # rows of which the dataset states the duration
    seconds: float  # of those

    @property
    def hours(self) -> float | None:
        """The hours of the rows whose duration is stated; None if no row's is."""
        return self.seconds / 3600 if self.n_timed else None


@dataclass(frozen=True)
class Report:
    """What was found and left out. `str()` says it in a few lines.

    `left_out` names the first thousand, `reasons` counts all. `is_complete` is False where a dataset is streamed:
    then it says what was read so far.
    """

    name: str
    layout: str
    found: dict[str, Found]  # by split
    columns: dict[str, str] = field(default_factory=dict)  # "audio", "text", ...: the dataset's name for it
    left_out: tuple[LeftOut, ...] = ()
    reasons: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_complete: bool = True

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(one.rows for one in self.found.values())

    @property
    def n_left_out(self) -> int:
        """Rows that are left out."""
        return sum(self.reasons.values())

    def __str__(self) -> str:
        columns = ", ".join(f"{role}={name}" for role, name in self.columns.items())
        lines = [f"{self.name}: {self.layout}{f' ({columns})' if columns else ''}"]
        width = max((len(split) for split in self.found), default=0)
        lines += [f"  {split:<{width}}  {_told(found)}" for split, found in self.found.items()]
        if not self.found:
            lines.append("  no rows" if self.is_complete else "  streamed: counted as it is read")
        lines += [f"  left out {n}: {reason} ({self._examples(reason, n)})" for reason, n in self.reasons.items()]
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def _examples(self, reason: str, n_rows: int) -> str:
        named = [one.where for one in self.left_out if one.reason == reason][:SHOWN]
        return ", ".join(named) + (", …" if n_rows > len(named) else "")


class Tally:
    """Counts what is found and left out, in memory that does not grow with the dataset."""

    def __init__(self) -> None:
        self._found: dict[str, list[float]] = {}
        self._left_out: list[LeftOut] = []
        self._reasons: Counter[str] = Counter()

    def add(self, split: str, has_text: bool, duration: float | None) -> None:
        """Count a row that is kept."""
        counts = self._found.setdefault(split, [0, 0, 0, 0.0])
        counts[0] += 1
        counts[1] += has_text
        if duration is not None:
            counts[2] += 1
            counts[3] += duration

    def leave_out(self, where: str, reason: str) -> None:
        """Count a row that is left out."""
        self._reasons[reason] += 1
        if len(self._left_out) < KEPT:
            self._left_out.append(LeftOut(where, reason))

    def report(
        self,
        name: str,
        layout: str,
        columns: dict[str, str],
        notes: Iterable[str],
        *,
        splits: frozenset[str] | None = None,
        is_complete: bool = True,
    ) -> Report:
        """Return the counts of `splits`, or of all."""
        found = {
            split: Found(int(n_rows), int(n_texts), int(n_timed), seconds)
            for split, (n_rows, n_texts, n_timed, seconds) in self._found.items()
            if splits is None or split in splits
        }
        left_out = tuple(self._left_out)
        return Report(name, layout, found, dict(columns), left_out, dict(self._reasons), tuple(notes), is_complete)


def _told(found: Found) -> str:
    told = f"{found.rows} rows"
    if found.hours is not None:
        of = "" if found.n_timed == found.rows else f" in the {found.n_timed} rows that state it"
        told += f", {found.hours:.2f} h{of}"
    if found.n_texts < found.rows:
        told += f", {found.rows - found.n_texts if found.n_texts else 'all'} without text"
    return told
