"""Recordings that stand as addresses in a request: fetched to disk within limits, where the settings allow it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio

from auricle.server.access.binding import allowed_url
from auricle.server.bodies import CHUNK_BYTES, Arriving
from auricle.server.errors import Refused

if TYPE_CHECKING:
    from auricle.server.recognition import Source
    from auricle.server.settings import Settings

MAX_URL_BYTES = 8192
_FETCHES_AT_ONCE = 8


class Fetcher:
    """Fetches what addresses lead to, a few at once, in threads of its own: slow servers are not to hold others up."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = anyio.CapacityLimiter(_FETCHES_AT_ONCE)

    async def source(self, url: str, stack: AsyncExitStack) -> Source:
        """Return the recording at an address, in a file that is removed with the stack.

        Raises:
            Refused: 400, this server fetches none. AudioURLError, AudioTooLargeError: it cannot be had.
        """
        allowed_url(self._settings, url)
        if len(url) > MAX_URL_BYTES:
            raise Refused(400, f"the address has {len(url)} characters; at most {MAX_URL_BYTES} are taken")
        file = Arriving(self._settings, stack, _shown(url))
        await anyio.to_thread.run_sync(partial(self._fetch, url, file), limiter=self._threads, abandon_on_cancel=True)
        return file.source()

    def _fetch(self, url: str, file: Arriving) -> None:
        from auricle.audio.fetch import fetch
        from auricle.audio.limits import DEFAULT_LIMITS

        limits = replace(
            DEFAULT_LIMITS,
            max_bytes=self._settings.max_body_bytes,
            allow_private_urls=self._settings.allow_private_urls,
        )
        with fetch(url, limits) as fetched:
            while chunk := fetched.read(CHUNK_BYTES):
                file.write(chunk)


def is_url(text: bytes) -> bool:
    """Say whether the beginning of a text is that of an address; base64 has no colon."""
    head = text.lstrip()[:8].lower()
    return head.startswith((b"http:", b"https:"))


def _shown(url: str) -> str:
    from auricle.audio.fetch import shown

    return shown(url)
