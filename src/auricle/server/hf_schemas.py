"""The Hugging Face routes in OpenAPI's words."""

from __future__ import annotations

from typing import Any

_BYTES = {"type": "string", "format": "binary", "description": "a recording, whatever the Content-Type says"}
_TIMES = {
    "description": "true: what the model has, segments of Whisper and words of CTC models",
    "oneOf": [{"type": "boolean"}, {"type": "string", "enum": ["segment", "word", "char"]}],
}
_GENERATION: dict[str, Any] = {
    "temperature": {"type": "number", "minimum": 0},
    "top_k": {"type": "integer", "minimum": 0},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "typical_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "epsilon_cutoff": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    "eta_cutoff": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
    "max_length": {"type": "integer", "minimum": 1, "description": "tokens, those before the text included"},
    "max_new_tokens": {"type": "integer", "minimum": 1, "description": "wins over max_length"},
    "min_length": {"type": "integer", "minimum": 0},
    "min_new_tokens": {"type": "integer", "minimum": 0, "description": "wins over min_length"},
    "do_sample": {"type": "boolean"},
    "early_stopping": {"oneOf": [{"type": "boolean"}, {"type": "string", "enum": ["never", "true", "false"]}]},
    "num_beams": {"type": "integer", "minimum": 1},
    "num_beam_groups": {"type": "integer", "minimum": 1},
    "penalty_alpha": {"type": "number", "minimum": 0, "maximum": 1},
    "use_cache": {"type": "boolean", "description": "of keys and values in the decoder; results have x-use-cache"},
}
_KNOWN = {"type": "object", "additionalProperties": {"type": "string"}, "description": "names with data: URLs"}
_COUNT = {"type": "integer", "minimum": 1}
_SPEAKERS = {
    "description": "tell who says what: true, how many there are, or an object; chunks have their speaker then",
    "oneOf": [
        {"type": "boolean"},
        _COUNT,
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "num_speakers": _COUNT,
                "min_speakers": _COUNT,
                "max_speakers": _COUNT,
                "known": _KNOWN,
            },
        },
    ],
}
_PARAMETERS = {
    "type": "object",
    "description": "also whatever else the model's pipeline takes, such as language or hotwords",
    "properties": {
        "return_timestamps": _TIMES,
        "speakers": _SPEAKERS,
        "generation_parameters": {
            "type": "object",
            "description": "also called generate_kwargs, or generate",
            "properties": _GENERATION,
        },
    },
}
_JSON = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "inputs": {
            "description": "a recording or an image in base64, or its address where the server allows; a text for "
            "models that write; {image, question} for those that answer questions",
            "anyOf": [{"type": "string"}, {"type": "object"}, {"type": "array"}],
        },
        "stream": {"type": "boolean", "description": "of models that write: answer with events"},
        "parameters": _PARAMETERS,
        "options": {
            "type": "object",
            "properties": {"use_cache": {"type": "boolean"}, "wait_for_model": {"type": "boolean"}},
        },
    },
}
_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": _BYTES, "return_timestamps": _TIMES, "speakers": _SPEAKERS, **_GENERATION},
}
_FLAG = {"type": "string", "enum": ["true", "false"]}
_TOLD = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_SPAN = {
    "type": "array",
    "minItems": 2,
    "maxItems": 2,
    "items": {"type": ["number", "null"]},
    "description": "start and end in seconds",
}
_RESULT = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": {"type": "string"},
        "chunks": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "timestamp": _SPAN,
                    "timestamps": _SPAN,
                    "speaker": {"type": ["string", "null"]},
                },
            },
        },
        "warnings": {
            "type": "array",
            "description": "what the reader of the text should know, and parameters that were not used",
            "items": {
                "type": "object",
                "properties": {
                    "kind": {"type": "string"},
                    "message": {"type": "string"},
                    "start": {"type": ["number", "null"]},
                    "end": {"type": ["number", "null"]},
                },
            },
        },
    },
}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": _FLAG, "description": description}


def _query(name: str, schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _error(description: str, **properties: Any) -> dict[str, Any]:
    schema = {**_TOLD, "properties": {**_TOLD["properties"], **properties}}  # type: ignore[dict-item]
    return {"description": description, "content": {"application/json": {"schema": schema}}}


REQUEST: dict[str, Any] = {
    "parameters": [
        _header("x-use-cache", "false: compute anew, and keep no result; default true"),
        _header("x-wait-for-model", "true: wait for the model as long as it takes to load; default false"),
        _query("return_timestamps", _TIMES),
        _query("speakers", {"oneOf": [{"type": "boolean"}, _COUNT]}),
        *(_query(name, schema) for name, schema in _GENERATION.items()),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "audio/*": {"schema": _BYTES},
            "application/octet-stream": {"schema": _BYTES},
            "application/json": {"schema": _JSON},
            "multipart/form-data": {"schema": _FORM},
        },
    },
}
_TEXT_PARAMETERS: dict[str, Any] = {
    "max_new_tokens": {"type": "integer", "minimum": 1},
    "do_sample": {"type": "boolean"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 100},
    "top_k": {"type": "integer", "minimum": 0},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "typical_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "repetition_penalty": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
    "seed": {"type": "integer", "minimum": 0},
    "stop": {"type": "array", "items": {"type": "string"}},
    "best_of": {"type": "integer", "minimum": 1, "maximum": 16},
    "return_full_text": {"type": "boolean"},
    "details": {"type": "boolean"},
    "truncate": {"type": "integer", "minimum": 1},
    "grammar": {"type": "object", "description": "{'type': 'json', 'value': schema} or {'type': 'regex', 'value': …}"},
}
TEXT_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "inputs": {"type": "string"},
                        "parameters": {"type": "object", "properties": _TEXT_PARAMETERS},
                    },
                }
            }
        },
    }
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the text; headers tell what it took: x-compute-type, x-compute-time, x-compute-audio-length, "
        "x-cache, and x-hf-warning for parameters that were not used",
        "content": {"application/json": {"schema": _RESULT}},
    },
    400: _error("the body, a parameter or the recording cannot be used"),
    401: _error("a token is missing, malformed, unknown, expired or revoked"),
    403: _error("the token may not do this"),
    404: _error("no such model is served here"),
    413: _error("the body or the recording is larger than the server takes"),
    422: _error("the model does another task"),
    429: _error("too many requests of this token, or too many that wait; Retry-After says when to come again"),
    500: _error("the model cannot be loaded, or something unknown happened"),
    503: _error("the model is still being loaded", estimated_time={"type": "number"}),
}
