"""A browser before a scripted server and before the real one; a page that errs in its console fails its test."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import uvicorn

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

DEADLINE_S = 60.0
PATIENCE_S = 30.0  # with what a page is to show: the machine may be busy
SAMPLES = Path(__file__).parents[2] / "samples"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
).split()
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Watched:
    """What a page did that tests look at when it closes."""

    problems: list[str] = field(default_factory=list)  # errors of its console and of its scripts
    elsewhere: list[str] = field(default_factory=list)  # addresses beyond the server
    expected: list[str] = field(default_factory=list)  # parts of problems that a test provokes


@dataclass
class Scripted:
    """The scripted server, and its script."""

    url: str
    script: Any
    module: ModuleType


@contextmanager
def running(app: Any) -> Iterator[str]:
    """Serve an application on a free port of this machine; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + DEADLINE_S
    while not server.started:
        assert thread.is_alive(), "the server has ended before it began"
        assert time.monotonic() < end, "the server does not begin"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)


@pytest.fixture(scope="session")
def scripted_module() -> ModuleType:
    """scripted_server.py, loaded by its path: the tests are no package."""
    spec = importlib.util.spec_from_file_location("scripted_server", Path(__file__).parent / "scripted_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scripted_server"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start_scripted(scripted_module: ModuleType) -> Iterator[Callable[..., Scripted]]:
    """Return a function that begins a scripted server; it takes the fields of `Script`."""
    with ExitStack() as stack:

        def start(**chosen: Any) -> Scripted:
            script = scripted_module.Script(**chosen)
            url = stack.enter_context(running(scripted_module.scripted_app(script)))
            return Scripted(url, script, scripted_module)

        yield start


@pytest.fixture
def scripted(start_scripted: Callable[..., Scripted]) -> Scripted:
    """A scripted server as its script has it."""
    return start_scripted()


@contextmanager
def real(load: Any = None, **chosen: Any) -> Iterator[str]:
    """Serve the real application with the settings that are given, and the bundled model; its address.

    `load(place, settings)` stands in for loading a pipeline.
    """
    from auricle.server.app import create_app
    from auricle.server.registry import Registry, load_pipeline
    from auricle.server.settings import Settings

    settings = Settings(**chosen)
    with running(create_app(Registry(settings, load or load_pipeline), settings)) as url:
        yield url


@pytest.fixture(scope="session")
def live_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server as `auricle serve` begins it."""
    with real(data_dir=tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def start_real() -> Iterator[Callable[..., str]]:
    """Return a function that begins a real server with the settings that it is given; it returns the address."""
    with ExitStack() as stack:
        yield lambda **chosen: stack.enter_context(real(**chosen))


@pytest.fixture(scope="session")
def speech_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """samples/jfk.flac as a WAV file, which is what the browser's fake microphone reads."""
    from auricle.audio.decode import load_audio

    path = tmp_path_factory.mktemp("speech") / "jfk.wav"
    samples = load_audio(SAMPLES / "jfk.flac", 16000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def browser(speech_wav: Path) -> Iterator[Browser]:
    """Chromium without a window; its microphone hears President Kennedy."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page is tested with playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"the page is tested with Chromium, and there is none of {', '.join(BROWSERS)}")
    playwright.expect.set_options(timeout=1000 * PATIENCE_S)
    with playwright.sync_playwright() as driver:
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={speech_wav}"]
        chromium = driver.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def watched() -> Watched:
    """What this test's pages did."""
    return Watched()


@pytest.fixture
def open_page(browser: Browser, watched: Watched) -> Iterator[Callable[..., Page]]:
    """Return a function that opens an address in a fresh profile; options are those of a Playwright context.

    At the end no page may have erred, nor asked for anything beyond the server that it was opened from.
    """
    contexts: list[BrowserContext] = []

    def show(url: str, **options: Any) -> Page:
        context = browser.new_context(**{"permissions": ["microphone"], "accept_downloads": True, **options})
        context.set_default_timeout(1000 * PATIENCE_S)
        contexts.append(context)
        page = context.new_page()
        _watch(page, url, watched)
        page.goto(url)
        return page

    yield show
    for context in contexts:
        context.close()
    unforeseen = [told for told in watched.problems if not any(part in told for part in watched.expected)]
    assert not unforeseen
    assert not watched.elsewhere


def _watch(page: Page, url: str, watched: Watched) -> None:
    host = urlsplit(url).netloc

    def note(address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != host:
            watched.elsewhere.append(address)

    page.on("request", lambda request: note(request.url))
    page.on("websocket", lambda socket: note(socket.url))
    page.on("pageerror", lambda error: watched.problems.append(str(error)))
    page.on("console", lambda told: told.type == "error" and watched.problems.append(told.text))
