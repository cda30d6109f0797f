"""Predictions as they are stored: raw texts, one JSON object a line, so that they can be scored again in any way.

The keys are those of the Open ASR Leaderboard: audio_filepath, duration, time, text (the reference) and pred_text,
and besides id, and speaker, language and error where there are any.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auricle.errors import OptionError

REFERENCE_KEYS = ("text", "reference", "ref", "sentence", "transcription", "transcript", "ground_truth", "target")
PREDICTION_KEYS = ("pred_text", "prediction", "hypothesis", "hyp", "pred", "predicted", "predicted_text", "output")
ID_KEYS = ("id", "utterance_id", "utt_id", "uid", "key")
AUDIO_KEYS = ("audio_filepath", "audio", "path", "file", "file_name")


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was said in an utterance and what a model wrote, both raw."""

    id: str
    reference: str | None
    prediction: str | None  # None where the model failed
    audio: str = ""
    duration: float | None = None  # seconds of audio
    seconds: float | None = None  # of computing
    speaker: str | None = None
    language: str | None = None
    error: str | None = None  # why there is no prediction

    def line(self) -> str:
        """Return the JSON line, without its end."""
        row: dict[str, Any] = {
            "audio_filepath": self.audio,
            "id": self.id,
            "duration": self.duration,
            "time": self.seconds,
            "text": self.reference,
            "pred_text": self.prediction,
            "speaker": self.speaker,
            "language": self.language,
            "error": self.error,
        }
        kept = ("audio_filepath", "id", "duration", "time", "text", "pred_text")
        return json.dumps({key: value for key, value in row.items() if key in kept or value is not None})


def read_jsonl(path: Path) -> list[Prediction]:
    """Read stored predictions; of an id that comes twice the last line counts: the recording was tried again."""
    return list({one.id: one for one in read_lines(path)}.values())


def read_lines(path: Path) -> list[Prediction]:
    """Read a prediction from each line.

    A last line that was cut off, as by a machine that stopped, is passed over.

    Raises:
        OptionError: the file cannot be read, or a line is no prediction; the message has its number.
    """
    rows = []
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # nothing ends it: the next one would have begun a line of its own
                continue
            raise OptionError(f"{path}, line {number} is no JSON: {error}") from None
        rows.append(prediction_of(row, f"{path}, line {number}", str(number)))
    return rows


def prediction_of(row: Any, where: str, number: str) -> Prediction:
    """Read one object; `number` names it where it has no id and no file.

    Raises:
        OptionError: it has no reference or no prediction under any of the names that are known.
    """
    if not isinstance(row, Mapping):
        raise OptionError(f"{where} is {type(row).__name__}; expected an object with text and pred_text")
    error = row.get("error")
    audio = _first(row, AUDIO_KEYS)
    if isinstance(audio, Mapping):
        audio = audio.get("path")
    name = _first(row, ID_KEYS)
    is_shard = {"text", "reference"} <= row.keys() and row.keys().isdisjoint(PREDICTION_KEYS)  # of transcribe --out
    said, heard = (("reference",), ("text",)) if is_shard else (REFERENCE_KEYS, PREDICTION_KEYS)
    return Prediction(
        id=str(name if name is not None else audio or number),
        reference=_text(row, said, where, "reference"),
        prediction=None if error else _text(row, heard, where, "prediction"),
        audio=str(audio or ""),
        duration=_number(row.get("duration"), where, "duration"),
        seconds=_number(row.get("time"), where, "time"),
        speaker=_optional(row.get("speaker")),
        language=_optional(row.get("language")),
        error=str(error) if error else None,
    )


def read_text(path: Path) -> str:
    """Read a file as UTF-8, a byte-order mark left out.

    Raises:
        OptionError: it is not there, cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError(f"{path} cannot be read: {error.strerror}; look at the path") from None
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is no UTF-8 text: {error}; save it as UTF-8") from None


def _text(row: Mapping[str, Any], keys: tuple[str, ...], where: str, what: str) -> str | None:
    present = [key for key in keys if key in row]
    if not present:
        raise OptionError(f"{where} has the keys {', '.join(row)} and no {what}; expected one of {', '.join(keys)}")
    value = row[present[0]]
    if value is not None and not isinstance(value, str):
        raise OptionError(f"{where}: {present[0]} is {value!r}; expected a text")
    return value


def _number(value: Any, where: str, key: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise OptionError(f"{where}: {key} is {value!r}; expected seconds as a number") from None
    return number if math.isfinite(number) else None  # NaN is what spreadsheets' libraries write for nothing


def _optional(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None


def _first(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((row[key] for key in keys if row.get(key) not in (None, "")), None)
