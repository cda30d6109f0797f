"""A realtime session of OpenAI's API that writes down what it hears.

Sound goes stretch by stretch to a thread that hears it: with detection of turns a stretch lasts until the client
commits or changes a setting, without it from commit to commit. Events that clients do not expect do not come; those
of a turn are told while it is spoken.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from auricle.errors import AuricleError
from auricle.server.bodies import incoming
from auricle.server.errors import Refused, as_refused, openai_error
from auricle.server.live_feed import LiveFeed
from auricle.server.live_streams import Listening, hang_up, tell
from auricle.server.openai_calls import card_languages, resolved
from auricle.server.openai_parameters import speaker_of
from auricle.server.realtime_settings import SessionSettings
from auricle.server.realtime_sound import samples_of
from auricle.server.realtime_turns import Conversation, Turns, new_id

if TYPE_CHECKING:
    from auricle.server.services import Services

logger = logging.getLogger("auricle.server")

IDLE_S = 600.0  # without a message
LARGE_BYTES = 1 << 18  # messages beyond this are read in a thread
LOADING = 503
MOST_STRETCHES = 32  # committed ones that wait to be heard


@dataclass(eq=False)
class _Stretch:
    """Sound that is heard as one."""

    feed: LiveFeed
    turns: Turns
    listening: Listening
    offset_s: float

    @property
    def seconds(self) -> float:
        """How long the sound is that came so far."""
        return self.feed.n_taken / 2 / (self.listening.rate or 1)


class RealtimeSession:
    """One connection."""

    def __init__(self, websocket: WebSocket, services: Services, model: str, is_beta: bool) -> None:
        """`model` is a served name."""
        self._websocket, self._services = websocket, services
        self._id = new_id("sess")
        self._settings = SessionSettings(model)
        self._conversation = Conversation(is_beta)
        self._stretch: _Stretch | None = None  # the open one
        self._hearings: list[asyncio.Task[None]] = []  # each waits for the one before
        self._elapsed_s = 0.0  # of the stretches that are closed
        self._failed = asyncio.Event()
        self._failure: Refused | None = None
        self._orders: dict[str, Callable[[Mapping[str, Any]], Coroutine[Any, Any, None]]] = {
            "session.update": self._update,
            "transcription_session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }

    async def run(self) -> None:
        """Serve the connection until it ends."""
        reader, failed = asyncio.create_task(self._read()), asyncio.create_task(self._failed.wait())
        try:
            await self._tell_session("created")
            await asyncio.wait({reader, failed}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            elif self._failure is not None:
                raise self._failure
        except WebSocketDisconnect:
            return
        except (Refused, AuricleError) as error:
            await self._close(as_refused(error))
        except Exception as error:
            logger.exception("a realtime session failed")
            await self._close(as_refused(error))
        finally:
            await self._end(reader, failed)

    async def _end(self, *tasks: asyncio.Task[Any]) -> None:
        ending = [*tasks, *self._hearings]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _read(self) -> None:
        """Take the client's messages until it has gone; what is wrong with one is told, and the session goes on."""
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    message = await self._websocket.receive()
            except TimeoutError:
                raise Refused(408, f"no message came for {IDLE_S:g} s", code="idle") from None
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1005))
            event: Mapping[str, Any] = {}
            try:
                event = await _parsed(message)
                await self._order(event)
            except Refused as refused:
                if refused.status >= 500:
                    raise
                await self._tell_error(refused, event.get("event_id"))

    async def _order(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        order = self._orders.get(kind) if isinstance(kind, str) else None
        if order is None:
            raise Refused(
                400,
                f"the event {str(kind)[:80]!r} is unknown to a transcription session; it takes "
                f"{', '.join(self._orders)}",
                code="unknown_event",
                param="type",
            )
        await order(event)

    async def _update(self, event: Mapping[str, Any]) -> None:
        session = event.get("session")
        if not isinstance(session, Mapping):
            raise Refused(400, "session is missing; expected an object", code="invalid_value", param="session")
        is_flat = event["type"] == "transcription_session.update"
        changed = self._settings.updated_flat(session) if is_flat else self._settings.updated(session)
        await self._check(changed)
        stretch = self._stretch
        if stretch is not None and changed != self._settings:
            if self._settings.turn is None and stretch.feed.n_taken:
                message = "sound is in the buffer that was not committed; commit or clear it before settings change"
                raise Refused(400, message, code="buffer_not_empty", param="session")
            self._finish()
        self._settings = changed
        self._conversation.is_beta = self._conversation.is_beta or is_flat
        await self._tell_session("updated")

    async def _check(self, changed: SessionSettings) -> None:
        """Ask the model whether it can do what is wanted, which loads it; one that takes long to load is not asked.

        Raises:
            Refused: 400, it cannot; 404, there is none of that name; 500, it cannot be loaded.
        """
        services, listening = self._services, self._listening(changed)
        languages = await card_languages(services, listening.name)
        try:
            async with services.registry.use(listening.name, services.settings.hold) as model:
                listening.parameters(speaker_of(model.name, model.pipeline, languages))
        except Refused as refused:
            if refused.status != LOADING:
                raise
        except AuricleError as error:
            raise as_refused(error) from None

    async def _append(self, event: Mapping[str, Any]) -> None:
        audio, encoding = event.get("audio"), self._settings.encoding
        is_large = isinstance(audio, str) and len(audio) > LARGE_BYTES
        samples = await asyncio.to_thread(samples_of, audio, encoding) if is_large else samples_of(audio, encoding)
        if not samples:
            return
        stretch = self._stretch or self._begin()
        if is_large or stretch.feed.is_behind:
            await asyncio.to_thread(stretch.feed.put, samples)
        else:
            stretch.feed.put(samples)

    async def _commit(self, event: Mapping[str, Any]) -> None:
        stretch = self._stretch
        if stretch is None:
            raise Refused(
                400, "the buffer is empty; append sound before it is committed", code="input_audio_buffer_commit_empty"
            )
        for told in stretch.turns.commit():
            await self._tell(told)
        self._finish()

    async def _clear(self, event: Mapping[str, Any]) -> None:
        if self._stretch is not None:
            hearing = self._hearings.pop()
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
            self._elapsed_s += self._stretch.seconds
            self._stretch = None
        await self._tell({"type": "input_audio_buffer.cleared"})

    def _begin(self) -> _Stretch:
        """Open a stretch, and have it heard after those before it."""
        self._hearings = [task for task in self._hearings if not task.done()]
        if len(self._hearings) >= MOST_STRETCHES:
            message = f"{len(self._hearings)} committed turns wait to be heard; wait until one is completed"
            raise Refused(429, message, code="too_many_turns")
        chosen, settings = self._settings, self._services.settings
        by_voice = chosen.turn is not None
        stretch = _Stretch(
            LiveFeed(incoming(settings), settings.max_body_bytes),
            Turns(self._conversation, self._elapsed_s, by_voice, chosen.logprobs),
            self._listening(chosen),
            self._elapsed_s,
        )
        before = self._hearings[-1] if self._hearings else None
        self._hearings.append(asyncio.create_task(self._hear(stretch, before)))
        self._stretch = stretch
        return stretch

    def _listening(self, chosen: SessionSettings) -> Listening:
        return Listening(
            resolved(self._services, chosen.model),
            chosen.rate,
            chosen.latency,
            (*((chosen.language,) if chosen.language else ()), *chosen.languages),
            chosen.prompt,
            chosen.keywords,
            chosen.turn.parameters() if chosen.turn is not None else {"vad": False},
        )

    def _finish(self) -> None:
        """Close the open stretch; what came of it is heard to its end."""
        if self._stretch is not None:
            self._stretch.feed.end()
            self._elapsed_s += self._stretch.seconds
            self._stretch = None

    async def _hear(self, stretch: _Stretch, before: asyncio.Task[None] | None) -> None:
        services, turns = self._services, stretch.turns
        try:
            if before is not None:
                await asyncio.wait({before})
            languages = await card_languages(services, stretch.listening.name)
            events = services.streams.hear(services.registry, stretch.feed, stretch.listening, languages)
            async with aclosing(events):
                async for event in events:
                    for told in turns.of(event):
                        await self._tell(told)
            for told in turns.last(stretch.seconds):
                await self._tell(told)
        except WebSocketDisconnect:
            return  # which the reader sees, too
        except Exception as error:
            self._failure = as_refused(error)
            if self._failure.status >= 500:
                logger.error("a realtime session failed: %s", error, exc_info=not isinstance(error, Refused))
            for told in turns.failed(self._failure):
                await self._tell(told)
            self._failed.set()
        finally:
            stretch.feed.cancel()

    async def _tell_session(self, what: str) -> None:
        if self._conversation.is_beta:
            await self._tell({"type": f"transcription_session.{what}", "session": self._settings.flat(self._id)})
        else:
            await self._tell({"type": f"session.{what}", "session": self._settings.nested(self._id)})

    async def _tell_error(self, refused: Refused, event_id: Any = None) -> None:
        await self._tell({"type": "error", "error": {**openai_error(refused), "event_id": event_id}})

    async def _tell(self, event: Mapping[str, Any]) -> None:
        await tell(self._websocket, {"event_id": new_id("event"), **event})

    async def _close(self, refused: Refused) -> None:
        """Tell an error that ends the session, and close."""
        error = {**openai_error(refused), "event_id": None}
        await hang_up(self._websocket, refused, {"event_id": new_id("event"), "type": "error", "error": error})


async def _parsed(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the event in a message.

    Raises:
        Refused: 400, it is no object of JSON.
    """
    text = message.get("text")
    if text is None:
        raise Refused(400, "a binary message came; expected events as JSON", code="invalid_json")
    try:
        event = await asyncio.to_thread(json.loads, text) if len(text) > LARGE_BYTES else json.loads(text)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, Mapping):
        raise Refused(400, f"the message {text[:80]!r} is no JSON object", code="invalid_json")
    return event
