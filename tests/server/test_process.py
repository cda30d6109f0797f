"""`auricle serve` as a process: it begins in seconds, says wrong settings in a sentence, and ends what it accepted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

DEADLINE_S = 120.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Process:
    def __init__(self, folder: Path, *flags: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [
            sys.executable,
            "-m",
            "auricle",
            "serve",
            "--port",
            str(self.port),
            "--data-dir",
            str(folder),
            *flags,
        ]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def wait(self) -> None:
        ends = time.monotonic() + DEADLINE_S
        while time.monotonic() < ends and self.process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/v1/models", timeout=5).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"it did not begin: {self.end()}")

    def end(self) -> str:
        """Kill it; return what it wrote to stderr."""
        self.process.kill()
        return self.process.communicate(timeout=DEADLINE_S)[1]


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(*flags: str) -> Process:
            one = Process(tmp_path / "data", *flags)
            stack.callback(one.end)
            return one

        yield begin


def test_it_serves_the_bundled_model_without_any_option(start: Start, recording: Path) -> None:
    server = start()
    server.wait()
    answer = httpx.post(f"{server.url}/models/bundled", content=recording.read_bytes(), timeout=DEADLINE_S)
    assert answer.status_code == 200
    assert len(answer.json()["text"].split()) > 5


def test_a_signal_lets_accepted_requests_finish_and_takes_no_new_ones(start: Start, recording: Path) -> None:
    server = start("--preload")
    server.wait()
    answers: list[httpx.Response] = []
    # Small pieces with a pause in the middle: the request is under way when the signal comes.
    may_end = threading.Event()

    def body() -> Iterator[bytes]:
        data = recording.read_bytes()
        yield data[:1000]
        may_end.wait(DEADLINE_S)
        yield data[1000:]

    def send() -> None:
        answers.append(httpx.post(f"{server.url}/models/bundled", content=body(), timeout=DEADLINE_S))

    sending = threading.Thread(target=send)
    sending.start()
    _wait_for_connection(server.port)
    server.process.send_signal(signal.SIGTERM)
    _wait_until_refused(server.port)
    may_end.set()
    sending.join(DEADLINE_S)
    assert answers[0].status_code == 200
    assert answers[0].json()["text"]
    assert server.process.wait(DEADLINE_S) in (0, -signal.SIGTERM)


def test_a_second_signal_ends_at_once(start: Start) -> None:
    server = start("--preload")
    server.wait()
    held = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"RIFF"
        held.wait(DEADLINE_S)

    def send() -> None:
        with suppress(httpx.TransportError):
            httpx.post(f"{server.url}/models/bundled", content=body(), timeout=DEADLINE_S)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    _wait_for_connection(server.port)
    server.process.send_signal(signal.SIGTERM)
    _wait_until_refused(server.port)
    assert server.process.poll() is None, "the request is waited for"
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(5) == 128 + signal.SIGINT
    held.set()
    sending.join(DEADLINE_S)
    assert "a second signal: ended at once" in server.end()


def _wait_for_connection(port: int) -> None:
    """Wait until the server has an established connection."""
    wanted = f":{port:04X}"
    ends = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        if any(row[1].endswith(wanted) and row[3] == "01" for row in rows):
            return
        time.sleep(0.01)
    raise AssertionError("no connection was made")


def _wait_until_refused(port: int) -> None:
    ends = time.monotonic() + DEADLINE_S
    while time.monotonic() < ends:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                pass
        except OSError:
            return
        time.sleep(0.01)
    raise AssertionError("new connections are still taken")


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--host", "0.0.0.0"), "token"),
        (("--max-loaded", "0"), "max_loaded is 0"),
        (("--rate-limit", "many"), "many"),
        (("--config", "/no/such.toml"), "cannot be read"),
        (("--model", "/no/such/folder"), "/no/such/folder does not exist"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_sentence(start: Start, flags: tuple[str, ...], told: str) -> None:
    server = start(*flags)
    status = server.process.wait(DEADLINE_S)
    text = server.end()
    assert status == 2
    assert told in text
    assert "Traceback" not in text


def test_a_port_in_use_is_told_in_a_sentence(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = start("--port", str(taken.getsockname()[1]))
        assert server.process.wait(DEADLINE_S) == 1
        text = server.end()
    assert "could not begin" in text
    assert "another program listens there" in text
    assert "serving" not in text
    assert "Traceback" not in text


def test_it_says_at_which_free_port_it_serves(start: Start) -> None:
    server = start("--port", "0")
    assert server.process.stderr is not None
    told = next(line for line in server.process.stderr if line.startswith("auricle: serving bundled at "))
    address = told.split()[4]
    assert httpx.get(f"{address}/health", timeout=DEADLINE_S).text == "Ok"
