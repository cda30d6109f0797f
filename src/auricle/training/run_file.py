"""A run's one file, run.pt: everything that a killed run needs to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def write_run(folder: Path, state: dict[str, Any]) -> None:
    """Write `folder`/run.pt; a kill while writing leaves the one before."""
    torch.save(state, folder / "run.pt.part")
    (folder / "run.pt.part").replace(folder / "run.pt")


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return what `write_run` wrote; None where there is no run."""
    if not (folder / "run.pt").exists():
        return None
    state: dict[str, Any] = torch.load(folder / "run.pt", weights_only=True)
    return state
