"""Replicas on two machines: the texts of one process, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.errors import AudioError, AuricleError, ModelNotFoundError, OptionError
from auricle.results import Segment
from auricle.server.recognition import Event, Heard, Progress, Source

pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'auricle[ray]'")

# Ray leaves pipes and sockets of its processes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def expected(listen: Any, recordings: list[Source]) -> list[str]:
    return [listen(str(one.path))["text"] for one in recordings]


def replica_count(served: Any) -> int:
    return served.registry.replicas("bundled")


def test_a_model_that_cannot_be_loaded_says_why_and_leaves_nothing(served: Any, recordings: list[Source]) -> None:
    with pytest.raises(AuricleError, match=r"config\.json"):
        served.begin(served.recognition.recognize("broken", recordings[0], {})).result(DEADLINE_S)
    assert served.registry.state("broken") == "failed"


def test_a_busy_replica_gets_a_second_beside_it_on_the_other_machine(
    served: Any, recordings: list[Source], until: Any
) -> None:
    served.texts(recordings[:1])
    assert replica_count(served) == 1
    load = recordings * 4
    until(lambda: bool(served.texts(load)) and replica_count(served) == 2, "a second replica")
    assert len(served.processes()) == 2


def test_texts_are_those_of_one_process_and_both_replicas_make_them(
    two: Any, recordings: list[Source], expected: list[str]
) -> None:
    before = {pid: seconds_of(pid) for pid in two.processes()}
    assert two.texts(recordings * 4) == expected * 4
    assert all(seconds_of(pid) > before[pid] + 0.1 for pid in two.processes())


def test_results_are_those_of_one_process(two: Any, recordings: list[Source], listen: Any) -> None:
    parameters = {"return_timestamps": "word"}
    found = two.begin(two.recognition.recognize("bundled", recordings[-1], parameters)).result(DEADLINE_S)
    assert found.result == listen(str(recordings[-1].path), **parameters)
    (own,) = listen.transcripts(str(recordings[-1].path), **parameters)
    assert found.transcript == own


def test_a_replica_killed_under_load_loses_no_request_and_is_replaced(
    two: Any, recordings: list[Source], expected: list[str], until: Any
) -> None:
    killed = two.processes()[0]
    begun = [two.begin(two.recognition.recognize(None, one, {})) for one in recordings * 5]
    begun[0].result(DEADLINE_S)
    os.kill(killed, signal.SIGKILL)
    assert [one.result(DEADLINE_S).transcript.text for one in begun] == expected * 5
    until(lambda: len(two.processes()) == 2 and replica_count(two) == 2, "a new replica")
    assert killed not in two.processes()


def test_a_recording_goes_on_where_its_replica_died_and_nothing_is_told_twice(
    two: Any, long_recording: Source, listen: Any, until: Any
) -> None:
    events: list[Event] = []
    work = two.recognition.recognize(None, long_recording, {"return_timestamps": "word"}, on_event=events.append)
    begun = two.begin(work)
    until(lambda: sum(isinstance(one, Heard) for one in events) >= 3, "segments")
    for killed in two.processes():
        os.kill(killed, signal.SIGKILL)
    until(lambda: two.registry.state("bundled") == "loading", "the loss is known")
    found = begun.result(DEADLINE_S)
    assert two.registry.state("bundled") == "ready"
    told = [segment for one in events if isinstance(one, Heard) for segment in one.segments]
    done = [one.done for one in events if isinstance(one, Progress)]
    alone: list[Segment] = []
    (own,) = listen.transcripts(str(long_recording.path), return_timestamps="word", told=alone.extend)
    assert found.transcript == own
    assert told == alone
    assert done == sorted(set(done))
    assert done[-1] == pytest.approx(own.duration)


def test_cancelling_ends_the_work_in_the_replica_and_its_journal_is_whole(
    two: Any, long_recording: Source, listen: Any, until: Any, tmp_path: Path
) -> None:
    events: list[Event] = []
    journal = tmp_path / "journal.jsonl"
    work = two.recognition.recognize(None, long_recording, {}, on_event=events.append, journal=journal)
    begun = two.begin(work)
    until(lambda: sum(isinstance(one, Heard) for one in events) >= 3, "segments")
    assert two.at_work()
    begun.cancel()
    until(lambda: not two.at_work(), "the recording is gone from the replica")
    path = str(long_recording.path)
    (own,) = listen.transcripts(path)
    assert max(one.done for one in events if isinstance(one, Progress)) < own.duration / 2
    done = [json.loads(line) for line in journal.read_bytes().splitlines()]
    assert len(done) > 3
    assert next(listen.transcripts(path, resume=journal)) == own
    assert [json.loads(line) for line in journal.read_bytes().splitlines()][: len(done)] == done


def test_errors_come_as_what_they_are(two: Any, recordings: list[Source], tmp_path: Any) -> None:
    damaged = tmp_path / "damaged.flac"
    damaged.write_bytes(b"fLaC" + bytes(2000))
    for name, source, parameters, kind in (
        (None, Source(damaged, "", 2004), {}, AudioError),
        (None, recordings[0], {"num_beams": "many"}, OptionError),
        ("nobody/nothing", recordings[0], {}, ModelNotFoundError),
    ):
        with pytest.raises(kind):
            two.begin(two.recognition.recognize(name, source, parameters)).result(DEADLINE_S)


def test_a_live_stream_hears_what_it_hears_in_one_process(two: Any, waveform: np.ndarray, listen: Any) -> None:
    def blocks() -> Iterator[np.ndarray]:
        return iter(np.split(waveform, range(4000, len(waveform), 4000)))

    async def streamed() -> str:
        async with two.registry.use("bundled") as model:
            remote = model.pipeline.scheduled(model.batcher.ticket())
            return await two.loop.run_in_executor(None, heard, remote)

    def heard(one: Any) -> str:
        return list(one.stream(blocks(), sampling_rate=16000))[-1].text

    assert two.begin(streamed()).result(DEADLINE_S) == heard(listen)


def test_a_machine_that_is_lost_loses_no_request(
    two: Any, recordings: list[Source], expected: list[str], until: Any
) -> None:
    begun = [two.begin(two.recognition.recognize(None, one, {})) for one in recordings * 4]
    begun[0].result(DEADLINE_S)
    two.nodes.remove_node(next(iter(two.nodes.worker_nodes)), allow_graceful=False)
    assert [one.result(DEADLINE_S).transcript.text for one in begun] == expected * 4
    until(lambda: replica_count(two) == 1, "the loss is known")
    assert two.registry.state("bundled") == "ready"


def seconds_of(pid: int) -> float:
    """Return how long a process has computed."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
