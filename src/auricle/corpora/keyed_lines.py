"""A text file whose lines begin with a key, looked up in memory that hardly grows with it."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from pathlib import Path

from auricle.corpora.corpus import Told
from auricle.corpora.lines import line_name, lines
from auricle.corpora.report import NOT_UTF8


class KeyedLines:
    """What stands behind a key in its line.

    While keys are asked for in the file's order the next line is all that is read; at the first that is not, the
    place of every line is taken down, 16 bytes each. Of lines with one key the first counts.
    """

    def __init__(self, path: Path, told: Told) -> None:
        """Take a file; one that does not exist has no line."""
        self.path, self._told = path, told
        self._next = lines(path, self._pass_on) if path.is_file() else iter(())
        self._last: tuple[str, str] | None = None
        self._n_read = 0  # lines of which the faults are told
        self._hashes: array[int] | None = None
        self._places: array[int] = array("q")

    def get(self, key: str) -> str | None:
        """Return the rest of the line that begins with `key`; None where there is none."""
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        if self._hashes is None:
            number, line = next(self._next, (0, ""))
            self._n_read = max(self._n_read, number)
            self._last = _divided(line)
            if self._last[0] == key:
                return self._last[1]
            self._take_down()
        rest = self._find(key)
        self._last = None if rest is None else (key, rest)
        return rest

    def _pass_on(self, where: str, reason: str) -> None:
        self._n_read += 1
        self._told(where, reason)

    def _take_down(self) -> None:
        import numpy as np

        hashes, places, place = array("q"), array("q"), 0
        if self.path.is_file():
            with self.path.open("rb") as file:
                for number, raw in enumerate(file, start=1):
                    try:
                        hashes.append(hash(_divided(raw.decode("utf-8-sig"))[0]))
                        places.append(place)
                    except UnicodeDecodeError:
                        if number > self._n_read:
                            self._told(line_name(self.path, number), NOT_UTF8)
                    place += len(raw)
        order = np.argsort(np.frombuffer(hashes, np.int64), kind="stable") if hashes else np.zeros(0, np.int64)
        self._hashes = array("q", [hashes[one] for one in order])
        self._places = array("q", [places[one] for one in order])

    def _find(self, key: str) -> str | None:
        assert self._hashes is not None
        at = bisect_left(self._hashes, hash(key))
        while at < len(self._hashes) and self._hashes[at] == hash(key):
            with self.path.open("rb") as file:
                file.seek(self._places[at])
                found, rest = _divided(file.readline().decode("utf-8-sig"))
            if found == key:
                return rest
            at += 1
        return None


def _divided(line: str) -> tuple[str, str]:
    """Divide a line at its first white space; the rest is as it is written, without white space around it."""
    parts = line.split(None, 1)
    return (parts[0] if parts else ""), (parts[1].strip() if len(parts) > 1 else "")
