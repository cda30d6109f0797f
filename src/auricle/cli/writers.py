"""What the command writes: the formats of auricle.speech.formats, each with the options that it has."""

from __future__ import annotations

from typing import Any

from auricle.results import Transcript
from auricle.speech import formats
from auricle.speech.formats import SHAPED_FORMATS, TIMED_FORMATS, UNITS, WriteOptions
from auricle.speech.formats.cues import clock
from auricle.speech.subtitles import SubtitleRules

__all__ = ["FORMATS", "SHAPED_FORMATS", "TIMED_FORMATS", "UNITS", "as_dict", "clock", "write"]

FORMATS = tuple(formats.FORMATS)


def write(
    transcript: Transcript,
    form: str,
    unit: str,
    source: str,
    model: str,
    rules: SubtitleRules | None = None,
    word_cues: bool = False,
    paragraphs: bool = False,
) -> str:
    """Return the content of a file; of the last three, the options that `form` has no use for are left out.

    Whoever writes several formats checks before that each option is for one of them: `WriteOptions.check`.
    """
    options = WriteOptions(unit, source, model, rules, word_cues, paragraphs)
    return formats.write(transcript, form, options.only_for(form))


def as_dict(transcript: Transcript, unit: str, source: str, model: str) -> dict[str, Any]:
    """Return a transcript as plain values: times in seconds to the millisecond, characters when asked for."""
    return formats.as_dict(transcript, WriteOptions(unit, source, model))
