"""A transcript that a client already has, as the content of a file: nothing is recognised again for it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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
}

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ExportWord(BaseModel):
    """A word as verbose_json has it."""

    model_config = ConfigDict(extra="ignore")

    word: str
    start: Seconds
    end: Seconds
    confidence: float | None = None


class ExportSegment(BaseModel):
    """A segment as verbose_json has it, with its own words."""

    model_config = ConfigDict(extra="ignore")

    text: str
    start: Seconds
    end: Seconds | None = None
    words: list[ExportWord] = []
    channel: int | None = None


class Export(BaseModel):
    """What is to be written."""

    model_config = ConfigDict(extra="ignore")

    text: str
    language: str | None = None  # code or English name: where lines are broken depends on it
    duration: Seconds | None = None
    segments: list[ExportSegment] = []


def exported(sent: Export, form: str) -> str:
    """Return the content of a file in one of `FORMATS`.

    Raises:
        Refused: 422, for a transcript that the format cannot show, such as one without times as subtitles.
    """
    from auricle.speech.formats import write
    from auricle.speech.languages import text_language

    try:
        language = text_language(sent.language) if sent.language else None
        segments = tuple(_segment(segment, language) for segment in sent.segments)
        return write(Transcript(sent.text, segments, language, duration=sent.duration), form)
    except OptionError as error:
        raise Refused(422, str(error), code="cannot_export") from None


def _segment(sent: ExportSegment, language: str | None) -> Segment:
    words = tuple(Word(word.word, word.start, word.end, word.confidence or 0.0) for word in sent.words)
    return Segment(sent.text, sent.start, sent.end, words, language=language, channel=sent.channel)
