"""Who works on which job: a claim lasts while it is renewed, so that no job is run twice and none is left behind.

A process that has ended loses its claims at once: each holds a lock on a file of its own, which the system lets go
with it. One that is stuck loses them when they are not renewed, and can change nothing any more once it goes on.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import sqlite3
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from auricle.server.jobs.database import Database
from auricle.server.jobs.store import CANCELLED, DONE, FAILED, QUEUED, RUNNING, Job, job_of

MAX_CRASHES = 3  # of the process that works on a job, with no step finished in between
MAX_WAITS = 500  # times that a job finds no room and is put back
_CRASHED = {
    "message": (
        f"the server's process ended {MAX_CRASHES} times while it worked on this recording, each time at the same "
        "place; the recording may need more memory than there is, or be damaged: try it cut into parts"
    ),
    "code": "job_crashed",
}


@dataclass(frozen=True)
class Ending:
    """How a job ended."""

    status: str
    error: Mapping[str, Any] | None = None
    outcome: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None  # the transcript as JSON values


@dataclass(frozen=True)
class Beat:
    """What a renewed claim says."""

    is_held: bool  # False: the job is somebody else's now
    is_cancelling: bool


# What is written together with an ending, such as the webhooks that are to tell of it.
Announce = Callable[[sqlite3.Connection, Job], None]


class Holder:
    """This process, as others on the same data see it: alive while its file is locked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = secrets.token_hex(8)
        self._path = folder / f"{self.id}.lock"
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Make and lock the file."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        while self._file is None or not self._path.exists():  # another process's `sweep` may come in between
            if self._file is not None:
                self._file.close()
            self._file = self._path.open("wb")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def is_gone(self, other: str) -> bool:
        """Say whether another holder's process has ended; a file that is not there belonged to one."""
        if other == self.id:
            return False
        path = self.folder / f"{other}.lock"
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True

    def sweep(self) -> None:
        """Remove the files of processes that have ended."""
        for path in self.folder.glob("*.lock"):
            self.is_gone(path.stem)

    def close(self) -> None:
        """Leave; what this process still holds is free at once."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


class Leases:
    """The claims of one process on jobs."""

    def __init__(
        self,
        database: Database,
        holder: Holder,
        lease_s: float,
        n_kept: Callable[[str], int],
        announce: Announce,
    ) -> None:
        """`n_kept` says how many bytes of a job's work are on disk: whether it got further before a crash."""
        self.database = database
        self.holder = holder
        self.lease_s = lease_s
        self._n_kept = n_kept
        self._announce = announce

    def claim(self, working: Collection[str] = ()) -> Job | None:
        """Take the job that has waited longest, or one whose process is gone; None where there is none.

        `working` are the jobs that this process works on.
        """
        with self.database.writing() as file:
            self._take_back(file, working)
            now = self.database.clock()
            row = file.execute(
                "SELECT id FROM jobs WHERE status = 'queued' AND not_before <= ? ORDER BY seq LIMIT 1", (now,)
            ).fetchone()
            if row is None:
                return None
            file.execute(
                "UPDATE jobs SET status = 'running', started = COALESCE(started, ?), holder = ?, lease = ?, n_kept = ? "
                "WHERE id = ?",
                (now, self.holder.id, now + self.lease_s, self._n_kept(row["id"]), row["id"]),
            )
            return job_of(file, row["id"])

    def beat(
        self, job_id: str, done: float, duration: float | None, segments: Sequence[Mapping[str, Any]] = ()
    ) -> Beat:
        """Renew a claim, and note how far the job is and which segments are new."""
        with self.database.writing() as file:
            changed = file.execute(
                "UPDATE jobs SET lease = ?, done = ?, duration = COALESCE(?, duration) "
                "WHERE id = ? AND holder = ? AND status = 'running'",
                (self.database.clock() + self.lease_s, done, duration, job_id, self.holder.id),
            ).rowcount
            if not changed:
                return Beat(is_held=False, is_cancelling=False)
            _add_segments(file, job_id, segments)
            job = job_of(file, job_id)
            return Beat(is_held=True, is_cancelling=job is not None and job.is_cancelling)

    def finish(self, job_id: str, ending: Ending) -> bool:
        """End a job of ours; say whether it still was."""
        with self.database.writing() as file:
            held = file.execute(
                "SELECT 1 FROM jobs WHERE id = ? AND holder = ? AND status = 'running'", (job_id, self.holder.id)
            ).fetchone()
            if held is not None:
                self._end(file, job_id, ending)
            return held is not None

    def release(self, job_id: str) -> None:
        """Put a job of ours back to the front of the queue: somebody goes on with it later."""
        self._put_back(job_id, 0.0, 0)

    def restart(self, job_id: str) -> None:
        """Put a job of ours back to begin anew: what was heard of it is of no use any more."""
        with self.database.writing() as file:
            file.execute("DELETE FROM segments WHERE job = ?", (job_id,))
            file.execute("UPDATE jobs SET done = 0 WHERE id = ? AND holder = ?", (job_id, self.holder.id))
        self.release(job_id)

    def postpone(self, job_id: str, delay_s: float) -> bool:
        """Put a job of ours back because there is no room for it now; say False where that happened too often."""
        return self._put_back(job_id, self.database.clock() + delay_s, 1)

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job: one that waits at once, one that runs as soon as its process hears of it; ended ones stay."""
        with self.database.writing() as file:
            job = job_of(file, job_id)
            if job is not None and job.status == QUEUED:
                self._end(file, job_id, Ending(CANCELLED))
            elif job is not None and job.status == RUNNING:
                file.execute("UPDATE jobs SET is_cancelling = 1 WHERE id = ?", (job_id,))
            return job_of(file, job_id)

    def _put_back(self, job_id: str, not_before: float, n_waits: int) -> bool:
        with self.database.writing() as file:
            changed = file.execute(
                "UPDATE jobs SET status = 'queued', holder = NULL, lease = 0, not_before = ?, n_waits = n_waits + ? "
                "WHERE id = ? AND holder = ? AND status = 'running' AND n_waits + ? < ?",
                (not_before, n_waits, job_id, self.holder.id, n_waits, MAX_WAITS),
            ).rowcount
            return bool(changed)

    def _take_back(self, file: sqlite3.Connection, working: Collection[str]) -> None:
        """Queue again what is run by no living process, unless it seems to have killed it."""
        now = self.database.clock()
        rows = file.execute("SELECT * FROM jobs WHERE status = 'running'").fetchall()
        gone = {holder: self.holder.is_gone(holder) for holder in {row["holder"] for row in rows}}
        for row in rows:
            if row["id"] in working or (row["lease"] >= now and not gone[row["holder"]]):
                continue
            got_further = self._n_kept(row["id"]) > row["n_kept"]
            n_crashes = 1 if got_further else row["n_crashes"] + 1
            file.execute(
                "UPDATE jobs SET status = 'queued', holder = NULL, n_crashes = ? WHERE id = ?", (n_crashes, row["id"])
            )
            if row["is_cancelling"]:
                self._end(file, row["id"], Ending(CANCELLED))
            elif n_crashes >= MAX_CRASHES:
                self._end(file, row["id"], Ending(FAILED, error=_CRASHED))

    def _end(self, file: sqlite3.Connection, job_id: str, ending: Ending) -> None:
        outcome = None if ending.outcome is None else json.dumps(dict(ending.outcome))
        file.execute(
            "UPDATE jobs SET status = ?, finished = ?, error = ?, outcome = ?, holder = NULL, is_cancelling = 0, "
            "done = CASE ? WHEN 'done' THEN COALESCE(duration, done) ELSE done END WHERE id = ?",
            (
                ending.status,
                self.database.clock(),
                None if ending.error is None else json.dumps(dict(ending.error)),
                outcome,
                ending.status,
                job_id,
            ),
        )
        if ending.status == DONE and ending.result is not None:
            packed = zlib.compress(json.dumps(ending.result, separators=(",", ":")).encode())
            file.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (job_id, packed))
        job = job_of(file, job_id)
        assert job is not None
        self._announce(file, job)


def _add_segments(file: sqlite3.Connection, job_id: str, segments: Sequence[Mapping[str, Any]]) -> None:
    (last,) = file.execute("SELECT COALESCE(MAX(number), 0) FROM segments WHERE job = ?", (job_id,)).fetchone()
    file.executemany(
        "INSERT INTO segments VALUES (?, ?, ?)",
        [(job_id, last + number, json.dumps(segment)) for number, segment in enumerate(segments, 1)],
    )
