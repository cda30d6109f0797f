"""Whole transcripts as JSON values and back, exactly: for the cache, the jobs and what goes over a wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from auricle.results import Provenance, SpeakerTurn, Transcript
from auricle.speech.journal_entries import segment_from_json, segment_to_json, warning_from_json, warning_to_json


def transcript_to_json(transcript: Transcript) -> dict[str, Any]:
    """Return a transcript as dictionaries and lists, nothing rounded and nothing left out."""
    made_by = transcript.provenance
    return {
        "text": transcript.text,
        "segments": [segment_to_json(segment) for segment in transcript.segments],
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "duration": transcript.duration,
        "warnings": [warning_to_json(warning) for warning in transcript.warnings],
        "language_probabilities": dict(transcript.language_probabilities),
        "turns": [asdict(turn) for turn in transcript.turns],
        "provenance": None if made_by is None else {**asdict(made_by), "options": dict(made_by.options)},
    }


def transcript_from_json(value: Mapping[str, Any]) -> Transcript:
    """Return the transcript that `transcript_to_json` was given, from what JSON makes of it."""
    parts: dict[str, Any] = {
        "segments": tuple(segment_from_json(segment) for segment in value["segments"]),
        "warnings": tuple(warning_from_json(warning) for warning in value["warnings"]),
        "turns": tuple(SpeakerTurn(**turn) for turn in value.get("turns", ())),
        "provenance": None if value["provenance"] is None else Provenance(**value["provenance"]),
    }
    return Transcript(**{**value, **parts})
