"""What OpenAPI says of the routes whose forms are read by hand."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_SHARED: dict[str, Any] = {
    "file": {"type": "string", "format": "binary", "description": "the recording, of any length, in any usual format"},
    "model": {**_TEXT, "description": "a served name; a lone model answers to any"},
    "prompt": {
        **_TEXT,
        "description": "text that stands before the recording, for its names and spelling (Whisper); for CTC models a "
        "list of words to listen for, with commas between",
    },
    "temperature": {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
    "response_format": {"enum": ["json", "text", "srt", "verbose_json", "vtt", "diarized_json"], "default": "json"},
    "hotwords": {**_TEXTS, "description": "names and terms to listen for"},
    "punctuate": {
        "type": "boolean",
        "default": False,
        "description": "put marks and capitals into the English of a CTC model, which writes letters alone",
    },
    "chunking_strategy": {
        "description": '"auto", or as JSON {"type": "server_vad"} with threshold, silence_duration_ms and '
        "prefix_padding_ms",
        **_TEXT,
    },
}
_TRANSCRIPTION: dict[str, Any] = {
    **_SHARED,
    "language": {**_TEXT, "description": "a code or an English name"},
    "keywords": _TEXTS,
    "timestamp_granularities[]": {"type": "array", "items": {"enum": ["word", "segment"]}},
    "stream": {"type": "boolean", "default": False, "description": "answer with server-sent events"},
    "known_speaker_names[]": {**_TEXTS, "description": "of speakers whose voices are given"},
    "known_speaker_references[]": {
        **_TEXTS,
        "description": "for each name a recording of that voice alone as a data: URL; some seconds are enough",
    },
    "speakers": {
        "description": "tell speakers apart in any format: true, how many there are, or as JSON num_speakers, "
        "min_speakers, max_speakers",
        **_TEXT,
    },
    "include[]": {"type": "array", "items": {"enum": ["logprobs"]}},
}
_OF_A_MODEL = "Every further field is a parameter of the model's pipeline: vad, num_beams, seed and others."


def _route(fields: dict[str, Any], streams: bool) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}, "text/plain": {"schema": _TEXT}}
    content |= {kind: {"schema": _TEXT} for kind in ("application/x-subrip", "text/vtt")}
    if streams:
        content["text/event-stream"] = {"schema": _TEXT}
    refusals = {
        400: "a field or the recording is wrong",
        404: "there is no such model",
        413: "too large",
        422: "the model is of another task",
        429: "too much waits already; try again after Retry-After",
        503: "the model is being loaded; try again after Retry-After",
    }
    return {
        "responses": {
            200: {"description": "the text", "content": content},
            **{
                status: {"description": why, "content": {"application/json": {"schema": ERROR}}}
                for status, why in refusals.items()
            },
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "description": _OF_A_MODEL,
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "required": ["file"],
                            "properties": fields,
                            "additionalProperties": _TEXT,
                        }
                    }
                },
            }
        },
    }


TRANSCRIPTION = _route(_TRANSCRIPTION, streams=True)
TRANSLATION = _route(_SHARED, streams=False)
