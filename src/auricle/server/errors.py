"""What goes wrong in the server, as HTTP: one table of statuses, and a body in the dialect of the route.

Routes of OpenAI's API (a path with the part "v1") answer ``{"error": {"message", "type", "param", "code"}}``, all
others ``{"error": "message"}``, whose value is always text: one of the Hub's clients shows nothing else.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Scope

from auricle.errors import (
    AudioError,
    AudioTooLargeError,
    AuricleError,
    CheckpointError,
    ImageError,
    ImageTooLargeError,
    MissingExtraError,
    ModelNotFoundError,
    OptionError,
    TaskError,
)

UNKNOWN = "unknown error"

# The first class that fits decides: the status, and a code for programs.
STATUSES: tuple[tuple[type[AuricleError], int, str], ...] = (
    (AudioTooLargeError, 413, "audio_too_large"),
    (AudioError, 400, "invalid_audio"),
    (ImageTooLargeError, 413, "image_too_large"),
    (ImageError, 400, "invalid_image"),
    (OptionError, 400, "invalid_parameter"),
    (ModelNotFoundError, 404, "model_not_found"),
    (TaskError, 422, "wrong_task"),
    (CheckpointError, 500, "model_unusable"),
    (MissingExtraError, 501, "extra_missing"),
    (AuricleError, 500, "internal_error"),
)

# How OpenAI's API names the kinds of errors.
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class Refused(Exception):  # noqa: N818  it is what happens to a request, and no fault of ours
    """A request that is answered with an error; `message` says what arrived, what is expected, and what to do."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        headers: Mapping[str, str] | None = None,
        param: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        # Half of a character, as JSON's escapes can write, has no place in a reply.
        message = message.encode(errors="replace").decode()
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code or f"http_{status}"
        self.headers = dict(headers or {})
        self.param = None if param is None else param.encode(errors="replace").decode()
        self.extra = dict(extra or {})


def as_refused(error: BaseException) -> Refused:
    """Return what a client is told of an error: our own in their words, anything else as an unknown one."""
    if isinstance(error, Refused):
        return error
    for kind, status, code in STATUSES:
        if isinstance(error, kind):
            return Refused(status, without_paths(str(error)), code=code)
    # Starlette raises it again for the log, upon which uvicorn closes the connection: nobody is to use it again.
    return Refused(500, UNKNOWN, code="internal_error", headers={"connection": "close"})


def error_response(scope: Scope, error: BaseException) -> JSONResponse:
    """Answer an error in the dialect of the route that was asked, with the request's id."""
    refused = as_refused(error)
    body: dict[str, Any]
    if is_openai(scope.get("path", "")):
        body = {"error": openai_error(refused), **refused.extra}
    else:
        body = {"error": refused.message, **refused.extra}
    headers = {
        "x-error-code": refused.code,
        "x-error-message": _header(refused.message),
        **refused.headers,
    }
    request_id = scope.get("state", {}).get("request_id")
    if request_id is not None:
        headers["x-request-id"] = request_id
    return JSONResponse(body, refused.status, headers)


def openai_error(refused: Refused) -> dict[str, Any]:
    """Return an error as OpenAI's API writes it."""
    kind = _OPENAI_TYPES.get(refused.status, "invalid_request_error" if refused.status < 500 else "server_error")
    return {"message": refused.message, "type": kind, "param": refused.param, "code": refused.code}


def is_openai(path: str) -> bool:
    """Say whether a route speaks OpenAI's dialect: /v1/… or /models/org/name/v1/…"""
    return "v1" in path.split("/")[:-1]


def without_paths(message: str) -> str:
    """Replace the folders of this machine in a message: a client has no use for them, and they tell of its owner."""
    known = {str(Path.home()), str(Path.cwd()), tempfile.gettempdir()} - {"/"}
    for folder in sorted(known, key=len, reverse=True):
        message = message.replace(folder, "…")
    # What is left of absolute paths with at least two folders, but not URLs and not routes of ours.
    return re.sub(r"(?<![\w:/.…])(?:/[\w.@+-]+){3,}/?", _last_part, message)


def _last_part(path: re.Match[str]) -> str:
    return f"…/{path[0].rstrip('/').rsplit('/', 1)[-1]}"


def _header(message: str) -> str:
    """Return a message as the value of a header: printable ASCII, one line. uvicorn ends connections for others."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", message).encode("ascii", "replace").decode().split())[:500]
