"""Live streams: so many at once, each heard in a thread of its own, and none that nobody listens to."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from auricle.errors import OptionError
from auricle.server.access.authorization import OPENAI_PROTOCOL
from auricle.server.access.denial import deny
from auricle.server.errors import Refused
from auricle.server.live_feed import LiveFeed
from auricle.server.openai_parameters import Speaker, naming, speaker_of, spoken
from auricle.server.parameters import adapted
from auricle.server.recognition import TASK, refuse_ours
from auricle.server.scheduling import Cancelled, Ticket

if TYPE_CHECKING:
    from auricle.server.registry import Registry
    from auricle.speech.streaming import StreamUpdate, Utterance

MOST_UNSENT = 64  # events that wait for a client; then hearing waits, too
TRY_AGAIN_S = 5
_REASON_BYTES = 123


@dataclass(frozen=True)
class Listening:
    """How a stream is to be heard."""

    name: str  # of the model, as it is served
    rate: int | None = None  # of 16-bit mono samples; None: the bytes are a container
    latency: float = 1.0  # seconds of new sound between two hypotheses
    languages: Sequence[str] = ()
    prompt: str | None = None
    hotwords: Sequence[str] = ()
    voice: Mapping[str, Any] = field(default_factory=dict)  # parameters of how voice is found
    further: Mapping[str, Any] = field(default_factory=dict)  # of the pipeline, as they arrived

    def parameters(self, speaker: Speaker) -> dict[str, Any]:
        """Return the parameters of the pipeline's stream.

        Raises:
            Refused: 400, the model has no use for one. OptionError: one is not for clients.
        """
        found = dict(adapted(self.further, speaker.dialect).parameters)
        found |= {**self.voice, **spoken(speaker, self.languages, self.prompt, self.hotwords)}
        refuse_ours(found)
        return found


@dataclass(frozen=True)
class SoundEnded:
    """All sound has been read; what was heard of it follows."""


class LiveStreams:
    """Places for streams; lives on one event loop."""

    def __init__(self, most: int, max_duration: float | None = None) -> None:
        """Take how many there may be, and how many seconds each may last."""
        self.most, self.max_duration = most, max_duration
        self.n_active = 0
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="auricle-stream")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place as long as a connection lasts.

        Raises:
            Refused: 429, all are taken.
        """
        if self.n_active >= self.most:
            raise Refused(
                429,
                f"{self.n_active} live streams are open, which is the most that this server takes; try again in "
                f"{TRY_AGAIN_S} s",
                code="too_many_streams",
                headers={"retry-after": str(TRY_AGAIN_S)},
            )
        self.n_active += 1
        try:
            yield
        finally:
            self.n_active -= 1

    async def hear(
        self, registry: Registry, feed: LiveFeed, listening: Listening, languages: Sequence[str]
    ) -> AsyncGenerator[StreamUpdate | Utterance | SoundEnded]:
        """Give what is heard, until the feed ends; close it, and hearing ends within a window.

        `languages` are those that the model's card names.

        Raises:
            Refused, AuricleError: the model cannot be used, a parameter or the sound is wrong.
        """
        async with registry.use(listening.name) as model:
            if model.task != TASK:
                raise Refused(422, f"Model {model.name} does {model.task}, not {TASK}", code="wrong_task")
            parameters = listening.parameters(speaker_of(model.name, model.pipeline, languages))
            ticket = model.batcher.ticket()
            pipeline = model.pipeline.scheduled(ticket)
            pipeline.limits = replace(pipeline.limits, max_duration=self.max_duration or pipeline.limits.max_duration)
            hearing = _Hearing(pipeline, ticket, feed, listening, parameters)
            future = asyncio.get_running_loop().run_in_executor(self._pool, hearing.work)
            future.add_done_callback(lambda _: hearing.events.put_nowait(None))
            try:
                while (event := await hearing.events.get()) is not None:
                    hearing.room.release()
                    yield event
                await future
            except OptionError as error:
                raise naming(error, parameters) from None
            finally:
                if not future.done():
                    hearing.cancel()
                    # The place is free when the thread is.
                    await asyncio.wait({future})
                if not future.cancelled():
                    future.exception()

    def close(self) -> None:
        """Take no more streams."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Hearing:
    """One stream in its thread, and what it has to tell."""

    def __init__(
        self, pipeline: Any, ticket: Ticket, feed: LiveFeed, listening: Listening, parameters: Mapping[str, Any]
    ) -> None:
        self._pipeline, self._ticket, self._feed = pipeline, ticket, feed
        self._listening, self._parameters = listening, parameters
        self._loop = asyncio.get_running_loop()
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self.room = threading.Semaphore(MOST_UNSENT)

    def work(self) -> None:
        """Hear the feed to its end, in a thread."""
        self._feed.on_end(lambda: self._tell(SoundEnded()))
        rate = self._listening.rate
        updates = self._pipeline.stream(
            self._feed,
            latency=self._listening.latency,
            raw=rate is not None,
            sampling_rate=rate,
            on_utterance=self._tell,
            **self._parameters,
        )
        for update in updates:
            self._tell(update)

    def cancel(self) -> None:
        """End as soon as the window that is being computed is done."""
        self._ticket.cancel()
        self._feed.cancel()
        self.room.release()

    def _tell(self, event: Any) -> None:
        self.room.acquire()
        if self._ticket.is_cancelled:
            raise Cancelled("the stream was cancelled")
        self._loop.call_soon_threadsafe(self.events.put_nowait, event)


@asynccontextmanager
async def admitted(websocket: WebSocket, streams: LiveStreams, draining: asyncio.Event) -> AsyncGenerator[bool]:
    """Hold a place for a connection that is not accepted yet; False if it was turned away."""
    async with AsyncExitStack() as stack:
        try:
            if draining.is_set():
                message = "the server is shutting down; try again soon"
                raise Refused(503, message, code="draining", headers={"retry-after": str(TRY_AGAIN_S)})
            stack.enter_context(streams.place())
        except Refused as refused:
            await turn_away(websocket, refused)
            yield False
            return
        yield True


async def turn_away(websocket: WebSocket, refused: Refused) -> None:
    """Refuse a connection that is not accepted yet."""
    await deny(websocket.scope, websocket.receive, websocket.send, refused)


def protocol_of(websocket: WebSocket) -> str | None:
    """Choose one of the subprotocols that are offered, as browsers insist, and no secret if there is another."""
    offered = list(websocket.scope.get("subprotocols", ()))
    public = [name for name in offered if not name.startswith(OPENAI_PROTOCOL)]
    if "realtime" in public:
        return "realtime"
    return next(iter(public or offered), None)


async def tell(websocket: WebSocket, value: Mapping[str, Any]) -> None:
    """Send a message as JSON.

    Raises:
        WebSocketDisconnect: the client has gone.
    """
    try:
        await websocket.send_text(json.dumps(value, ensure_ascii=False))
    except RuntimeError:  # which sending on a closed connection is
        raise WebSocketDisconnect(1006) from None


async def hang_up(websocket: WebSocket, refused: Refused, last: Mapping[str, Any]) -> None:
    """Tell an error, and close with 4000 plus its status; who has gone already is not told."""
    with suppress(WebSocketDisconnect, RuntimeError):
        await tell(websocket, last)
        # A closing frame holds no more than 123 bytes of reason.
        why = refused.message.encode()[:_REASON_BYTES].decode(errors="ignore")
        await websocket.close(4000 + refused.status, why)
