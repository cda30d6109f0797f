"""Streams that cannot seek, copied to where decoders can: the index of an MP4 may lie at its end."""

from __future__ import annotations

import os
import select
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, cast

from auricle.errors import AudioError, AudioTooLargeError

CHUNK_BYTES = 1 << 20
_IN_MEMORY = 32 * 2**20  # bytes that are kept before a temporary file is made


def spool(chunks: Iterable[bytes], max_bytes: int, name: str) -> BinaryIO:
    """Copy a stream to memory, beyond 32 MiB to a temporary file, and return that at its beginning.

    Raises: AudioTooLargeError beyond `max_bytes`, or where the disk is full
    """
    file, size = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY), 0  # noqa: SIM115  the caller closes it
    try:
        for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise AudioTooLargeError(
                    f"{name} gives more than {max_bytes} bytes, the most that is taken from a stream; cut it, "
                    "save it to a file, or raise AudioLimits.max_bytes"
                )
            try:
                file.write(chunk)
            except OSError as error:
                raise AudioTooLargeError(
                    f"{name} does not fit in the temporary folder {tempfile.gettempdir()}: {error.strerror}; "
                    "free space there, or set TMPDIR to a larger disk"
                ) from error
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return cast("BinaryIO", file)


class FileView:
    """A reader of a file that others read, too, with a place of its own there. For one thread at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._place = 0

    def read(self, size: int = -1) -> bytes:
        """Read from the own place on."""
        self._file.seek(self._place)
        found = self._file.read(size)
        self._place += len(found)
        return found

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the own place and return it."""
        if whence == os.SEEK_END:
            self._place = self._file.seek(offset, whence)
        else:
            self._place = offset + (self._place if whence == os.SEEK_CUR else 0)
        return self._place

    def tell(self) -> int:
        """Return the own place."""
        return self._place


def shared(release: Callable[[], Any], n_holders: int) -> list[Callable[[], None]]:
    """Return functions that together call `release` once: when each of them was called, however often."""
    holding = set(range(n_holders))

    def holder(number: int) -> Callable[[], None]:
        def let_go() -> None:
            if number in holding:
                holding.remove(number)
                if not holding:
                    release()

        return let_go

    return [holder(number) for number in range(n_holders)]


def open_pipe(path: str) -> int:
    """Open a named pipe for `read_pipe`; opened the plain way it would wait for a writer without limit."""
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def read_pipe(descriptor: int, path: str, timeout: float) -> Iterator[bytes]:
    """Read a pipe to its end and close it.

    Raises: AudioError where it gives nothing for `timeout` seconds
    """
    try:
        while True:
            if not select.select([descriptor], [], [], timeout)[0]:
                raise AudioError(
                    f"{path} is a pipe that gave nothing for {timeout:g} s; start what writes to it, or raise "
                    "AudioLimits.pipe_timeout"
                )
            chunk = os.read(descriptor, CHUNK_BYTES)
            if not chunk:
                return
            yield chunk
    finally:
        os.close(descriptor)
