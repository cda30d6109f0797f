"""The folder that a run writes: shards that are there whole or not at all, and what is needed to go on.

auricle-bulk.json         what is transcribed, with what and how; written first. At the end: how many rows there are
shard-00000.jsonl         finished rows, in the dataset's order
.shard-00001.journal      finished rows of a shard that is not, in the order in which they were
.failures/00000.jsonl     those rows of a shard that failed; written before it
failures.jsonl            all of them: made anew from these whenever a run begins
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self
from uuid import uuid4

from auricle.bulk.rows import json_line, read_rows, write_rows
from auricle.corpora.walk import RUN_PLAN as PLAN
from auricle.errors import OptionError
from auricle.pipelines.journal import differences

FORMAT = 1
FAILURES = "failures.jsonl"
_PARTS = ".failures"
_LOCK = ".lock"
_MAX_TOLD = 4


class OutputFolder:
    """Where shards are written; one run at a time."""

    def __init__(self, path: Path, form: str, has_chunks: bool, is_shared: bool = False) -> None:
        """Take a folder. Of one that `is_shared` another process of the same run holds the lock."""
        self.path, self.form, self._has_chunks, self._is_shared = path, form, has_chunks, is_shared
        self._lock: BinaryIO | None = None

    def __enter__(self) -> Self:
        """Lock the folder.

        Raises:
            OptionError: it cannot be written, or another run writes it.
        """
        with self._refusing():
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._is_shared:
                self._lock = (self.path / _LOCK).open("ab")
                try:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    self._lock.close()
                    raise OptionError(
                        f"another run writes to {self.path}; wait for it or give another folder"
                    ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def begin(self, header: Mapping[str, Any], may_mend: bool = False) -> int | None:
        """Go on with the run that was begun here, or begin one; return its number of rows if it is finished.

        With `may_mend` files of the dataset may have other sizes than they had, as broken ones that were mended.

        Raises:
            OptionError: another run was begun here.
        """
        with self._refusing():
            for part in self.path.glob(".*.part"):  # of a run that was killed
                part.unlink(missing_ok=True)
        wanted = {"auricle_bulk": FORMAT, **json.loads(json.dumps(header))}
        found = self._plan()
        if found is None:
            if any(self.path.glob("shard-*")):
                raise OptionError(f"{self.path} holds shards and no {PLAN}; give an empty folder")
            self._write_plan(wanted)
            return None
        n_rows = found.pop("rows", None)
        before, now = found.get("dataset") or {}, wanted["dataset"]
        is_same = before.get("fingerprint") == now["fingerprint"]
        if may_mend and before.get("outline") == now["outline"]:
            before = now
        differing = differences({**found, "dataset": _told(before)}, {**wanted, "dataset": _told(now)})
        if differing:
            more = f"; and {len(differing) - _MAX_TOLD} more" if len(differing) > _MAX_TOLD else ""
            raise OptionError(
                f"{self.path} holds another run: {'; '.join(differing[:_MAX_TOLD])}{more}. "
                f"{'' if is_same else _changed(before, now)}Run with what it was begun "
                "with, give another folder, or begin anew (--overwrite)"
            )
        if not is_same:
            self._write_plan({**wanted, **({} if n_rows is None else {"rows": n_rows})})
        return n_rows if isinstance(n_rows, int) else None

    def finish(self, n_rows: int) -> None:
        """Say that every row is there."""
        self._write_plan({**(self._plan() or {}), "rows": n_rows})

    def reopen_failed(self, shard_size: int) -> int:
        """Have rows that failed count as missing; return how many they are.

        The others of their shard are in its journal before it is removed, so that a process that dies loses none.
        """
        parts = [path for path in (self.path / _PARTS).glob("*.jsonl") if self.is_done(int(path.stem))]
        journals = [path for path in self.path.glob(".shard-*.journal") if not self._is_left(path)]
        if parts:
            self._write_plan({key: value for key, value in (self._plan() or {}).items() if key != "rows"})
        n_failed = sum(self._keep_good(path, ShardJournal(path).rows) for path in journals)
        for number in (int(path.stem) for path in parts):
            rows = enumerate(read_rows(self.shard(number)), number * shard_size)
            n_failed += self._keep_good(self.journal(number).path, dict(rows))
            with self._refusing():
                self.shard(number).unlink()
        return n_failed

    def clear(self) -> None:
        """Remove what a run wrote here, and nothing else: shards without its plan are somebody's, as a dataset's."""
        plan = self.path / PLAN
        if not plan.exists():
            return
        with self._refusing():
            for pattern in ("shard-*.jsonl", "shard-*.parquet", ".shard-*.journal", ".*.part", f"{_PARTS}/*.jsonl"):
                for path in self.path.glob(pattern):
                    path.unlink(missing_ok=True)
            (self.path / FAILURES).unlink(missing_ok=True)
            plan.unlink()  # last, so that a process that dies before can be followed by another

    def shard(self, number: int) -> Path:
        """Return the file of a shard."""
        return self.path / f"shard-{number:05}.{self.form}"

    def is_whole(self, n_rows: int, shard_size: int) -> bool:
        """Whether every shard of so many rows is there."""
        return all(self.is_done(number) for number in range(-(-n_rows // shard_size)))

    def is_done(self, number: int) -> bool:
        """Whether a shard is finished."""
        return self.shard(number).exists()

    def done_so_far(self, shard_size: int, total: int | None) -> tuple[int, int]:
        """Return how many rows are done, and how many of them failed, in shards and in journals."""
        numbers = [int(path.stem.removeprefix("shard-")) for path in self.path.glob(f"shard-*.{self.form}")]
        sizes = [shard_size if total is None else min(shard_size, total - number * shard_size) for number in numbers]
        paths = self.path.glob(".shard-*.journal")
        left = [row for path in paths if not self._is_left(path) for row in ShardJournal(path).rows.values()]
        n_failed = sum(row["error"] is not None for row in left)
        return sum(sizes) + len(left), n_failed + self.gather_failures()

    def write_shard(self, number: int, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write a shard so that it is there whole or not at all; return the rows of it that failed."""
        failed = [failure(row) for row in rows if row["error"] is not None]
        with self._refusing():
            if failed:
                (self.path / _PARTS).mkdir(exist_ok=True)
                self.write_whole(f"{_PARTS}/{number:05}.jsonl", b"".join(map(json_line, failed)))
            else:  # rows that failed before are done by now
                (self.path / _PARTS / f"{number:05}.jsonl").unlink(missing_ok=True)
            part = self._part()
            write_rows(part, rows, self.form, self._has_chunks)
            self._put(part, self.shard(number))
        return failed

    def gather_failures(self) -> int:
        """Write failures.jsonl anew from those of finished shards; return how many there are."""
        paths = sorted((self.path / _PARTS).glob("*.jsonl"))
        n_failed = 0
        with self._refusing():
            part = self._part()
            with part.open("wb") as file:
                for path in paths:
                    if self.is_done(int(path.stem)):
                        content = path.read_bytes()
                        n_failed += content.count(b"\n")
                        file.write(content)
            # Not synchronised: it is made anew whenever a run begins.
            os.replace(part, self.path / FAILURES)
        return n_failed

    def add_failures(self, failed: Sequence[dict[str, Any]]) -> None:
        """Append to failures.jsonl, for who reads it meanwhile."""
        if failed:
            with self._refusing(), (self.path / FAILURES).open("ab") as file:
                file.write(b"".join(map(json_line, failed)))

    def journal(self, number: int) -> ShardJournal:
        """Return the journal of a shard."""
        return ShardJournal(self.path / f".shard-{number:05}.journal")

    def drop_journals(self) -> None:
        """Remove all journals, for who does whole shards."""
        with self._refusing():
            for path in self.path.glob(".shard-*.journal"):
                path.unlink(missing_ok=True)

    def write_whole(self, name: str, content: bytes) -> None:
        """Write a file so that it is there whole or not at all."""
        with self._refusing():
            part = self._part()
            part.write_bytes(content)
            self._put(part, self.path / name)

    def _write_plan(self, plan: Mapping[str, Any]) -> None:
        self.write_whole(PLAN, json.dumps(plan, indent=2, ensure_ascii=False).encode())

    def _keep_good(self, journal: Path, rows: Mapping[int, dict[str, Any]]) -> int:
        """Write a journal of the rows that did not fail; return how many did."""
        good = [item for item in rows.items() if item[1]["error"] is None]
        self.write_whole(journal.name, b"".join(map(json_line, good)))
        return len(rows) - len(good)

    def _is_left(self, journal: Path) -> bool:
        """Whether a journal's shard is finished: the run ended between the two steps."""
        return self.is_done(int(journal.stem.removeprefix(".shard-")))

    def _part(self) -> Path:
        return self.path / f".{uuid4().hex}.part"

    def _put(self, part: Path, place: Path) -> None:
        """Have the content on disk, give it its name, and have that on disk, too."""
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, place)
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _plan(self) -> dict[str, Any] | None:
        path = self.path / PLAN
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("auricle_bulk") != FORMAT:
            raise OptionError(f"{path} is no plan of this version of auricle; give another folder")
        return found

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _unwritable(error.filename or self.path, error) from None


