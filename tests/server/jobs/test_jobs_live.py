"""Jobs on the real server with the bundled model, in a process that is killed and begun again."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from standardwebhooks import Webhook

DEADLINE_S = 240.0
POLL_S = 0.02
SAMPLE = Path(__file__).parents[3] / "samples" / "librispeech-1320-122612-0008.ogg"
N_REPEATS = 48  # six minutes, which no machine transcribes between two looks at the job
TUS = {"tus-resumable": "1.0.0"}


class Server:
    """`auricle serve` in a process of its own, on a data folder that outlives it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **settings}
        command = [sys.executable, "-m", "auricle", "serve", "--port", "0", "--data-dir", str(folder)]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_for(lambda: self._url() is not None or self.process.poll() is not None, self.log)
        self.client = httpx.Client(base_url=self._url() or "", timeout=60)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def _url(self) -> str | None:
        found = re.search(r"running on (http://127\.0\.0\.1:\d+)", self.log())
        return None if found is None else found[1]

    def log(self) -> str:
        """What it has said."""
        return "".join(self.lines)

    def end(self, number: int) -> int:
        """Send a signal and wait; return the exit code, which uvicorn makes the signal's once all is ended."""
        self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.client.close()
        return code

    def job(self, job_id: str) -> dict[str, Any]:
        """Return a job as it is now."""
        found: dict[str, Any] = self.client.get(f"/jobs/{job_id}").json()
        return found

    def wait(self, job_id: str, status: str = "done") -> dict[str, Any]:
        """Wait until a job has a status."""
        wait_for(lambda: self.job(job_id)["status"] == status, lambda: f"{self.job(job_id)}\n{self.log()}")
        return self.job(job_id)


StartServer = Callable[..., Server]


