"""Captions over one websocket: sound in, final and pending words out.

The client may first send JSON: ``{"sample_rate": 48000, "format": "s16le" | "f32le" | "container", "latency": 0.5,
"language": …}``, each also a parameter of the address; then binary messages, and ``{"type": "end"}``. It is told
``{"type": "update", "final", "pending", "words", "time"}``: what is final, joined, is the text of the last message,
``{"type": "done", "text", "duration"}``. An error is ``{"type": "error", "error", "code"}`` and closes with 4000 plus
the status that HTTP would have.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from auricle.errors import AuricleError
from auricle.server.bodies import incoming
from auricle.server.errors import Refused, as_refused
from auricle.server.live_feed import LiveFeed
from auricle.server.live_streams import Listening, hang_up, tell
from auricle.server.openai_calls import card_languages, resolved
from auricle.server.openai_fields import refuse
from auricle.server.openai_replies import word_object

if TYPE_CHECKING:
    from auricle.server.services import Services
    from auricle.speech.streaming import StreamUpdate

logger = logging.getLogger("auricle.server")

IDLE_S = 120.0  # without a message; a microphone sends several a second
FORMATS = ("s16le", "f32le", "container")
RATE = 16000
MOST_JSON = 1 << 16  # characters
_MAGIC = (b"RIFF", b"fLaC", b"OggS", b"\x1a\x45\xdf\xa3", b"ID3")  # what no samples begin with by chance
_OWN = ("type", "model", "sample_rate", "format", "latency", "language", "languages", "prompt", "hotwords", "keywords")


@dataclass(frozen=True)
class Start:
    """What a client says before its sound."""

    model: str | None = None
    rate: int | None = None  # None: not said
    form: str | None = None  # of FORMATS; None: not said
    latency: float = 1.0
    languages: tuple[str, ...] = ()
    prompt: str | None = None
    hotwords: tuple[str, ...] = ()
    further: Mapping[str, Any] = field(default_factory=dict)


def read_start(given: Mapping[str, Any]) -> Start:
    """Read the first message, with the parameters of the address.

    Raises:
        Refused: 400, a value is wrong.
    """
    form = given.get("format")
    if form is not None and form not in FORMATS:
        raise refuse("format", f"format is {str(form)[:80]!r}; expected {', '.join(FORMATS)}")
    rate = None if given.get("sample_rate") is None else round(_number("sample_rate", given["sample_rate"]))
    if rate is not None and form == "container":
        raise refuse("sample_rate", "sample_rate is of samples, and a container says its own; leave it out")
    return Start(
        model=_text("model", given.get("model")),
        rate=rate,
        form=form,
        latency=_number("latency", given.get("latency", 1.0)),
        languages=_texts("language", given.get("language")) + _texts("languages", given.get("languages")),
        prompt=_text("prompt", given.get("prompt")),
        hotwords=_texts("hotwords", given.get("hotwords")) + _texts("keywords", given.get("keywords")),
        further={name: value for name, value in given.items() if name not in _OWN},
    )


class Captions:
    """One connection."""

    def __init__(self, websocket: WebSocket, services: Services) -> None:
        self._websocket, self._services = websocket, services
        self._feed = LiveFeed(incoming(services.settings), services.settings.max_body_bytes)
        self._form = "s16le"
        self._rate: int | None = RATE
        self._rest = b""  # of a float that two messages cut
        self._end_asked = False
        self._n_final = 0  # characters of the final text that were told
        self._end_s = 0.0  # seconds heard

    async def run(self) -> None:
        """Hear the connection to its end, and close it."""
        try:
            await self._hear()
        except WebSocketDisconnect:
            return
        except (Refused, AuricleError) as error:
            await self._fail(as_refused(error))
        except Exception as error:
            logger.exception("live captions failed")
            await self._fail(as_refused(error))

    async def _hear(self) -> None:
        start, first = await self._start()
        name = resolved(self._services, start.model)  # before sound comes in vain
        if first is not None:
            self._choose(start, first)
        else:
            self._choose(start, await self._sound())
        listening = Listening(
            name,
            self._rate,
            start.latency,
            start.languages,
            start.prompt,
            start.hotwords,
            further=start.further,
        )
        reader, writer = asyncio.create_task(self._read()), asyncio.create_task(self._write(listening))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            # What went wrong with the sound comes before that the client has gone for it.
            (writer if writer.done() else reader).result()
        finally:
            for task in (reader, writer):
                task.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)
            self._feed.cancel()

    async def _start(self) -> tuple[Start, bytes | None]:
        """Return what is said before the sound, and the first of it if it has come already."""
        query = dict(self._websocket.query_params.multi_items())
        message = await self._receive()
        if isinstance(message, bytes):
            return read_start(query), message
        if message.get("type", "start") == "end":
            self._end_asked = True
            return read_start(query), b""
        if message.get("type", "start") != "start":
            raise refuse("type", f"the first message is of the type {str(message['type'])[:80]!r}; expected start")
        return read_start({**query, **message}), None

    async def _sound(self) -> bytes:
        message = await self._receive()
        if isinstance(message, bytes):
            return message
        self._take_order(message)
        return b""

    def _choose(self, start: Start, first: bytes) -> None:
        """Decide what the bytes are, by the client's word or by how they begin."""
        is_container = first.startswith(_MAGIC) or first[4:8] == b"ftyp"
        said = start.form or ("s16le" if start.rate is not None else None)
        self._form = said or ("container" if is_container else "s16le")
        rate = RATE if start.rate is None else start.rate
        self._rate = None if self._form == "container" else rate
        self._feed.put(self._samples(first))
        if self._end_asked:
            self._feed.end()

    async def _read(self) -> None:
        """Take the client's messages until it has gone."""
        while True:
            message = await self._receive()
            if isinstance(message, bytes):
                data = self._samples(message)
                if self._feed.is_behind:
                    await asyncio.to_thread(self._feed.put, data)
                else:
                    self._feed.put(data)
            else:
                self._take_order(message)

    def _take_order(self, message: Mapping[str, Any]) -> None:
        if message.get("type") != "end":
            told = str(message.get("type"))[:80]
            raise refuse("type", f"a message of the type {told!r} came amid the sound; expected end, or binary sound")
        self._end_asked = True
        self._feed.end()

    async def _receive(self) -> bytes | dict[str, Any]:
        """Return the next message: bytes, or what its JSON says.

        Raises:
            WebSocketDisconnect: the client has gone. Refused: 408, nothing came; 400, it is no JSON.
        """
        try:
            async with asyncio.timeout(None if self._end_asked else IDLE_S):
                message = await self._websocket.receive()
        except TimeoutError:
            raise Refused(
                408, f"nothing came for {IDLE_S:g} s; send sound, or {{'type': 'end'}}", code="idle"
            ) from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        data = message.get("bytes")
        return data if data is not None else read_json(message.get("text") or "")

    async def _write(self, listening: Listening) -> None:
        """Tell what is heard, then that it is all, and close."""
        from auricle.speech.streaming import StreamUpdate

        languages = await card_languages(self._services, listening.name)
        events = self._services.streams.hear(self._services.registry, self._feed, listening, languages)
        text = ""
        async with aclosing(events):
            async for event in events:
                if isinstance(event, StreamUpdate):
                    text = event.final_text
                    await tell(self._websocket, self._update(event, text))
        if listening.rate is not None:
            self._end_s = self._feed.n_taken / 2 / listening.rate
        done = {"type": "done", "text": text, "duration": round(self._end_s, 3)}
        await tell(self._websocket, done)
        await self._websocket.close(1000)

    def _update(self, update: StreamUpdate, text: str) -> dict[str, Any]:
        final, self._n_final, self._end_s = text[self._n_final :], len(text), update.end
        return {
            "type": "update",
            "final": final,
            "pending": update.tentative_text,
            "words": [word_object(word) for word in update.final],
            "time": round(update.end, 3),
            "ends_utterance": update.ends_utterance,
        }

    def _samples(self, data: bytes) -> bytes:
        """Return bytes as they are, or 32-bit floats as 16-bit samples."""
        if self._form != "f32le":
            return data
        held = self._rest + data
        whole = len(held) // 4 * 4
        self._rest = held[whole:]
        return floats_to_pcm16(held[:whole])

    async def _fail(self, refused: Refused) -> None:
        """Tell an error and close."""
        refused.message = refused.message.replace(f"<{LiveFeed.__name__}>", "the stream")
        told = {"type": "error", "error": refused.message, "code": refused.code, "status": refused.status}
        await hang_up(self._websocket, refused, told)