class ShardJournal:
    """Finished rows of one shard, on disk after each batch; a line that a crash cut off is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[int, dict[str, Any]] = {}  # by number
        self._file: BinaryIO | None = None
        n_bytes = 0
        if path.exists():
            with path.open("rb") as file:
                for line in file:
                    try:
                        if not line.endswith(b"\n"):
                            break
                        number, row = json.loads(line)
                    except ValueError:  # it was cut off
                        break
                    self.rows[number] = row
                    n_bytes += len(line)
        self._n_bytes = n_bytes

    def add(self, rows: Mapping[int, dict[str, Any]]) -> None:
        """Add finished rows; they are on disk when this returns.

        Raises:
            OptionError: the file cannot be written.
        """
        try:
            if self._file is None:
                self._file = self.path.open("r+b" if self.path.exists() else "wb")
                self._file.truncate(self._n_bytes)
                self._file.seek(self._n_bytes)
            self._file.write(b"".join(json_line(item) for item in rows.items()))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):  # it tries to write the same once more
                self.close()
            raise _unwritable(self.path, error) from None
        self.rows.update(rows)

    def close(self) -> None:
        """Close the file; what it holds stays."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def remove(self) -> None:
        """Remove the file: its rows are in a shard."""
        self.close()
        self.path.unlink(missing_ok=True)


def failure(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of a row that failed."""
    return {name: row[name] for name in ("id", "error", "error_type")}


def _told(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is compared of a dataset: the fingerprint covers its outline."""
    return {key: value for key, value in dataset.items() if key != "outline"}


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what is another in a dataset, of which a fingerprint says nothing."""
    if "outline" in before and before["outline"] == now["outline"]:
        return (
            "The dataset has the same rows, and files of another size: if those are of rows that failed and were "
            "mended, do these anew (--retry-failed). "
        )
    return "Rows of the dataset were added, removed or changed. "


def _unwritable(path: str | Path, error: OSError) -> OptionError:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "make room, and the same command goes on" if is_full else "give another --out"
    return OptionError(f"cannot write to {str(path)!r}: {error.strerror}; {advice}")