def wait_for(is_so: Callable[[], bool], told: Callable[[], Any]) -> None:
    """Wait for a condition; `told` says what is there instead."""
    end = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < end, told()
        time.sleep(POLL_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers on one data folder."""
    begun: list[Server] = []

    def start_one(**settings: str) -> Server:
        begun.append(Server(tmp_path / "data", **settings))
        return begun[-1]

    yield start_one
    for server in begun:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One sentence again and again, as a WAV file."""
    from auricle.audio.decode import open_audio

    samples = np.tile(open_audio(SAMPLE, 16000).read(), N_REPEATS)
    path = tmp_path_factory.mktemp("recording") / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path.read_bytes()


def submit(server: Server, recording: bytes, **headers: str) -> str:
    files = {"file": ("long.wav", recording)}
    reply = server.client.post("/jobs", files=files, data={"return_timestamps": "word"}, headers=headers)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def events(server: Server, job_id: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    with server.client.stream("GET", f"/jobs/{job_id}/events") as reply:
        name = ""
        for line in reply.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.append((name, json.loads(line.removeprefix("data: "))))
    return found


def segments(told: list[tuple[str, Any]]) -> list[Any]:
    return [data for kind, data in told if kind == "segment"]


def journal(folder: Path, job_id: str) -> list[str]:
    [path] = (folder / "data" / "jobs" / job_id).glob("*.jsonl") or [folder / "none"]
    return path.read_text().splitlines()


def n_steps(folder: Path, job_id: str) -> int:
    paths = list((folder / "data" / "jobs" / job_id).glob("*.jsonl"))
    return sum(path.read_text().count("\n") - 1 for path in paths)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_job_goes_on_after_a_restart_without_losing_or_repeating_a_window(
    start: StartServer, recording: bytes, tmp_path: Path, number: int
) -> None:
    first = start()
    job_id = submit(first, recording)
    wait_for(lambda: n_steps(tmp_path, job_id) >= 2, first.log)
    assert first.end(number) == -number, first.log()
    before = journal(tmp_path, job_id)

    second = start()
    job = second.wait(job_id)
    whole = submit(second, recording, **{"x-use-cache": "false"})
    second.wait(whole)

    after = journal(tmp_path, job_id)
    assert after[: len(before)] == before
    assert len(after) == len(journal(tmp_path, whole)) > len(before)
    results = [second.client.get(f"/jobs/{one}/result").json() for one in (job_id, whole)]
    assert results[0] == results[1]
    assert len(results[0]["segments"]) >= N_REPEATS
    assert segments(events(second, job_id)) == segments(events(second, whole))
    assert job["progress"]["done"] == pytest.approx(len(recording) / 32000, abs=0.1)


def test_a_running_job_is_cancelled_within_a_window(start: StartServer, recording: bytes) -> None:
    server = start()
    job_id = submit(server, recording)
    wait_for(lambda: server.job(job_id)["progress"]["done"] > 0, server.log)
    assert server.client.delete(f"/jobs/{job_id}").status_code in (200, 202)
    job = server.wait(job_id, "cancelled")
    assert job["progress"]["done"] < len(recording) / 32000 - 20
    short = server.client.post("/jobs", content=SAMPLE.read_bytes()).json()["id"]
    server.wait(short)
    text = server.client.get(f"/jobs/{short}/result", params={"format": "txt"}).text
    assert "party" in text


def test_listeners_leave_when_the_server_ends(start: StartServer, recording: bytes) -> None:
    server = start()
    job_id = submit(server, recording)
    heard: list[Any] = []
    listener = threading.Thread(target=lambda: heard.extend(events(server, job_id)))
    listener.start()
    wait_for(lambda: server.job(job_id)["progress"]["done"] > 0, server.log)
    began = time.monotonic()
    assert server.end(signal.SIGTERM) == -signal.SIGTERM
    assert time.monotonic() - began < 20
    listener.join(DEADLINE_S)
    assert any(kind == "progress" for kind, _ in heard)
    assert not any(kind == "done" for kind, _ in heard)


def test_a_wrong_parameter_fails_the_job_with_its_name(start: StartServer) -> None:
    server = start()
    reply = server.client.post("/jobs", content=SAMPLE.read_bytes(), params={"num_beans": "3"})
    job = server.wait(reply.json()["id"], "failed")
    assert "num_beams" in job["error"]["message"]
    # Now that the model is in memory, it is known at once.
    refused = server.client.post("/jobs", content=SAMPLE.read_bytes(), params={"num_beans": "3"})
    assert refused.status_code == 400
    assert "num_beams" in refused.json()["error"]
    text = server.client.post("/jobs", content=b"no recording at all, but text " * 10)
    job = server.wait(text.json()["id"], "failed")
    assert str(Path.home()) not in job["error"]["message"]
    assert "/jobs/" not in job["error"]["message"]


def test_a_webhook_that_fails_twice_arrives_at_last(start: StartServer) -> None:
    got: list[tuple[dict[str, str], str]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(503 if len(got) < 3 else 204)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    server = start(AURICLE_ALLOW_PRIVATE_URLS="true", AURICLE_WEBHOOK_DELAY="0.05")
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    job = server.client.post("/jobs", files={"file": SAMPLE.read_bytes()}, data={"webhook": url}).json()
    wait_for(lambda: len(got) >= 3, server.log)
    for headers, body in got:
        assert Webhook(job["webhook"]["secret"]).verify(body, headers)["data"]["id"] == job["id"]
    wait_for(lambda: server.job(job["id"])["webhook"]["deliveries"][0]["state"] == "delivered", server.log)
    attempts = server.job(job["id"])["webhook"]["deliveries"][0]["attempts"]
    assert [one["status"] for one in attempts] == [503, 503, 204]
    receiver.shutdown()
    receiver.server_close()


def test_an_upload_goes_on_after_the_server_was_killed(start: StartServer, tmp_path: Path) -> None:
    content = random.Random(0).randbytes(24 << 20)
    first = start()
    reply = first.client.post("/uploads", headers={**TUS, "upload-length": str(len(content))})
    location = reply.headers["location"]
    path = tmp_path / "data" / "uploads" / location.rsplit("/", 1)[1]
    with socket.create_connection((first.client.base_url.host, first.client.base_url.port or 0)) as connection:
        head = f"PATCH {location} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        head += f"Content-Type: application/offset+octet-stream\r\nContent-Length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content[: 20 << 20])
        wait_for(lambda: path.stat().st_size >= 18 << 20, first.log)
        first.end(signal.SIGKILL)
    second = start()
    offset = int(second.client.head(location, headers=TUS).headers["upload-offset"])
    assert 8 << 20 <= offset <= 20 << 20
    headers = {**TUS, "content-type": "application/offset+octet-stream", "upload-offset": str(offset)}
    assert second.client.patch(location, content=content[offset:], headers=headers).status_code == 204
    assert path.read_bytes() == content


def test_two_processes_share_the_jobs_of_one_folder(start: StartServer) -> None:
    one, two = start(), start()
    made = [
        (one, two)[number % 2].client.post("/jobs", content=SAMPLE.read_bytes(), headers={"x-use-cache": "false"})
        for number in range(6)
    ]
    for reply in made:
        job_id = reply.json()["id"]
        assert one.wait(job_id)["finished"] == two.wait(job_id)["finished"]
        told = [kind for kind, _ in events(two, job_id)]
        assert told.count("segment") == 1
    assert [job["status"] for job in two.client.get("/jobs").json()["jobs"]] == ["done"] * 6
