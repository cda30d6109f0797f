"""Webhooks that are to be sent, as rows: they outlive the process, and each is told of until its receiver has it."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auricle.server.jobs.database import Database

PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
EVENTS = ("job.done", "job.failed", "job.cancelled")


@dataclass(frozen=True)
class Delivery:
    """One message to one receiver."""

    id: str  # what the receiver knows it by, however often it is sent
    job: str
    event: str
    payload: str  # the body, byte for byte what is signed
    url: str
    secret: str
    n_tries: int


class DeliveryStore:
    """The messages of all jobs. Calls block."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add(self, file: sqlite3.Connection, job: str, event: str, payload: Mapping[str, Any]) -> None:
        """Add a message in the transaction that makes it true."""
        file.execute(
            "INSERT INTO deliveries (id, job, event, payload, due) VALUES (?, ?, ?, ?, ?)",
            (f"msg_{secrets.token_hex(12)}", job, event, json.dumps(payload), self.database.clock()),
        )

    def claim(self, hold_s: float) -> Delivery | None:
        """Take a message that is due; it is due again after `hold_s`, if nothing is heard of this attempt."""
        now = self.database.clock()
        with self.database.writing() as file:
            row = file.execute(
                "SELECT deliveries.*, jobs.webhook FROM deliveries JOIN jobs ON jobs.id = deliveries.job "
                "WHERE state = 'pending' AND due <= ? ORDER BY due LIMIT 1",
                (now,),
            ).fetchone()
            if row is None:
                return None
            file.execute("UPDATE deliveries SET due = ?, n_tries = n_tries + 1 WHERE id = ?", (now + hold_s, row["id"]))
        hook = json.loads(row["webhook"])
        return Delivery(
            id=row["id"],
            job=row["job"],
            event=row["event"],
            payload=row["payload"],
            url=hook["url"],
            secret=hook["secret"],
            n_tries=row["n_tries"] + 1,
        )

    def next_due(self) -> float | None:
        """Return when the next message is due; None where none waits."""
        with self.database.reading() as file:
            (due,) = file.execute("SELECT MIN(due) FROM deliveries WHERE state = 'pending'").fetchone()
            return None if due is None else float(due)

    def note(self, delivery_id: str, state: str, attempt: Mapping[str, Any], due: float | None = None) -> None:
        """Write down how an attempt went, and when the next one is."""
        with self.database.writing() as file:
            row = file.execute("SELECT log FROM deliveries WHERE id = ?", (delivery_id,)).fetchone()
            if row is None:  # its job was removed meanwhile
                return
            log = json.dumps([*json.loads(row["log"]), dict(attempt)])
            file.execute(
                "UPDATE deliveries SET state = ?, log = ?, due = COALESCE(?, due) WHERE id = ?",
                (state, log, due, delivery_id),
            )

    def of_job(self, job: str) -> list[dict[str, Any]]:
        """Return what was sent for a job, with every attempt."""
        with self.database.reading() as file:
            rows = file.execute("SELECT * FROM deliveries WHERE job = ? ORDER BY rowid", (job,)).fetchall()
        return [
            {
                "id": row["id"],
                "event": row["event"],
                "state": row["state"],
                "next": row["due"] if row["state"] == PENDING else None,
                "attempts": json.loads(row["log"]),
            }
            for row in rows
        ]
