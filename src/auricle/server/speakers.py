"""Speakers as clients ask for them: recordings of known ones come within the request, and no model is named."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from auricle.errors import OptionError
from auricle.server.errors import Refused

COUNTS = ("num_speakers", "min_speakers", "max_speakers")
_EXPECTED = "true, the number of speakers, or an object with num_speakers, min_speakers, max_speakers and known"
# The names that a diarization gives; known speakers have their own.
_NUMBERED = re.compile(r"SPEAKER_\d+")
NOBODY = "unknown"
MOST = 10_000  # speakers of one recording
_SHOWN = 80  # characters of a value that is none


def read_speakers(value: Any) -> Any:
    """Return the value of the parameter `speakers` as JSON has it, also where it came as text; checked.

    Raises:
        Refused: 400, it is none, or a known speaker has no recording in base64.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value.strip().lower() if value.strip().lower() in ("true", "false") else value)
        except (ValueError, RecursionError):
            raise _refuse(f"speakers is {value[:80]!r}; expected {_EXPECTED}") from None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    heard(value)
    return value


def heard(value: Any) -> Any:
    """Return what a pipeline takes for a value of `speakers`: with the bytes of known speakers' recordings.

    Raises:
        Refused: 400, the value is wrong.
    """
    from auricle.pipelines.speakers import read_speakers as checked

    if isinstance(value, Mapping):
        if value.get("model") is not None:
            raise _refuse("speakers.model is not taken over HTTP: the server has chosen it; leave it out")
        known = value.get("known")
        if known is not None:
            if not isinstance(known, Mapping):
                raise _refuse("speakers.known is no object; expected names, each with a recording as a data: URL")
            value = {**value, "known": {name: recording(str(name), one) for name, one in known.items()}}
    try:
        asked = checked(value)
    except OptionError as error:
        raise _refuse(str(error)) from None
    counts = [] if asked is None else [getattr(asked, name) or 0 for name in COUNTS]
    if max(counts, default=0) > MOST:
        raise _refuse(
            f"speakers asks for {max(counts)} speakers; expected at most {MOST}, or true to have them counted"
        )
    return value


def recording(name: str, value: Any, param: str = "speakers") -> bytes:
    """Return the bytes of a data: URL, or of plain base64.

    Raises:
        Refused: 400, it is neither; paths and addresses are never opened.
    """
    if isinstance(value, bytes):
        return value
    text = value if isinstance(value, str) else ""
    head, comma, body = text.partition(",")
    if text.startswith("data:"):
        text = body if comma and head.endswith(";base64") else ""
    try:
        found = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found:
        raise _refuse(
            f"the recording of the known speaker {name[:80]!r} is {str(value)[:40]!r}; expected a data: URL, such as "
            "data:audio/wav;base64,UklGR...",
            param,
        )
    return found


def named(names: Sequence[str], references: Sequence[str]) -> dict[str, str]:
    """Return OpenAI's two lists of known speakers as names with data: URLs.

    Raises:
        Refused: 400, one list is longer, a name comes twice, or a reference is no data: URL.
    """
    if len(names) != len(references):
        raise _refuse(
            f"known_speaker_names has {len(names)} entries and known_speaker_references {len(references)}; give one "
            "reference for each name",
            "known_speaker_names" if len(names) > len(references) else "known_speaker_references",
        )
    if len(set(names)) != len(names) or not all(name.strip() for name in names):
        raise _refuse("known_speaker_names has an empty name, or one twice; give each its own", "known_speaker_names")
    for name, reference in zip(names, references, strict=True):
        recording(name, reference, "known_speaker_references")
    return dict(zip(names, references, strict=True))


def without_recordings(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as they may be shown: of the recordings of known speakers only how they begin.

    A form has `speakers` as text, and may have recordings in fields that mean nothing here.
    """
    found = {name: _begun(value) if _is_recording(value) else value for name, value in parameters.items()}
    speakers = found.get("speakers")
    if isinstance(speakers, str):
        try:
            speakers = json.loads(speakers)
        except (ValueError, RecursionError):  # a job that will be refused
            found["speakers"] = speakers[:_SHOWN]
    if isinstance(speakers, Mapping) and isinstance(speakers.get("known"), Mapping):
        found["speakers"] = {**speakers, "known": {name: _begun(one) for name, one in speakers["known"].items()}}
    return found


def _is_recording(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("data:")


def _begun(value: Any) -> str:
    return f"{str(value).partition(',')[0][:40]},..."


def letters(speakers: Sequence[str | None], known: Sequence[str]) -> dict[str | None, str]:
    """Return the labels that OpenAI has: A, B, … by who speaks first; known speakers and channels keep their names."""
    found: dict[str | None, str] = {None: NOBODY}
    number = 0
    for speaker in speakers:
        if speaker in found:
            continue
        assert speaker is not None, "nobody has a label already"
        if speaker in known or not _NUMBERED.fullmatch(speaker):
            found[speaker] = speaker
            continue
        while (label := _letter(number)) in known:
            number += 1
        found[speaker] = label
        number += 1
    return found


def _letter(number: int) -> str:
    """Return A to Z, then AA, AB, … as spreadsheets have it."""
    text = ""
    number += 1
    while number:
        number, place = divmod(number - 1, 26)
        text = chr(ord("A") + place) + text
    return text


def _refuse(message: str, param: str = "speakers") -> Refused:
    return Refused(400, message, code="invalid_parameter", param=param)
