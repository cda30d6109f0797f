"""Where a replica has the recordings that it works on, and how the next one removes what a killed one left."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from pathlib import Path
from tempfile import TemporaryDirectory

PREFIX = "auricle-replica-"


class Scratch:
    """A folder that is locked for as long as its process lives."""

    def __init__(self) -> None:
        """Make the folder, and remove those of processes that are no more."""
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = (self.folder / "lock").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for other in self.folder.parent.glob(f"{PREFIX}*"):
            if other != self.folder and not _is_locked(other):
                shutil.rmtree(other, ignore_errors=True)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def job(self) -> TemporaryDirectory[str]:
        """Return a folder for one recording, which goes with the context."""
        return TemporaryDirectory(dir=self.folder, prefix="job-")


def _is_locked(folder: Path) -> bool:
    """Whether a process works there; one that has made the folder and not locked it yet counts, too."""
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
