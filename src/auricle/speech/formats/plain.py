"""Text, tab-separated values and JSON: what programs and people read without a player."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import Any

from auricle.results import Provenance, Transcript
from auricle.speech.formats.cues import Tick, clock_ms, pieces, ticked
from auricle.speech.formats.options import WriteOptions
from auricle.speech.paragraphs import paragraphs

MILLISECONDS = 1000


def txt(transcript: Transcript, options: WriteOptions) -> str:
    """Write the text as it is; with paragraphs; or a line with its times for each unit."""
    if options.unit != "none":
        return "".join(
            f"[{clock_ms(tick.start, '.')} --> {clock_ms(tick.end, '.')}] {tick.cue.text}\n"
            for tick in _timed(transcript, options.unit)
        )
    if options.paragraphs:
        return "\n\n".join(paragraphs(transcript)) + "\n"
    return transcript.text.strip() + "\n"


def tsv(transcript: Transcript, options: WriteOptions) -> str:
    """Write one row for each unit, segments where none is chosen, times in whole milliseconds."""
    unit = "segment" if options.unit == "none" else options.unit
    rows = (f"{tick.start}\t{tick.end}\t{tick.cue.text}\n" for tick in _timed(transcript, unit))
    return "start\tend\ttext\n" + "".join(rows)


def json_text(transcript: Transcript, options: WriteOptions) -> str:
    """Write everything that is known of the transcript."""
    return json.dumps(as_dict(transcript, options), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def as_dict(transcript: Transcript, options: WriteOptions) -> dict[str, Any]:
    """Return a transcript as plain values: times in seconds to the millisecond, characters when asked for.

    Numbers that are not finite become None, since JSON has none.
    """
    segments = [asdict(segment) for segment in transcript.segments]
    for segment in segments:
        if options.unit != "char":
            del segment["characters"]
    whole = {
        "source": options.source,
        "model": options.model,
        "text": transcript.text.strip(),
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "language_probabilities": dict(transcript.language_probabilities),
        "duration": transcript.duration,
        "segments": segments,
        "warnings": [asdict(warning) for warning in transcript.warnings],
    }
    rounded: dict[str, Any] = _rounded(whole)
    rounded["provenance"] = _provenance(transcript.provenance)
    return rounded


def _timed(transcript: Transcript, unit: str) -> list[Tick]:
    return ticked(list(pieces(transcript, unit)), MILLISECONDS)


def _rounded(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner, name) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner, key) for inner in value]
    if isinstance(value, float):
        # Adding nothing makes a negative zero positive.
        return round(value, 3 if key in ("start", "end", "duration") else 4) + 0.0 if math.isfinite(value) else None
    return value


def _provenance(provenance: Provenance | None) -> dict[str, Any] | None:
    if provenance is None:
        return None
    return {field.name: _plain(getattr(provenance, field.name)) for field in fields(provenance)}


def _plain(value: Any) -> Any:
    """Turn options into JSON values, unrounded; what JSON has no kind for is written as text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if hasattr(value, "items"):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    return str(value)
