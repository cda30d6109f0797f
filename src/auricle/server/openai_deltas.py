"""Segments to pieces of text that, joined, are the whole text to the letter."""

from __future__ import annotations

from collections.abc import Iterable


class Deltas:
    """Hands out all text once, with what stands between segments; no piece ends with a space that may be the last."""

    def __init__(self, joint: str | None) -> None:
        """Take what stands between segments; None: they come in any order, and nothing is handed out before the end."""
        self._joint = joint
        self._n_segments = 0
        self._pending = ""  # spaces behind the last piece
        self._sent: list[str] = []

    def add(self, texts: Iterable[str]) -> str:
        """Return the piece that the next segments' texts add; empty where nothing is known yet."""
        if self._joint is None:
            return ""
        piece = self._pending
        for text in texts:
            piece += f"{self._joint}{text}" if self._n_segments else text
            self._n_segments += 1
        if not self._sent:
            piece = piece.lstrip()
        delta = piece.rstrip()
        self._pending = piece[len(delta) :]
        if delta:
            self._sent.append(delta)
        return delta

    def rest(self, whole: str) -> str | None:
        """Return what is missing of the whole text; None if it does not begin with what was handed out."""
        sent = "".join(self._sent)
        return whole[len(sent) :] if whole.startswith(sent) else None
