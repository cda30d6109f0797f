"""A transcript that a client already has, as the content of a file: nothing is recognised again for it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auricle.errors import OptionError
from auricle.results import Segment, Transcript, Word
from auricle.server.errors import Refused

# What may be asked for, and its media type; the same as `auricle.speech.formats`, which is only loaded when used.
FORMATS = {
    "txt": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "ttml": "application/ttml+xml",
    "lrc": "text/plain",
    "ass": "text/x-ssa",
    "tsv": "text/tab-separated-values",
    "textgrid": "text/plain",
    "rttm": "text/plain",
}

MAX_EXPORT_BYTES = 64 * 2**20  # some days of speech

# For the documentation: the route reads the body itself, so that it can stop.
EXPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["text"],
                    "properties": {
                        "text": {"type": "string"},
                        "duration": {"type": "number", "minimum": 0},
                        "segments": {"type": "array", "items": {"type": "object"}},
                    },
                    "description": "Segments as verbose_json has them, each with its own `words`.",
                }
            }
        },
    }
}

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ExportWord(BaseModel):
    """A word as verbose_json has it."""

    model_config = ConfigDict(extra="ignore")

    word: str
    start: Seconds
    end: Seconds
    confidence: float | None = None
    speaker: str | None = None


class ExportSegment(BaseModel):
    """A segment as verbose_json has it, with its own words."""

    model_config = ConfigDict(extra="ignore")

    text: str
    start: Seconds
    end: Seconds | None = None
    words: list[ExportWord] = []
    channel: int | None = None
    language: str | None = None  # code; where lines are broken depends on it
    speaker: str | None = None


class Export(BaseModel):
    """What is to be written."""

    model_config = ConfigDict(extra="ignore")

    text: str
    duration: Seconds | None = None
    segments: list[ExportSegment] = []


def exported(body: bytes, form: str) -> str:
    """Return the content of a file in one of `FORMATS`; `body` is JSON of an `Export`.

    Raises:
        Refused: 422, for what is none, and for a transcript that the format cannot show.
    """
    from auricle.speech.formats import write

    try:
        sent = Export.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise Refused(422, f"{place}: {first['msg']}; expected a transcript as verbose_json has it") from None
    segments = tuple(_segment(segment) for segment in sent.segments)
    try:
        return write(Transcript(sent.text, segments, duration=sent.duration), form)
    except OptionError as error:
        raise Refused(422, str(error), code="cannot_export") from None


def _segment(sent: ExportSegment) -> Segment:
    words = tuple(Word(word.word, word.start, word.end, word.confidence or 0.0, word.speaker) for word in sent.words)
    more: dict[str, Any] = {"language": sent.language, "channel": sent.channel, "speaker": sent.speaker}
    return Segment(sent.text, sent.start, sent.end, words, **more)
