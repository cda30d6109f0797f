"""Uploads that can be interrupted: how far one is survives the connection, the process and the power.

The row says how much of the file counts. It is written after the bytes are on disk, so what a crash left behind it is
cut off by the next piece.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from auricle.server.errors import Refused
from auricle.server.jobs.database import Database

CHECKSUMS = ("sha1", "sha256")
MISMATCH = 460  # of tus: the piece does not have the digest that was sent with it
_DURABLE_BYTES = 8 << 20  # after so many bytes of a piece the row is written
_BUFFER_BYTES = 1 << 20  # that are written to the file at once
_SPARE_BYTES = 1 << 30  # that stay free on the disk
_LOCK_S = 10.0  # that a piece waits for the one before, whose connection may be dead
_LOCK_POLL_S = 0.05


@dataclass(frozen=True)
class Upload:
    """One row."""

    id: str
    owner: str
    length: int | None  # None: the client will say later
    offset: int  # bytes that count
    metadata: Mapping[str, str]
    raw_metadata: str
    expires: float  # Unix seconds

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""
        return self.length is not None and self.offset == self.length


@dataclass(frozen=True)
class Checksum:
    """The digest that a client says a piece has."""

    algorithm: str  # of CHECKSUMS
    digest: bytes


class Uploads:
    """The uploads of one data folder."""

    def __init__(self, database: Database, folder: Path, max_bytes: int, kept_s: float) -> None:
        """Keep files in `folder`; one that gets no more pieces for `kept_s` is removed."""
        self.database = database
        self.folder = folder
        self.max_bytes = max_bytes
        self.kept_s = kept_s
        self._writers: dict[str, asyncio.Event] = {}  # set: another connection wants to go on with this upload

    def path(self, upload_id: str) -> Path:
        """Return where an upload's bytes are."""
        return self.folder / upload_id

    def create(self, owner: str, length: int | None, metadata: Mapping[str, str], raw_metadata: str) -> Upload:
        """Begin an upload.

        Raises:
            Refused: 413, it is longer than is taken; 507, there is no room for it.
        """
        self.check_length(length)
        now = self.database.clock()
        upload_id = secrets.token_hex(16)
        os.close(os.open(self.path(upload_id), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _sync_folder(self.folder)
        told = json.dumps({"values": dict(metadata), "raw": raw_metadata})
        with self.database.writing() as file:
            file.execute(
                "INSERT INTO uploads (id, owner, length, metadata, created, expires) VALUES (?, ?, ?, ?, ?, ?)",
                (upload_id, owner, length, told, now, now + self.kept_s),
            )
        return Upload(upload_id, owner, length, 0, dict(metadata), raw_metadata, now + self.kept_s)

    def check_length(self, length: int | None) -> None:
        """Refuse what is too long, or finds no room.

        Raises:
            Refused: 413 or 507.
        """
        if length is not None and length > self.max_bytes:
            raise Refused(
                413, f"the upload has {length} bytes; at most {self.max_bytes} are taken", code="body_too_large"
            )
        free = shutil.disk_usage(self.folder).free - _SPARE_BYTES
        if (length or 0) > free:
            raise Refused(507, f"there is no room for {length or 0} bytes now; try later", code="no_room")

    def get(self, upload_id: str, owner: str) -> Upload:
        """Return an owner's upload.

        Raises:
            Refused: 404, there is none, or it is somebody else's.
        """
        found = self.find(upload_id)
        if found is None or found.owner != owner:
            raise Refused(
                404, f"there is no upload {upload_id[:64]!r}; it may have expired: begin a new one", code="no_upload"
            )
        return found

    def find(self, upload_id: str) -> Upload | None:
        """Return an upload that has not expired, whoever's it is."""
        with self.database.reading() as file:
            row = file.execute("SELECT * FROM uploads WHERE id = ?", (upload_id,)).fetchone()
        return _upload(row) if row is not None and row["expires"] > self.database.clock() else None

    def declare(self, upload: Upload, length: int) -> Upload:
        """Note the length that a client says later.

        Raises:
            Refused: 413, 507, or 400 where another one was said before or more bytes are here already.
        """
        self.check_length(length)
        if upload.length not in (None, length) or length < upload.offset:
            told = f"the upload's length is {upload.length}, {upload.offset} bytes are here"
            raise Refused(400, f"{told}, and Upload-Length says {length} now; it cannot change", code="length_changed")
        with self.database.writing() as file:
            file.execute("UPDATE uploads SET length = ? WHERE id = ?", (length, upload.id))
        return self.get(upload.id, upload.owner)

    def remove(self, upload_id: str) -> None:
        """Remove an upload; a connection that still writes finds it gone."""
        with self.database.writing() as file:
            file.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
        self.path(upload_id).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what has expired, and files that belong to no upload any more."""
        now = self.database.clock()
        with self.database.reading() as file:
            rows = file.execute("SELECT id, expires FROM uploads").fetchall()
        alive = {row["id"] for row in rows if row["expires"] > now}
        for row in rows:
            if row["id"] not in alive:
                self.remove(row["id"])
        for path in self.folder.iterdir():
            # A file is made before its row.
            if path.name not in alive and now - path.stat().st_mtime > self.kept_s:
                path.unlink(missing_ok=True)

    async def append(
        self, upload: Upload, offset: int, pieces: AsyncIterator[bytes], checksum: Checksum | None = None
    ) -> Upload:
        """Add bytes at an offset, and return how far the upload is then.

        Bytes that came before the connection broke count, unless they have a checksum. One upload takes one
        connection at a time; a newer one ends the older.

        Raises:
            Refused: 409, the offset is another one; 413, there are more bytes than were announced; 423, another
                connection writes; 460, the bytes have another digest.
        """
        stopped = await self._turn(upload.id)
        try:
            with await self._locked(upload.id) as file:
                now = await asyncio.to_thread(self.get, upload.id, upload.owner)
                if now.offset != offset:
                    raise Refused(
                        409,
                        f"Upload-Offset is {offset}, and {now.offset} bytes are here; ask with HEAD, and go on there",
                        code="wrong_offset",
                        headers={"Upload-Offset": str(now.offset)},
                    )
                writer = _Writer(self, now, file, checksum)
                await asyncio.to_thread(writer.begin)
                try:
                    async with aclosing(_until(stopped, pieces)) as until_stopped:
                        async for piece in until_stopped:
                            await writer.add(piece)
                    return await asyncio.to_thread(writer.end)
                except BaseException:
                    await asyncio.shield(asyncio.to_thread(writer.give_up))
                    raise
        finally:
            if self._writers.get(upload.id) is stopped:
                del self._writers[upload.id]

    async def _turn(self, upload_id: str) -> asyncio.Event:
        """Tell the connection that writes to end, since its client has come back."""
        if upload_id in self._writers:
            self._writers[upload_id].set()
        self._writers[upload_id] = asyncio.Event()
        return self._writers[upload_id]

    async def _locked(self, upload_id: str) -> BinaryIO:
        """Open the file for this connection alone, of all processes."""
        try:
            file = await asyncio.to_thread(self.path(upload_id).open, "r+b")
        except FileNotFoundError:
            raise Refused(404, "the upload is gone; begin a new one", code="no_upload") from None
        try:
            for _ in range(round(_LOCK_S / _LOCK_POLL_S)):
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return file
                await asyncio.sleep(_LOCK_POLL_S)
            raise Refused(423, "another connection writes to this upload; try again", code="upload_locked")
        except BaseException:
            file.close()
            raise


async def _until(stopped: asyncio.Event, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """Give the pieces of a body until another connection wants to go on, also where no more of them come."""
    stop = asyncio.ensure_future(stopped.wait())
    step: asyncio.Future[Any] = stop
    try:
        while True:
            step = asyncio.ensure_future(anext(pieces, None))
            await asyncio.wait((step, stop), return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                raise Refused(423, "another connection goes on with this upload", code="upload_locked")
            piece = step.result()
            if piece is None:
                return
            yield piece
    finally:
        stop.cancel()
        step.cancel()


class _Writer:
    """One piece on its way to disk. All methods but `add` block.

    Where a request is cancelled, the thread that writes for it goes on for a moment: hence the lock.
    """

    def __init__(self, uploads: Uploads, upload: Upload, file: BinaryIO, checksum: Checksum | None) -> None:
        self._uploads, self._upload, self._file, self._checksum = uploads, upload, file, checksum
        self._digest = None if checksum is None else hashlib.new(checksum.algorithm, usedforsecurity=False)
        self._most = uploads.max_bytes if upload.length is None else upload.length
        self._offset = self._durable = upload.offset  # in the file; in the row
        self._buffer = bytearray()
        self._lock = threading.RLock()

    def begin(self) -> None:
        """Cut off what a crash left."""
        self._file.truncate(self._offset)
        self._file.seek(self._offset)

    async def add(self, piece: bytes) -> None:
        """Take some bytes."""
        if self._offset + len(self._buffer) + len(piece) > self._most:
            raise Refused(
                413, f"there are more bytes than the {self._most} that this upload may have", code="body_too_large"
            )
        self._buffer += piece
        if len(self._buffer) >= _BUFFER_BYTES:
            await asyncio.to_thread(self._flush)

    def end(self) -> Upload:
        """Make all of it count, if it has the digest that it should have."""
        with self._lock:
            self._flush()
            if (
                self._digest is not None
                and self._checksum is not None
                and self._digest.digest() != self._checksum.digest
            ):
                raise Refused(
                    MISMATCH,
                    f"the bytes do not have the {self._checksum.algorithm} that Upload-Checksum says; send them again",
                    code="checksum_mismatch",
                )
            self._commit()
        return self._uploads.get(self._upload.id, self._upload.owner)

    def give_up(self) -> None:
        """Keep what has come, unless it was to be checked as a whole."""
        with self._lock:
            if self._checksum is None:
                self._flush()
                self._commit()
            else:
                self._file.truncate(self._durable)

    def _flush(self) -> None:
        with self._lock:
            if self._digest is not None:
                self._digest.update(self._buffer)
            self._file.write(self._buffer)
            self._offset += len(self._buffer)
            self._buffer.clear()
            if self._checksum is None and self._offset - self._durable >= _DURABLE_BYTES:
                self._commit()

    def _commit(self) -> None:
        """Put the bytes on disk, then say that they count."""
        self._file.flush()
        os.fsync(self._file.fileno())
        database = self._uploads.database
        with database.writing() as rows:
            rows.execute(
                "UPDATE uploads SET offset = ?, expires = ? WHERE id = ?",
                (self._offset, database.clock() + self._uploads.kept_s, self._upload.id),
            )
        self._durable = self._offset


def _upload(row: sqlite3.Row) -> Upload:
    metadata: dict[str, Any] = json.loads(row["metadata"])
    return Upload(
        id=row["id"],
        owner=row["owner"],
        length=row["length"],
        offset=row["offset"],
        metadata=metadata["values"],
        raw_metadata=metadata["raw"],
        expires=row["expires"],
    )


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
