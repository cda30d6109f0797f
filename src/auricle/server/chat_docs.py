"""What OpenAPI says of the routes that write, whose bodies are read by hand."""

from __future__ import annotations

from typing import Any

from auricle.server.openai_docs import ERROR

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 1}
_SHARED: dict[str, Any] = {
    "model": {**_TEXT, "description": "a served name; a lone model answers to any"},
    "max_tokens": {**_COUNT, "description": "new tokens at most"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 100},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
    "top_k": {"type": "integer", "minimum": 0},
    "min_p": {"type": "number", "minimum": 0, "maximum": 1},
    "presence_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "frequency_penalty": {"type": "number", "minimum": -2, "maximum": 2},
    "repetition_penalty": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
    "logit_bias": {"type": "object", "additionalProperties": {"type": "number"}, "description": "by the tokens' ids"},
    "seed": {"type": "integer", "description": "the same seed gives the same text"},
    "stop": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 16}]},
    "n": {"type": "integer", "minimum": 1, "maximum": 16, "default": 1},
    "stream": {"type": "boolean", "default": False},
    "stream_options": {"type": "object", "properties": {"include_usage": {"type": "boolean"}}},
    "response_format": {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {"enum": ["text", "json_object", "json_schema", "regex"]},
            "json_schema": {"type": "object", "properties": {"name": _TEXT, "schema": {"type": "object"}}},
        },
    },
}
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
        "content": {"anyOf": [_TEXT, {"type": "array", "items": {"type": "object"}}, {"type": "null"}]},
    },
}
_CHAT: dict[str, Any] = {
    **_SHARED,
    "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
    "max_completion_tokens": _COUNT,
    "logprobs": {"type": "boolean"},
    "top_logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
    "tools": {"type": "array", "items": {"type": "object"}},
    "tool_choice": {"anyOf": [{"enum": ["none", "auto", "required"]}, {"type": "object"}]},
}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}}
_COMPLETION: dict[str, Any] = {
    **_SHARED,
    "prompt": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}, _IDS, {"type": "array", "items": _IDS}]},
    "echo": {"type": "boolean"},
    "logprobs": {"type": "integer", "minimum": 0, "maximum": 20},
    "best_of": {"type": "integer", "minimum": 1, "maximum": 16},
}


def _route(fields: dict[str, Any], required: str) -> dict[str, Any]:
    refusals = {
        400: "a field is wrong, or the prompt leaves no room (context_length_exceeded)",
        404: "there is no such model",
        413: "too large",
        422: "the model is of another task",
        429: "too much waits already; try again after Retry-After",
        501: "what enforces a form is not installed",
        503: "the model is being loaded; try again after Retry-After",
    }
    content = {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {"schema": _TEXT}}
    told = {
        status: {"description": why, "content": {"application/json": {"schema": ERROR}}}
        for status, why in refusals.items()
    }
    schema = {"type": "object", "required": [required], "properties": fields}
    return {
        "responses": {200: {"description": "the text", "content": content}, **told},
        "openapi_extra": {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}},
    }


CHAT = _route(_CHAT, "messages")
COMPLETION = _route(_COMPLETION, "prompt")
