"""One replica, without Ray around it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ray", reason="the extra ray is not installed: pip install 'auricle[ray]'")

from auricle.audio.limits import AudioLimits
from auricle.cluster import depot, replica
from auricle.cluster.depot import Depot, parcel
from auricle.cluster.replica import SpeechReplica
from auricle.cluster.scratch import Scratch
from auricle.cluster.wire import Ended, Kept, ReplicaError, Said, Sound, Told, Work
from auricle.errors import AudioFormatError
from auricle.pipelines.speech_parameters import read_speech_parameters
from auricle.server.recognition import Source

SETTINGS = {"device": "cpu", "dtype": "auto", "engine": "auto", "batch_size": 4, "max_active": 4}
DEADLINE_S = 60.0


@pytest.fixture
def reads() -> list[int]:
    return []


@pytest.fixture
def one(listen: Any, reads: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SpeechReplica]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(replica, "load_pipeline", lambda place, settings: listen)
    there = Depot()

    async def read(path: str, offset: int, size: int) -> bytes:
        reads.append(offset)
        return there.read(path, offset, size)

    made = SpeechReplica("deployment", "bundled", SETTINGS, SimpleNamespace(read=SimpleNamespace(remote=read)))
    yield made
    made.close()
    assert not list(tmp_path.glob("auricle-replica-*"))


def work(path: Path, journal: bytes = b"", **parameters: Any) -> Work:
    return Work(parcel(path), parameters, AudioLimits(), journal, False)


async def told_of(replica: SpeechReplica, work: Work) -> list[Told]:
    return [told async for news in replica.transcribe(work) for told in news]


def test_what_is_told_keeps_up_with_the_journal(one: SpeechReplica, recordings: list[Source], listen: Any) -> None:
    told = asyncio.run(told_of(one, work(recordings[-1].path)))
    (own,) = listen.transcripts(str(recordings[-1].path))
    assert isinstance(told[-1], Ended)
    assert told[-1].outcome == own
    assert sum(told[-1].batches) >= 1
    assert isinstance(told[0], Kept), "what keeps segments comes before them"
    assert [segment for one in told if isinstance(one, Said) for segment in one.segments] == list(own.segments)


def test_a_journal_saves_the_work_that_is_done(one: SpeechReplica, recordings: list[Source], listen: Any) -> None:
    path = recordings[-1].path
    journal = b"".join(told.lines for told in asyncio.run(told_of(one, work(path))) if isinstance(told, Kept))
    again = asyncio.run(told_of(one, work(path, journal)))
    assert isinstance(again[-1], Ended)
    assert again[-1].outcome == next(listen.transcripts(str(path)))
    assert not any(isinstance(told, Kept) for told in again)


def test_a_long_recording_comes_in_pieces(
    one: SpeechReplica, recordings: list[Source], reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depot, "CARRIED_BYTES", 1000)
    monkeypatch.setattr(depot, "PIECE_BYTES", 100_000)
    told = asyncio.run(told_of(one, work(recordings[-1].path)))
    assert isinstance(told[-1], Ended)
    assert not isinstance(told[-1].outcome, Exception)
    assert reads == [0, 100_000, 200_000]


def test_errors_are_told_as_what_they_are(one: SpeechReplica, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"fLaC" + bytes(1000))
    (told,) = asyncio.run(told_of(one, work(damaged)))
    assert isinstance(told, Ended)
    assert isinstance(told.outcome, AudioFormatError)


def test_what_nobody_foresaw_is_told_with_its_traceback(
    one: SpeechReplica, recordings: list[Source], listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(type(listen), "transcripts", broken)
    (told,) = asyncio.run(told_of(one, work(recordings[0].path)))
    assert isinstance(told, Ended)
    assert isinstance(told.outcome, ReplicaError)
    assert "in broken" in str(told.outcome)


def test_who_goes_away_ends_the_work_and_leaves_no_file(
    one: SpeechReplica, long_recording: Source, reads: list[int], tmp_path: Path
) -> None:
    async def main() -> None:
        async def follow() -> None:
            async for _ in one.transcribe(work(long_recording.path)):
                begun.set()

        begun = asyncio.Event()
        task = asyncio.create_task(follow())
        await asyncio.wait_for(begun.wait(), DEADLINE_S)
        task.cancel()
        await asyncio.wait([task], timeout=DEADLINE_S)
        assert task.cancelled()

    asyncio.run(main())
    assert reads, "it does not travel with the request"
    assert not list(tmp_path.glob("auricle-replica-*/job-*"))


def test_a_moment_of_a_stream_is_what_the_recognizer_hears(
    one: SpeechReplica, waveform: np.ndarray, listen: Any
) -> None:
    options = read_speech_parameters({"return_timestamps": "word"}, listen.dialect).options
    ended = asyncio.run(one.hear(Sound(waveform[:48000], 16000, options)))
    assert not isinstance(ended.outcome, Exception)
    assert ended.outcome.text == listen({"array": waveform[:48000], "sampling_rate": 16000})["text"]


def test_a_new_replica_removes_what_a_killed_one_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "auricle-replica-of-a-dead-process"
    (left / "job-1").mkdir(parents=True)
    (left / "lock").touch()
    alive = Scratch()
    other = Scratch()
    assert not left.exists()
    assert alive.folder.exists()
    assert other.folder.exists()
    alive.close()
    other.close()


def test_describing_says_what_the_server_needs(one: SpeechReplica, listen: Any) -> None:
    described = asyncio.run(one.describe())
    assert described.identity.revision == listen.identity.revision
    assert described.identity.folder is None
    assert described.dialect == listen.dialect.model
