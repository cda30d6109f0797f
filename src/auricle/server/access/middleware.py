"""Tokens, scopes and rates in front of every route."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from auricle.errors import AuricleError
from auricle.server.access.areas import OPEN, is_counted, needed_scope
from auricle.server.access.authorization import Access, take_token
from auricle.server.access.denial import deny
from auricle.server.access.principal import Principal
from auricle.server.access.rates import RateLimits
from auricle.server.errors import Refused, as_refused

_LOOKUPS_AT_ONCE = 4
_STARTS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


class AccessMiddleware:
    """Lets pass who may do what they ask for, and tells the route who it is in ``scope["state"]["principal"]``."""

    def __init__(self, app: ASGIApp, access: Access, rates: RateLimits) -> None:
        self.app = app
        self.access = access
        self.rates = rates
        # Threads of its own: who asks for work does not wait behind work.
        self._threads = anyio.CapacityLimiter(_LOOKUPS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            principal, headers = await self._admit(scope)
        except (Refused, AuricleError) as error:  # the application's own handlers are further in
            await deny(scope, receive, send, as_refused(error))
            return
        scope.setdefault("state", {})["principal"] = principal
        await self.app(scope, receive, _adding(headers, send) if headers else send)

    async def _admit(self, scope: Scope) -> tuple[Principal, Mapping[str, str]]:
        """Return who is asking, and the headers about their rate."""
        needed = needed_scope(scope)
        token = take_token(scope)
        if needed == OPEN:
            return self.access.stranger, {}
        if token is None:
            principal = self.access.authorize(None, needed)
        else:
            principal = await anyio.to_thread.run_sync(self.access.authorize, token, needed, limiter=self._threads)
        if not is_counted(scope, needed):
            return principal, {}
        client = scope.get("client")
        allowance = self.rates.count(principal, client[0] if client else None)
        if allowance is None:
            return principal, {}
        if not allowance.is_allowed:
            raise allowance.refusal()
        return principal, allowance.headers()


def _adding(headers: Mapping[str, str], send: Send) -> Send:
    """Add headers to whatever the reply begins with."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] in _STARTS:
            message.setdefault("headers", [])
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with_headers
