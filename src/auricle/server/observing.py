"""Around everything else: gives each request its id, counts it, and writes its line in the log."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auricle.server.logs import CURRENT, REQUESTS, Notes, request_id_of

if TYPE_CHECKING:
    from auricle.server.metrics import Metrics

logger = logging.getLogger(REQUESTS)

CLIENT_GONE = 499  # as nginx writes it: nobody was there to be answered
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_BODIES = frozenset({"http.response.body", "websocket.send", "websocket.http.response.body"})
_QUIET = frozenset({"/health", "/ready", "/metrics"})  # asked for every few seconds
_PATH_LETTERS = 200


class ObserveMiddleware:
    """Measures requests and websockets; put it around the application last."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        watch = _Watch(scope, receive, send)
        before = CURRENT.set(watch.notes)
        self.metrics.begin_request()
        try:
            await self.app(scope, watch.receive, watch.send)
        except asyncio.CancelledError:
            watch.status = watch.status or CLIENT_GONE
            raise
        except Exception:
            watch.status = watch.status or 500  # answered further out
            raise
        finally:
            seconds = time.perf_counter() - watch.began
            route = getattr(scope.get("route"), "path", None)
            status = watch.status or (CLIENT_GONE if watch.is_gone else 500)
            self.metrics.end_request(watch.method, route or "none", status, seconds)
            self._log(watch, route, status, seconds)
            CURRENT.reset(before)

    def _log(self, watch: _Watch, route: str | None, status: int, seconds: float) -> None:
        scope, notes = watch.scope, watch.notes
        # A path that no route has says what a client tried; of others, the template is enough.
        place = {"route": route} if route else {"path": scope["path"][:_PATH_LETTERS]}
        fields: dict[str, Any] = {
            "request_id": notes.request_id,
            "method": watch.method,
            **place,
            "status": status,
            "duration_s": round(seconds, 4),
            "bytes_in": watch.bytes_in,
            "bytes_out": watch.bytes_out,
            "model": notes.model,
            "audio_s": None if notes.audio_s is None else round(notes.audio_s, 3),
            "cached": notes.is_cached,
            "prompt_tokens": notes.prompt_tokens,
            "new_tokens": notes.new_tokens,
            "gone": watch.is_gone or None,
            "principal": getattr(scope["state"].get("principal"), "id", None),
        }
        told = {name: value for name, value in fields.items() if value is not None}
        logger.log(_level(route, status), "request", extra={"fields": told})


def _level(route: str | None, status: int) -> int:
    if route in _QUIET:
        return logging.DEBUG if status < 400 else logging.INFO
    return logging.WARNING if status >= 500 else logging.INFO


class _Watch:
    """One request: passes its messages on and notes what they are."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.began = time.perf_counter()
        self.method = "WEBSOCKET" if scope["type"] == "websocket" else str(scope["method"])
        self.notes = Notes(request_id_of(Headers(scope=scope).get("x-request-id")))
        scope.setdefault("state", {})["request_id"] = self.notes.request_id
        self.status = 0  # not known yet
        self.bytes_in = self.bytes_out = 0
        self.is_gone = self.is_whole = False

    async def receive(self) -> Message:
        """Pass on what comes from the client."""
        message = await self._receive()
        self.bytes_in += _size(message)
        if message["type"] == "http.disconnect" and not self.is_whole:
            self.is_gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass on what goes to the client, with the request's id."""
        kind = message["type"]
        if kind in _STARTS:
            self.status = int(message.get("status", 101))
            message.setdefault("headers", [])
            MutableHeaders(scope=message)["x-request-id"] = self.notes.request_id
        elif kind in _BODIES:
            self.bytes_out += _size(message)
            self.is_whole = not message.get("more_body", False)
        elif kind == "websocket.close" and not self.status:
            self.status = 403  # closed before it was opened, which servers answer so
        await self._send(message)


def _size(message: Message) -> int:
    """Return how many bytes a message carries; of text, its letters."""
    return len(message.get("body") or message.get("bytes") or message.get("text") or b"")
