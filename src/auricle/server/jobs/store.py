"""Jobs as rows: what is asked, how far it is, and what came out."""

from __future__ import annotations

import json
import secrets
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auricle.server.jobs.database import Database

QUEUED, RUNNING, DONE, FAILED, CANCELLED = STATUSES = ("queued", "running", "done", "failed", "cancelled")
ENDED = (DONE, FAILED, CANCELLED)


@dataclass(frozen=True)
class Order:
    """What a client asks for."""

    owner: str  # a principal's id
    model: str  # a served name
    parameters: Mapping[str, Any]
    name: str  # the recording's, as the client calls it
    url: str | None = None  # where the recording is, unless it is on disk already
    size: int | None = None  # bytes of the recording; None: not known yet
    sha256: str | None = None
    use_cache: bool = True
    webhook: Mapping[str, Any] | None = None  # url, secret, events
    idempotency_key: str | None = None
    fingerprint: str = ""  # of all above: the same key with another one is a mistake


@dataclass(frozen=True)
class Job:
    """One row. Times are Unix seconds; `done` and `duration` are seconds of audio."""

    seq: int
    id: str
    status: str
    order: Order
    created: float
    started: float | None
    finished: float | None
    done: float
    duration: float | None
    error: Mapping[str, Any] | None  # message, code
    outcome: Mapping[str, Any]  # of a job that is done: model, revision, language, compute_s, is_cached, notes
    is_cancelling: bool  # somebody asked for it while it was running
    n_crashes: int  # times that its process ended, with no step finished in between

    @property
    def is_ended(self) -> bool:
        """Whether its status is final."""
        return self.status in ENDED


def new_id() -> str:
    """Return a name for a job, which cannot be guessed."""
    return f"job_{secrets.token_hex(12)}"