def read_json(text: str) -> dict[str, Any]:
    """Return what a text message says.

    Raises:
        Refused: 400, it is no object of JSON.
    """
    try:
        read = json.loads(text) if len(text) <= MOST_JSON else None
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        message = f"the message {text[:80]!r} is no JSON object of at most {MOST_JSON} characters; send sound as binary"
        raise Refused(400, message, code="invalid_json")
    return read


def floats_to_pcm16(data: bytes) -> bytes:
    """Return 32-bit floats from -1 to 1 as 16-bit samples; what is no number is silence."""
    import numpy as np

    clean = np.nan_to_num(np.frombuffer(data, "<f4"), nan=0.0, posinf=1.0, neginf=-1.0)
    return np.round(np.clip(clean, -1.0, 1.0) * 32767).astype("<i2").tobytes()


def _number(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise refuse(name, f"{name} is {str(value)[:80]!r}; expected a number")
    return number


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise refuse(name, f"{name} is {str(value)[:80]!r}; expected text")
    return value or None


def _texts(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of texts, or text with commas between, as a tuple."""
    if value is None:
        return ()
    entries: Iterable[Any] = value.split(",") if isinstance(value, str) else value
    if not isinstance(value, str | list) or not all(isinstance(one, str) for one in entries):
        raise refuse(name, f"{name} is {str(value)[:80]!r}; expected text, or a list of texts")
    return tuple(one.strip() for one in entries if one.strip())
