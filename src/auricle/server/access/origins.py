"""Pages of other sites: a server without tokens must not do what any page asks that its owner happens to look at.

A browser sends a page's requests to this machine, too. It keeps the replies from the page, unless CORS allows it, but
the work is done. And a site may give its own name this machine's address, after which the browser takes the server
for a part of the site; then the name in the Host header is the site's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from auricle.errors import OptionError
from auricle.server.access.denial import deny
from auricle.server.errors import Refused

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})

# What scripts of other origins may read of a reply, beside what every one may.
EXPOSED_HEADERS = (
    *("x-compute-type", "x-compute-time", "x-request-id", "x-cache", "x-error-code", "x-error-message", "x-hf-warning"),
    *("ratelimit", "ratelimit-policy", "retry-after", "location", "www-authenticate"),
    *("etag", "accept-ranges", "content-range", "content-disposition", "x-repo-commit", "x-linked-size"),
    *("x-linked-etag", "upload-offset", "upload-length"),
)


class OriginGuard:
    """Refuses what a page of another site sends, and requests that call the server by a name that is not its own.

    Origins: those whose pages may call, as "https://example.org"; "*" for all. Hosts: the names beside localhost and
    addresses that the server is called by; None: by any.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str], hosts: Collection[str] | None) -> None:
        self.app = app
        self.origins = frozenset(origins)
        self.hosts = None if hosts is None else frozenset(_split(host, "http")[0] for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._judge(scope) if scope["type"] in ("http", "websocket") else None
        if refused is not None:
            await deny(scope, receive, send, refused)
            return
        await self.app(scope, receive, send)

    def _judge(self, scope: Scope) -> Refused | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None and not _is_local(host, self.hosts):
            return Refused(
                403,
                f"this server is not called {host!r}; call it localhost, or, if that name is its own, start it with "
                f"AURICLE_ALLOWED_HOSTS={_split(host, 'http')[0]}",
                code="host_refused",
            )
        is_harmless = scope["type"] == "http" and scope["method"] in _HARMLESS
        origin = headers.get("origin")
        if origin is None or is_harmless or self._is_allowed(origin, host):
            return None
        return Refused(
            403,
            f"a page of {origin!r} may not use this server, which asks for no token; start the server with "
            f"--cors-origin {origin}, or with --token-required",
            code="origin_refused",
        )

    def _is_allowed(self, origin: str, host: str) -> bool:
        if "*" in self.origins or origin in self.origins:
            return True
        scheme, _, rest = origin.partition("://")
        # A proxy may have taken the encryption off; the name and the port are what counts.
        return bool(rest) and _split(rest, scheme) == _split(host, scheme)


def checked_origins(origins: Collection[str]) -> tuple[str, ...]:
    """Return the origins of the settings as browsers write them.

    Raises:
        OptionError: one of them is no origin.
    """
    checked = []
    for origin in origins:
        written = origin.strip().rstrip("/").lower()
        scheme, _, rest = written.partition("://")
        if written not in ("*", "null") and (not scheme or not rest or "/" in rest or "*" in rest):
            raise OptionError(
                f"cors_origins has {origin!r}, which is no origin; write scheme and host as 'https://example.org' or "
                "'http://localhost:3000', or '*' for every page there is"
            )
        checked.append(written)
    return tuple(checked)


def checked_hosts(hosts: Collection[str]) -> None:
    """Refuse what no Host header has.

    Raises:
        OptionError: one of the names is an address of a page, or has a pattern.
    """
    for host in hosts:
        if host != "*" and (not _split(host, "http")[0] or set(host) & set("/*@ ")):
            raise OptionError(
                f"allowed_hosts has {host!r}, which is no name of a machine; write it as 'speech.example.org', without "
                "http:// and without patterns, or '*' for every name"
            )


def _is_local(host: str, names: Collection[str]) -> bool:
    """Say whether a Host header holds an address, localhost, or one of the names; browsers always send one."""
    if not host:
        return True
    name = _split(host, "http")[0]
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True  # nobody can give a name's address to an address


def _split(host: str, scheme: str) -> tuple[str, int | None]:
    """Return the name, in small letters and without brackets, and the port of what stands in a Host header."""
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        return host.lower(), None
    return (parts.hostname or "").rstrip("."), port or _DEFAULT_PORTS.get(scheme)
