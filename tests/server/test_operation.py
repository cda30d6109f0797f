"""Probes, metrics, models by route, and the log: what whoever runs the server relies on."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from auricle.errors import AuricleError, CheckpointError
from auricle.results import Transcript
from auricle.server.cache import ResultCache
from auricle.server.errors import Refused, error_response
from auricle.server.logs import CURRENT, JsonFormatter, TextFormatter, logging_config, request_id_of
from auricle.server.metrics import Metrics
from auricle.server.observing import ObserveMiddleware
from auricle.server.recognition import Recognized
from auricle.server.registry import Registry
from auricle.server.routes.operation import router
from auricle.server.runner import Runner
from auricle.server.settings import Settings

DEADLINE_S = 20


@dataclass
class Operated:
    """An application with the routes of operation, and hands on what it is made of."""

    client: TestClient
    services: Any
    lines: list[logging.LogRecord] = field(default_factory=list)
    may_load: threading.Event = field(default_factory=threading.Event)

    def metrics(self) -> dict[tuple[str, ...], float]:
        """Ask for the metrics; values by name and labels."""
        text = self.client.get("/metrics").text
        return {
            (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def operated(tmp_path, request) -> Iterator[Operated]:
    """The application; a mark `settings` changes its settings. Models load when `may_load` is set."""
    changes = getattr(request, "param", {})
    settings = Settings(**{"models": ("org/one", "two"), "data_dir": tmp_path, "hold": 0.05, **changes})
    operated = Operated(client=None, services=None)  # type: ignore[arg-type]

    def load(place: str, settings: Settings) -> Any:
        assert operated.may_load.wait(DEADLINE_S)
        if place == "two":
            raise CheckpointError("the weights of two are damaged")
        return SimpleNamespace(task="automatic-speech-recognition")

    registry, runner = Registry(settings, load), Runner(1, 0)
    cache = ResultCache(tmp_path / "results.sqlite3", 1 << 20, 60)
    recognition: Any = SimpleNamespace(on_done=None)
    metrics = Metrics(registry, runner, cache)
    metrics.watch(registry, recognition)
    operated.services = SimpleNamespace(
        settings=settings, registry=registry, runner=runner, cache=cache, recognition=recognition, metrics=metrics,
        draining=asyncio.Event(),
    )  # fmt: skip
    app = make_app(operated.services)
    handler = logging.Handler()
    handler.emit = operated.lines.append  # type: ignore[method-assign]
    logger = logging.getLogger("auricle.requests")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    with TestClient(app, raise_server_exceptions=False) as operated.client:
        yield operated
    operated.may_load.set()
    logger.removeHandler(handler)
    cache.close()
    runner.close()


def make_app(services: Any) -> FastAPI:
    """Return the application, with routes that do what other routes do."""
    app = FastAPI()
    app.include_router(router(services))

    @app.get("/things/{thing}/parts/{part}")
    async def part(thing: str, part: str) -> str:
        transcript = Transcript("what nobody else may read", duration=4.0)
        services.recognition.on_done(Recognized(transcript, {}, "org/one", 1.0, part == "cached", "cpu"))
        logging.getLogger("auricle.requests").info("said within")
        return f"{thing} {part}"

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("of no interest to clients")

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter(["one", "two"]))

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_bytes(await socket.receive_bytes())
        await socket.close()

    async def answer(request: Request, error: Exception) -> Any:
        return error_response(request.scope, error)

    for kind in (Refused, AuricleError, Exception):
        app.add_exception_handler(kind, answer)
    app.add_middleware(ObserveMiddleware, metrics=services.metrics)
    return app


def requests_of(operated: Operated) -> list[dict[str, Any]]:
    """Return the fields of the lines for requests."""
    return [record.fields for record in operated.lines if record.getMessage() == "request"]


def test_health_is_ok_whatever_else_is_wrong(operated: Operated) -> None:
    operated.services.draining.set()
    for method in ("GET", "HEAD"):
        reply = operated.client.request(method, "/health")
        assert reply.status_code == 200
    assert operated.client.get("/health").text == "Ok"


def test_ready_without_preload_at_once(operated: Operated) -> None:
    assert operated.client.get("/ready").json() == {"status": "ready"}


@pytest.mark.parametrize("operated", [{"preload": True, "models": ("org/one",)}], indirect=True)
def test_ready_once_the_models_are_loaded_and_also_when_they_made_room(operated: Operated) -> None:
    reply = operated.client.get("/ready")
    assert (reply.status_code, reply.json()) == (503, {"status": "loading"})
    assert int(reply.headers["retry-after"]) > 0
    operated.may_load.set()
    assert operated.client.post("/admin/models/org/one/load").status_code == 200
    assert operated.client.get("/ready").status_code == 200
    assert operated.client.post("/admin/models/org/one/unload").json()["unloaded"]
    assert operated.client.get("/ready").status_code == 200


@pytest.mark.parametrize("operated", [{"preload": True, "models": ("two",)}], indirect=True)
def test_not_ready_when_a_model_cannot_be_loaded(operated: Operated) -> None:
    operated.may_load.set()
    assert operated.client.post("/admin/models/two/load").status_code == 500
    assert operated.client.get("/ready").json() == {"status": "failed"}


def test_not_ready_while_ending_or_full(operated: Operated) -> None:
    runner = operated.services.runner
    runner.n_active = runner.max_active
    assert operated.client.get("/ready").json() == {"status": "full"}
    runner.n_active = 0
    operated.services.draining.set()
    reply = operated.client.get("/ready")
    assert (reply.status_code, reply.json()) == (503, {"status": "draining"})


def test_models_are_loaded_and_unloaded_by_route(operated: Operated) -> None:
    def states() -> dict[str, str]:
        return {row["id"]: row["state"] for row in operated.client.get("/admin/models").json()["models"]}

    assert states() == {"org/one": "absent", "two": "absent"}
    slow = operated.client.post("/admin/models/org/one/load")
    assert (slow.status_code, slow.json()["state"]) == (202, "loading")
    assert slow.json()["estimated_time"] > 0
    assert int(slow.headers["retry-after"]) > 0
    assert states()["org/one"] == "loading"
    operated.may_load.set()
    deadline = time.monotonic() + DEADLINE_S
    while operated.services.registry.state("org/one") == "loading":
        assert time.monotonic() < deadline
        operated.client.get("/health")
    assert operated.client.post("/admin/models/org/one/load").json()["state"] == "ready"
    row = operated.client.get("/admin/models").json()["models"][0]
    assert row["users"] == 0
    assert row["loaded_in_s"] >= 0
    assert operated.client.post("/admin/models/org/one/unload").json() == {
        "id": "org/one", "state": "absent", "unloaded": True,
    }  # fmt: skip
    assert operated.client.post("/admin/models/org/one/unload").json()["unloaded"] is False


def test_what_cannot_be_loaded_is_an_error_and_what_is_unknown_404(operated: Operated) -> None:
    operated.may_load.set()
    failed = operated.client.post("/admin/models/two/load")
    assert (failed.status_code, failed.json()["error"]) == (500, "the weights of two are damaged")
    for path in ("none/load", "org/none/load", "org/none/unload", "..%2f..%2fetc/load"):
        assert operated.client.post(f"/admin/models/{path}").status_code == 404


def test_a_model_in_use_stays(operated: Operated) -> None:
    operated.may_load.set()
    operated.client.post("/admin/models/org/one/load")
    (model,) = operated.services.registry.loaded()
    model.n_users = 1
    assert operated.client.post("/admin/models/org/one/unload").status_code == 409
    assert operated.services.registry.loaded() == [model]


def test_no_model_is_loaded_while_ending(operated: Operated) -> None:
    operated.services.draining.set()
    assert operated.client.post("/admin/models/org/one/load").status_code == 503


def test_requests_are_counted_by_template_method_and_status(operated: Operated) -> None:
    for path in ("/things/a/parts/1", "/things/b/parts/2", "/nowhere/1", "/nowhere/2", "/broken"):
        operated.client.get(path)
    operated.client.request("BREW", "/nowhere/3")
    operated.client.post("/things/a/parts/1")
    found = operated.metrics()
    counted = {key[1:]: value for key, value in found.items() if key[0] == "auricle_http_requests_total"}
    assert counted == {
        ("method=GET", "route=/things/{thing}/parts/{part}", "status=200"): 2,
        ("method=POST", "route=/things/{thing}/parts/{part}", "status=405"): 1,
        ("method=GET", "route=none", "status=404"): 2,
        ("method=OTHER", "route=none", "status=404"): 1,
        ("method=GET", "route=/broken", "status=500"): 1,
    }
    assert found["auricle_http_request_duration_seconds_count", "method=GET", "route=/broken"] == 1
    assert found["auricle_http_requests_in_flight",] == 1  # this one


def test_work_is_measured(operated: Operated) -> None:
    metrics = operated.services.metrics
    metrics.note_batch("org/one", 3)
    metrics.note_batch("org/one", 8)
    operated.may_load.set()
    operated.client.post("/admin/models/org/one/load")
    operated.client.get("/things/a/parts/fresh")
    operated.client.get("/things/a/parts/cached")
    operated.services.cache.get("nothing")
    found = operated.metrics()
    assert found["auricle_batch_size_count", "model=org/one"] == 2
    assert found["auricle_batch_size_sum", "model=org/one"] == 11
    assert found["inf_batch_current_size",] == 8
    assert found["inf_queue_size",] == found["auricle_queue_length",] == 0
    assert found["auricle_audio_seconds_total", "cached=false", "model=org/one"] == 4
    assert found["auricle_audio_seconds_total", "cached=true", "model=org/one"] == 4
    assert found["auricle_compute_seconds_total", "model=org/one"] == 1
    assert found["auricle_real_time_factor_sum", "model=org/one"] == 0.25
    assert found["auricle_cache_misses_total",] == 1
    assert found["auricle_model_state", "model=org/one", "state=ready"] == 1
    assert found["auricle_model_state", "model=two", "state=ready"] == 0
    assert found["auricle_model_load_seconds_count", "model=org/one"] == 1
    assert found["process_resident_memory_bytes",] > 1 << 20


def test_jobs_and_live_streams_are_counted_when_they_are_watched(operated: Operated) -> None:
    assert ("auricle_jobs", "status=queued") not in operated.metrics()
    operated.services.metrics.watch_jobs(lambda: {"queued": 2, "done": 5})
    operated.services.metrics.watch_streams(lambda: 3)
    found = operated.metrics()
    assert (found["auricle_jobs", "status=queued"], found["auricle_jobs", "status=done"]) == (2, 5)
    assert found["auricle_live_streams",] == 3


def test_websockets_are_requests_too(operated: Operated) -> None:
    with operated.client.websocket_connect("/live", headers={"x-request-id": "mine"}) as socket:
        socket.send_bytes(b"12345")
        assert socket.receive_bytes() == b"12345"
        assert (b"x-request-id", b"mine") in socket.extra_headers
    (fields,) = requests_of(operated)
    assert (fields["method"], fields["status"], fields["bytes_in"], fields["bytes_out"]) == ("WEBSOCKET", 101, 5, 5)
    with pytest.raises(WebSocketDisconnect), operated.client.websocket_connect("/nowhere"):
        pass
    assert requests_of(operated)[1]["status"] == 403


def test_two_applications_count_apart(operated: Operated, tmp_path) -> None:
    settings = Settings(models=("org/one",), data_dir=tmp_path / "other")
    other = Metrics(Registry(settings), Runner(1, 1), None)
    operated.client.get("/things/a/parts/1")
    text, content_type = other.written("application/openmetrics-text; version=1.0.0")
    assert b"/things" not in text
    assert content_type.startswith("application/openmetrics-text")
    assert b"# EOF" in text


@pytest.mark.parametrize("given", ["abc-123", "0190f5e0-6f3e:1.2/3+4=", "x" * 100])
def test_a_sane_request_id_is_kept(operated: Operated, given: str) -> None:
    assert operated.client.get("/health", headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", " ", "x" * 101, "a b", "-rf", 'a"b', "a;b", "\x1b[31m", None])
def test_any_other_request_id_is_replaced(operated: Operated, given: str | None) -> None:
    made = request_id_of(given)
    assert made != given
    assert len(made) == 32
    headers = {} if given is None else {"x-request-id": given}
    paths = ("/health", "/stream", "/nowhere", "/broken")
    ids = {operated.client.get(path, headers=headers).headers["x-request-id"] for path in paths}
    assert len(ids) == 4
    assert given not in ids


def test_each_request_is_one_line_without_secrets(operated: Operated) -> None:
    headers = {"authorization": "Bearer au_secret", "x-request-id": "mine"}
    operated.client.get("/things/a/parts/1?token=au_secret", headers=headers)
    operated.client.get("/nowhere?token=au_secret", headers=headers)
    fields, unmatched = requests_of(operated)
    assert fields == {
        "request_id": "mine", "method": "GET", "route": "/things/{thing}/parts/{part}", "status": 200,
        "duration_s": fields["duration_s"], "bytes_in": 0, "bytes_out": 5, "model": "org/one", "audio_s": 4.0,
        "cached": False,
    }  # fmt: skip
    assert unmatched["path"] == "/nowhere"
    for form in (TextFormatter(), JsonFormatter()):
        for record in operated.lines:
            line = form.format(record)
            assert "secret" not in line
            assert "nobody else may read" not in line
            assert "\n" not in line
    row = json.loads(JsonFormatter().format(operated.lines[-1]))
    assert (row["level"], row["message"], row["path"]) == ("info", "request", "/nowhere")


def test_lines_within_a_request_carry_its_id(operated: Operated) -> None:
    written: list[str] = []
    handler = logging.Handler()
    handler.setFormatter(JsonFormatter())
    handler.emit = lambda record: written.append(handler.format(record))  # type: ignore[method-assign]
    logging.getLogger("auricle.requests").addHandler(handler)
    try:
        operated.client.get("/things/a/parts/1", headers={"x-request-id": "mine"})
    finally:
        logging.getLogger("auricle.requests").removeHandler(handler)
    assert [json.loads(line)["request_id"] for line in written] == ["mine", "mine"]
    assert CURRENT.get() is None


def test_probes_are_silent_unless_they_fail(operated: Operated) -> None:
    operated.client.get("/health")
    operated.services.draining.set()
    operated.client.get("/ready")
    assert [record.levelno for record in operated.lines] == [logging.DEBUG, logging.INFO]


def test_lines_cannot_be_forged() -> None:
    record = logging.makeLogRecord({"msg": "a\nb", "levelname": "INFO", "fields": {"path": '/x y="z"\n', "n": 1}})
    line = TextFormatter().format(record)
    assert "\n" not in line
    assert line.endswith(' "a\\nb" path="/x y=\\"z\\"\\n" n=1')


def test_uvicorn_takes_the_logging_configuration(tmp_path) -> None:
    import logging.config

    configuration = logging_config("json", "warning")
    assert configuration["loggers"]["auricle"]["level"] == "WARNING"
    assert set(configuration["loggers"]) >= {"auricle", "uvicorn"}
    logging.config.DictConfigurator({**configuration, "loggers": {}}).configure()


def test_a_client_that_goes_is_noted(operated: Operated) -> None:
    async def wait_for_the_end(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    async def ask() -> None:
        scope = {"type": "http", "method": "POST", "path": "/x", "headers": []}
        await ObserveMiddleware(wait_for_the_end, operated.services.metrics)(scope, gone, send)
        assert CURRENT.get() is None

    asyncio.run(ask())
    (fields,) = requests_of(operated)
    assert (fields["status"], fields["gone"]) == (499, True)


def test_a_cancelled_request_is_counted_and_stays_cancelled(operated: Operated) -> None:
    async def never_end(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def cancel() -> None:
        scope = {"type": "http", "method": "POST", "path": "/x", "headers": []}
        task = asyncio.create_task(ObserveMiddleware(never_end, operated.services.metrics)(scope, None, None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert operated.metrics()["auricle_http_requests_total", "method=POST", "route=none", "status=499"] == 1
