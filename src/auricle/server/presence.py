"""Work for a client only as long as it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from auricle.server.errors import Refused

T = TypeVar("T")

GONE = 499  # what nginx calls it; nobody is there to read it but the log


async def while_present(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, and cancel it as soon as the client closes its connection; the body must have been read before.

    Raises:
        Refused: 499, the client has gone. Whatever `work` raises.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_departure(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Refused(GONE, "the client has closed the connection", code="client_gone")
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _departure(request: Request) -> None:
    # After the body, the server has nothing else to tell than that the connection is closed.
    while (await request.receive())["type"] != "http.disconnect":
        pass
