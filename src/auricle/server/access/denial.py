"""How a request is turned away before any route sees it: over HTTP by a reply, over a websocket by a code."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from auricle.server.access.authorization import OPENAI_PROTOCOL
from auricle.server.errors import Refused, error_response

_REASON_BYTES = 123  # a websocket's closing frame holds no more


async def deny(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    """Answer with an error.

    Programs that open a websocket get an HTTP reply in its place. A page in a browser could read neither its status
    nor its body: there the websocket opens and is closed with 4000 plus the status, and the message as the reason.
    """
    if scope["type"] == "http":
        await error_response(scope, refused)(scope, receive, send)
        return
    await receive()  # websocket.connect
    is_page = any(name == b"origin" for name, _ in scope["headers"])
    if not is_page and "websocket.http.response" in scope.get("extensions", {}):
        await error_response(scope, refused)(scope, receive, send)
        return
    await send({"type": "websocket.accept", "subprotocol": _subprotocol(scope), "headers": []})
    await send({"type": "websocket.close", "code": 4000 + refused.status, "reason": _reason(refused.message)})


def _reason(message: str) -> str:
    """Shorten a message, by whole clauses if it can be."""
    while len(message.encode()) > _REASON_BYTES and "; " in message:
        message = message.rpartition("; ")[0]
    return message.encode()[:_REASON_BYTES].decode(errors="ignore")


def _subprotocol(scope: Scope) -> str | None:
    """Choose one that is offered, as browsers insist, and no secret if there is another."""
    offered = list(scope.get("subprotocols", ()))
    public = [name for name in offered if not name.startswith(OPENAI_PROTOCOL)]
    return next(iter(public or offered), None)
