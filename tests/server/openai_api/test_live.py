"""Captions over the plain websocket: every format of sound, what is final, and connections that end badly."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
import websockets
from websockets.asyncio.client import connect

from auricle.evaluation.wer import character_errors
from auricle.server.errors import Refused
from auricle.server.live_captions import floats_to_pcm16, read_start
from auricle.server.live_feed import LiveFeed

pytestmark = pytest.mark.timeout(120)
RATE = 16000
BLOCK_S = 0.1
# Characters that differ between a stream, which hears parts of a recording again and again, and the whole.
CLOSE = 0.15


def as_pcm16(samples: np.ndarray) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def as_webm(samples: np.ndarray) -> bytes:
    """Return what a browser's MediaRecorder writes: Opus in WebM, without an index."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm", options={"live": "1"}) as container:
        stream: Any = container.add_stream("libopus", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = 48000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


async def captions(
    url: str, blocks: Sequence[bytes], start: dict[str, Any] | None = None, pace_s: float = 0.0
) -> list[dict[str, Any]]:
    """Send sound, and return all that comes back."""
    async with connect(url.replace("http", "ws", 1), max_size=None) as socket:

        async def send() -> None:
            if start is not None:
                await socket.send(json.dumps(start))
            for block in blocks:
                await socket.send(block)
                await asyncio.sleep(pace_s)
            await socket.send('{"type": "end"}')

        sending = asyncio.create_task(send())
        told = [json.loads(message) async for message in socket]
        await sending
        assert socket.close_code == 1000
        return told


def final(told: list[dict[str, Any]]) -> str:
    return "".join(one["final"] for one in told if one["type"] == "update")


def difference(text: str, expected: str) -> float:
    """Return the part of the characters that differ."""
    return character_errors([expected], [text]).rate


@pytest.fixture(scope="module")
def expected(live_server: Any, read_aloud: Path) -> str:
    """The text of the whole recording."""
    reply = httpx.post(
        f"{live_server.url}/v1/audio/transcriptions", files={"file": read_aloud.read_bytes()}, timeout=60
    )
    return str(reply.json()["text"])


FORMATS: list[tuple[str, int, dict[str, Any] | None, Callable[[np.ndarray], bytes]]] = [
    ("samples as they are expected", RATE, None, as_pcm16),
    ("samples of another rate", 48000, {"sample_rate": 48000, "format": "s16le"}, as_pcm16),
    ("floats", 44100, {"type": "start", "sample_rate": 44100, "format": "f32le"}, lambda x: x.astype("<f4").tobytes()),
    ("a browser's recording", 48000, None, as_webm),
    ("a browser's recording, said so", 48000, {"format": "container"}, as_webm),
]


@pytest.mark.parametrize(("name", "rate", "start", "encoded"), FORMATS, ids=[one[0] for one in FORMATS])
def test_sound_of_every_format_has_about_the_text_of_the_recording(
    live_server: Any, read_aloud: Path, pcm: Any, expected: str, name: str, rate: int, start: Any, encoded: Any
) -> None:
    data = encoded(pcm(read_aloud, rate))
    # Blocks that cut samples in two.
    told = asyncio.run(captions(f"{live_server.url}/live?latency=0.5", cut(data, 3333), start))
    done = told[-1]
    assert done["type"] == "done"
    assert done["text"] == final(told)
    assert difference(done["text"], expected) < CLOSE
    assert done["duration"] == pytest.approx(len(pcm(read_aloud)) / RATE, abs=0.1)


def test_words_come_while_they_are_spoken_and_stay(live_server: Any, recording: Path, pcm: Any) -> None:
    samples = pcm(recording)[: 5 * RATE]
    began = time.monotonic()
    arrivals: list[tuple[float, dict[str, Any]]] = []

    async def listen() -> None:
        async with connect(f"{live_server.url.replace('http', 'ws')}/live?model=bundled&latency=0.3") as socket:

            async def send() -> None:
                for block in cut(as_pcm16(samples), round(2 * RATE * BLOCK_S)):
                    await socket.send(block)
                    await asyncio.sleep(BLOCK_S)
                await socket.send('{"type": "end"}')

            sending = asyncio.create_task(send())
            async for message in socket:
                arrivals.append((time.monotonic() - began, json.loads(message)))
            await sending

    asyncio.run(listen())
    updates = [(at, one) for at, one in arrivals if one["type"] == "update"]
    assert any(one["pending"] for _, one in updates)
    assert any(one["ends_utterance"] for _, one in updates)
    first = next(at for at, one in updates if one["final"] or one["pending"])
    assert first < 4.0, "before the sound was over"
    words = [word for _, one in updates for word in one["words"]]
    assert " ".join(word["word"] for word in words) == arrivals[-1][1]["text"]
    assert all(before["end"] <= after["start"] + 1e-3 for before, after in pairwise(words))
    assert [one["time"] for _, one in updates] == sorted(one["time"] for _, one in updates)


def test_a_whole_recording_at_once_is_heard_and_the_server_answers_meanwhile(
    live_server: Any, long_recording: Path, pcm: Any
) -> None:
    samples = np.tile(pcm(long_recording), 4)  # minutes, more than is held in memory

    async def both() -> tuple[list[dict[str, Any]], list[float]]:
        hearing = asyncio.create_task(captions(f"{live_server.url}/live", cut(as_pcm16(samples), 1 << 16)))
        waits = []
        async with httpx.AsyncClient() as client:
            while not hearing.done():
                began = time.monotonic()
                await client.get(f"{live_server.url}/v1/models", timeout=30)
                waits.append(time.monotonic() - began)
                await asyncio.sleep(0.1)
        return await hearing, waits

    told, waits = asyncio.run(both())
    assert told[-1]["duration"] == pytest.approx(len(samples) / RATE)
    assert len(told[-1]["text"]) > 4 * 100
    assert sorted(waits)[len(waits) // 2] < 1.0


def test_streams_at_once_have_the_same_text_as_alone(live_server: Any, read_aloud: Path, pcm: Any) -> None:
    blocks = cut(as_pcm16(pcm(read_aloud)), 3200)

    async def two() -> list[list[dict[str, Any]]]:
        return list(
            await asyncio.gather(*(captions(f"{live_server.url}/live", blocks, pace_s=0.005) for _ in range(2)))
        )

    for told in asyncio.run(two()):
        assert final(told) == told[-1]["text"]
        assert len(told[-1]["text"]) > 50


def test_connections_that_break_off_leave_nothing_behind(
    live_server: Any, long_recording: Path, pcm: Any, until: Callable[..., None]
) -> None:
    data = as_pcm16(pcm(long_recording))

    async def break_off() -> None:
        sockets = [await connect(f"{live_server.url.replace('http', 'ws')}/live") for _ in range(3)]
        for socket in sockets:
            await socket.send(data)
        await sockets[0].recv()
        for socket in sockets:
            socket.transport.abort()

    asyncio.run(break_off())
    until(lambda: live_server.services.streams.n_active == 0, "all places are free")
    (model,) = live_server.services.registry.loaded()
    until(lambda: model.batcher.n_waiting == 0 and model.n_users == 0, "nothing is computed any more")
    folder = live_server.services.settings.data_dir / "incoming"
    assert not list(folder.iterdir())


def failure(url: str, *messages: str | bytes) -> tuple[int, str, dict[str, Any]]:
    """Return the code and the reason with which a connection is closed, and the last message before."""

    async def run() -> tuple[int, str, dict[str, Any]]:
        async with connect(url.replace("http", "ws", 1)) as socket:
            for message in messages:
                await socket.send(message)
            told: list[dict[str, Any]] = []
            with suppress(websockets.exceptions.ConnectionClosedError):
                async for message in socket:
                    told.append(json.loads(message))
            assert socket.close_code is not None
            return socket.close_code, socket.close_reason or "", told[-1]

    return asyncio.run(run())


WRONG: list[tuple[str, tuple[str | bytes, ...], int, str]] = [
    ("?format=mp9", (b"ab",), 4400, "format is 'mp9'"),
    ("", ('{"sample_rate": "fast"}',), 4400, "sample_rate is 'fast'"),
    ("", ('{"sample_rate": 48000, "format": "container"}',), 4400, "a container says its own"),
    ("", ('{"sample_rate": 0}', bytes(9000)), 4400, "the sampling rate is 0"),
    ("", ('{"latency": 60}', bytes(9000)), 4400, "latency=60"),
    ("", ('{"language": "de"}', bytes(9000)), 4400, "it writes en"),
    ("", ('{"lm": "/etc/passwd"}', bytes(9000)), 4400, "not taken over HTTP"),
    ("", ('{"beams": 3}', bytes(9000)), 4400, "'beams'"),
    ("", ("no json",), 4400, "no JSON object"),
    ("", ("[1]",), 4400, "no JSON object"),
    ("", ('{"type": "stop"}',), 4400, "expected start"),
    ("", (bytes(3200), '{"type": "stop"}'), 4400, "expected end"),
    ("?format=container", (b"this is no container" * 99, '{"type": "end"}'), 4400, "the stream cannot be decoded"),
    ("?token=x&model=", (bytes(2), '{"hotwords": 3}'), 4400, "expected end"),
]


@pytest.mark.parametrize(("query", "messages", "code", "words"), WRONG)
def test_what_is_wrong_is_told_and_the_code_says_what_http_would(
    live_server: Any, query: str, messages: tuple[str | bytes, ...], code: int, words: str
) -> None:
    closed, why, told = failure(f"{live_server.url}/live{query}", *messages)
    assert (closed, told["type"], told["status"]) == (code, "error", code - 4000)
    assert words in told["error"]
    assert why
    assert told["error"].startswith(why[:50])
    assert "/etc" not in why


def test_among_several_models_one_that_is_not_there_closes_with_4404(two_models: Any) -> None:
    code, _, told = failure(f"{two_models.url}/live?model=org/other", bytes(3200))
    assert (code, told["code"]) == (4404, "model_not_found")
    # Whoever waits for an answer before the microphone is opened has one.
    code, _, told = failure(f"{two_models.url}/live", '{"model": "org/other"}')
    assert (code, told["code"]) == (4404, "model_not_found")


def test_a_connection_that_says_nothing_is_closed(live_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.server.live_captions.IDLE_S", 0.2)
    assert failure(f"{live_server.url}/live")[0] == 4408
    assert failure(f"{live_server.url}/live", bytes(3200))[0] == 4408


def test_an_end_without_sound_is_no_text(live_server: Any) -> None:
    told = asyncio.run(captions(f"{live_server.url}/live", []))
    assert told == [{"type": "done", "text": "", "duration": 0.0}]


def test_more_streams_than_there_may_be_are_turned_away(start_server: Any, until: Callable[..., None]) -> None:
    server = start_server(max_streams=1)
    url = f"{server.url.replace('http', 'ws')}/live"

    async def run() -> AsyncIterator[None] | None:
        async with connect(url):
            with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
                await connect(url)
            assert refused.value.response.status_code == 429
            assert refused.value.response.headers["retry-after"] == "5"
            # A page in a browser can read only the code with which it is closed.
            async with connect(url, origin=server.url) as page:  # type: ignore[arg-type]
                with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
                    await page.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4429
        return None

    asyncio.run(run())
    until(lambda: server.services.streams.n_active == 0, "the place is free")
    told = asyncio.run(captions(f"{server.url}/live", [bytes(3200)]))
    assert told[-1]["text"] == ""


def test_a_feed_gives_what_it_was_given_from_memory_and_from_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auricle.server.live_feed.MEMORY_BYTES", 100)
    monkeypatch.setattr("auricle.server.live_feed.CHUNK_BYTES", 64)
    feed, rng, sent, read, ended = LiveFeed(tmp_path, 10_000), np.random.default_rng(0), b"", b"", []
    feed.on_end(lambda: ended.append(True))
    for _ in range(500):
        data = rng.bytes(int(rng.integers(0, 90)))
        if feed.n_waiting + len(data) < 10_000 and rng.random() < 0.7:
            feed.put(data)
            sent += data
        elif feed.n_waiting:
            read += feed.read1()
    feed.end()
    feed.put(b"too late")
    while data := feed.read1():
        read += data
    assert read == sent
    assert (feed.n_taken, feed.n_waiting, ended) == (len(sent), 0, [True])
    assert not list(tmp_path.iterdir())


def test_a_feed_that_is_cancelled_gives_nothing_more(tmp_path: Path) -> None:
    feed = LiveFeed(tmp_path, 1 << 24)
    feed.on_end(lambda: pytest.fail("all was read"))
    feed.put(bytes(1 << 20))
    feed.put(bytes(1 << 20))  # on disk
    feed.cancel()
    feed.put(b"too late")
    assert feed.read1() == b""
    assert feed.n_waiting == 0


def test_a_feed_refuses_more_than_it_may_hold(tmp_path: Path) -> None:
    feed = LiveFeed(tmp_path, 10)
    feed.put(bytes(10))
    with pytest.raises(Refused, match="10 bytes of sound wait"):
        feed.put(b"x")


def test_floats_beyond_full_scale_and_none_at_all_are_samples() -> None:
    floats = np.array([0.0, 1.0, -1.0, 7.0, -7.0, np.nan, np.inf, 0.5], "<f4").tobytes()
    expected = [0, 32767, -32767, 32767, -32767, 0, 32767, 16384]
    assert np.frombuffer(floats_to_pcm16(floats), "<i2").tolist() == expected


def test_a_start_is_read_from_the_address_and_the_first_message() -> None:
    start = read_start(
        {"model": "m", "languages": "de, en", "hotwords": ["Ohm"], "latency": "0.5", "vad_threshold": "0.4"}
    )
    assert (start.model, start.languages, start.hotwords, start.latency) == ("m", ("de", "en"), ("Ohm",), 0.5)
    assert start.further == {"vad_threshold": "0.4"}
