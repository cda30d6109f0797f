"""What a recognizer needs of a journal, so that an interrupted run can go on where it stopped."""

from __future__ import annotations

from typing import Any, Protocol

ENDING = ".auricle-journal.jsonl"  # of files that keep one


class Journal(Protocol):
    """The finished steps of one recording, or of one of its channels, in order.

    An entry is a dictionary of JSON values; what stands in it is the recognizer's own affair.
    """

    def entries(self) -> list[dict[str, Any]]:
        """What an interrupted run wrote, in order; empty for a new one."""
        ...

    def append(self, entry: dict[str, Any]) -> None:
        """Add one finished step; it is on disk when this returns."""
        ...
