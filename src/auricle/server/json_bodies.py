"""Small JSON bodies, held in memory: the requests of OpenAI's API that carry no recording."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request

from auricle.server.errors import Refused

MAX_BYTES = 16 << 20
_NAMES = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}


async def read_object(request: Request) -> dict[str, Any]:
    """Return the object that a request's body is.

    Raises:
        Refused: 413, larger than 16 MiB; 400, no JSON, or no object.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BYTES:
                raise Refused(
                    413, f"the body has more than {MAX_BYTES} bytes; shorten the prompt", code="body_too_large"
                )
    except ClientDisconnect:
        raise Refused(400, "the connection broke off before the body's end", code="incomplete_body") from None
    try:
        value = json.loads(bytes(body).decode("utf-8-sig"), parse_constant=_refuse_constant)
    except ValueError as error:
        raise Refused(400, f"the body is no JSON: {error}", code="invalid_json") from None
    except RecursionError:
        raise Refused(400, "the JSON is nested too deeply", code="invalid_json") from None
    if not isinstance(value, dict):
        raise Refused(400, f"the JSON is {kind_of(value)}; expected an object", code="invalid_json")
    refuse_halves(value)
    return value


def refuse_halves(value: Any) -> None:
    """Refuse texts with half of a character, which no tokenizer reads.

    Raises:
        Refused: 400, there is one.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refused(
            400, "a text has half of a surrogate pair (\\ud800 to \\udfff alone)", code="invalid_json"
        ) from None
    except RecursionError:
        raise Refused(400, "the JSON is nested too deeply", code="invalid_json") from None


def kind_of(value: Any) -> str:
    """Name a JSON value's type in its own terms."""
    return _NAMES.get(type(value), "a number")


def refuse(param: str, message: str, code: str = "invalid_parameter") -> Refused:
    """Return the refusal of a field by its name."""
    return Refused(400, message, code=code, param=param)


def whole(given: Mapping[str, Any], name: str, least: int, most: int, default: int | None = None) -> int | None:
    """Return a whole number between two others; null counts as left out.

    Raises:
        Refused: 400, it is none.
    """
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise refuse(name, f"{name} is {value!r:.100}; expected a whole number from {least} to {most}")
    return value


def flag(given: Mapping[str, Any], name: str, default: bool = False) -> bool:
    """Return true or false; null counts as left out.

    Raises:
        Refused: 400, it is neither.
    """
    value = given.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise refuse(name, f"{name} is {value!r:.100}; expected true or false")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")
