"""The result of a job in the format that is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auricle.errors import OptionError, nearest
from auricle.server.errors import Refused
from auricle.server.openai_fields import Asked
from auricle.server.openai_replies import Reply
from auricle.server.transcripts import transcript_from_json

JSON = "application/json"
# Beside the formats of `auricle.speech.formats`, of which "json" has all that is known.
_OTHERS = ("pipeline", "text", "verbose_json", "diarized_json")


@dataclass(frozen=True)
class Written:
    """The content of a reply."""

    content: str
    media_type: str


@dataclass(frozen=True)
class Made:
    """Of what, and by what, a result was made."""

    name: str  # the recording's
    model: str
    languages: Sequence[str] = ()  # that the model's card names


def write_result(value: Mapping[str, Any], form: str, made: Made, choices: Mapping[str, Any]) -> Written:
    """Write what a job has stored; `choices` are fields of `WriteOptions`.

    Raises:
        Refused: 400, the format is unknown or cannot do what was chosen; 422, the transcript has no times for it.
    """
    from auricle.speech.formats import FORMATS, MEDIA_TYPES, WriteOptions, write

    if form not in FORMATS and form not in _OTHERS:
        known = (*FORMATS, *_OTHERS)
        raise Refused(400, f"format {form!r} is none of {', '.join(known)}{nearest(form, known)}", param="format")
    transcript = transcript_from_json(value["transcript"])
    if form == "pipeline":
        return Written(json.dumps(value["pipeline"], ensure_ascii=False), JSON)
    if form == "diarized_json":
        reply = Reply(transcript, Asked(form=form), made.languages, model=made.model)
        return Written(json.dumps(reply.diarized(), ensure_ascii=False), JSON)
    if form == "text":
        form = "txt"
    if form == "verbose_json":
        granularities = frozenset({"segment", "word"} if transcript.words else {"segment"})
        asked = Asked(form=form, granularities=granularities)
        return Written(
            json.dumps(Reply(transcript, asked, made.languages, model=made.model).verbose(), ensure_ascii=False), JSON
        )
    try:
        options = WriteOptions(source=made.name, model=made.model, **choices)
        options.check(form)
    except OptionError as error:
        raise Refused(400, str(error), param="format", code="invalid_parameter") from None
    try:
        return Written(write(transcript, form, options), MEDIA_TYPES[form])
    except OptionError as error:
        raise Refused(422, str(error), param="format", code="cannot_export") from None
