"""Results that were computed before, on disk: the same recording with the same parameters is not decoded twice."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

logger = logging.getLogger("auricle.server")

FORMAT = 1  # of the file; one of another format is begun anew
_BUSY_S = 5.0  # that a call waits for another process
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# The total is kept beside the entries: to add it up for each new one would take long in a full cache.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY,
    made REAL NOT NULL,
    used INTEGER NOT NULL,
    size INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_by_use ON entries (used);
CREATE INDEX IF NOT EXISTS entries_by_age ON entries (made);
CREATE TABLE IF NOT EXISTS total (id INTEGER PRIMARY KEY CHECK (id = 1), entries INTEGER, bytes INTEGER);
INSERT OR IGNORE INTO total VALUES (1, 0, 0);
CREATE TRIGGER IF NOT EXISTS entry_added AFTER INSERT ON entries BEGIN
    UPDATE total SET entries = entries + 1, bytes = bytes + NEW.size;
END;
CREATE TRIGGER IF NOT EXISTS entry_removed AFTER DELETE ON entries BEGIN
    UPDATE total SET entries = entries - 1, bytes = bytes - OLD.size;
END;
"""
_NEXT_USE = "(SELECT COALESCE(MAX(used), 0) + 1 FROM entries)"

Result = TypeVar("Result")


