"""Batches across requests: what many threads ask for is computed together, and no request waits for a long one.

Every request has a `Ticket`. Its recognizer hands rows (windows) to the ticket and waits; one thread for each model
takes rows in turns, one of each ticket, and computes those that go together. So a request with a single window waits
for the batch that is being computed and for no more, however many windows others have.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Compute = Callable[[Sequence[Any]], Sequence[Any]]
# One batch in so many begins with work that nobody waits for, so that it goes on under any load.
BACKGROUND_TURN = 4


class Cancelled(Exception):  # noqa: N818  nothing went wrong
    """The request that a computation was for is gone."""


@dataclass(eq=False)
class _Call:
    """Rows of one ticket that wait to be computed."""

    key: Hashable
    rows: deque[tuple[int, Any]]
    compute: Compute
    results: list[Any]
    n_missing: int
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Places(Protocol):
    """What gives requests their tickets: a `Batcher`, or what stands for batchers on other machines."""

    def ticket(self, background: bool = False) -> Ticket:
        """Return a new request's place; `background` ones yield to others."""
        ...

    @property
    def n_waiting(self) -> int:
        """How many rows wait."""
        ...

    def close(self) -> None:
        """Let go of what computes; blocks."""
        ...


class Ticket:
    """One request's place at a batcher; a `Scheduler` for its recognizer."""

    def __init__(self, batcher: Batcher, background: bool = False) -> None:
        self._batcher = batcher
        self.background = background
        self.is_cancelled = False
        self.calls: deque[_Call] = deque()

    def __call__(self, key: Hashable, rows: Sequence[Any], compute: Compute) -> Sequence[Any]:
        """Compute rows, in however many batches; wait for all of them.

        Raises:
            Cancelled: the request was cancelled. Whatever `compute` raises for these rows.
        """
        self.check()
        if not rows:
            return []
        call = _Call(key, deque(enumerate(rows)), compute, [None] * len(rows), len(rows))
        self._batcher.add(self, call)
        call.done.wait()
        if call.error is not None:
            raise call.error
        return call.results

    def check(self) -> None:
        """Raise `Cancelled` if the request was cancelled."""
        if self.is_cancelled:
            raise Cancelled("the request was cancelled")

    def cancel(self) -> None:
        """Drop what waits; what is being computed is computed to its end and dropped then."""
        self._batcher.cancel(self)


class Batcher:
    """Computes the rows of all tickets of one model, in one thread."""

    def __init__(self, max_rows: int, on_batch: Callable[[int], None] | None = None, name: str = "model") -> None:
        """Take at most `max_rows` in a batch; `on_batch` is told how many there were."""
        self.max_rows = max_rows
        self._on_batch = on_batch
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()  # tickets with rows, the one that waited longest first
        self._is_closed = False
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._work, name=f"auricle-{name}", daemon=True)
        self._thread.start()

    def ticket(self, background: bool = False) -> Ticket:
        """Return a new request's place; rows of `background` ones fill what others leave of a batch."""
        return Ticket(self, background)

    @property
    def n_waiting(self) -> int:
        """How many rows wait."""
        with self._changed:
            return sum(len(call.rows) for ticket in self._waiting for call in ticket.calls)

    def close(self) -> None:
        """End the thread; what still waits raises `Cancelled`."""
        with self._changed:
            self._is_closed = True
            for ticket in list(self._waiting):
                self._drop(ticket)
            self._changed.notify_all()
        self._thread.join()

    def add(self, ticket: Ticket, call: _Call) -> None:
        """Let a ticket's rows wait for their turn."""
        with self._changed:
            if self._is_closed or ticket.is_cancelled:
                raise Cancelled("the request was cancelled")
            ticket.calls.append(call)
            if ticket not in self._waiting:
                self._waiting.append(ticket)
            self._changed.notify_all()

    def cancel(self, ticket: Ticket) -> None:
        """Drop a ticket's rows."""
        with self._changed:
            ticket.is_cancelled = True
            self._drop(ticket)

    def _drop(self, ticket: Ticket) -> None:
        for call in ticket.calls:
            call.error = call.error or Cancelled("the request was cancelled")
            call.done.set()
        ticket.calls.clear()
        if ticket in self._waiting:
            self._waiting.remove(ticket)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                batch = self._take()
            if self._on_batch is not None:
                self._on_batch(len(batch))
            self._compute(batch)

    def _take(self) -> list[tuple[_Call, int, Any]]:
        """Take the next batch: rows that go together, one of each ticket in turns."""
        begins_behind = next(self._numbers) % BACKGROUND_TURN == BACKGROUND_TURN - 1
        order = sorted(self._waiting, key=lambda ticket: ticket.background != begins_behind)
        key = order[0].calls[0].key
        batch: list[tuple[_Call, int, Any]] = []
        served: list[Ticket] = []
        while len(batch) < self.max_rows:
            before = len(batch)
            for ticket in order:
                call = next((one for one in ticket.calls if one.key == key and one.rows), None)
                if call is not None and len(batch) < self.max_rows:
                    batch.append((call, *call.rows.popleft()))
                    served.append(ticket)
            if len(batch) == before:
                break
        for ticket in dict.fromkeys(served):
            # Who was served waits behind those who were not.
            self._waiting.remove(ticket)
            ticket.calls = deque(call for call in ticket.calls if call.rows)
            if ticket.calls:
                self._waiting.append(ticket)
        return batch

    def _compute(self, batch: list[tuple[_Call, int, Any]]) -> None:
        calls = list(dict.fromkeys(call for call, _, _ in batch))
        try:
            results = calls[0].compute([row for _, _, row in batch])
        except BaseException as error:  # whatever it is belongs to who asked, in its own thread
            if len(calls) > 1:
                # One request's rows are not to fail for those of another.
                for call in calls:
                    self._compute([one for one in batch if one[0] is call])
                return
            self._fail(calls[0], error)
            return
        for (call, place, _), result in zip(batch, results, strict=True):
            call.results[place] = result
            call.n_missing -= 1
            if not call.n_missing:
                call.done.set()

    def _fail(self, call: _Call, error: BaseException) -> None:
        """End a call with an error; its rows that wait for a later batch are dropped."""
        with self._changed:
            call.error = error
            for ticket in list(self._waiting):
                if call in ticket.calls:
                    ticket.calls.remove(call)
                    if not ticket.calls:
                        self._waiting.remove(ticket)
        call.done.set()
