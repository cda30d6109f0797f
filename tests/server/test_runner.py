"""Places for work: how much at once, who waits, who is refused, and what a cancelled request leaves behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from auricle.server.errors import Refused
from auricle.server.runner import Runner
from auricle.server.scheduling import Batcher, Cancelled, Ticket

DEADLINE_S = 10


class Gate:
    """Work that goes on until it is let through."""

    def __init__(self) -> None:
        self.n_begun = 0
        self.open = threading.Event()

    def __call__(self) -> str:
        self.n_begun += 1
        assert self.open.wait(DEADLINE_S)
        return "done"


@asynccontextmanager
async def made(max_active: int, max_queue: int) -> AsyncIterator[tuple[Runner, Callable[[], Ticket]]]:
    runner, batcher = Runner(max_active, max_queue), Batcher(1)
    try:
        yield runner, batcher.ticket
    finally:
        runner.close()
        batcher.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.001)


def test_more_than_the_queue_takes_is_refused_with_the_time_to_come_back() -> None:
    async def main() -> None:
        async with made(1, 2) as (runner, ticket):
            gate = Gate()
            tasks = [asyncio.create_task(runner.run(gate, ticket())) for _ in range(3)]
            await until(lambda: runner.n_waiting == 2 and gate.n_begun == 1)
            assert runner.is_full
            with pytest.raises(Refused) as refused:
                await runner.run(gate, ticket())
            assert refused.value.status == 429
            assert int(refused.value.headers["retry-after"]) >= 1
            gate.open.set()
            assert await asyncio.gather(*tasks) == ["done"] * 3
            assert (runner.n_active, runner.n_waiting) == (0, 0)

    asyncio.run(main())


def test_long_work_takes_half_of_the_places_and_short_work_passes_it() -> None:
    async def main() -> None:
        async with made(2, 10) as (runner, ticket):
            long, short = Gate(), Gate()
            tasks = [asyncio.create_task(runner.run(long, ticket(), is_long=True)) for _ in range(3)]
            await until(lambda: long.n_begun == 1)
            short.open.set()
            assert await runner.run(short, ticket()) == "done"
            assert long.n_begun == 1
            long.open.set()
            assert await asyncio.gather(*tasks) == ["done"] * 3

    asyncio.run(main())


def test_a_request_that_is_cancelled_while_it_waits_leaves_its_place() -> None:
    async def main() -> None:
        async with made(1, 5) as (runner, ticket):
            gate = Gate()
            first = asyncio.create_task(runner.run(gate, ticket()))
            await until(lambda: gate.n_begun == 1)
            waiting = asyncio.create_task(runner.run(gate, ticket()))
            await until(lambda: runner.n_waiting == 1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert runner.n_waiting == 0
            gate.open.set()
            assert await first == "done"
            assert gate.n_begun == 1

    asyncio.run(main())


def test_a_request_that_is_cancelled_in_work_ends_it_and_frees_its_place_then() -> None:
    async def main() -> None:
        async with made(1, 5) as (runner, ticket):
            one, begun = ticket(), threading.Event()

            def work() -> None:
                begun.set()
                while True:
                    one.check()

            running = asyncio.create_task(runner.run(work, one))
            await asyncio.to_thread(begun.wait, DEADLINE_S)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await runner.drained(DEADLINE_S)
            assert runner.n_active == 0

    asyncio.run(main())


def test_what_work_raises_comes_to_its_caller() -> None:
    async def main() -> None:
        async with made(1, 5) as (runner, ticket):
            one = ticket()
            one.is_cancelled = True
            with pytest.raises(Cancelled):
                await runner.run(one.check, one)

    asyncio.run(main())


def test_draining_waits_for_what_was_accepted_and_no_longer_than_it_may() -> None:
    async def main() -> None:
        async with made(1, 5) as (runner, ticket):
            gate = Gate()
            tasks = [asyncio.create_task(runner.run(gate, ticket())) for _ in range(2)]
            await until(lambda: gate.n_begun == 1)
            assert not await runner.drained(0.01)
            gate.open.set()
            assert await runner.drained(DEADLINE_S)
            assert await asyncio.gather(*tasks) == ["done"] * 2

    asyncio.run(main())
