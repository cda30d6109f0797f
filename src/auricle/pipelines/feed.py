"""Segments as they become final: a journal that tells them on, and keeps them if it is asked to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from auricle.results import Segment
from auricle.speech.journal import Journal

Told = Callable[[tuple[Segment, ...]], None]


class SegmentFeed:
    """Stands before the journal of one channel, or for one, and tells what every entry says.

    What an interrupted run left is told first. Windows that are decoded together (Whisper's schedule="batched") end
    in any order: then segments are told as they come, and only the transcript has them in order.
    """

    def __init__(
        self,
        journal: Journal | None,
        heard: Callable[[dict[str, Any]], Sequence[Segment]],
        told: Told,
        channel: int | None = None,
    ) -> None:
        self._journal, self._heard, self._told, self._channel = journal, heard, told, channel

    def entries(self) -> list[dict[str, Any]]:
        """Return what an interrupted run wrote, in order."""
        found = self._journal.entries() if self._journal is not None else []
        for entry in found:
            self._tell(entry)
        return found

    def append(self, entry: dict[str, Any]) -> None:
        """Keep a finished step, then tell what it says."""
        if self._journal is not None:
            self._journal.append(entry)
        self._tell(entry)

    def _tell(self, entry: dict[str, Any]) -> None:
        segments = tuple(self._heard(entry))
        if self._channel is not None:
            segments = tuple(replace(segment, channel=self._channel) for segment in segments)
        if segments:
            self._told(segments)
