"""OpenAI's realtime API, for sessions that transcribe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.websockets import WebSocket

from auricle.server.errors import Refused
from auricle.server.live_streams import admitted, protocol_of, turn_away
from auricle.server.openai_calls import resolved
from auricle.server.realtime_session import RealtimeSession

if TYPE_CHECKING:
    from auricle.server.services import Services

_BETA = "openai-beta.realtime-v1"  # how a browser says what the header OpenAI-Beta does


def router(services: Services) -> APIRouter:
    """Return the route of realtime sessions."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket) -> None:
        try:
            model = _model(websocket, services)
        except Refused as refused:
            await turn_away(websocket, refused)
            return
        async with admitted(websocket, services.streams, services.draining) as is_admitted:
            if is_admitted:
                await websocket.accept(protocol_of(websocket))
                await RealtimeSession(websocket, services, model, _is_beta(websocket)).run()

    return routes


def _model(websocket: WebSocket, services: Services) -> str:
    """Return the served name of the model that the address names.

    Raises:
        Refused: 400, a session is asked for that does not transcribe; 404, there is no such model.
    """
    query = websocket.query_params
    intent = query.get("intent", "transcription")
    if intent != "transcription":
        message = f"intent={intent[:80]!r}; this server writes down and does not answer: intent=transcription"
        raise Refused(400, message, code="invalid_value", param="intent")
    if query.get("call_id"):
        raise Refused(400, "call_id is of calls, which there are none here; leave it out", param="call_id")
    return resolved(services, query.get("model"))


def _is_beta(websocket: WebSocket) -> bool:
    return "realtime=v1" in websocket.headers.get("openai-beta", "") or _BETA in websocket.scope.get("subprotocols", ())
