"""What is written for a row, and the two kinds of files that hold such rows."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from auricle.bulk.listening import Heard
from auricle.errors import MissingExtraError
from auricle.results import Transcript


def row_of(heard: Heard, result: Transcript | Exception, unit: str | None) -> dict[str, Any]:
    """Return a row of the output: always the same keys, `chunks` only where times are asked for."""
    row = heard.row
    whole: dict[str, Any] = {
        "id": _valid(row.id),
        "text": None,
        "reference": _valid(row.text),
        "duration": _rounded(row.duration if heard.error else heard.seconds or row.duration),
        "language": row.language,
        "speaker": row.speaker,
        "warnings": [],
        "error": None,
        "error_type": None,
    }
    if unit is not None:
        whole["chunks"] = []
    if not isinstance(result, Transcript):
        return {**whole, "error": _valid(str(result)), "error_type": type(result).__name__}
    whole["text"] = result.text.strip()
    whole["duration"] = _rounded(result.duration)
    whole["language"] = result.language or row.language
    told = [{"kind": "recording", "message": message, "start": None, "end": None} for message in heard.warnings]
    whole["warnings"] = told + [asdict(warning) for warning in result.warnings]
    if unit is not None:
        whole["chunks"] = [chunk for segment in result.segments for chunk in _chunks(segment, unit)]
    return whole


def write_rows(path: Path, rows: Sequence[dict[str, Any]], form: str, has_chunks: bool) -> None:
    """Write a whole file, and have it on disk when this returns.

    Raises:
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    if form == "parquet":
        pa, pq = _arrow()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=_schema(pa, has_chunks)), path)
    else:
        path.write_bytes(b"".join(map(json_line, rows)))
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file that was written."""
    if path.suffix == ".parquet":
        _, pq = _arrow()
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    with path.open("rb") as file:
        return [json.loads(line) for line in file]


def json_line(value: Any) -> bytes:
    """Return a value as a line of UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"


def check_form(form: str) -> None:
    """Refuse a kind of file that cannot be written here.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    if form == "parquet":
        _arrow()


def _chunks(segment: Any, unit: str) -> Iterable[dict[str, Any]]:
    parts = {"segment": (segment,), "word": segment.words, "char": segment.characters}[unit]
    for part in parts:
        yield {
            "text": part.text,
            "start": _rounded(part.start),
            "end": _rounded(part.end),
            "confidence": _rounded(getattr(part, "confidence", None), 4),
            "speaker": getattr(part, "speaker", None),
            "channel": segment.channel,
        }


def _valid(text: str | None) -> str | None:
    """Write out what is no Unicode, as in names of files that are not UTF-8."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return round(value, digits) if value is not None and math.isfinite(value) else None


def _schema(pa: Any, has_chunks: bool) -> Any:
    text, number = pa.string(), pa.float64()
    warning = pa.struct([("kind", text), ("message", text), ("start", number), ("end", number)])
    times = [("start", number), ("end", number), ("confidence", number)]
    chunk = pa.struct([("text", text), *times, ("speaker", text), ("channel", pa.int64())])
    names = ("id", "text", "reference", "duration", "language", "speaker", "warnings", "error", "error_type")
    kinds = {"duration": number, "warnings": pa.list_(warning)}
    fields = [(name, kinds.get(name, text)) for name in names]
    return pa.schema([*fields, ("chunks", pa.list_(chunk))] if has_chunks else fields)


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"Parquet needs {error.name}, which is not installed; run: pip install 'auricle[data]'"
        ) from None
    return pa, pq
