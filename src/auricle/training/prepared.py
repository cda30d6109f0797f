"""Examples that are computed once and then read from disk: one file of float32 features, one line of JSON a row.

A line is written after the features that it tells of. A preparation that is killed goes on where it was, and rows that
were left out are lines, too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from auricle.errors import OptionError
from auricle.training.findings import advice_for
from auricle.training.objective import Example, Objective, Rejected

if TYPE_CHECKING:
    from auricle.corpora import Utterance

FEATURES, ROWS = "features.f32", "rows.jsonl"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one example's features are, and what is known of it."""

    id: str
    offset: int  # numbers from the start of the file
    shape: tuple[int, int]  # (F, D)
    labels: tuple[int, ...]
    n_frames: int
    text: str
    duration: float
    speaker: str | None
    language: str | None


class Prepared:
    """A list of examples on disk."""

    def __init__(self, folder: Path) -> None:
        """Open what `prepare_rows` has finished."""
        self.entries: list[Entry] = []
        self.rejected: list[Rejected] = []
        lines = (folder / ROWS).read_text(encoding="utf-8").splitlines()
        for line in lines[1:-1]:
            row = json.loads(line)
            if "reason" in row:
                self.rejected.append(Rejected(**row))
            else:
                self.entries.append(Entry(**{**row, "labels": tuple(row["labels"]), "shape": tuple(row["shape"])}))
        path = folder / FEATURES
        self._numbers = np.memmap(path, np.float32, "r") if path.stat().st_size else np.zeros(0, np.float32)
        # What was computed is determined by what is in these lines.
        self.fingerprint = hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def seconds(self) -> float:
        """Of all recordings together."""
        return sum(entry.duration for entry in self.entries)

    def __getitem__(self, place: int) -> Example:
        entry = self.entries[place]
        n_steps, width = entry.shape
        numbers = self._numbers[entry.offset : entry.offset + n_steps * width]
        features = torch.from_numpy(np.array(numbers)).view(n_steps, width)
        about = (entry.labels, entry.n_frames, entry.text, entry.duration, entry.speaker, entry.language)
        return Example(entry.id, features, *about)

    def reasons(self) -> dict[str, int]:
        """How many rows were left out for which reason."""
        return dict(Counter(one.reason for one in self.rejected).most_common())


def prepare_rows(
    objective: Objective,
    rows: Sequence[Utterance],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Compute the examples of `rows` into `folder`, or go on, or find them there; `progress` is told (done, all).

    What is there is used only if it was made by the same objective of the same rows.

    Raises:
        OptionError: no row is left; the folder's name says of which split.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = _key(objective, rows)
    n_done, n_numbers, finished = _found(folder, key)
    if not finished:
        _compute(objective, rows, folder, (n_done, n_numbers), progress)
    prepared = Prepared(folder)
    if not len(prepared):
        listed = "; ".join(f"{n} {reason}" for reason, n in prepared.reasons().items())
        first = next((f", such as {one.id}: {one.detail}" for one in prepared.rejected if one.detail), "")
        advice = ". ".join(map(advice_for, prepared.reasons())) or "Give a dataset that has some"
        if folder.name == "validation":
            advice = (
                "Mend them, give others as --validation-data, draw more with --validation-share, or train without any"
            )
            advice += " (--validation-share 0)"
        raise OptionError(
            f"{folder.name}: none of {len(rows)} rows can be used: {listed or 'there are none'}{first}. {advice}"
        )
    return prepared


def _compute(
    objective: Objective,
    rows: Sequence[Utterance],
    folder: Path,
    start: tuple[int, int],
    progress: Callable[[int, int], None] | None,
) -> None:
    n_done, offset = start
    with (folder / FEATURES).open("ab") as features, (folder / ROWS).open("a", encoding="utf-8") as lines:
        for place, row in enumerate(rows[n_done:], n_done + 1):
            made = objective.prepare(row)
            if isinstance(made, Rejected):
                line: dict[str, Any] = {"id": made.id, "reason": made.reason, "detail": made.detail}
            else:
                numbers = made.features.contiguous().numpy()
                features.write(numbers.tobytes())
                features.flush()
                line = _entry(made, offset)
                offset += numbers.size
            lines.write(json.dumps(line) + "\n")
            lines.flush()
            if progress is not None:
                progress(place, len(rows))
        os.fsync(features.fileno())  # so that what is finished is there after a power cut, too
        lines.write(json.dumps({"finished": len(rows)}) + "\n")


def _entry(example: Example, offset: int) -> dict[str, Any]:
    return {
        "id": example.id,
        "offset": offset,
        "shape": list(example.features.shape),
        "labels": list(example.labels),
        "n_frames": example.n_frames,
        "text": example.text,
        "duration": example.duration,
        "speaker": example.speaker,
        "language": example.language,
    }


def _key(objective: Objective, rows: Sequence[Utterance]) -> str:
    digest = hashlib.sha256(objective.identity.encode())
    for row in rows:
        size = 0
        if isinstance(row.audio, str) and Path(row.audio).is_file():
            size = Path(row.audio).stat().st_size
        elif isinstance(row.audio, bytes):
            size = len(row.audio)
        digest.update(json.dumps([row.id, row.text, row.start, row.end, size]).encode())
    return digest.hexdigest()


def _found(folder: Path, key: str) -> tuple[int, int, bool]:
    """Rows done, numbers of their features, and whether all is done; what is half written is cut off.

    Features that lines tell of and that the disk has lost make a new start.
    """
    path = folder / ROWS
    whole = path.read_bytes() if path.is_file() else b""
    lines = whole[: whole.rfind(b"\n") + 1].decode("utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    n_numbers = max((row["offset"] + row["shape"][0] * row["shape"][1] for row in told if "shape" in row), default=0)
    stored = (folder / FEATURES).stat().st_size if (folder / FEATURES).is_file() else -1
    if not told or told[0] != {"key": key} or stored < 4 * n_numbers:
        path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
        (folder / FEATURES).write_bytes(b"")
        return 0, 0, False
    if "finished" in told[-1]:
        return len(lines) - 2, 0, True
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with (folder / FEATURES).open("r+b") as file:
        file.truncate(4 * n_numbers)
    return len(lines) - 1, n_numbers, False
