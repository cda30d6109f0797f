"""Jobs from the queue to their end, through stops, crashes and a second process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from auricle.errors import AudioFormatError, OptionError
from auricle.server.errors import Refused
from auricle.server.jobs.database import Database
from auricle.server.jobs.leases import MAX_CRASHES, Ending
from auricle.server.jobs.service import Jobs
from auricle.server.jobs.store import Order


def crash(jobs: Jobs) -> None:
    """End a process as kill -9 does: its tasks and its locks are gone, its rows stay."""
    for task in (*jobs._workers, *jobs._others):
        task.cancel()
    for run in jobs.worker._runs.values():
        run.is_lost = True
        run.interrupt()
    assert jobs._holder._file is not None
    jobs._holder._file.close()


def test_a_job_is_done_and_its_result_is_kept(bench: Any) -> None:
    async def main() -> None:
        async with bench.running() as jobs:
            await bench.submit(jobs, parameters={"return_timestamps": "word"})
            job = await bench.status(jobs, "job_1", "done")
            assert bench.recognition.calls[0]["parameters"] == {"return_timestamps": "word"}
            assert (job.done, job.duration) == (30.0, 30.0)
            assert job.started is not None
            assert job.finished is not None
            assert job.outcome["revision"] == "c0ffee"
            value = jobs.store.result("job_1")
            assert value is not None
            assert value["transcript"]["text"] == " word 0 word 1 word 2"
            assert value["pipeline"] == {"text": "word 0 word 1 word 2"}
            assert [one["text"] for one in jobs.store.segments("job_1")] == [" word 0", " word 1", " word 2"]

    asyncio.run(main())


def test_the_recording_is_measured_and_removed_when_the_job_ends(bench: Any) -> None:
    async def main() -> None:
        async with bench.running() as jobs:
            await bench.submit(jobs)
            await bench.status(jobs, "job_1", "done")
            source = bench.recognition.calls[0]["source"]
            assert source.size == len(b"RIFF\x00\x00\x00\x00WAVE and nothing that a fake would look at")
            assert len(source.sha256) == 64
            while source.path.exists():
                await asyncio.sleep(0.01)
            assert jobs.files.journal("job_1").exists()

    asyncio.run(main())


def test_no_more_jobs_run_at_once_than_may(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.hold()
        async with bench.running(max_jobs=2) as jobs:
            for number in range(5):
                await bench.submit(jobs, f"job_{number}")
            while bench.recognition.n_active < 2:
                await asyncio.sleep(0.005)
            bench.recognition.allow(100)
            for number in range(5):
                await bench.status(jobs, f"job_{number}", "done")
        assert bench.recognition.most_active == 2

    asyncio.run(main())


def test_waiting_jobs_know_their_place_and_begin_in_order(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.hold()
        async with bench.running() as jobs:
            made = [await bench.submit(jobs, f"job_{number}") for number in range(3)]
            await bench.status(jobs, "job_0", "running")
            assert [jobs.store.position(jobs.store.get(job.id)) for job in made] == [None, 1, 2]
            bench.recognition.allow(100)
            ended = [await bench.status(jobs, job.id, "done") for job in made]
            assert [job.started for job in ended] == sorted(job.started for job in ended)

    asyncio.run(main())


def test_an_error_fails_the_job_with_its_message(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.errors.append(AudioFormatError("talk.wav is no audio"))
        async with bench.running() as jobs:
            await bench.submit(jobs)
            job = await bench.status(jobs, "job_1", "failed")
            assert job.error == {"message": "talk.wav is no audio", "code": "invalid_audio"}

    asyncio.run(main())


def test_a_job_that_finds_no_room_is_tried_again(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.errors.append(Refused(429, "full", headers={"retry-after": "0"}))
        async with bench.running() as jobs:
            await bench.submit(jobs)
            await bench.status(jobs, "job_1", "done")
        assert len(bench.recognition.calls) == 2

    asyncio.run(main())


def test_a_waiting_job_is_cancelled_at_once_and_never_run(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.hold()
        async with bench.running() as jobs:
            await bench.submit(jobs, "job_1")
            await bench.status(jobs, "job_1", "running")
            await bench.submit(jobs, "job_2")
            job = await jobs.cancel("job_2")
            assert job is not None
            assert job.status == "cancelled"
            bench.recognition.allow(3)
            await bench.status(jobs, "job_1", "done")
        assert len(bench.recognition.calls) == 1

    asyncio.run(main())


def test_a_running_job_is_cancelled(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.hold()
        async with bench.running() as jobs:
            await bench.submit(jobs)
            await bench.status(jobs, "job_1", "running")
            await jobs.cancel("job_1")
            job = await bench.status(jobs, "job_1", "cancelled")
            assert job.error is None
            assert bench.recognition.n_active == 0

    asyncio.run(main())


def test_another_process_can_cancel_a_running_job(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.hold()
        async with bench.running() as jobs:
            await bench.submit(jobs)
            await bench.status(jobs, "job_1", "running")
            other = bench.make()
            await other.cancel("job_1")
            await bench.status(jobs, "job_1", "cancelled")
            await other.stop()

    asyncio.run(main())


def test_a_stopped_server_leaves_its_job_for_the_next_which_repeats_nothing(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.hold()
        async with bench.running() as jobs:
            await bench.submit(jobs)
            bench.recognition.allow(2)
            while bench.recognition.decoded != [0, 1]:
                await asyncio.sleep(0.005)
        bench.recognition.allow(100)
        async with bench.running() as jobs:
            job = await bench.status(jobs, "job_1", "done")
            assert job.n_crashes == 0
            assert [one["text"] for one in jobs.store.segments("job_1")] == [" word 0", " word 1", " word 2"]
        assert bench.recognition.decoded == [0, 1, 2]

    asyncio.run(main())


def test_a_killed_server_leaves_its_job_for_the_next_at_once(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.hold()
        dead = bench.new()
        await dead.start()
        await bench.submit(dead)
        bench.recognition.allow(2)
        while bench.recognition.decoded != [0, 1]:
            await asyncio.sleep(0.005)
        crash(dead)
        while bench.recognition.n_active:
            await asyncio.sleep(0.005)
        bench.recognition.allow(100)
        async with bench.running(lease_s=3600.0) as jobs:
            await bench.status(jobs, "job_1", "done")
            assert [one["text"] for one in jobs.store.segments("job_1")] == [" word 0", " word 1", " word 2"]
        assert bench.recognition.decoded == [0, 1, 2]

    asyncio.run(main())


def test_two_processes_never_run_one_job_twice(bench: Any) -> None:
    async def main() -> None:
        async with bench.running(max_jobs=2) as one, bench.running(max_jobs=2) as two:
            for number in range(20):
                await bench.submit((one, two)[number % 2], f"job_{number}")
            for number in range(20):
                await bench.status(one, f"job_{number}", "done")
        assert len(bench.recognition.calls) == 20

    asyncio.run(main())


def test_a_stuck_process_loses_its_job_and_can_change_nothing(bench: Any) -> None:
    stuck, other = bench.make(lease_s=-1.0), bench.make()
    asyncio.run(bench.submit(stuck))
    assert stuck.leases.claim() is not None
    taken = other.leases.claim()
    assert taken is not None
    assert taken.id == "job_1"
    assert not stuck.leases.beat("job_1", 1.0, None).is_held
    assert not stuck.leases.finish("job_1", Ending("failed"))
    assert other.leases.finish("job_1", Ending("done"))
    asyncio.run(stuck.stop())
    asyncio.run(other.stop())


def test_what_a_stuck_process_writes_into_its_journal_is_not_read(bench: Any) -> None:
    jobs = bench.make()
    asyncio.run(bench.submit(jobs))
    path = jobs.files.journal("job_1")
    path.write_text("0\n")
    with path.open("a") as stuck:
        jobs.files.fence("job_1")
        stuck.write("garbage")
        stuck.flush()
        assert path.read_text() == "0\n"
    asyncio.run(jobs.stop())


def test_a_job_that_kills_its_process_three_times_fails(bench: Any) -> None:
    asyncio.run(bench.submit(keeper := bench.make()))
    for _ in range(MAX_CRASHES):
        victim = bench.make()
        assert victim.leases.claim() is not None
        crash(victim)
    last = bench.make()
    assert last.leases.claim() is None
    job = last.store.get("job_1")
    assert job is not None
    assert job.status == "failed"
    assert job.error is not None
    assert "ended 3 times" in job.error["message"]
    for jobs in (keeper, last):
        asyncio.run(jobs.stop())


def test_a_job_that_gets_further_between_crashes_goes_on(bench: Any) -> None:
    asyncio.run(bench.submit(keeper := bench.make()))
    for number in range(MAX_CRASHES + 2):
        victim = bench.make()
        assert victim.leases.claim() is not None
        with victim.files.journal("job_1").open("a") as file:
            file.write(f"{number}\n")
        crash(victim)
    last = bench.make()
    assert last.leases.claim() is not None
    for jobs in (keeper, last):
        asyncio.run(jobs.stop())


def test_a_cached_transcript_tells_its_segments_too(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.is_cached = True
        async with bench.running() as jobs:
            await bench.submit(jobs)
            job = await bench.status(jobs, "job_1", "done")
            assert job.outcome["is_cached"]
            assert len(jobs.store.segments("job_1")) == 3

    asyncio.run(main())


def test_ended_jobs_are_removed_after_their_time_with_their_files(bench: Any) -> None:
    async def main() -> None:
        async with bench.running() as jobs:
            await bench.submit(jobs)
            await bench.status(jobs, "job_1", "done")
            jobs.sweep()
            assert jobs.store.get("job_1") is not None
        jobs = bench.make(kept_s=0.0)
        jobs.sweep()
        assert jobs.store.get("job_1") is None
        assert jobs.store.result("job_1") is None
        assert not jobs.files.journal("job_1").parent.exists()
        await jobs.stop()

    asyncio.run(main())


def test_a_database_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    file = sqlite3.connect(path)
    file.execute("PRAGMA user_version = 99")
    file.commit()
    file.close()
    with pytest.raises(OptionError, match="has format 99"):
        Database(path).open()


def test_the_database_is_for_its_owner_alone(bench: Any) -> None:
    jobs = bench.make()
    assert (bench.folder / "jobs.sqlite3").stat().st_mode & 0o077 == 0
    asyncio.run(jobs.stop())


def test_parameters_survive_the_database(bench: Any) -> None:
    given = {"temperature": [0.0, 0.2], "hotwords": ["Łódź"], "nested": {"a": None}}
    jobs = bench.make()
    asyncio.run(bench.submit(jobs, parameters=given))
    job = jobs.store.get("job_1")
    assert job is not None
    assert json.dumps(job.order.parameters) == json.dumps(given)
    asyncio.run(jobs.stop())


def test_segments_that_are_being_written_when_the_job_ends_are_written_once(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.hold()
        async with bench.running() as jobs:
            write, begun, gate = jobs.leases.beat, threading.Event(), threading.Event()

            def slow(job_id: str, done: float, duration: float | None, segments: Any = ()) -> Any:
                if segments:
                    begun.set()
                    gate.wait(10)
                return write(job_id, done, duration, segments)

            jobs.leases.beat = slow  # type: ignore[method-assign]
            await bench.submit(jobs)
            bench.recognition.allow(1)
            while not begun.is_set():
                await asyncio.sleep(0.005)
            bench.recognition.allow(2)
            while len(bench.recognition.decoded) < 3:
                await asyncio.sleep(0.005)
            gate.set()
            await bench.status(jobs, "job_1", "done")
            assert [one["text"] for one in jobs.store.segments("job_1")] == [" word 0", " word 1", " word 2"]

    asyncio.run(main())


def test_a_journal_of_another_version_is_dropped_and_the_job_begins_anew(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.errors.append(OptionError("windows.jsonl is the journal of another run"))
        async with bench.running() as jobs:
            path = jobs.files.make("job_1").with_name(jobs.files.journal("job_1").name)
            path.write_text("0\n")
            await bench.submit(jobs)
            await bench.status(jobs, "job_1", "done")
            assert [one["text"] for one in jobs.store.segments("job_1")] == [" word 0", " word 1", " word 2"]
        assert bench.recognition.decoded == [0, 1, 2]

    asyncio.run(main())


def test_a_wrong_parameter_fails_a_job_that_has_no_journal(bench: Any) -> None:
    async def main() -> None:
        bench.recognition.errors.append(OptionError("n_beams is no number"))
        async with bench.running() as jobs:
            await bench.submit(jobs)
            job = await bench.status(jobs, "job_1", "failed")
            assert job.error == {"message": "n_beams is no number", "code": "invalid_parameter"}

    asyncio.run(main())


def test_an_address_is_fetched_once_however_often_the_job_is_begun(bench: Any) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("content-length", "4000")
            self.end_headers()
            self.wfile.write(b"RIFF" * 1000)

        def log_message(self, *_: Any) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{web.server_port}/talk.wav"

    async def main() -> None:
        bench.recognition.errors.append(Refused(429, "full", headers={"retry-after": "0"}))
        async with bench.running(allow_private_urls=True) as jobs:
            order = Order(owner="me", model="fake", parameters={}, name="talk.wav", url=url)
            await jobs.submit("job_1", order)
            job = await bench.status(jobs, "job_1", "done")
            assert job.order.size == 4000
            assert job.order.sha256 == hashlib.sha256(b"RIFF" * 1000).hexdigest()

    asyncio.run(main())
    web.shutdown()
    web.server_close()
    assert asked == ["/talk.wav"]
    assert len(bench.recognition.calls) == 2
