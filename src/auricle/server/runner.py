"""Blocking work of requests, in threads: so many at once, so many that wait, and none that nobody waits for.

Long work may take half of the places at once: short requests always find one soon.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from auricle.server.errors import Refused
from auricle.server.scheduling import Ticket

T = TypeVar("T")

FIRST_GUESS_S = 2.0  # how long a request takes, before any was seen
NEW_PART = 0.1  # of the newest request in the mean of the times that they take


@dataclass(eq=False)
class _Waiting:
    granted: asyncio.Future[None]
    is_long: bool


class Runner:
    """Places for work; lives on one event loop."""

    def __init__(self, max_active: int, max_queue: int) -> None:
        """Make room for so many at once, and so many that wait; a request's thread computes on one processor."""
        self.max_active = max_active
        self.max_long = max(1, max_active // 2)
        self.max_queue = max_queue
        self.n_active = 0
        self._n_long = 0
        self._waiting: deque[_Waiting] = deque()
        self._mean_s = FIRST_GUESS_S
        self._pool = ThreadPoolExecutor(max_active, "auricle-request", initializer=_compute_alone)
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def n_waiting(self) -> int:
        """How many requests wait for a place."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether one more would be refused."""
        return self.n_active >= self.max_active and self.n_waiting >= self.max_queue

    async def run(self, work: Callable[[], T], ticket: Ticket, is_long: bool = False) -> T:
        """Run `work` in a thread as soon as there is a place; cancelling the caller cancels the ticket.

        Raises:
            Refused: 429, too many wait already. What `work` raises.
        """
        await self._place(is_long)
        loop = asyncio.get_running_loop()
        began = loop.time()
        future = loop.run_in_executor(self._pool, work)

        def end(done: asyncio.Future[T]) -> None:
            # The place is free when the thread is, which may be after the request was cancelled.
            self._free(is_long)
            self._mean_s += NEW_PART * (loop.time() - began - self._mean_s)
            if not done.cancelled():
                done.exception()

        future.add_done_callback(end)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            ticket.cancel()
            raise

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for work that has a thread elsewhere.

        Raises:
            Refused: 429, too many wait already.
        """
        await self._place(False)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            yield
        finally:
            self._free(False)
            self._mean_s += NEW_PART * (loop.time() - began - self._mean_s)

    async def drained(self, timeout: float) -> bool:
        """Wait until nothing runs or waits; False if that takes longer than `timeout` seconds."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Take no more work."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _place(self, is_long: bool) -> None:
        if self._fits(is_long):  # whoever waits and fits has been let in already
            self._take(is_long)
            return
        if len(self._waiting) >= self.max_queue:
            seconds = max(1, round(self._mean_s * len(self._waiting) / self.max_active))
            raise Refused(
                429,
                f"{len(self._waiting)} requests wait already, which is the most that this server takes; try again in "
                f"{seconds} s",
                code="overloaded",
                headers={"retry-after": str(seconds)},
                extra={"error_type": "overloaded"},
            )
        one = _Waiting(asyncio.get_running_loop().create_future(), is_long)
        self._waiting.append(one)
        self._idle.clear()
        try:
            await one.granted
        except asyncio.CancelledError:
            if one in self._waiting:
                self._waiting.remove(one)
            elif one.granted.done() and not one.granted.cancelled():
                self._free(is_long)
            self._note_idle()
            raise

    def _fits(self, is_long: bool) -> bool:
        return self.n_active < self.max_active and not (is_long and self._n_long >= self.max_long)

    def _take(self, is_long: bool) -> None:
        self.n_active += 1
        self._n_long += is_long
        self._idle.clear()

    def _free(self, is_long: bool) -> None:
        self.n_active -= 1
        self._n_long -= is_long
        # In order, but short ones pass long ones that may not begin yet.
        for one in list(self._waiting):
            if self._fits(one.is_long):
                self._waiting.remove(one)
                if not one.granted.done():
                    self._take(one.is_long)
                    one.granted.set_result(None)
        self._note_idle()

    def _note_idle(self) -> None:
        if not self.n_active and not self._waiting:
            self._idle.set()


def _compute_alone() -> None:
    """Keep the front ends of many requests, which run at once, from sharing every small product among processors."""
    from auricle.engines.cpu.workers import compute_alone

    compute_alone()
