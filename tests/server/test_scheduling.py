"""Rows of many requests in common batches: order, fairness, errors, cancelling."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from auricle.server.scheduling import Batcher, Cancelled, Ticket

DEADLINE_S = 10


class Computer:
    """Doubles numbers, one batch at a time and only when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.may_go = threading.Semaphore(0)

    def __call__(self, rows: Sequence[Any]) -> list[Any]:
        self.batches.append(list(rows))
        assert self.may_go.acquire(timeout=DEADLINE_S)
        return [2 * row for row in rows]


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    made = Batcher(max_rows=4)
    yield made
    made.close()


def start(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run in a thread; what it returns or raises is put into the list."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def wait_for(condition: Callable[[], bool]) -> None:
    ticked = threading.Event()
    for _ in range(DEADLINE_S * 200):
        if condition():
            return
        ticked.wait(0.005)
    raise AssertionError("the condition never came true")


def blocked(batcher: Batcher, computer: Computer) -> tuple[threading.Thread, list[Any]]:
    """Keep the batcher busy with a first row, so that what follows waits together."""
    running = start(lambda: batcher.ticket()("first", [0], computer))
    wait_for(lambda: bool(computer.batches))
    return running


def test_rows_of_several_requests_are_one_batch_and_come_back_in_order(batcher: Batcher) -> None:
    computer = Computer()
    first, _ = blocked(batcher, computer)
    one, of_one = start(lambda: batcher.ticket()("k", [1, 2], computer))
    wait_for(lambda: batcher.n_waiting == 2)
    two, of_two = start(lambda: batcher.ticket()("k", [10, 20], computer))
    wait_for(lambda: batcher.n_waiting == 4)
    for _ in range(2):
        computer.may_go.release()
    for thread in (first, one, two):
        thread.join(DEADLINE_S)
    assert computer.batches[1] == [1, 10, 2, 20]
    assert (of_one, of_two) == ([[2, 4]], [[20, 40]])


def test_rows_with_different_keys_are_never_mixed(batcher: Batcher) -> None:
    computer = Computer()
    first, _ = blocked(batcher, computer)
    one, of_one = start(lambda: batcher.ticket()("a", [1], computer))
    wait_for(lambda: batcher.n_waiting == 1)
    two, of_two = start(lambda: batcher.ticket()("b", [2], computer))
    wait_for(lambda: batcher.n_waiting == 2)
    for _ in range(3):
        computer.may_go.release()
    for thread in (first, one, two):
        thread.join(DEADLINE_S)
    assert computer.batches[1:] == [[1], [2]]
    assert (of_one, of_two) == ([[2]], [[4]])


def test_a_short_request_is_in_the_next_batch_though_a_long_one_waits(batcher: Batcher) -> None:
    computer = Computer()
    first, _ = blocked(batcher, computer)
    long, _ = start(lambda: batcher.ticket()("k", list(range(100, 120)), computer))
    wait_for(lambda: batcher.n_waiting == 20)
    short, of_short = start(lambda: batcher.ticket()("k", [7], computer))
    wait_for(lambda: batcher.n_waiting == 21)
    for _ in range(2):
        computer.may_go.release()
    short.join(DEADLINE_S)
    assert of_short == [[14]]
    assert computer.batches[1] == [100, 7, 101, 102]
    for _ in range(5):
        computer.may_go.release()
    for thread in (first, long):
        thread.join(DEADLINE_S)


def test_background_rows_fill_what_others_leave_and_still_have_their_turn(batcher: Batcher) -> None:
    computer = Computer()
    first, _ = blocked(batcher, computer)
    behind, _ = start(lambda: batcher.ticket(background=True)("k", list(range(8)), computer))
    wait_for(lambda: batcher.n_waiting == 8)
    before, _ = start(lambda: batcher.ticket()("k", list(range(100, 114)), computer))
    wait_for(lambda: batcher.n_waiting == 22)
    for _ in range(7):
        computer.may_go.release()
    for thread in (first, behind, before):
        thread.join(DEADLINE_S)
    begins = [batch[0] for batch in computer.batches[1:]]
    assert begins[0] == 100, "who is waited for comes first"
    assert any(one < 100 for one in begins[:3]), "one batch in four begins with the others"


def test_an_error_comes_to_the_request_whose_row_it_is(batcher: Batcher) -> None:
    def halves(rows: Sequence[int]) -> list[float]:
        return [1 / row for row in rows]

    computer = Computer()
    first, _ = blocked(batcher, computer)
    bad, of_bad = start(lambda: batcher.ticket()("k", [0], halves))
    wait_for(lambda: batcher.n_waiting == 1)
    good, of_good = start(lambda: batcher.ticket()("k", [2, 4], halves))
    wait_for(lambda: batcher.n_waiting == 3)
    computer.may_go.release()
    for thread in (first, bad, good):
        thread.join(DEADLINE_S)
    assert isinstance(of_bad[0], ZeroDivisionError)
    assert of_good == [[0.5, 0.25]]


def test_after_an_error_amid_many_rows_the_others_are_served(batcher: Batcher) -> None:
    def fails(rows: Sequence[int]) -> list[int]:
        raise ZeroDivisionError

    # More rows than a batch takes: those left of the failed call must not stay and stop the thread.
    failing, of_failing = start(lambda: batcher.ticket()("k", list(range(10)), fails))
    failing.join(DEADLINE_S)
    assert isinstance(of_failing[0], ZeroDivisionError)
    after, of_after = start(lambda: batcher.ticket()("other", [1], lambda rows: [2 * row for row in rows]))
    after.join(DEADLINE_S)
    assert of_after == [[2]]
    assert batcher.n_waiting == 0


def test_a_cancelled_request_waits_no_longer_and_its_rows_are_not_computed(batcher: Batcher) -> None:
    computer = Computer()
    first, _ = blocked(batcher, computer)
    ticket: Ticket = batcher.ticket()
    gone, of_gone = start(lambda: ticket("k", [1, 2], computer))
    wait_for(lambda: batcher.n_waiting == 2)
    ticket.cancel()
    gone.join(DEADLINE_S)
    assert isinstance(of_gone[0], Cancelled)
    computer.may_go.release()
    first.join(DEADLINE_S)
    assert computer.batches == [[0]]
    with pytest.raises(Cancelled):
        ticket("k", [3], computer)


def test_a_closed_batcher_lets_nobody_wait() -> None:
    batcher, computer = Batcher(max_rows=4), Computer()
    first, of_first = blocked(batcher, computer)
    waiting, of_waiting = start(lambda: batcher.ticket()("k", [1], computer))
    wait_for(lambda: batcher.n_waiting == 1)
    computer.may_go.release()
    batcher.close()
    for thread in (first, waiting):
        thread.join(DEADLINE_S)
    assert of_first == [[0]]
    assert isinstance(of_waiting[0], Cancelled) or of_waiting == [[2]]
    with pytest.raises(Cancelled):
        batcher.ticket()("k", [1], computer)
