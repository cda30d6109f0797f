"""Parts of a transcript as JSON values and back, so that an interrupted run can go on where it was.

Floats come back exactly, since JSON is written with the shortest digits that say them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from auricle.results import Character, Segment, Warning, Word


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """Return a segment with its words and characters as dictionaries and lists."""
    return asdict(segment)


def segment_from_json(value: dict[str, Any]) -> Segment:
    """Return the segment that `segment_to_json` was given, from what JSON makes of it."""
    parts = {
        "words": tuple(Word(**word) for word in value["words"]),
        "characters": tuple(Character(**character) for character in value["characters"]),
        "tokens": tuple(value["tokens"]),
    }
    return Segment(**{**value, **parts})


def warning_to_json(warning: Warning) -> dict[str, Any]:
    """Return a warning as a dictionary."""
    return asdict(warning)


def warning_from_json(value: dict[str, Any]) -> Warning:
    """Return the warning that `warning_to_json` was given."""
    return Warning(**value)
