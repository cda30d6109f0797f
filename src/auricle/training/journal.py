"""A run's log.jsonl: a row a step and a row an evaluation, cut back to the snapshot when a run goes on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Log:
    """Rows of JSON at the end of a file."""

    def __init__(self, path: Path, size: int = 0) -> None:
        """Go on after the first `size` bytes; what is behind them was written after the snapshot, and comes again."""
        self.path = path
        path.touch()
        with path.open("r+b") as file:
            file.truncate(size)

    def add(self, row: dict[str, Any]) -> None:
        """Write a row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def size(self) -> int:
        """Bytes so far, all of them on the disk."""
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())
        return self.path.stat().st_size


def read_log(path: Path) -> list[dict[str, Any]]:
    """Every row of a log.jsonl; none where there is no such file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
