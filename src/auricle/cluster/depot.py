"""An actor beside the server: replicas read recordings from it in pieces, and tell it why they cannot begin.

So no folder is shared between machines, a recording of any length is never in memory as a whole, and nothing but one
piece of it is in Ray's object store.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from auricle.cluster.wire import Parcel

CARRIED_BYTES = 1 << 20  # recordings up to this travel with their request
PIECE_BYTES = 4 << 20
READERS = 8  # pieces that are read at once


def parcel(path: Path) -> Parcel:
    """Make a recording ready to be sent."""
    size = path.stat().st_size
    return Parcel(str(path), size, path.read_bytes() if size <= CARRIED_BYTES else None)


class Depot:
    """Runs as an actor on the machine of the server, with the server's right to read files."""

    def __init__(self) -> None:
        self._failures: dict[str, Exception] = {}
        self._lock = threading.Lock()

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Return a piece of a file."""
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    def failed(self, deployment: str, error: Exception) -> None:
        """Take note of why a replica could not begin."""
        with self._lock:
            self._failures[deployment] = error

    def failure(self, deployment: str) -> Exception | None:
        """Return why a replica could not begin, if one could not; once."""
        with self._lock:
            return self._failures.pop(deployment, None)


async def fetch(recording: Parcel, depot: Any, target: Path) -> None:
    """Write a recording to a file of this machine.

    Raises:
        FileNotFoundError: the server has removed it, since nobody waits for it any more.
    """
    with target.open("wb") as file:
        if recording.content is not None:
            file.write(recording.content)
            return
        for offset in range(0, recording.size, PIECE_BYTES):
            file.write(await depot.read.remote(recording.path, offset, PIECE_BYTES))
