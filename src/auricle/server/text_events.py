"""Server-sent events of texts while they are written or heard; the work ends when the client goes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from auricle.server.errors import Refused, as_refused
from auricle.server.presence import GONE, while_present

logger = logging.getLogger("auricle.server")

KEEP_ALIVE_S = 15.0  # proxies close connections that are silent for longer
DONE = "data: [DONE]\n\n"  # the end of OpenAI's streams
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

Event = dict[str, Any]


class TextEvents(Response):
    """Sends events; lets go of what they needed when they end, or when nobody listens any more."""

    def __init__(
        self,
        events: AsyncIterator[Event],
        failed: Callable[[Refused], Event],
        stack: AsyncExitStack,
        last: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Take the events, what an error is told as, what is to be let go of, and what stands at the very end."""
        super().__init__(media_type="text/event-stream", headers={**HEADERS, **(headers or {})})
        del self.headers["content-length"]
        self._events, self._failed, self._stack, self._last = events, failed, stack, last

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_present(Request(scope, receive), self._write(send))
        except Refused as refused:
            if refused.status != GONE:
                raise
        finally:
            await self._stack.aclose()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        last = self._last
        try:
            async for event in kept_alive(self._events):
                await send({"type": "http.response.body", "body": _line(event), "more_body": True})
        except Exception as error:
            refused = as_refused(error)
            if refused.status >= 500:
                logger.error("a stream broke off: %s", error, exc_info=error)
            await send({"type": "http.response.body", "body": _line(self._failed(refused)), "more_body": True})
        await send({"type": "http.response.body", "body": (last or "").encode(), "more_body": False})


def _line(event: Event | None) -> bytes:
    if event is None:
        return b": keep-alive\n\n"
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode("utf-8", "replace")


async def kept_alive(events: AsyncIterator[Event]) -> AsyncIterator[Event | None]:
    """Give events, and None where there was none for a while."""
    task: asyncio.Future[Event] | None = None
    try:
        while True:
            task = task or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({task}, timeout=KEEP_ALIVE_S)
            if not done:
                yield None
                continue
            finished, task = task, None
            try:
                yield finished.result()
            except StopAsyncIteration:
                return
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
