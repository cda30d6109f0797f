"""Where webhooks may go: never to an address that only this machine or its network can reach."""

from __future__ import annotations

import asyncio
import socket

import httpx

from auricle.audio.fetch import is_public, shown
from auricle.server.errors import Refused

PRIVATE = "private_address"  # the code of its refusal
_LOOK_UP_S = 10.0
_PORTS = {"http": 80, "https": 443}


def checked_url(url: object, param: str) -> httpx.URL:
    """Return an http or https address of a host.

    Raises:
        Refused: 400, it is none.
    """
    try:
        parsed = httpx.URL(url) if isinstance(url, str) else None
    except (httpx.InvalidURL, ValueError):  # half a character is a ValueError
        parsed = None
    if parsed is None or parsed.scheme not in _PORTS or not parsed.host:
        told = shown(url)[:200].encode("ascii", "replace").decode() if isinstance(url, str) else type(url).__name__
        raise Refused(400, f"{param} is {told!r}; give an http or https address", param=param, code="invalid_url")
    return parsed


async def public_address(url: httpx.URL) -> str:
    """Resolve a host once and return an address to connect to; all that it has must be public.

    Raises:
        Refused: one of them is private or reserved, or there is none.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_LOOK_UP_S):
            found = await loop.getaddrinfo(url.host, url.port or _PORTS[url.scheme], type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
        raise Refused(400, f"the host {url.host!r} cannot be found: {error}", code="host_unknown") from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not is_public(address):
            raise Refused(
                400,
                f"{url.host} leads to a private or reserved address, which is refused; whoever runs this server can "
                "allow them with allow_private_urls",
                code=PRIVATE,
            )
    return addresses[0]
