"""A recognizer that needs no model, and the jobs of one server process around it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from auricle.errors import ModelNotFoundError, OptionError
from auricle.results import Provenance, Segment, Transcript, Word
from auricle.server.access.principal import INFER, MANAGE, Principal
from auricle.server.errors import Refused, error_response
from auricle.server.jobs.service import JobOptions, Jobs
from auricle.server.jobs.store import Job, Order
from auricle.server.parameters import Adapted, Note
from auricle.server.recognition import Heard, Progress, Recognized, Source
from auricle.server.routes import jobs as job_routes
from auricle.server.routes import uploads as upload_routes
from auricle.server.settings import Settings

DEADLINE_S = 20.0
WINDOW_S = 10.0
AUDIO = b"RIFF\x00\x00\x00\x00WAVE and nothing that a fake would look at"


def window(number: int) -> Segment:
    """What the fake hears in a window."""
    start = number * WINDOW_S
    return Segment(f" word {number}", start, start + WINDOW_S, words=(Word(" word", start, start + 1, 0.5),))


@dataclass
class FakeRecognition:
    """Hears so many windows, each when it may; keeps a journal of them as the real one does."""

    n_windows: int = 3
    errors: list[BaseException] = field(default_factory=list)  # raised by the next calls, in order
    decoded: list[int] = field(default_factory=list)  # windows, in the order in which they were computed
    calls: list[dict[str, Any]] = field(default_factory=list)
    n_active: int = 0
    most_active: int = 0
    is_cached: bool = False

    def __post_init__(self) -> None:
        self.gate = asyncio.Semaphore(0)
        self.is_open = True

    def hold(self) -> None:
        """Let windows pass by `allow` alone."""
        self.is_open = False

    def allow(self, n: int = 1) -> None:
        """Let some windows pass."""
        for _ in range(n):
            self.gate.release()

    async def recognize(
        self,
        name: str | None,
        source: Source,
        parameters: Mapping[str, Any],
        *,
        use_cache: bool = True,
        wait: float | None = None,
        on_event: Callable[[Any], None] | None = None,
        background: bool = False,
        journal: Path | None = None,
    ) -> Recognized:
        """Hear the windows that the journal does not have."""
        self.calls.append({"name": name, "source": source, "parameters": dict(parameters), "use_cache": use_cache})
        assert background
        assert journal is not None
        assert on_event is not None
        assert source.path.exists()
        if self.errors:
            raise self.errors.pop(0)
        self.n_active += 1
        self.most_active = max(self.most_active, self.n_active)
        try:
            if not self.is_cached:
                await self._hear(on_event, journal)
        finally:
            self.n_active -= 1
        segments = tuple(window(number) for number in range(self.n_windows))
        text = "".join(segment.text for segment in segments)
        made_by = Provenance("fake", "c0ffee", "cpu", "cpu", "float32", "0", "0", dict(parameters), source.sha256)
        transcript = Transcript(text, segments, "en", duration=self.n_windows * WINDOW_S, provenance=made_by)
        return Recognized(transcript, {"text": text.strip()}, name or "default", 0.5, self.is_cached, "cpu")

    async def _hear(self, on_event: Callable[[Any], None], journal: Path) -> None:
        lines = journal.read_text().splitlines() if journal.exists() else []
        for line in lines:
            on_event(Heard((window(json.loads(line)),)))
        for number in range(len(lines), self.n_windows):
            if not self.is_open:
                await self.gate.acquire()
            self.decoded.append(number)
            with journal.open("a") as file:
                file.write(f"{number}\n")
            on_event(Heard((window(number),)))
            on_event(Progress((number + 1) * WINDOW_S, self.n_windows * WINDOW_S))


async def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for a condition on the event loop."""
    end = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < end, f"waited in vain: {what}"
        await asyncio.sleep(0.005)


async def _nothing_runs(timeout_s: float) -> bool:
    return True


async def _as_they_are(name: str, given: Mapping[str, Any]) -> Adapted:
    return Adapted(dict(given), (Note("x", "x is not used"),) if "x" in given else ())


