"""Sound on its way from a connection to the thread that hears it: bytes in, bytes out; what is much lies on disk.

A client may send faster than its sound is heard, a whole recording at once. To stop reading its connection would
also stop its answers to pings, so that the server would take it for dead.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

from auricle.server.errors import Refused

MEMORY_BYTES = 1 << 20  # that wait in memory; what is more goes to disk
CHUNK_BYTES = 1 << 20  # that are handed out at once, so that who is late catches up


class LiveFeed:
    """A pipe between threads, read as `auricle.audio.live` reads one."""

    def __init__(self, folder: Path, most: int) -> None:
        """Keep what waits in `folder`, at most so many bytes."""
        self._folder, self._most = folder, most
        self._on_end: Callable[[], None] | None = None
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._file: IO[bytes] | None = None
        self._read_at = self._write_at = 0  # in the file
        self._is_ended = self._is_cancelled = False
        self.n_waiting = self.n_taken = 0  # bytes

    @property
    def is_behind(self) -> bool:
        """Whether bytes lie on disk, so that adding some takes a while."""
        return self._write_at > 0 or self.n_waiting > MEMORY_BYTES // 2

    def put(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            Refused: 413, too much waits.
        """
        with self._changed:
            if self._is_ended or not data:
                return
            if self.n_waiting + len(data) > self._most:
                raise Refused(
                    413,
                    f"{self.n_waiting} bytes of sound wait to be heard, and no more than {self._most} may; send at the "
                    "pace of the sound, or upload the recording",
                    code="too_far_ahead",
                )
            if self._write_at or self.n_waiting + len(data) > MEMORY_BYTES:
                self._spill(data)
            else:
                self._chunks.append(data)
            self.n_waiting += len(data)
            self.n_taken += len(data)
            self._changed.notify()

    def end(self) -> None:
        """Say that nothing more comes; what waits is still read."""
        with self._changed:
            self._is_ended = True
            self._changed.notify()

    def cancel(self) -> None:
        """Drop what waits and end."""
        with self._changed:
            self._is_ended = self._is_cancelled = True
            self._chunks.clear()
            self.n_waiting = 0
            self._close()
            self._changed.notify()

    def on_end(self, call: Callable[[], None]) -> None:
        """Have the reader call this once all is read."""
        self._on_end = call

    def seekable(self) -> bool:
        """Say that it is a pipe."""
        return False

    def read1(self, size: int = -1) -> bytes:
        """Return what waits, once there is something; nothing at the end."""
        with self._changed:
            while not self.n_waiting and not self._is_ended:
                self._changed.wait()
            found = b"" if self._is_cancelled else self._take()
            self.n_waiting -= len(found)
            was_cancelled = self._is_cancelled
            if not found:
                self._close()
        if not found:
            call, self._on_end = self._on_end, None
            if call is not None and not was_cancelled:
                call()
        return found

    read = read1

    def _take(self) -> bytes:
        if self._chunks:
            found = b"".join(self._chunks)
            self._chunks.clear()
            return found
        if self._file is None or self._read_at == self._write_at:
            return b""
        self._file.seek(self._read_at)
        found = self._file.read(min(CHUNK_BYTES, self._write_at - self._read_at))
        self._read_at += len(found)
        if self._read_at == self._write_at:
            self._file.truncate(0)
            self._read_at = self._write_at = 0
        return found

    def _spill(self, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  closed by the reader
            self._file.seek(self._write_at)
            if self._file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise Refused(507, f"the server cannot keep the sound: {error.strerror}", code="no_space") from None
        self._write_at += len(data)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._read_at = self._write_at = 0
