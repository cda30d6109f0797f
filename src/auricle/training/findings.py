"""What an examination of a training's data found, and how it is said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

SEVERITIES = ("error", "warning", "note")
SHOWN = 3  # examples of a finding
# What to do about rows that cannot be learned, by how their reason begins.
ADVICE = {
    "without text": "Remove them, or write their text",
    "characters outside": "Add --new-vocabulary, or give --language, which says how letters are written",
    "nothing of the text": "Look whether the right column is read as the text",
    "the recording cannot be read": "Repair or remove them; `ffmpeg -v error -i FILE -f null -` says what is wrong",
    "longer than": "Cut them at pauses, or raise --max-duration where the model hears more (a Whisper: 30 s)",
    "shorter than": "Lower --min-duration if they hold whole words",
    "more labels than frames": "Their text is longer than their sound can say; look whether texts are misplaced",
    "more tokens": "Cut recording and text into shorter ones",
    "without a language": "Give --language",
    "a language that": "Leave these rows out, or start from a model that knows it",
}


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


def advice_for(reason: str) -> str:
    """What to do about rows that were left out for a reason."""
    return next((told for start, told in ADVICE.items() if reason.startswith(start)), "Look at these rows")
