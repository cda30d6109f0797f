"""A request's place in the cluster: cancelling it reaches the replica that works on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from auricle.server.scheduling import Cancelled, Compute, Ticket


class Response(Protocol):
    """What Ray gives for a call: it can be cancelled from any thread."""

    def cancel(self) -> None:
        """End the call, wherever it is."""
        ...


class RemoteTicket(Ticket):
    """One request; at most one call for it is under way."""

    def __init__(self, background: bool = False) -> None:
        self.background = background
        self._gone = threading.Event()
        self._lock = threading.Lock()
        self._response: Response | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the request was cancelled."""
        return self._gone.is_set()

    def __call__(self, key: Hashable, rows: Sequence[Any], compute: Compute) -> Sequence[Any]:
        """Compute rows at once: batches are put together where the model is."""
        self.check()
        return compute(rows)

    def check(self) -> None:
        """Raise `Cancelled` if the request was cancelled."""
        if self._gone.is_set():
            raise Cancelled("the request was cancelled")

    def cancel(self) -> None:
        """End the call that is under way, and begin no other."""
        with self._lock:
            self._gone.set()
            response = self._response
        if response is not None:
            # In a thread: Ray waits there until it knows which replica has the call.
            threading.Thread(target=response.cancel, name="auricle-cancel", daemon=True).start()

    def pause(self, seconds: float) -> None:
        """Wait, unless the request is cancelled."""
        self._gone.wait(seconds)
        self.check()

    @contextmanager
    def calling(self, call: Callable[[], Any]) -> Iterator[Any]:
        """Give the response of a call that `cancel` can end."""
        self.check()
        response = call()
        with self._lock:
            self._response = response
        try:
            if self._gone.is_set():
                response.cancel()
            self.check()
            yield response
        finally:
            with self._lock:
                self._response = None


class RemotePlaces:
    """Gives out tickets for a model in the cluster; what waits, waits at its replicas."""

    def __init__(self, close: Callable[[], None]) -> None:
        """`close` lets go of the replicas; it blocks."""
        self.close = close

    def ticket(self, background: bool = False) -> RemoteTicket:
        """Return a new request's place; `background` ones yield to others at their replica."""
        return RemoteTicket(background)

    @property
    def n_waiting(self) -> int:
        """How many rows wait here: none."""
        return 0
