"""The server's log: one line for each request, as text or JSON; never a token, a query or what a recording says."""

from __future__ import annotations

import json
import logging
import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

REQUESTS = "auricle.requests"  # the logger of the lines for requests
_SANE_ID = re.compile(r"[A-Za-z0-9][\w.:/+=-]{0,99}", re.ASCII)


@dataclass
class Notes:
    """What is known of a request while it is being answered."""

    request_id: str
    model: str | None = None
    audio_s: float | None = None
    is_cached: bool | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None

    def add(self, model: str, audio_s: float | None, is_cached: bool) -> None:
        """Note a transcript that was made for the request."""
        self.model, self.is_cached = model, is_cached
        self.audio_s = (self.audio_s or 0.0) + (audio_s or 0.0)

    def wrote(self, model: str, prompt_tokens: int, new_tokens: int) -> None:
        """Note texts that were written for the request."""
        self.model, self.prompt_tokens, self.new_tokens = model, prompt_tokens, new_tokens


# The request that the running task answers; tasks that it begins see it, too.
CURRENT: ContextVar[Notes | None] = ContextVar("auricle_request", default=None)


def request_id_of(given: str | None) -> str:
    """Return a client's id for its request if it can stand in headers and logs, else a new one."""
    return given if given is not None and _SANE_ID.fullmatch(given) else uuid.uuid4().hex


class TextFormatter(logging.Formatter):
    """A line for people: time, level, message, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; what it says stays on its line, only a traceback takes more."""
        fields = "".join(f" {name}={_plain(value)}" for name, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname.lower():7} {_plain(record.getMessage(), ' ')}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """A line for programs: one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        row: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            row["exception"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)


def logging_config(log_format: Literal["text", "json"], level: str) -> dict[str, Any]:
    """Return what logging.config.dictConfig and uvicorn's `log_config` take: everything to stderr in one format."""
    formatter = JsonFormatter if log_format == "json" else TextFormatter
    chosen = {"level": level.upper(), "handlers": ["stderr"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{formatter.__module__}.{formatter.__qualname__}"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": dict.fromkeys(("auricle", "uvicorn", "py.warnings"), chosen),
    }


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record; a message that a request has caused carries the request's id."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    notes = CURRENT.get()
    if notes is not None and "request_id" not in fields:
        return {"request_id": notes.request_id, **fields}
    return fields


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any, allowed: str = "") -> str:
    """Write a value so that it cannot be taken for more lines or fields."""
    text = str(value)
    return text if text.isprintable() and (allowed or not re.search(r'[\s="]', text)) else json.dumps(text)
