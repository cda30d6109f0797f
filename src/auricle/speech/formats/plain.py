"""Text, tab-separated values and JSON: what programs and people read without a player."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import PureWindowsPath
from typing import Any

from auricle.errors import OptionError
from auricle.results import Provenance, SpeakerTurn, Transcript
from auricle.speech.formats.cues import chosen_cues, clock_ms, has_speakers, pieces, ticked
from auricle.speech.formats.options import WriteOptions
from auricle.speech.paragraphs import paragraphs
from auricle.speech.rttm import rttm as turn_lines
from auricle.speech.textgrid import textgrid
from auricle.speech.timed_words import plain, segment_end

MILLISECONDS = 1000


def txt(transcript: Transcript, options: WriteOptions) -> str:
    """Write the text as it is; with paragraphs; or a line with its times for each unit.

    Where speakers are told apart, each turn is a line that begins with the name and a colon.
    """
    if options.unit != "none":
        return "".join(
            f"[{clock_ms(tick.start, '.')} --> {clock_ms(tick.end, '.')}] {tick.cue.text}\n"
            for tick in ticked(chosen_cues(transcript, options), MILLISECONDS)
        )
    if options.paragraphs:
        return "\n\n".join(paragraphs(transcript)) + "\n"
    if has_speakers(transcript):
        return "\n".join(paragraphs(transcript, only_turns=True)) + "\n"
    return transcript.text.strip() + "\n"


def tsv(transcript: Transcript, options: WriteOptions) -> str:
    """Write one row for each unit, segments where none is chosen, times in whole milliseconds.

    Where speakers are told apart, they have a column before the text.
    """
    unit = "segment" if options.unit == "none" else options.unit
    ticks = ticked(list(pieces(transcript, unit)), MILLISECONDS)
    if has_speakers(transcript):
        named = (f"{tick.start}\t{tick.end}\t{plain(tick.cue.speaker or '')}\t{tick.cue.text}\n" for tick in ticks)
        return "start\tend\tspeaker\ttext\n" + "".join(named)
    return "start\tend\ttext\n" + "".join(f"{tick.start}\t{tick.end}\t{tick.cue.text}\n" for tick in ticks)


def json_text(transcript: Transcript, options: WriteOptions) -> str:
    """Write everything that is known of the transcript."""
    return json.dumps(as_dict(transcript, options), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def grid(transcript: Transcript, options: WriteOptions) -> str:
    """Write a TextGrid, with a tier of characters if these are asked for."""
    return textgrid(transcript, characters=options.unit == "char")


def rttm(transcript: Transcript, options: WriteOptions) -> str:
    """Write a line for each turn, without the text; the recording is its file's name without the ending, as in NIST's.

    Raises: OptionError for a transcript whose speakers were not told apart.
    """
    turns = transcript.turns or [
        SpeakerTurn(segment.speaker, segment.start, segment_end(segment, transcript.duration))
        for segment in transcript.segments
        if segment.speaker
    ]
    if transcript.text.strip() and not turns:
        raise OptionError("rttm has speakers' turns, and speakers were not told apart; transcribe with speakers")
    return turn_lines(turns, PureWindowsPath(options.source).stem or "recording")  # which knows both slashes


def as_dict(transcript: Transcript, options: WriteOptions) -> dict[str, Any]:
    """Return a transcript as plain values: times in seconds to the millisecond, characters when asked for.

    Speakers have keys, and `turns`, where they were told apart. Numbers that are not finite become None, since JSON
    has none.
    """
    segments = [asdict(segment) for segment in transcript.segments]
    is_told = has_speakers(transcript) or bool(transcript.turns)
    for segment in segments:
        if options.unit != "char":
            del segment["characters"]
        for part in () if is_told else (segment, *segment["words"]):
            del part["speaker"]
    whole = {
        "source": options.source,
        "model": options.model,
        "text": transcript.text.strip(),
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "language_probabilities": dict(transcript.language_probabilities),
        "duration": transcript.duration,
        "segments": segments,
        **({"turns": [asdict(turn) for turn in transcript.turns]} if is_told else {}),
        "warnings": [asdict(warning) for warning in transcript.warnings],
    }
    rounded: dict[str, Any] = _rounded(whole)
    rounded["provenance"] = _provenance(transcript.provenance)
    return rounded


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
