"""Where texts are written for requests: one thread for each model moves all of them on, a token at a time.

Requests that come meanwhile join those that are being written, and one that goes away leaves before the next token.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auricle.server.scheduling import Cancelled, Ticket

if TYPE_CHECKING:
    from auricle.pipelines.writer import Piece, Writing

logger = logging.getLogger("auricle.server")


@dataclass(eq=False)
class _Order:
    """A text that is being written, and who is told of it, from the desk's thread."""

    writing: Writing
    told: Callable[[list[Piece]], None]
    ended: Callable[[BaseException | None], None]


class Desk:
    """Writes the texts of one model; stands where models of other tasks have their `Batcher`."""

    def __init__(self, writer: Any, on_batch: Callable[[int], None] | None = None, name: str = "model") -> None:
        """Take the model's `Writer`; `on_batch` is told, for every token, how many texts got one."""
        self._writer = writer
        self._on_batch = on_batch
        self._changed = threading.Condition()
        self._orders: list[_Order] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name=f"auricle-{name}", daemon=True)
        self._thread.start()

    def ticket(self, background: bool = False) -> Ticket:
        """Refuse: what writes is asked by `add`."""
        raise TypeError("a model that writes takes texts by add(), not tickets")

    @property
    def n_waiting(self) -> int:
        """How many texts are being written or wait to be."""
        with self._changed:
            return len(self._orders)

    def add(
        self,
        writing: Writing,
        told: Callable[[list[Piece]], None],
        ended: Callable[[BaseException | None], None],
    ) -> None:
        """Write a text that was begun; `told` gets its pieces, then `ended` None, or the error that it met."""
        with self._changed:
            if self._is_closed:
                raise Cancelled("the model is being unloaded")
            self._orders.append(_Order(writing, told, ended))
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread and what is still being written."""
        with self._changed:
            self._is_closed = True
            for order in self._orders:
                order.writing.close()
            self._changed.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._orders and not self._is_closed:
                    self._changed.wait()
                orders = list(self._orders)
                is_closed = self._is_closed
            left = [order for order in orders if not self._tell(order)]
            if is_closed:
                for order in left:
                    order.ended(Cancelled("the model is being unloaded"))
                return
            self._advance(left)

    def _advance(self, orders: list[_Order]) -> None:
        """Write a token of each text; where none is left, let go of what they needed."""
        if orders and self._on_batch is not None:
            self._on_batch(len(orders))
        try:
            if orders:
                self._writer.advance(orders[0].writing)
            else:
                self._writer.sweep()
        except Exception as error:
            # Every text that was being written has it, and is told.
            logger.error("writing has failed: %s", error, exc_info=error)

    def _tell(self, order: _Order) -> bool:
        """Tell what is new of a text, and whether it is over; then it is forgotten."""
        is_over = order.writing.is_over  # before its pieces: none come after it
        pieces = order.writing.taken()
        if pieces:
            order.told(pieces)
        if is_over:
            with self._changed:
                self._orders.remove(order)
            order.ended(order.writing.error)
        return is_over


__all__ = ["Desk"]
