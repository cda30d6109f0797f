"""What an examination of a training's data found, and how it is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SEVERITIES = ("error", "warning", "note")
SHOWN = 3  # examples of a finding


@dataclass(frozen=True)
class Finding:
    """One thing that was found; an error stops a run that is not forced."""

    severity: str  # one of SEVERITIES
    kind: str
    message: str  # with how many there are
    advice: str = ""
    count: int = 0
    examples: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """The finding as it is printed."""
        yield f"{self.severity}: {self.message}"
        for example in self.examples[:SHOWN]:
            yield f"    {example}"
        if self.advice:
            yield f"    -> {self.advice}"


@dataclass(frozen=True)
class Findings:
    """All that was found, and tables that are shown whatever was."""

    found: tuple[Finding, ...]
    tables: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those that stop a run."""
        return tuple(one for one in self.found if one.severity == "error")

    def lines(self) -> Iterator[str]:
        """Everything, the worst last, where it is read."""
        yield from self.tables
        for severity in reversed(SEVERITIES):
            for one in self.found:
                if one.severity == severity:
                    yield from one.lines()

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(one for one in self.found if one.kind == kind)


def counted(n: int, n_all: int) -> str:
    """A number with its share: "3 of 40 rows (7.5 %)"."""
    return f"{n} of {n_all} rows ({n / max(1, n_all):.1%})"


def listed(counts: Iterable[tuple[str, int]], most: int = 12) -> str:
    """Characters or names with their counts: "'é' 3, 'ß' 1"."""
    pairs = list(counts)
    shown = ", ".join(f"{name!r} {n}" for name, n in pairs[:most])
    return shown + (f" and {len(pairs) - most} more" if len(pairs) > most else "")


def some(texts: Sequence[str]) -> tuple[str, ...]:
    """The first few, shortened."""
    return tuple(text if len(text) <= 160 else f"{text[:157]}..." for text in texts[:SHOWN])
