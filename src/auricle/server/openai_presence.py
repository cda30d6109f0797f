"""Clients that go away before they are answered: what nobody waits for is not computed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

from auricle.server.errors import Refused

T = TypeVar("T")

CLIENT_GONE = 499  # as nginx writes it; nobody reads it


async def until_gone(receive: Receive) -> None:
    """Return when the client has gone; its request was read to the end before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_present(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` does, and cancel it if the client goes away before.

    Raises:
        Refused: 499, the client has gone. What `work` raises.
    """
    task, gone = asyncio.create_task(work), asyncio.create_task(until_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refused(CLIENT_GONE, "the client has gone", code="client_gone")
        return task.result()
    finally:
        for one in (task, gone):
            await ended(one)


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel a task, wait until it has ended, and leave how it ended to who wants to know."""
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task
