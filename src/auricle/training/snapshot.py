"""A run's state on disk: whole or not at all, the last two kept."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from auricle.errors import CheckpointError

KEPT = 2


def save_snapshot(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write snapshot-<step>.pt; a kill at any moment leaves the ones before as they were."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"snapshot-{step:09d}.pt"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(folder)
    for old in snapshots(folder)[:-KEPT]:
        old.unlink()


def load_snapshot(folder: Path) -> dict[str, Any] | None:
    """The newest state, or None where a run has none.

    Raises:
        CheckpointError: what is there cannot be read.
    """
    found = snapshots(folder)
    if not found:
        return None
    try:
        state: dict[str, Any] = torch.load(found[-1], map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{found[-1]} cannot be read ({type(error).__name__}: {error}). Delete it to go on from the one before"
        ) from error
    return state


def snapshots(folder: Path) -> list[Path]:
    """All of a run, the oldest first."""
    return sorted(folder.glob("snapshot-*.pt"))


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, as far as the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