@dataclass
class Bench:
    """One data folder, and server processes on it."""

    folder: Path
    recognition: FakeRecognition
    options: JobOptions
    loaded: list[Any] = field(default_factory=list)  # models in memory

    def new(self, **changes: Any) -> Jobs:
        """Make the jobs of one process, not started yet."""
        return Jobs(replace(self.options, **changes), self.recognition, _nothing_runs, _as_they_are)

    def make(self, **changes: Any) -> Jobs:
        """Make those whose files are open, and whose workers are not started."""
        jobs = self.new(**changes)
        jobs.open()
        return jobs

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[Jobs]:
        """Run the jobs of one process."""
        jobs = self.new(**changes)
        await jobs.start()
        try:
            yield jobs
        finally:
            await jobs.stop()

    async def submit(self, jobs: Jobs, job_id: str = "job_1", **changes: Any) -> Job:
        """Queue a job with a recording."""
        path = jobs.files.make(job_id)
        path.write_bytes(AUDIO)
        order = Order(owner="me", model="fake", parameters={}, name="talk.wav")
        job, _ = await jobs.submit(job_id, replace(order, **changes))
        return job

    async def status(self, jobs: Jobs, job_id: str, *statuses: str) -> Job:
        """Wait until a job has one of these statuses."""
        await until(lambda: _job(jobs, job_id).status in statuses, f"{job_id} becomes {statuses}")
        return _job(jobs, job_id)


def _job(jobs: Jobs, job_id: str) -> Job:
    job = jobs.store.get(job_id)
    assert job is not None
    return job


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, FakeRecognition(), JobOptions(folder=tmp_path))


@dataclass
class Site:
    """An application with the routes of jobs and uploads alone, and who may ask."""

    client: TestClient
    jobs: Jobs
    recognition: FakeRecognition
    loaded: list[Any]  # models in memory

    def wait(self, job_id: str, status: str = "done") -> dict[str, Any]:
        """Ask until a job has a status."""
        end = time.monotonic() + DEADLINE_S
        while True:
            found: dict[str, Any] = self.client.get(f"/jobs/{job_id}").json()
            if found["status"] == status:
                return found
            assert time.monotonic() < end, found
            time.sleep(0.01)


def _resolve(name: str | None) -> str:
    if name in (None, "fake"):
        return "fake"
    raise ModelNotFoundError(f"Model {name} is not served here; it serves fake")


PEOPLE = {
    "anna": Principal("anna", "Anna", frozenset({INFER})),
    "bert": Principal("bert", "Bert", frozenset({INFER})),
    "root": Principal("root", "Root", frozenset({INFER, MANAGE})),
}


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(bench: Bench) -> Iterator[MakeSite]:
    """Make sites; what is given are settings."""
    open_sites: list[TestClient] = []

    def make(**chosen: Any) -> Site:
        app, jobs = _application(bench, chosen)
        client = TestClient(app)
        client.__enter__()
        open_sites.append(client)
        return Site(client, jobs, bench.recognition, bench.loaded)

    yield make
    for client in open_sites:
        client.__exit__(None, None, None)


class _Who:
    """Says who asks, by a header."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            name = dict(scope["headers"]).get(b"x-who", b"anna").decode()
            scope.setdefault("state", {})["principal"] = PEOPLE[name]
        await self.app(scope, receive, send)


def _application(bench: Bench, chosen: dict[str, Any]) -> tuple[FastAPI, Jobs]:
    settings = Settings(data_dir=bench.folder, **chosen)
    jobs = bench.new(max_bytes=settings.max_body_bytes)
    registry = SimpleNamespace(
        resolve=_resolve, card=lambda name: SimpleNamespace(languages=("en",)), loaded=lambda: bench.loaded
    )
    services: Any = SimpleNamespace(
        jobs=jobs, settings=settings, registry=registry, draining=SimpleNamespace(is_set=lambda: False)
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await jobs.start()
        yield
        await jobs.stop()

    app = FastAPI(lifespan=lifespan)
    app.include_router(job_routes.router(services))
    app.include_router(upload_routes.router(services))
    for kind in (Refused, ModelNotFoundError, OptionError):
        app.add_exception_handler(kind, _answer)

    app.add_middleware(_Who)
    return app, jobs


async def _answer(request: Request, error: Exception) -> Any:
    return error_response(request.scope, error)


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    return make_site()


@dataclass
class LiveSite:
    """The same application on a port."""

    url: str
    jobs: Jobs


@pytest.fixture
def live_site(bench: Bench) -> Iterator[LiveSite]:
    app, jobs = _application(bench, {})
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, name="live-site", daemon=True)
    thread.start()
    end = time.monotonic() + DEADLINE_S
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.01)
    yield LiveSite(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", jobs)
    server.should_exit = True
    thread.join(DEADLINE_S)
