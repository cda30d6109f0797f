"""Live captions: a plain websocket for pages and small programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.websockets import WebSocket

from auricle.server.live_captions import Captions
from auricle.server.live_streams import admitted, protocol_of

if TYPE_CHECKING:
    from auricle.server.services import Services


def router(services: Services) -> APIRouter:
    """Return the route of live captions."""
    routes = APIRouter(tags=["live"])

    @routes.websocket("/live")
    async def live(websocket: WebSocket) -> None:
        async with admitted(websocket, services.streams, services.draining) as is_admitted:
            if is_admitted:
                await websocket.accept(protocol_of(websocket))
                await Captions(websocket, services).run()

    return routes
