"""A transcription as server-sent events: its text while it is heard, then everything at once.

The pieces of `transcript.text.delta`, joined, are the text of `transcript.text.done`. With response_format
verbose_json there are also `transcript.text.segment` for each segment that is final, and `transcript.progress`. Where
speakers are told apart, the segments come when all was heard: then it is known who speaks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auricle.server.errors import Refused, as_refused, openai_error
from auricle.server.openai_deltas import Deltas
from auricle.server.openai_fields import Asked
from auricle.server.openai_replies import Reply, logprobs_of, word_object
from auricle.server.recognition import Event, Heard, Progress, Recognized

if TYPE_CHECKING:
    from auricle.results import Segment, Word

logger = logging.getLogger("auricle.server")

# What fails sooner is answered with a status of its own; then the events begin.
PATIENCE_S = 1.0

Work = Callable[[Callable[[Event], None]], Coroutine[Any, Any, Recognized]]


@dataclass(frozen=True)
class Joining:
    """How segments become text while they are heard."""

    joint: str | None  # what stands between their texts; None: they come in any order
    holds: (
        bool  # whether the first ones wait until there are others, or all is known: a short recording is judged whole
    )
    tells_speakers: bool = False


class Telling:
    """One transcription: its events, in order, as they are known."""

    def __init__(self, work: Work, asked: Asked, reply_of: Callable[[Recognized], Reply], how: Joining) -> None:
        """Begin the work."""
        self._reply_of, self._holds = reply_of, how.holds
        self._logprobs, self._is_verbose = asked.logprobs, asked.form == "verbose_json"
        self._tells_speakers = how.tells_speakers
        self._has_segments = asked.form in ("verbose_json", "diarized_json")
        self._deltas = Deltas(how.joint)
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._held: tuple[Segment, ...] = ()
        self._words: list[Word] = []  # of segments whose text was not told yet
        self._n_heard = self._n_told = 0
        self._done_s = -1.0
        self.task = asyncio.create_task(work(self._queue.put_nowait))
        self.task.add_done_callback(lambda _: self._queue.put_nowait(None))

    async def end(self) -> None:
        """End the work, if it goes on."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def begin(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until there is something to tell.

        Raises:
            What the work raises in that time.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + patience_s
        while self._queue.empty() and loop.time() < end:
            await asyncio.wait({self.task}, timeout=min(0.05, patience_s))
        if self.task.done():
            self.task.result()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Give all events."""
        while (event := await self._queue.get()) is not None:
            for told in self._of(event):
                yield told
        for told in self._last():
            yield told

    def _of(self, event: Event) -> list[dict[str, Any]]:
        from auricle.speech.stretches import AUTOMATIC_S

        if isinstance(event, Progress):
            if event.duration is not None and event.duration > AUTOMATIC_S:
                self._holds = False
            if not self._is_verbose or event.done <= self._done_s:
                return []
            self._done_s = event.done
            return [{"type": "transcript.progress", "done": round(event.done, 3), "duration": event.duration}]
        assert isinstance(event, Heard), "there are two kinds of events"
        self._n_heard += 1
        segments, self._held = (*self._held, *event.segments), ()
        if self._holds and self._n_heard == 1:
            self._held = segments
            return []
        return self._segments(segments)

    def _segments(self, segments: Sequence[Segment]) -> list[dict[str, Any]]:
        self._words += [word for segment in segments for word in segment.words] if self._logprobs else []
        told = self._delta(self._deltas.add([segment.text for segment in segments]))
        if self._is_verbose and not self._tells_speakers:
            told += [segment_event(place, one) for place, one in enumerate(segments, self._n_told)]
        self._n_told += len(segments)
        return told

    def _delta(self, piece: str) -> list[dict[str, Any]]:
        if not piece:
            return []
        told: dict[str, Any] = {"type": "transcript.text.delta", "delta": piece}
        if self._logprobs:
            told["logprobs"] = logprobs_of(piece, self._words)
            self._words = []
        return [told]

    def _last(self) -> list[dict[str, Any]]:
        """Return what is told when the work has ended."""
        if self.task.cancelled():
            return []
        error = self.task.exception()
        if error is not None:
            if as_refused(error).status >= 500:
                logger.error("a stream broke off: %s", error, exc_info=error)
            return [failure(as_refused(error))]
        reply = self._reply_of(self.task.result())
        transcript = reply.transcript
        told: list[dict[str, Any]] = []
        if not self._n_told:
            # Nothing was told of a cached transcript, or of a short one, whose segments were held.
            told += self._segments(transcript.segments)
        rest = self._deltas.rest(reply.text)
        if rest is None:
            logger.warning("the text that was streamed is not how the whole begins; clients get both")
        told += self._delta(rest or "")
        if self._tells_speakers and self._has_segments:
            for event, segment in zip(reply.told_segments(), transcript.segments, strict=True):
                words = [word_object(word) for word in segment.words]
                own = {"speaker": segment.speaker or "", "words": words} if self._is_verbose else {}
                told.append({**event, **own})
        return [*told, {"type": "transcript.text.done", **reply.body(), "text": reply.text}]


def failure(refused: Refused) -> dict[str, Any]:
    """Return what an error is told as."""
    return {"type": "error", "error": openai_error(refused)}


def segment_event(place: int, segment: Segment) -> dict[str, Any]:
    """Return what is told of a segment; its times in seconds."""
    told: dict[str, Any] = {
        "type": "transcript.text.segment",
        "id": f"seg_{place}",
        "speaker": "" if segment.channel is None else f"channel {segment.channel}",
        "start": round(segment.start, 3),
        "end": round(segment.start if segment.end is None else segment.end, 3),
        "text": segment.text.strip(),
        "words": [word_object(word) for word in segment.words],
    }
    return told
