"""The server's copy of the journal that a replica writes: with it another replica goes on where that one died."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import BinaryIO

from auricle.cluster.wire import Kept
from auricle.errors import OptionError


class JournalCopy:
    """Holds whole lines only; on disk where the caller keeps the journal, else in memory."""

    def __init__(self, path: Path | None) -> None:
        """Read what an interrupted run left at `path`, if anything.

        Raises:
            OptionError: the file cannot be read.
        """
        self._path = path
        self._file: BinaryIO | None = io.BytesIO() if path is None else None
        self._content = b""
        if path is not None and path.exists():
            try:
                self._content = _whole_lines(path.read_bytes())
            except OSError as error:
                raise self._unusable(error) from None

    def content(self) -> bytes:
        """Return all lines."""
        if self._file is None:
            return self._content
        self._file.seek(0)
        return self._file.read()

    def add(self, kept: Kept) -> None:
        """Add lines at their place; they are on disk when this returns.

        Raises:
            OptionError: the file cannot be written.
        """
        try:
            file = self._file or self._open()
            file.seek(kept.at)
            file.truncate()
            file.write(kept.lines)
            if self._path is not None:
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unusable(error) from None

    def close(self) -> None:
        """Close the file; what it holds stays."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> BinaryIO:
        assert self._path is not None, "what is in memory is open"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Opened once: a file that is put in its place belongs to who took over this work.
        self._file = self._path.open("r+b" if self._content else "w+b")
        self._content = b""
        return self._file

    def _unusable(self, error: OSError) -> OptionError:
        return OptionError(f"the journal {self._path} cannot be used: {error.strerror or error}; give another place")


def _whole_lines(content: bytes) -> bytes:
    """Return what comes before the first line that was cut off by a crash."""
    end = 0
    for line in content.splitlines(keepends=True):
        try:
            json.loads(line if line.endswith(b"\n") else b"")
        except ValueError:
            break
        end += len(line)
    return content[:end]
