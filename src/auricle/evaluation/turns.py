"""Who spoke when, and what, as files have it: RTTM, UEM, STM and SegLST."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import OptionError
from auricle.evaluation.predictions import read_text
from auricle.results import SpeakerTurn
from auricle.speech.rttm import rttm

IGNORED = "ignore_time_segment_in_scoring"


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of one speaker, in seconds; `words` is None where only times are known."""

    speaker: str
    start: float
    end: float
    words: str | None = None


Turns = dict[str, list[Turn]]  # recording to its turns, by start


def read_turns(path: Path) -> Turns:
    """Read a .rttm, a .stm, or SegLST (.json: objects with session_id, speaker, start_time, end_time, words).

    Raises:
        OptionError: the file cannot be read, has another ending, or a line is wrong; the message has its number.
    """
    readers = {".rttm": _rttm, ".stm": _stm, ".json": _seglst}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise OptionError(f"{path} is none of {', '.join(readers)}; give who spoke when in one of these")
    found: Turns = {}
    for recording, turn in read(path):
        if turn.end < turn.start:
            raise OptionError(f"{path}: a turn of {turn.speaker} in {recording} ends at {turn.end}, before its start")
        found.setdefault(recording, []).append(turn)
    if not found:
        raise OptionError(f"{path} holds no turn")
    return {recording: sorted(turns, key=lambda turn: (turn.start, turn.end)) for recording, turns in found.items()}


def read_uem(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Read which stretches of each recording are scored, in seconds.

    Raises:
        OptionError: the file cannot be read, or a line is wrong.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for fields, where in records(path, 4):
        found.setdefault(fields[0], []).append((seconds(fields[2], where), seconds(fields[3], where)))
    return found


def write_rttm(path: Path, turns: Mapping[str, Sequence[Turn]]) -> None:
    """Write turns as RTTM; spaces in names become underscores, since fields are divided by spaces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            rttm((SpeakerTurn(turn.speaker, turn.start, turn.end) for turn in spoken), recording)
            for recording, spoken in turns.items()
        ),
        encoding="utf-8",
    )


def _rttm(path: Path) -> Iterable[tuple[str, Turn]]:
    for fields, where in records(path, 8):
        if fields[0] == "SPEAKER":
            start, duration = seconds(fields[3], where), seconds(fields[4], where)
            yield fields[1], Turn(fields[7], start, start + duration)


def _stm(path: Path) -> Iterable[tuple[str, Turn]]:
    for fields, where in records(path, 5):
        text = " ".join(part for part in fields[5:] if not (part.startswith("<") and part.endswith(">")))
        if text.lower() != IGNORED:
            yield fields[0], Turn(fields[2], seconds(fields[3], where), seconds(fields[4], where), text)


def _seglst(path: Path) -> Iterable[tuple[str, Turn]]:
    try:
        content = json.loads(read_text(path))
    except ValueError as error:
        raise OptionError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, list):
        raise OptionError(f"{path} holds {type(content).__name__}; expected a list of objects")
    for place, row in enumerate(content):
        try:
            times = float(row["start_time"]), float(row["end_time"])
            yield str(row["session_id"]), Turn(str(row["speaker"]), *times, str(row["words"]))
        except (KeyError, TypeError, ValueError) as error:
            fault = f" has no {error}" if isinstance(error, KeyError) else f": {error}"
            raise OptionError(
                f"{path}, [{place}]{fault}; expected session_id, speaker, start_time, end_time and words"
            ) from None


def records(path: Path, n_fields: int, comments: tuple[str, ...] = (";;", "#")) -> Iterator[tuple[list[str], str]]:
    """Give the fields of every line that begins with none of `comments`, and how the line is named in messages.

    Raises:
        OptionError: the file cannot be read, or a line has fewer than `n_fields`.
    """
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip() or line.startswith(comments):
            continue
        fields = line.split()
        if len(fields) < n_fields:
            raise OptionError(f"{path}, line {number} has {len(fields)} fields; expected {n_fields} or more: {line!r}")
        yield fields, f"{path}, line {number}"


def seconds(text: str, where: str) -> float:
    """Return a field as seconds.

    Raises:
        OptionError: it is no number.
    """
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"{where}: {text!r} is no number of seconds") from None