def cache_key(
    *,
    sha256: str,
    task: str,
    model: str,
    revision: str | None,
    engine: str,
    dtype: str,
    options: Mapping[str, Any],
    version: str,
) -> str:
    """Return the digest of everything that decides a result; the order of options does not matter.

    `options` are of JSON values; tuples count as lists.
    """
    parts = {
        "sha256": sha256,
        "task": task,
        "model": model,
        "revision": revision,
        "engine": engine,
        "dtype": dtype,
        "options": options,
        "version": version,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def is_cacheable(parameters: Mapping[str, Any]) -> bool:
    """Say whether a request has one answer: not if it asks for samples and gives no seed.

    Parameters count wherever they stand, in dictionaries within, too. Temperatures that begin with 0 are samples
    only where the most probable text looks wrong, drawn with a fixed seed: they have one answer.
    """
    flat = _flat(parameters)
    if flat.get("seed") is not None or flat.get("do_sample") in (False, "false"):
        return True
    temperature = flat.get("temperature")
    if isinstance(temperature, Sequence) and not isinstance(temperature, str):
        temperature = temperature[0] if temperature else None
    if temperature is None:
        return flat.get("do_sample") not in (True, "true")
    with suppress(TypeError, ValueError):
        return not float(temperature) > 0
    return True  # it will be refused by name


def _flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        flat |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return flat


class ResultCache:
    """A dictionary of JSON values on disk, bounded in bytes and age, for several threads and processes.

    Calls block. A cache that cannot be read or written is no cache, and never an error: `get` finds nothing and
    `put` keeps nothing then, and the log says why. A damaged file is put aside and a new one begun.
    """

    def __init__(self, path: Path, max_bytes: int, max_age_s: float, clock: Callable[[], float] = time.time) -> None:
        """Open or make the file; `max_bytes` counts compressed values, 0 keeps nothing."""
        self.path = Path(path)
        self.max_bytes = max_bytes
        self.max_age_s = max_age_s
        self._clock = clock
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        self._is_closed = False
        self._n_hits = self._n_misses = 0
        self._guarded("opened", lambda file: None)

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the value of a key and remember that it was used; None where there is none or it is too old."""
        value = self._guarded("read", lambda file: self._read(file, key))
        with self._lock:
            if value is None:
                self._n_misses += 1
            else:
                self._n_hits += 1
        return value

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a value, and remove what was not used for longest where there is no more room.

        One that is larger than the whole cache is not kept.
        """
        packed = zlib.compress(json.dumps(value, separators=(",", ":")).encode())
        if len(packed) <= self.max_bytes:
            self._guarded("written", lambda file: self._write(file, key, packed))

    def clear(self) -> None:
        """Remove all values."""
        self._guarded("cleared", lambda file: file.execute("DELETE FROM entries"))

    def stats(self) -> dict[str, int]:
        """Return the entries and bytes that are on disk, and this object's hits and misses."""
        found = self._guarded("read", lambda file: file.execute("SELECT entries, bytes FROM total").fetchone())
        entries, size = found or (0, 0)
        return {"entries": entries, "bytes": size, "hits": self._n_hits, "misses": self._n_misses}

    def close(self) -> None:
        """Close the file; what it holds stays, and later calls find and keep nothing."""
        with self._lock:
            self._is_closed = True
            self._drop()

    def _read(self, file: sqlite3.Connection, key: str) -> dict[str, Any] | None:
        row = file.execute("SELECT made, value FROM entries WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        made, packed = row
        value = _unpacked(packed) if self._clock() - made <= self.max_age_s else None
        if value is None:
            file.execute("DELETE FROM entries WHERE key = ? AND made = ?", (key, made))
        else:
            file.execute(f"UPDATE entries SET used = {_NEXT_USE} WHERE key = ?", (key,))
        return value

    def _write(self, file: sqlite3.Connection, key: str, packed: bytes) -> None:
        now = self._clock()
        file.execute("BEGIN IMMEDIATE")
        file.execute("DELETE FROM entries WHERE made < ? OR key = ?", (now - self.max_age_s, key))
        file.execute(
            f"INSERT INTO entries (key, made, used, size, value) VALUES (?, ?, {_NEXT_USE}, ?, ?)",
            (key, now, len(packed), packed),
        )
        while file.execute("SELECT bytes FROM total").fetchone()[0] > self.max_bytes:
            file.execute("DELETE FROM entries WHERE key = (SELECT key FROM entries ORDER BY used LIMIT 1)")
        file.execute("COMMIT")

    def _guarded(self, done: str, work: Callable[[sqlite3.Connection], Result]) -> Result | None:
        """Run one access; None where the file is of no use, with a word in the log."""
        with self._lock:
            if self._is_closed:
                return None
            try:
                try:
                    return work(self._opened())
                except sqlite3.DatabaseError as error:
                    self._drop()
                    if not _is_damaged(error):
                        raise
                    self._put_aside(error)
                    return work(self._opened())
            except (sqlite3.Error, OSError) as error:
                self._drop()
                logger.warning("the result cache cannot be %s: %s; going on without", done, error)
                return None

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            try:
                _prepare(file)
            except BaseException:
                file.close()
                raise
            self._file = file
        return self._file

    def _drop(self) -> None:
        """Close the connection, which also undoes what was half done."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename a damaged file, unless another process has begun a new one in its place."""
        if _is_whole(self.path):
            return
        aside = self.path.with_name(f"{self.path.name}.damaged-{int(self._clock())}")
        self.path.replace(aside)
        for ending in ("-wal", "-shm"):  # they belong to the damaged file, and would damage the new one
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        logger.warning("the result cache was damaged (%s); it is now %s, and a new one is begun", error, aside.name)


def _prepare(file: sqlite3.Connection) -> None:
    """Set a connection up, and make the tables where they are missing or of another format."""
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last entries, and never the file
    (found,) = file.execute("PRAGMA user_version").fetchone()
    if found not in (0, FORMAT):
        file.executescript("DROP TABLE IF EXISTS entries; DROP TABLE IF EXISTS total;")
    if found != FORMAT:
        file.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")


def _is_damaged(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # errors of the module itself have none
    return code is not None and code & 0xFF in _DAMAGED


def _is_whole(path: Path) -> bool:
    try:
        file = sqlite3.connect(path, timeout=_BUSY_S)
        try:
            return bool(file.execute("PRAGMA quick_check").fetchone() == ("ok",))
        finally:
            file.close()
    except sqlite3.DatabaseError as error:
        if _is_damaged(error):
            return False
        raise


def _unpacked(packed: bytes) -> dict[str, Any] | None:
    """Return the value; None where its bytes are damaged."""
    try:
        value = json.loads(zlib.decompress(packed))
    except (zlib.error, ValueError):
        logger.warning("an entry of the result cache is damaged; it is removed")
        return None
    return value if isinstance(value, dict) else None
