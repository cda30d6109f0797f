"""Many who ask at once, who go away, and who are too many; and what is counted."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from auricle.server.writings import Order

NAME = "org/writer"


@pytest.fixture
def start_writer(start_server: Any, text_checkpoint: Path) -> Any:
    def start(**chosen: Any) -> Any:
        return start_server(models=(f"{NAME}={text_checkpoint}",), engine="reference", device="cpu", **chosen)

    return start


def body(**more: Any) -> dict[str, Any]:
    return {"model": NAME, "messages": [{"role": "user", "content": "the"}], "max_tokens": 30, "seed": 1, **more}


def ask(url: str, **more: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=body(**more), timeout=120)


def desk_of(server: Any) -> Any:
    (model,) = server.services.registry.loaded()
    return model.batcher


def test_requests_of_many_connections_are_written_side_by_side_and_get_their_own_texts(text_server: Any) -> None:
    batches: list[int] = []
    alone = [ask(text_server.url, seed=seed).json()["choices"][0]["message"]["content"] for seed in range(8)]
    desk = next(one.batcher for one in text_server.services.registry.loaded() if one.name == NAME)
    before = desk._on_batch
    desk._on_batch = batches.append
    try:
        with ThreadPoolExecutor(8) as threads:
            replies = list(threads.map(lambda seed: ask(text_server.url, seed=seed), range(8)))
    finally:
        desk._on_batch = before
    assert [one.json()["choices"][0]["message"]["content"] for one in replies] == alone
    assert max(batches) > 2


@pytest.mark.usefixtures("slow_writing")
def test_a_client_that_goes_away_ends_its_writing_within_a_token(start_writer: Any, until: Any) -> None:
    server = start_writer()
    n = 0
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body(max_tokens=400, stream=True)) as reply:
        for line in reply.iter_lines():
            n += line.startswith("data:")
            if n == 4:
                break
    desk = desk_of(server)
    until(lambda: desk.n_waiting == 0, "the writing ends")
    until(lambda: server.services.runner.n_active == 0, "its place is free")
    until(lambda: not desk._writer._running.rows and not desk._writer._waiting, "its memory is free")
    metrics = httpx.get(f"{server.url}/metrics").text
    (written,) = re.findall(r"auricle_generated_tokens_total{.*} ([\d.]+)", metrics)
    assert 3 <= float(written) < 300


@pytest.mark.usefixtures("slow_writing")
def test_a_client_that_does_not_stream_and_goes_away_ends_it_too(start_writer: Any, until: Any) -> None:
    server = start_writer()
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/chat/completions", json=body(max_tokens=480), timeout=0.5)
    desk = desk_of(server)
    until(lambda: desk.n_waiting == 0, "the writing ends")
    until(lambda: server.services.runner.n_active == 0, "its place is free")


@pytest.mark.usefixtures("slow_writing")
def test_too_many_are_told_when_to_come_again(start_writer: Any, until: Any) -> None:
    server = start_writer(max_active=1, max_queue=1)
    assert ask(server.url, max_tokens=1).status_code == 200
    gone = threading.Event()

    def hold() -> None:
        asked = body(max_tokens=480, stream=True)
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=asked, timeout=120) as reply:
            for _ in reply.iter_lines():
                if gone.is_set():
                    return

    with ThreadPoolExecutor(3) as threads:
        held = threads.submit(hold)
        until(lambda: server.services.runner.n_active == 1, "the first is written")
        waiting = threads.submit(ask, server.url)
        until(lambda: server.services.runner.n_waiting == 1, "the second waits")
        refused = ask(server.url)
        hub = httpx.post(f"{server.url}/models/{NAME}", json={"inputs": "the"}, timeout=60)
        gone.set()
        assert waiting.result().status_code == 200
        held.result()
    assert refused.status_code == hub.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert hub.json()["error_type"] == "overloaded"


def test_what_is_written_is_counted(start_writer: Any) -> None:
    server = start_writer()
    usage = ask(server.url).json()["usage"]
    metrics = httpx.get(f"{server.url}/metrics").text
    label = f'{{model="{NAME}"}}'
    assert f"auricle_prompt_tokens_total{label} {float(usage['prompt_tokens'])}" in metrics
    assert f"auricle_generated_tokens_total{label} 30.0" in metrics
    assert f"auricle_time_to_first_token_seconds_count{label} 1.0" in metrics
    assert f"auricle_time_per_token_seconds_count{label} 1.0" in metrics
    assert re.search(r'auricle_batch_size_count{model="org/writer"} \d+', metrics)


def test_a_model_that_was_unloaded_is_loaded_again(start_writer: Any) -> None:
    server = start_writer()
    first = ask(server.url).json()
    desk = desk_of(server)
    assert httpx.post(f"{server.url}/admin/models/{NAME}/unload", timeout=60).status_code < 300
    assert not desk._thread.is_alive()
    assert ask(server.url).json()["choices"] == first["choices"]


def test_a_model_that_fails_tells_so_and_serves_the_next(start_writer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start_writer()
    expected = ask(server.url).json()["choices"]
    writer = desk_of(server)._writer
    advance = type(writer._running).advance
    fails = iter([True])

    def broken(running: Any) -> Any:
        if next(fails, False):
            raise RuntimeError("no more memory")
        return advance(running)

    monkeypatch.setattr(type(writer._running), "advance", broken)
    reply = ask(server.url)
    assert (reply.status_code, reply.json()["error"]["message"]) == (500, "unknown error")
    assert ask(server.url).json()["choices"] == expected


@pytest.mark.parametrize("way", ["read_prompts", "Writer._go_on"])
def test_a_prompt_whose_reading_fails_is_told_so(start_writer: Any, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    server = start_writer()
    again = body(messages=[{"role": "user", "content": "the " * 20}])  # its beginning is known the second time
    expected = httpx.post(f"{server.url}/v1/chat/completions", json=again, timeout=60).json()["choices"]
    writer = desk_of(server)._writer
    if way == "read_prompts":
        writer.forget()
    with monkeypatch.context() as patch:

        def broken(*_: Any) -> Any:
            raise RuntimeError("no more memory")

        patch.setattr(f"auricle.pipelines.writer.{way}", broken)
        reply = httpx.post(f"{server.url}/v1/chat/completions", json=again, timeout=10)
    assert (reply.status_code, reply.json()["error"]["message"]) == (500, "unknown error")
    reply = httpx.post(f"{server.url}/v1/chat/completions", json=again, timeout=60)
    assert reply.json()["choices"] == expected


def test_what_was_begun_for_a_request_that_went_away_is_closed(
    start_writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_writer()
    ask(server.url)
    (model,) = server.services.registry.loaded()
    made: list[Any] = []

    async def gone_once_begun() -> None:
        task = asyncio.current_task()
        assert task is not None

        async def to_thread(work: Any) -> Any:
            made.append(work())
            task.cancel()
            return made[0]

        monkeypatch.setattr("auricle.server.writings.asyncio.to_thread", to_thread)
        await server.services.writings._begun(model, Order(["the"], {}))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(gone_once_begun())
    assert all(answer.writing.is_over for answer in made[0].answers)


def test_an_error_amid_a_stream_is_an_event(start_writer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start_writer()
    ask(server.url)
    running = type(desk_of(server)._writer._running)
    advance, count = running.advance, iter(range(100))

    def broken(one: Any) -> Any:
        if next(count) == 5:
            raise RuntimeError("no more memory")
        return advance(one)

    monkeypatch.setattr(running, "advance", broken)
    reply = ask(server.url, stream=True)
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    assert events[-1]["error"]["message"] == "unknown error"


def test_ids_that_are_none_of_the_vocabulary_are_refused_before_anything_is_written(text_server: Any) -> None:
    for way in ({"eos_token_id": 9999, "min_new_tokens": 2}, {"suppress_tokens": [-400]}, {"bad_words_ids": [[9999]]}):
        assert ask(text_server.url, **way).status_code == 400
