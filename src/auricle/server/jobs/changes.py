"""Who waits for news of a job in this process."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress


class Changes:
    """Wakes those who wait for a name; for the event loop alone.

    It is a hint: what has changed is read from the database, and what another process changes is seen when a wait
    ends by itself.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def tell(self, name: str) -> None:
        """Wake everybody who waits for this name."""
        for event in self._waiting.get(name, ()):
            event.set()

    def watch(self, name: str) -> Watch:
        """Return what waits for a name; news between two waits are not lost."""
        event = asyncio.Event()
        self._waiting[name].add(event)
        return Watch(self, name, event)

    def forget(self, name: str, event: asyncio.Event) -> None:
        """Take out what waits no longer."""
        self._waiting[name].discard(event)
        if not self._waiting[name]:
            del self._waiting[name]


class Watch:
    """One who waits."""

    def __init__(self, changes: Changes, name: str, event: asyncio.Event) -> None:
        self._changes, self._name, self._event = changes, name, event

    async def wait(self, timeout_s: float) -> None:
        """Return when there is news, or after a time."""
        await set_within(self._event, timeout_s)
        self._event.clear()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._changes.forget(self._name, self._event)


async def set_within(event: asyncio.Event, timeout_s: float) -> None:
    """Return when an event is set, or after a time. (Python 3.11's `wait_for` may swallow a cancellation.)"""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
