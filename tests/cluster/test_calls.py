"""What the server does with the answers of replicas, with replicas that are made up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'auricle[ray]'")

from ray.exceptions import RayActorError, TaskCancelledError

from auricle.cluster import calls
from auricle.cluster.calls import Listener, Replicas
from auricle.cluster.journal_copy import JournalCopy
from auricle.cluster.tickets import RemoteTicket
from auricle.cluster.wire import Ended, Kept, Listened, Said
from auricle.errors import AudioFormatError
from auricle.results import Segment, Transcript
from auricle.server.errors import Refused
from auricle.server.scheduling import Cancelled

ONE, TWO, THREE = (Segment(text, start, start + 1.0) for text, start in (("a", 0.0), ("b", 1.0), ("c", 2.0)))
DEADLINE_S = 10.0


class Response:
    """Gives what a replica tells; a call in the list is made, an error raised."""

    def __init__(self, told: list[Any]) -> None:
        self.told, self.cancelled = told, threading.Event()

    def __iter__(self) -> Iterator[Any]:
        for one in self.told:
            if isinstance(one, Exception):
                raise one
            if callable(one):
                one()
            else:
                yield one

    def cancel(self) -> None:
        self.cancelled.set()


def replicas(
    responses: list[Response], sent: list[Any], on_batch: Callable[[str, int], None] | None = None
) -> Replicas:
    def remote(work: Any) -> Response:
        sent.append(work)
        return responses[len(sent) - 1]

    def options(stream: bool) -> Any:
        return SimpleNamespace(transcribe=SimpleNamespace(remote=remote))

    return Replicas(SimpleNamespace(options=options, hear=None), "model", on_batch)


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture
def listener(heard: list[Any]) -> Listener:
    return Listener(JournalCopy(None), heard.extend, heard.append)


def test_a_second_replica_gets_the_journal_of_the_first_and_nothing_is_told_twice(
    listener: Listener, heard: list[Any]
) -> None:
    first = [(Kept(0, b"h\n"), Kept(2, b"1\n"), Said((ONE,)), Listened(1.0)), (Kept(4, b"2\n"), Said((TWO,)))]
    second = [(Said((ONE, TWO)), Listened(0.5), Kept(6, b"3\n"), Said((THREE,)), Listened(3.0))]
    end = (Ended(Transcript("a b c"), ()),)
    sent: list[Any] = []
    some = replicas([Response([*first, RayActorError()]), Response([*second, end])], sent)
    assert some.transcribe(lambda journal: journal, listener, RemoteTicket()).text == "a b c"
    assert sent == [b"", b"h\n1\n2\n"]
    assert heard == [ONE, 1.0, TWO, THREE, 3.0]


def test_errors_of_a_recording_are_raised_and_not_tried_again(listener: Listener) -> None:
    sent: list[Any] = []
    some = replicas([Response([(Ended(AudioFormatError("no audio"), ()),)])], sent)
    with pytest.raises(AudioFormatError, match="no audio"):
        some.transcribe(lambda journal: journal, listener, RemoteTicket())
    assert len(sent) == 1


def test_a_recording_that_kills_every_replica_is_refused(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PAUSES_S", (0.0, 0.0, 0.0))
    some = replicas([Response([RayActorError()]) for _ in range(3)], [])
    with pytest.raises(Refused, match="3 replicas of model were lost") as refused:
        some.transcribe(lambda journal: journal, listener, RemoteTicket())
    assert refused.value.status == 503
    assert "retry-after" in refused.value.headers


def test_cancelling_reaches_the_call_and_ends_the_tries(listener: Listener) -> None:
    ticket = RemoteTicket()
    response = Response([(Listened(1.0),), ticket.cancel, TaskCancelledError()])
    sent: list[Any] = []
    with pytest.raises(Cancelled):
        replicas([response], sent).transcribe(lambda journal: journal, listener, ticket)
    assert response.cancelled.wait(DEADLINE_S)
    assert len(sent) == 1


def test_a_cancelled_ticket_begins_no_call(listener: Listener) -> None:
    ticket = RemoteTicket()
    ticket.cancel()
    with pytest.raises(Cancelled):
        replicas([], []).transcribe(lambda journal: journal, listener, ticket)


def test_the_sizes_of_batches_are_told(listener: Listener) -> None:
    sizes: list[tuple[str, int]] = []
    some = replicas([Response([(Ended(Transcript(""), (3, 8)),)])], [], lambda *one: sizes.append(one))
    some.transcribe(lambda journal: journal, listener, RemoteTicket())
    assert sizes == [("model", 3), ("model", 8)]


def test_a_journal_on_disk_is_taken_up_without_the_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "job.jsonl"
    path.write_bytes(b'{"a":1}\n{"b":2}\n{"c"')
    copy = JournalCopy(path)
    assert copy.content() == b'{"a":1}\n{"b":2}\n'
    copy.add(Kept(16, b'{"d":4}\n'))
    assert path.read_bytes() == copy.content() == b'{"a":1}\n{"b":2}\n{"d":4}\n'
    copy.close()


def test_a_journal_that_nobody_asked_for_leaves_no_file(tmp_path: Path) -> None:
    copy = JournalCopy(None)
    copy.add(Kept(0, b"1\n"))
    copy.add(Kept(2, b"2\n"))
    assert copy.content() == b"1\n2\n"
    copy.close()
