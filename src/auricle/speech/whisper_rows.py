"""How far recordings have come: the parts of their transcripts, and the rows that are being decoded.

A row is one unit of a recording while its windows are decoded, one after the other. What a row comes to is
kept in its part of the transcript, so that parts may be finished in any order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

import numpy as np

from auricle.results import Segment, Transcript, Warning
from auricle.speech.journal import Journal
from auricle.speech.journal_entries import segment_from_json, segment_to_json, warning_from_json, warning_to_json
from auricle.speech.stretches import Gap, skipped
from auricle.speech.whisper_languages import LanguageTracker, most_probable
from auricle.speech.whisper_units import Source, Unit


@dataclass
class Part:
    """What came of a unit or of a gap."""

    segments: list[Segment] = field(default_factory=list)
    warnings: list[Warning] = field(default_factory=list)

    def warn(self, kind: str, message: str, start: float, end: float) -> None:
        """Add a warning, or let the last one go on if it says the same up to here."""
        last = self.warnings[-1] if self.warnings else None
        if last is not None and (last.kind, last.message, last.end) == (kind, message, start):
            self.warnings[-1] = replace(last, end=end)
        else:
            self.warnings.append(Warning(kind, message, start, end))


@dataclass
class Row:
    """A unit that is being decoded: where its next window begins, and what that is told."""

    reading: Reading
    unit: Unit
    number: int  # of the unit in its recording
    part: Part
    history: list[int]  # the tokens of the text before; in sequence, the recording's own
    language: str | None
    language_probability: float | None = None  # where windows choose their language: of the last one's
    heard: tuple[str | None, str | None] = (None, None)  # the recording's tracker after this unit was heard
    spoken_until: float = 0.0  # where the last word ended
    window: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))

    @property
    def start(self) -> int:
        """The absolute sample at which the open window begins."""
        return self.unit.samples.start

    @property
    def is_first_window(self) -> bool:
        """Whether no window of this unit was decoded."""
        return self.start == self.unit.start

    @property
    def begins(self) -> bool:
        """Whether the open window is the first that is decoded of the recording."""
        return self.number == 0 and self.is_first_window

    def open_window(self, n_samples: int, shortest: int) -> bool:
        """Take the next window; at the unit's end, where no more than `shortest` is left, False."""
        self.window = self.unit.samples.window(n_samples)
        if len(self.window) > (0 if self.is_first_window else shortest):
            return True
        self.reading.n_done += len(self.window)
        return False

    def skip(self, n_samples: int) -> None:
        """Let go of samples that are done with."""
        self.unit.samples.skip(n_samples)
        self.reading.n_done += n_samples
        self.unit.states = None

    def entry(self, start: int, n_segments: int, n_warnings: int) -> dict[str, Any]:
        """What a journal keeps of the window from `start`, before which there were so many segments and warnings."""
        first_warning = max(n_warnings - 1, 0)  # the last one may have gone on
        return {
            "unit": self.number,
            "start": start / self.reading.source.sample_rate,
            "position": self.start,
            "segments": [segment_to_json(one) for one in self.part.segments[n_segments:]],
            "warnings": [warning_to_json(one) for one in self.part.warnings[first_warning:]],
            "first_warning": first_warning,
            "history": list(self.history),
            "spoken_until": self.spoken_until,
            "language": self.language,
            "language_probability": self.language_probability,
            "heard": list(self.heard),
        }

    def replay(self, entry: dict[str, Any], n_at_once: int) -> None:
        """Take over what a journal kept of a window, instead of decoding it."""
        before = self.start
        self.unit.samples.skip_to(entry["position"], n_at_once)
        self.reading.n_done += self.start - before
        self.part.segments += [segment_from_json(one) for one in entry["segments"]]
        self.part.warnings[entry["first_warning"] :] = [warning_from_json(one) for one in entry["warnings"]]
        self.history[:] = entry["history"]
        self.spoken_until = entry["spoken_until"]
        self.language, self.language_probability = entry["language"], entry["language_probability"]
        self.heard = tuple(entry["heard"])
        self.reading.tracker = LanguageTracker(*self.heard)


class Reading:
    """One recording: what was read of it, and what came of that."""

    def __init__(self, source: Source, history: list[int], language: str | None, journal: Journal | None) -> None:
        self.source = source
        self.history = history
        self.language = language
        self.probabilities: dict[str, float] = {}
        self.tracker = LanguageTracker()
        self.parts: list[Part] = []
        self.n_done = 0  # samples that need no more work
        self.journal = journal
        self._units = iter(source)
        self._ahead: deque[Unit | Gap] = deque()
        self._n_units = 0
        self._entries: dict[int, list[dict[str, Any]]] = {}
        for entry in journal.entries() if journal is not None else ():
            if "unit" in entry:
                self._entries.setdefault(entry["unit"], []).append(entry)
            else:
                self.detected(entry["probabilities"], [warning_from_json(one) for one in entry["warnings"]])

    def detected(self, probabilities: dict[str, float], warnings: list[Warning]) -> None:
        """Take the most probable language for the recording's."""
        self.probabilities = probabilities
        self.language = most_probable(probabilities)[0]
        self.parts.insert(0, Part(warnings=warnings))

    def ahead(self, n_units: int) -> Iterator[Unit]:
        """The next units, at most so many; they stay to be taken.

        None comes behind an endless one that was not read to its end: reading on would pass over the rest of it.
        """
        n_given = 0
        for place in count():
            if place == len(self._ahead):
                self._ahead.extend(islice(self._units, 1))
            if place == len(self._ahead):
                return
            one = self._ahead[place]
            if isinstance(one, Unit):
                yield one
                n_given += 1
                if n_given == n_units or (one.is_endless and not one.samples.ended):
                    return

    def row(self, apart: bool, n_at_once: int) -> Row | None:
        """The next unit as a row, with a history of its own if it stands `apart`; None at the recording's end."""
        for one in self._take():
            part = Part()
            self.parts.append(part)
            if isinstance(one, Gap):
                self.n_done += one.end - one.start
                part.warnings += skipped([one], self.source.sample_rate)
                continue
            # Apart, too, the recording's first window is told what comes before the recording.
            history = list(self.history if self._n_units == 0 else ()) if apart else self.history
            start = one.start / self.source.sample_rate
            row = Row(self, one, self._n_units, part, history, self.language, spoken_until=start)
            self._n_units += 1
            for entry in self._entries.pop(row.number, ()):
                row.replay(entry, n_at_once)
            return row
        return None

    def transcript(self) -> Transcript:
        """All parts, in order."""
        segments = tuple(segment for part in self.parts for segment in part.segments)
        return Transcript(
            text="".join(segment.text for segment in segments),
            segments=segments,
            language=self.language,
            language_probability=self.probabilities.get(self.language or ""),
            duration=self.source.reader.position / self.source.sample_rate,
            warnings=tuple(warning for part in self.parts for warning in part.warnings),
            language_probabilities=self.probabilities,
        )

    def _take(self) -> Iterator[Unit | Gap]:
        while True:
            one = self._ahead.popleft() if self._ahead else next(self._units, None)
            if one is None:
                return
            yield one