class JobStore:
    """The rows of all jobs. Calls block; see `Leases` for who works on what."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, job_id: str, order: Order, upload: str | None = None) -> Job:
        """Queue a job, and take the upload it was made of from the uploads, in one.

        Raises:
            sqlite3.IntegrityError: this owner has used the idempotency key before.
        """
        with self.database.writing() as file:
            file.execute(
                "INSERT INTO jobs (id, owner, status, model, parameters, use_cache, name, url, size, sha256, webhook, "
                "idempotency_key, fingerprint, created) VALUES (?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job_id,
                    order.owner,
                    order.model,
                    json.dumps(dict(order.parameters)),
                    order.use_cache,
                    order.name,
                    order.url,
                    order.size,
                    order.sha256,
                    None if order.webhook is None else json.dumps(dict(order.webhook)),
                    order.idempotency_key,
                    order.fingerprint,
                    self.database.clock(),
                ),
            )
            if upload is not None:
                file.execute("DELETE FROM uploads WHERE id = ?", (upload,))
            return _job(file.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone())

    def get(self, job_id: str) -> Job | None:
        """Return a job; None where there is none."""
        with self.database.reading() as file:
            return job_of(file, job_id)

    def of_key(self, owner: str, key: str) -> Job | None:
        """Return the job that an owner made with an idempotency key."""
        with self.database.reading() as file:
            query = "SELECT * FROM jobs WHERE owner = ? AND idempotency_key = ?"
            row = file.execute(query, (owner, key)).fetchone()
            return None if row is None else _job(row)

    def page(
        self, owner: str | None, statuses: Sequence[str] = (), before: int | None = None, limit: int = 20
    ) -> list[Job]:
        """Return the newest jobs of an owner, None: of all, that are older than the row `before`."""
        wheres, values = ["seq < ?"], [before if before is not None else 1 << 62]
        filters: list[Any] = []
        if owner is not None:
            wheres.append("owner = ?")
            filters.append(owner)
        if statuses:
            wheres.append(f"status IN ({', '.join('?' * len(statuses))})")
            filters += statuses
        query = f"SELECT * FROM jobs WHERE {' AND '.join(wheres)} ORDER BY seq DESC LIMIT ?"
        with self.database.reading() as file:
            return [_job(row) for row in file.execute(query, (*values, *filters, limit)).fetchall()]

    def position(self, job: Job) -> int | None:
        """Return how many jobs are begun before a queued one, itself counted; None for others."""
        if job.status != QUEUED:
            return None
        with self.database.reading() as file:
            query = "SELECT COUNT(*) FROM jobs WHERE status = 'queued' AND seq <= ?"
            return int(file.execute(query, (job.seq,)).fetchone()[0])

    def counts(self) -> dict[str, int]:
        """Return how many jobs have each status."""
        with self.database.reading() as file:
            rows = file.execute("SELECT status, COUNT(*) FROM jobs GROUP BY status").fetchall()
        return dict.fromkeys(STATUSES, 0) | {row[0]: row[1] for row in rows}

    def segments(self, job_id: str, after: int = 0, limit: int = 500) -> list[dict[str, Any]]:
        """Return the segments that are final behind the first `after`, as JSON values, in order."""
        with self.database.reading() as file:
            query = "SELECT value FROM segments WHERE job = ? AND number > ? ORDER BY number LIMIT ?"
            return [json.loads(row[0]) for row in file.execute(query, (job_id, after, limit)).fetchall()]

    def result(self, job_id: str) -> dict[str, Any] | None:
        """Return the transcript of a job that is done, as JSON values."""
        with self.database.reading() as file:
            row = file.execute("SELECT value FROM results WHERE job = ?", (job_id,)).fetchone()
        if row is None:
            return None
        value: dict[str, Any] = json.loads(zlib.decompress(row[0]))
        return value

    def set_recording(self, job_id: str, size: int, sha256: str) -> None:
        """Note what was fetched for a job, or the digest of what was uploaded."""
        with self.database.writing() as file:
            file.execute("UPDATE jobs SET size = ?, sha256 = ? WHERE id = ?", (size, sha256, job_id))

    def remove(self, job_id: str) -> bool:
        """Remove an ended job with all that belongs to it; say whether there was one."""
        with self.database.writing() as file:
            query = "DELETE FROM jobs WHERE id = ? AND status IN ('done', 'failed', 'cancelled')"
            if not file.execute(query, (job_id,)).rowcount:
                return False
            for table in ("results", "segments", "deliveries"):
                file.execute(f"DELETE FROM {table} WHERE job = ?", (job_id,))
            return True

    def ended_before(self, moment: float) -> list[str]:
        """Return the jobs that ended before a moment and have no webhook left to tell."""
        with self.database.reading() as file:
            query = (
                "SELECT id FROM jobs WHERE finished < ? AND NOT EXISTS "
                "(SELECT 1 FROM deliveries WHERE deliveries.job = jobs.id AND state = 'pending')"
            )
            return [row[0] for row in file.execute(query, (moment,)).fetchall()]

    def ids(self) -> set[str]:
        """Return the names of all jobs."""
        with self.database.reading() as file:
            return {row[0] for row in file.execute("SELECT id FROM jobs").fetchall()}


def job_of(file: sqlite3.Connection, job_id: str) -> Job | None:
    """Read one job on a connection that is held already."""
    row = file.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return None if row is None else _job(row)


def _job(row: sqlite3.Row) -> Job:
    return Job(
        seq=row["seq"],
        id=row["id"],
        status=row["status"],
        order=Order(
            owner=row["owner"],
            model=row["model"],
            parameters=json.loads(row["parameters"]),
            name=row["name"],
            url=row["url"],
            size=row["size"],
            sha256=row["sha256"],
            use_cache=bool(row["use_cache"]),
            webhook=None if row["webhook"] is None else json.loads(row["webhook"]),
            idempotency_key=row["idempotency_key"],
            fingerprint=row["fingerprint"],
        ),
        created=row["created"],
        started=row["started"],
        finished=row["finished"],
        done=row["done"],
        duration=row["duration"],
        error=None if row["error"] is None else json.loads(row["error"]),
        outcome={} if row["outcome"] is None else json.loads(row["outcome"]),
        is_cancelling=bool(row["is_cancelling"]),
        n_crashes=row["n_crashes"],
    )
