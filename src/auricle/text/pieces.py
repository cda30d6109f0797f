"""Text while it is written: tokens in, pieces of text out, that join to what all tokens together say.

A piece never ends within a character. Where a text is to stop at a string, what may still become that string waits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

UNFINISHED = "\ufffd"  # what a decoder writes for bytes that are no whole character


class Pieces:
    """The text of one answer as it grows.

    `decode` gives the text of some ids. `joined` are ids that only a run of them decodes, as single bytes do. `before`
    are ids that the text goes on from: some vocabularies write the space before a word only where something stands
    before it.
    """

    def __init__(
        self, decode: Callable[[Sequence[int]], str], joined: Collection[int] = (), before: Sequence[int] = ()
    ) -> None:
        self._decode = decode
        self._joined = joined
        self._ids = list(before)
        # Of the ids, `_read` are told; those from `_anchor` on are decoded with what comes, as spaces depend on them.
        self._anchor, self._read = 0, len(self._ids)

    def add(self, id: int) -> str:
        """Return the text that a token makes certain, which may be none yet."""
        self._ids.append(id)
        return "" if id in self._joined else self._told(is_last=False)

    def end(self) -> str:
        """Return what is left once no token follows."""
        return self._told(is_last=True)

    def _told(self, is_last: bool) -> str:
        before = self._decode(self._ids[self._anchor : self._read])
        text = self._decode(self._ids[self._anchor :])
        if text.endswith(UNFINISHED) and not is_last:
            return ""
        if len(text) > len(before):
            self._anchor, self._read = self._read, len(self._ids)
        return text[len(before) :]


class Stops:
    """Strings at which a text ends; `is_kept` says whether the text still has what stopped it."""

    def __init__(self, strings: Sequence[str], is_kept: bool = False) -> None:
        self._strings = tuple(strings)
        self._is_kept = is_kept
        self._waiting = ""  # not told yet: it may be the beginning of one of the strings
        self._tail = ""  # of what is told, as much as a string may begin with
        self.found: str | None = None

    def add(self, piece: str) -> str:
        """Return what of the text and this piece is certain; once a string is `found`, nothing follows."""
        if not self._strings or self.found is not None:
            return "" if self.found is not None else piece
        text = self._waiting + piece
        searched = self._tail + text if self._is_kept else text
        places = [(searched.find(one), one) for one in self._strings if one in searched]
        if places:
            place, self.found = min(places)
            self._waiting = ""
            return text if self._is_kept else text[:place]
        if self._is_kept:
            self._tail = searched[-max(map(len, self._strings)) :]
            return text
        n_waiting = max(_overlap(text, one) for one in self._strings)
        self._waiting = text[len(text) - n_waiting :]
        return text[: len(text) - n_waiting]

    def end(self) -> str:
        """Return what waited for more that did not come."""
        rest, self._waiting = self._waiting, ""
        return rest


def _overlap(text: str, string: str) -> int:
    """Count the characters at the end of `text` that `string` begins with."""
    longest = min(len(text), len(string) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(string[:n])), 0)
