"""The Inference API under load: models that load slowly or not at all, many requests at once, clients that go away."""

from __future__ import annotations

import base64
import socket
import threading
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from auricle.audio.decode import load_audio
from auricle.pipelines import pipeline
from auricle.server.registry import load_pipeline

MODEL = "/models/bundled"
LONG_S = 60.0
RATE = 16000


@pytest.fixture(scope="module")
def listen() -> Any:
    return pipeline("automatic-speech-recognition", "bundled")


@pytest.fixture(scope="module")
def data(recording: Path) -> bytes:
    return recording.read_bytes()


class SlowLoad:
    """Loads when it is told to; `error` is raised in place of the model."""

    def __init__(self, listen: Any) -> None:
        self.listen = listen
        self.may_end = threading.Event()
        self.error: Exception | None = None
        self.n_begun = 0

    def __call__(self, place: str, settings: Any) -> Any:
        self.n_begun += 1
        assert self.may_end.wait(LONG_S)
        if self.error is not None:
            raise self.error
        return self.listen


@pytest.fixture
def slow(listen: Any) -> Iterator[SlowLoad]:
    load = SlowLoad(listen)
    yield load
    load.may_end.set()


def client(server: Any) -> httpx.Client:
    return httpx.Client(base_url=server.url, timeout=LONG_S)


def test_a_request_is_held_before_it_is_told_that_the_model_is_loading(
    start_server: Any, slow: SlowLoad, data: bytes
) -> None:
    with client(start_server(slow, hold=0.4)) as http:
        began = time.monotonic()
        response = http.post(MODEL, content=data)
        assert time.monotonic() - began >= 0.4
        assert response.status_code == 503
        body = response.json()
        assert body["error"] == "Model bundled is currently loading"
        assert isinstance(body["estimated_time"], float)
        assert body["estimated_time"] > 0
        assert int(response.headers["retry-after"]) >= 1
        assert http.get("/status/bundled").json()["state"] == "Loadable"
        slow.may_end.set()
        assert http.post(MODEL, content=data, headers={"x-wait-for-model": "true"}).status_code == 200
        assert http.get("/status/bundled").json()["state"] == "Loaded"
    assert slow.n_begun == 1


def test_a_model_that_is_loaded_while_a_request_is_held_answers_it(
    start_server: Any, slow: SlowLoad, data: bytes, until: Any
) -> None:
    with client(start_server(slow, hold=LONG_S)) as http, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(http.post, MODEL, content=data)
        until(lambda: slow.n_begun == 1, "loading begins")
        slow.may_end.set()
        assert waiting.result().status_code == 200


@pytest.mark.parametrize("asked", [{"headers": {"x-wait-for-model": "true"}}, {"options": {"wait_for_model": True}}])
def test_who_waits_for_the_model_is_answered(
    start_server: Any, slow: SlowLoad, data: bytes, until: Any, asked: dict[str, Any]
) -> None:
    server = start_server(slow, hold=0)
    body = {"inputs": base64.b64encode(data).decode(), "options": asked.get("options")}
    with client(server) as http, ThreadPoolExecutor(1) as threads:
        assert http.post(MODEL, content=data).status_code == 503
        waiting = threads.submit(http.post, MODEL, json=body, headers=asked.get("headers"))
        until(lambda: list((server.services.settings.data_dir / "incoming").iterdir()), "the request has arrived")
        assert not waiting.done()
        slow.may_end.set()
        assert waiting.result().status_code == 200


def test_a_model_that_cannot_be_loaded_is_an_error_and_not_loading_for_ever(
    start_server: Any, data: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForCTC"]}')
    server = start_server(models=(f"org/broken={folder}", "bundled"))
    with client(server) as http:
        for _ in range(2):
            response = http.post("/models/org/broken", content=data)
            assert response.status_code == 500
            assert response.headers["x-error-code"] == "model_unusable"
            assert "estimated_time" not in response.json()
            assert str(tmp_path) not in response.text
        assert http.get("/models/org/broken/health").status_code == 503
        assert http.get("/status/org/broken").json()["state"] == "Error"
        assert http.post(MODEL, content=data).status_code == 200


def test_all_who_wait_for_a_model_are_told_that_it_fails(
    start_server: Any, slow: SlowLoad, data: bytes, until: Any
) -> None:
    server = start_server(slow, hold=LONG_S)
    slow.error = RuntimeError("a bug at /secret/place/of/the/server")
    with client(server) as http, ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(http.post, MODEL, content=data) for _ in range(4)]
        until(lambda: slow.n_begun == 1, "loading begins")
        slow.may_end.set()
        responses = [one.result() for one in waiting]
    assert {one.status_code for one in responses} == {500}
    assert {one.json()["error"] for one in responses} == {"unknown error"}
    assert slow.n_begun == 1


