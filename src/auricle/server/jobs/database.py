"""The file that holds jobs, uploads and webhooks; every change is on disk when it is made."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from auricle.errors import OptionError

FORMAT = 1
_BUSY_S = 30.0  # that a call waits for another process
_OPEN_TRIES = 50  # SQLite does not wait by itself where two processes make the file at once

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    model TEXT NOT NULL,
    parameters TEXT NOT NULL,
    use_cache INTEGER NOT NULL,
    name TEXT NOT NULL,
    url TEXT,
    size INTEGER,
    sha256 TEXT,
    webhook TEXT,
    idempotency_key TEXT,
    fingerprint TEXT NOT NULL,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    done REAL NOT NULL DEFAULT 0,
    duration REAL,
    error TEXT,
    outcome TEXT,
    is_cancelling INTEGER NOT NULL DEFAULT 0,
    holder TEXT,
    lease REAL NOT NULL DEFAULT 0,
    n_crashes INTEGER NOT NULL DEFAULT 0,
    n_kept INTEGER NOT NULL DEFAULT 0,
    n_waits INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX IF NOT EXISTS jobs_by_key ON jobs (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (status, seq);
CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (owner, seq);
CREATE TABLE IF NOT EXISTS results (job TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS segments (
    job TEXT NOT NULL,
    number INTEGER NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (job, number)
);
CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    event TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    n_tries INTEGER NOT NULL DEFAULT 0,
    due REAL NOT NULL,
    log TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS deliveries_by_due ON deliveries (state, due);
CREATE INDEX IF NOT EXISTS deliveries_by_job ON deliveries (job);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    length INTEGER,
    offset INTEGER NOT NULL DEFAULT 0,
    metadata TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL NOT NULL
);
"""


class Database:
    """One SQLite file; calls block, and may come from any thread between `open` and `close`."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.clock = clock
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, or make it.

        Raises:
            OptionError: it cannot be opened, is damaged, or was made by another version.
        """
        try:
            self._opened = _opened(self.path)
        except (sqlite3.Error, OSError) as error:
            raise OptionError(
                f"the jobs' file {self.path} cannot be used: {error}; give another data_dir, or put the file aside"
            ) from error

    @property
    def _file(self) -> sqlite3.Connection:
        assert self._opened is not None, "it was opened"
        return self._opened

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread; rows are found by name."""
        with self._lock:
            yield self._file

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for changes that are made together, and are on disk when this ends."""
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                yield self._file
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:  # SQLite ends some by itself, as where the disk is full
                    self._file.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Secrets of webhooks stand in it, in clear: they sign.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    file = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        file.row_factory = sqlite3.Row
        _make_durable(file)
        (found,) = file.execute("PRAGMA user_version").fetchone()
        if found == 0:
            file.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        elif found != FORMAT:
            raise OptionError(f"{path} has format {found}, and this version of auricle reads {FORMAT}")
    except BaseException:
        file.close()
        raise
    return file


def _make_durable(file: sqlite3.Connection) -> None:
    for number in range(_OPEN_TRIES):
        try:
            file.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError:
            if number == _OPEN_TRIES - 1:
                raise
            time.sleep(0.1)
    file.execute("PRAGMA synchronous = FULL")
