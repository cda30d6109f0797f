"""Results files of evaluations, as the rows of the leaderboard page; docs/page.md describes the files.

A file that cannot be read is told of beside the rows of the others: one bad file never hides the good ones.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_FILE_BYTES = 4 * 2**20
MAX_FILES = 2000
TASK = "automatic-speech-recognition"

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=300)]


class Row(BaseModel):
    """One model on one data set; rates are fractions: 0.054 is 5.4 %."""

    model_config = ConfigDict(extra="ignore")

    model: Name
    dataset: Name
    wer: Rate
    wer_low: Rate | None = None  # of the interval that bootstrapping gives
    wer_high: Rate | None = None
    cer: Rate | None = None
    rtfx: Rate | None = None  # seconds of audio recognised in one second
    n_utterances: Annotated[int, Field(ge=0)] | None = None
    hardware: str | None = None
    date: datetime.date | None = None


def read_leaderboard(folder: Path | None) -> dict[str, Any]:
    """Gather all rows of a folder's ``*.json``, its subfolders included, in the order of their files' names.

    `folder` None, or one that does not exist: no rows, and `configured` says which. Files beyond `MAX_FILES` and
    those above `MAX_FILE_BYTES` are not read, and `warnings` says so. Names of files are relative to the folder.
    """
    rows: list[dict[str, Any]] = []
    warnings: list[dict[str, str]] = []
    paths = sorted(folder.rglob("*.json")) if folder is not None and folder.is_dir() else []
    for path in paths[:MAX_FILES]:
        name = path.relative_to(folder).as_posix() if folder is not None else path.name
        try:
            rows.extend({**row, "file": name} for row in _rows(path))
        except _UnreadableError as error:
            warnings.append({"file": name, "message": str(error)})
    if len(paths) > MAX_FILES:
        warnings.append({"file": "", "message": f"{len(paths)} files; only the first {MAX_FILES} were read"})
    return {
        "rows": rows,
        "datasets": sorted({row["dataset"] for row in rows}),
        "warnings": warnings,
        "configured": folder is not None,
    }


class _UnreadableError(Exception):
    """Why a file gives no rows, in words for its author."""


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a file's rows only when all of them are right, so that a file counts whole or not at all."""
    entries = [(where, entry) for where, entry in _entries(_parsed(path)) if not _is_of_another_task(entry)]
    yield from [_checked(entry, where) for where, entry in entries]


def _is_of_another_task(entry: Any) -> bool:
    """Say whether a row tells of something else than texts, such as who spoke when; the page has no place for it."""
    return isinstance(entry, dict) and entry.get("task", TASK) != TASK


def _parsed(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise _UnreadableError(f"{size} bytes; at most {MAX_FILE_BYTES} are read")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _UnreadableError(f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise _UnreadableError(f"is no JSON: {error}") from None


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield what should be rows, and where each stands: of one object, of a list, or of {"results": [...]}."""
    if isinstance(content, dict) and "results" in content:
        content = content["results"]
    if isinstance(content, list):
        yield from ((f"[{position}]", entry) for position, entry in enumerate(content))
    else:
        yield "", content


def _checked(entry: Any, where: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise _UnreadableError(f"{where or 'the file'} is {type(entry).__name__}; expected an object with model, …")
    try:
        return Row.model_validate(entry).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([where, *map(str, first["loc"])]).strip(".")
        raise _UnreadableError(f"{key}: {first['msg']}") from None