def write(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def test_requests_at_once_have_the_texts_that_they_have_alone(
    live_server: Any, listen: Any, recording: Path, tmp_path: Path
) -> None:
    samples = load_audio(recording)
    paths = [write(tmp_path / f"{at}.wav", samples[: RATE * 2 + at * RATE // 2]) for at in range(16)]
    alone = [listen(str(path), return_timestamps="word") for path in paths]
    start = threading.Barrier(len(paths))

    def ask(path: Path) -> dict[str, Any]:
        with client(live_server) as http:
            start.wait()
            asked = {"params": {"return_timestamps": "word"}, "headers": {"x-use-cache": "false"}}
            return dict(http.post(MODEL, content=path.read_bytes(), **asked).json())

    with ThreadPoolExecutor(len(paths)) as threads:
        found = list(threads.map(ask, paths))
    assert [one["text"] for one in found] == [one["text"] for one in alone]
    for one, expected in zip(found, alone, strict=True):
        assert [chunk["text"] for chunk in one["chunks"]] == [chunk["text"] for chunk in expected["chunks"]]
        times = [tuple(chunk["timestamp"]) for chunk in one["chunks"]]
        assert times == [chunk["timestamp"] for chunk in expected["chunks"]]


@pytest.fixture(scope="module")
def long_recording(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of speech."""
    samples = load_audio(recording)
    return write(tmp_path_factory.mktemp("long") / "long.wav", np.tile(samples, 164))


def send(port: int, path: Path) -> socket.socket:
    """Send a whole recording and leave the connection open."""
    body = path.read_bytes()
    connection = socket.create_connection(("127.0.0.1", port))
    head = f"POST {MODEL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\nx-use-cache: false\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_work_ends_when_its_client_goes(start_server: Any, long_recording: Path, until: Any) -> None:
    sizes: list[int] = []
    server = start_server()
    server.services.registry.on_batch = lambda _, n_rows: sizes.append(n_rows)
    runner, incoming = server.services.runner, server.services.settings.data_dir / "incoming"
    connection = send(server.port, long_recording)
    until(lambda: len(sizes) >= 2, "windows are computed")
    assert runner.n_active == 1
    connection.close()
    until(lambda: runner.n_active == 0, "the work ends")
    n_computed = len(sizes)
    until(lambda: not list(incoming.iterdir()), "the recording is removed")
    assert n_computed < 30, "of more than 60 windows"
    with client(server) as http:
        assert http.post(MODEL, content=long_recording.read_bytes()[: 44 + 2 * RATE]).status_code == 200
    assert len(sizes) == n_computed + 1, "nothing was computed but the second of the last request"


def test_work_that_waits_is_dropped_when_its_client_goes(start_server: Any, long_recording: Path, until: Any) -> None:
    server = start_server(max_active=1)
    runner = server.services.runner
    first = send(server.port, long_recording)
    until(lambda: runner.n_active == 1, "the first is at work")
    second = send(server.port, long_recording)
    until(lambda: runner.n_waiting == 1, "the second waits")
    second.close()
    until(lambda: runner.n_waiting == 0, "the second is dropped")
    assert runner.n_active == 1, "the first goes on"
    first.close()
    until(lambda: runner.n_active == 0, "the first ends")


def test_who_goes_while_the_model_loads_leaves_it_to_others(
    start_server: Any, slow: SlowLoad, recording: Path, data: bytes, until: Any
) -> None:
    server = start_server(slow, hold=LONG_S)
    connection = send(server.port, recording)
    until(lambda: slow.n_begun == 1, "loading begins")
    connection.close()
    incoming = server.services.settings.data_dir / "incoming"
    until(lambda: not list(incoming.iterdir()), "the recording is removed")
    slow.may_end.set()
    with client(server) as http:
        assert http.post(MODEL, content=data).status_code == 200
    assert slow.n_begun == 1


def test_a_full_queue_is_429(start_server: Any, long_recording: Path, data: bytes, until: Any) -> None:
    server = start_server(max_active=1, max_queue=1)
    runner = server.services.runner
    connections = [send(server.port, long_recording)]
    until(lambda: runner.n_active == 1, "the first is at work")
    connections.append(send(server.port, long_recording))
    until(lambda: runner.n_waiting == 1, "the second waits")
    with client(server) as http:
        response = http.post(MODEL, content=data)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert "wait already" in response.json()["error"]
    for connection in connections:
        connection.close()
    until(lambda: runner.n_active == 0, "they end")


def test_short_requests_are_answered_beside_a_long_one(
    start_server: Any, long_recording: Path, data: bytes, until: Any
) -> None:
    server = start_server()
    with client(server) as http:
        http.post(MODEL, content=data)
        connection = send(server.port, long_recording)
        until(lambda: server.services.runner.n_active == 1, "the long one is at work")
        for _ in range(3):
            assert http.post(MODEL, content=data, headers={"x-use-cache": "false"}).status_code == 200
            assert server.services.runner.n_active >= 1, "the long one is still at work"
        connection.close()
    until(lambda: server.services.runner.n_active == 0, "the long one ends")


def test_a_recording_beyond_five_minutes_is_taken_on_the_same_route(
    start_server: Any, recording: Path, tmp_path: Path
) -> None:
    samples = np.tile(load_audio(recording), 30)
    body = {"inputs": base64.b64encode(write(tmp_path / "long.wav", samples).read_bytes()).decode()}
    with client(start_server()) as http:
        response = http.post(MODEL, json=body, timeout=5 * LONG_S)
    assert response.status_code == 200
    assert float(response.headers["x-compute-audio-length"]) == pytest.approx(330, abs=1)
    assert len(response.json()["text"].split()) > 300


def test_a_model_is_loaded_from_its_folder_under_the_name_that_was_given(start_server: Any, data: bytes) -> None:
    def load(place: str, settings: Any) -> Any:
        assert place == "bundled"
        return load_pipeline(place, settings)

    with client(start_server(load, models=("openai/whisper-large-v3=bundled",))) as http:
        assert http.post("/models/openai/whisper-large-v3", content=data).status_code == 200
        assert http.post("/models/bundled", content=data).status_code == 404
