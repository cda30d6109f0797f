"""A transcript as the content of a file: text, JSON, subtitles, lyrics, a table or tiers. No file is touched here.

write(transcript, "vtt", WriteOptions(word_cues=True))
"""

from __future__ import annotations

from collections.abc import Callable

from auricle.errors import OptionError, nearest
from auricle.results import Transcript
from auricle.speech.formats.captions import srt, ttml, vtt
from auricle.speech.formats.karaoke import ass, lrc
from auricle.speech.formats.options import (
    PARAGRAPH_FORMATS,
    SHAPED_FORMATS,
    UNITS,
    WORD_CUE_FORMATS,
    WriteOptions,
)
from auricle.speech.formats.plain import as_dict, grid, json_text, rttm, tsv, txt

__all__ = [
    "FORMATS",
    "MEDIA_TYPES",
    "PARAGRAPH_FORMATS",
    "SHAPED_FORMATS",
    "TIMED_FORMATS",
    "UNITS",
    "WORD_CUE_FORMATS",
    "WriteOptions",
    "as_dict",
    "write",
]

# A file's ending and what writes it.
FORMATS: dict[str, Callable[[Transcript, WriteOptions], str]] = {
    "txt": txt,
    "json": json_text,
    "srt": srt,
    "vtt": vtt,
    "ttml": ttml,
    "lrc": lrc,
    "ass": ass,
    "tsv": tsv,
    "textgrid": grid,
    "rttm": rttm,
}
# What has times in every line, and so cannot be written without any.
TIMED_FORMATS = SHAPED_FORMATS | {"tsv", "textgrid", "rttm"}
# For HTTP; all are UTF-8.
MEDIA_TYPES = {
    "txt": "text/plain",
    "json": "application/json",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "ttml": "application/ttml+xml",
    "lrc": "text/plain",
    "ass": "text/x-ssa",
    "tsv": "text/tab-separated-values",
    "textgrid": "text/plain",
    "rttm": "text/plain",
}


def write(transcript: Transcript, form: str, options: WriteOptions | None = None) -> str:
    """Return the whole content of a file in one of `FORMATS`, lines ended by a single newline.

    Raises: OptionError for an unknown format, for an option that the format has no use for, and for word cues of a
        transcript that was made without times of words.
    """
    if form not in FORMATS:
        raise OptionError(f"format {form!r} is none of {', '.join(FORMATS)}{nearest(form, FORMATS)}")
    options = options or WriteOptions()
    options.check(form)
    if options.word_cues and transcript.text.strip() and not transcript.words:
        raise OptionError("word_cues need the times of words, and the transcript has none; transcribe with word times")
    return FORMATS[form](transcript, options)
