"""A transcript as text, JSON, SRT, WebVTT or tab-separated values."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from auricle.results import Character, Segment, Transcript, Word

FORMATS = ("txt", "json", "srt", "vtt", "tsv")
# What has times in every line, and so cannot be written without any.
TIMED_FORMATS = frozenset({"srt", "vtt", "tsv"})
UNITS = ("none", "word", "segment", "char")


@dataclass(frozen=True)
class Cue:
    """A stretch of text that is shown from `start` to `end`, in seconds."""

    text: str
    start: float
    end: float


def cues(transcript: Transcript, unit: str) -> Iterator[Cue]:
    """Give the segments, words or characters that have any text, each no shorter than 1 ms."""
    for segment in transcript.segments:
        parts: dict[str, tuple[Segment | Word | Character, ...]] = {
            "segment": (segment,),
            "word": segment.words,
            "char": segment.characters,
        }
        for part in parts[unit]:
            text = " ".join(part.text.split())
            end = part.end
            if end is None:
                end = transcript.duration if transcript.duration is not None else part.start
            if text:
                yield Cue(text, part.start, max(end, part.start + 0.001))


def write(transcript: Transcript, form: str, unit: str, source: str, model: str) -> str:
    """Return the whole content of a file in one of `FORMATS`, with times for each `unit` of `UNITS`."""
    if form == "txt":
        return _txt(transcript, unit)
    if form == "json":
        return json.dumps(as_dict(transcript, unit, source, model), ensure_ascii=False, indent=2) + "\n"
    timed = list(cues(transcript, "segment" if unit == "none" else unit))
    return {"srt": _srt, "vtt": _vtt, "tsv": _tsv}[form](timed)


def as_dict(transcript: Transcript, unit: str, source: str, model: str) -> dict[str, Any]:
    """Return a transcript as plain values: times in seconds to the millisecond, characters when asked for."""
    segments = [asdict(segment) for segment in transcript.segments]
    for segment in segments:
        if unit != "char":
            del segment["characters"]
    whole = {
        "source": source,
        "model": model,
        "text": transcript.text.strip(),
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "duration": transcript.duration,
        "segments": segments,
        "warnings": [asdict(warning) for warning in transcript.warnings],
    }
    rounded: dict[str, Any] = _rounded(whole)
    return rounded


def _rounded(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _rounded(inner, name) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner, key) for inner in value]
    if isinstance(value, float):
        return round(value, 3 if key in ("start", "end", "duration") else 4)
    return value


def _txt(transcript: Transcript, unit: str) -> str:
    if unit == "none":
        return transcript.text.strip() + "\n"
    return "".join(
        f"[{clock(cue.start, '.')} --> {clock(cue.end, '.')}] {cue.text}\n" for cue in cues(transcript, unit)
    )


def _srt(timed: list[Cue]) -> str:
    blocks = (
        # An arrow within the text would be taken for a line of times.
        f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n{cue.text.replace('-->', '->')}\n"
        for number, cue in enumerate(timed, start=1)
    )
    return "\n".join(blocks)


def _vtt(timed: list[Cue]) -> str:
    blocks = (
        f"\n{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{html.escape(cue.text, quote=False)}\n" for cue in timed
    )
    return "WEBVTT\n" + "".join(blocks)


def _tsv(timed: list[Cue]) -> str:
    rows = (f"{round(cue.start * 1000)}\t{round(cue.end * 1000)}\t{cue.text}\n" for cue in timed)
    return "start\tend\ttext\n" + "".join(rows)


def clock(seconds: float, point: str) -> str:
    """Write seconds as HH:MM:SS and milliseconds after `point`; hours may have more digits."""
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"
