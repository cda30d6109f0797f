"""Real servers on free ports of this machine: `live_server`, shared by a run, and `start_server` for one's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from auricle.server.app import create_app
from auricle.server.registry import Load, Registry, load_pipeline
from auricle.server.services import Services
from auricle.server.settings import Settings

DEADLINE_S = 120.0  # by which anything that is waited for has happened
POLL_S = 0.01
RECORDING = Path(__file__).parents[2] / "samples" / "jfk.flac"


@dataclass
class LiveServer:
    """An application that answers at `url`, in a thread of this process."""

    url: str  # without a slash at its end
    app: FastAPI

    @property
    def services(self) -> Services:
        """What its routes share; what is on its event loop may be read, not called."""
        return self.app.state.services

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self.url.rsplit(":", 1)[1])


StartServer = Callable[..., LiveServer]


def wait_until(is_so: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition."""
    end = time.monotonic() + deadline_s
    while not is_so():
        assert time.monotonic() < end, f"waited {deadline_s:g} s in vain: {what}"
        time.sleep(POLL_S)


@contextmanager
def serving(settings: Settings, load: Load = load_pipeline) -> Iterator[LiveServer]:
    """Run the whole application on a free port; its lifespan ends with the context."""
    app = create_app(Registry(settings, load), settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, name="live-server", daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive(), "the server begins")
    assert server.started, "the server has ended before it began; its log says why"
    try:
        yield LiveServer(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", app)
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "the server does not end"


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server as `auricle serve` begins it: the bundled model, no token. Leave it as you found it."""
    with serving(Settings(data_dir=tmp_path_factory.mktemp("server"))) as server:
        yield server


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Return a function that begins a server with the settings that it is given, for one test.

    Its `load(place, settings)` stands in for loading a pipeline.
    """
    with ExitStack() as stack:

        def start(load: Load = load_pipeline, **chosen: Any) -> LiveServer:
            return stack.enter_context(serving(Settings(**{"data_dir": tmp_path / "data", **chosen}), load))

        yield start


@pytest.fixture(scope="session")
def live_serving() -> Callable[..., AbstractContextManager[LiveServer]]:
    """Return the function behind both, for servers of a module: `with live_serving(data_dir=…, …) as server`."""

    def start(load: Load = load_pipeline, **chosen: Any) -> AbstractContextManager[LiveServer]:
        return serving(Settings(**chosen), load)

    return start


@pytest.fixture(scope="session")
def recording() -> Path:
    """Eleven seconds of English speech, as FLAC."""
    return RECORDING


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """Return the function that waits for a condition: `until(lambda: x.is_ready, "x is ready")`."""
    return wait_until
