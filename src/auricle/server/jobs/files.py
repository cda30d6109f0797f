"""The files of jobs: a folder for each, with the recording while it is needed and the journal of its windows."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from auricle.speech.journal import ENDING

RECORDING = "recording"
JOURNAL = f"windows{ENDING}"
_CHUNK_BYTES = 1 << 20


class JobFiles:
    """The folders of all jobs. Calls block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def recording(self, job_id: str) -> Path:
        """Return where a job's recording is."""
        return self.folder / job_id / RECORDING

    def journal(self, job_id: str) -> Path:
        """Return where the finished windows of a job are kept."""
        return self.folder / job_id / JOURNAL

    def n_kept(self, job_id: str) -> int:
        """Return how many bytes of finished windows a job has."""
        try:
            return self.journal(job_id).stat().st_size
        except FileNotFoundError:
            return 0

    def make(self, job_id: str) -> Path:
        """Make a job's folder and return where its recording goes."""
        path = self.recording(job_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def take(self, job_id: str, path: Path) -> None:
        """Make a file a job's recording; it stays where it was, too, where the disk lets it have two names."""
        target = self.make(job_id)
        try:
            os.link(path, target)
        except OSError:  # another disk, or one without links
            shutil.copyfile(path, target)
        self.sync(job_id)

    def sync(self, job_id: str) -> None:
        """Make a job's files and their names durable."""
        recording = self.recording(job_id)
        for path in (recording, recording.parent, self.folder):
            number = os.open(path, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)

    def save(self, job_id: str, file: BinaryIO) -> tuple[int, str]:
        """Write a recording that was fetched, whole or not at all; return its bytes and SHA-256."""
        target = self.make(job_id)
        part = target.with_suffix(".part")
        digest = hashlib.sha256()
        with part.open("wb") as output:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                output.write(chunk)
            size = output.tell()
        os.replace(part, target)
        self.sync(job_id)
        return size, digest.hexdigest()

    def measure(self, job_id: str) -> tuple[int, str]:
        """Return the bytes and the SHA-256 of a recording that is here."""
        with self.recording(job_id).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), digest

    def fence(self, job_id: str) -> None:
        """Give the journal a new file with the same content.

        A process that was thought dead and goes on writes to the old one, which nobody reads.
        """
        path = self.journal(job_id)
        copy = path.with_suffix(".copy")
        with suppress(FileNotFoundError):
            shutil.copyfile(path, copy)
            with copy.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(copy, path)

    def forget_journal(self, job_id: str) -> None:
        """Remove the journal of a job that begins anew."""
        self.journal(job_id).unlink(missing_ok=True)

    def forget_recording(self, job_id: str) -> None:
        """Remove the recording of a job that has ended: nothing needs it any more."""
        self.recording(job_id).unlink(missing_ok=True)

    def remove(self, job_id: str) -> None:
        """Remove all files of a job."""
        shutil.rmtree(self.folder / job_id, ignore_errors=True)

    def strays(self, known: set[str], before: float) -> list[str]:
        """Return folders that belong to no job and are older than a moment: a crash came before their rows."""
        return [
            path.name
            for path in self.folder.iterdir()
            if path.is_dir() and path.name not in known and path.stat().st_mtime < before
        ]
