"""What is heard of one stretch of sound, as the events of a realtime session."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auricle.server.errors import Refused, openai_error
from auricle.server.live_streams import SoundEnded
from auricle.server.openai_replies import logprobs_of

if TYPE_CHECKING:
    from auricle.results import Word
    from auricle.speech.streaming import StreamUpdate, Utterance

_TRANSCRIPTION = "conversation.item.input_audio_transcription"
Events = list[dict[str, Any]]


def new_id(kind: str) -> str:
    """Return a new id, such as "item_4f…"."""
    return f"{kind}_{uuid.uuid4().hex[:24]}"


@dataclass
class Item:
    """A turn: what somebody says between two pauses, or between two commits."""

    id: str
    start: float = 0.0  # seconds in the session
    end: float = 0.0
    text: str = ""
    words: list[Word] = field(default_factory=list)
    is_committed: bool = False


@dataclass
class Conversation:
    """What is shared by the stretches of a session."""

    is_beta: bool = False
    last_item: str | None = None

    def committed(self, item: Item) -> Events:
        """Return what tells that an item has its sound, once for each."""
        if item.is_committed:
            return []
        item.is_committed = True
        before, self.last_item = self.last_item, item.id
        told = {
            "id": item.id,
            "object": "realtime.item",
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        kinds = ("created",) if self.is_beta else ("added", "done")
        return [
            {"type": "input_audio_buffer.committed", "item_id": item.id, "previous_item_id": before},
            *({"type": f"conversation.item.{kind}", "previous_item_id": before, "item": told} for kind in kinds),
        ]


class Turns:
    """Translates what is heard of one stretch of sound.

    Who is late hears several utterances in one go: then all of their beginnings and ends are told before any of their
    text, which belongs to the utterance that began where it says.
    """

    def __init__(self, conversation: Conversation, offset_s: float, by_voice: bool, logprobs: bool) -> None:
        """`offset_s` is where in the session the stretch begins; `by_voice`: pauses divide it, and are told."""
        self._conversation, self._offset_s = conversation, offset_s
        self._by_voice, self._logprobs = by_voice, logprobs
        self._open: dict[float, Item] = {}  # by where they begin in the stretch
        self._whole = None if by_voice else Item(new_id("item"), offset_s)
        self._is_asked = False  # whether the client has committed the stretch
        self._n_final = 0  # characters of the stretch's final text that are told
        self._had_voice = False  # when the sound ended

    def commit(self) -> Events:
        """Take the client's word that the stretch ends here."""
        self._is_asked = True
        return [] if self._whole is None else self._conversation.committed(self._whole)

    def of(self, event: StreamUpdate | Utterance | SoundEnded) -> Events:
        """Return what is to be told of something that was heard."""
        from auricle.speech.streaming import StreamUpdate

        if isinstance(event, StreamUpdate):
            return self._update(event)
        if isinstance(event, SoundEnded):
            self._had_voice = any(not item.is_committed for item in self._open.values())
            return []
        return self._utterance(event) if self._by_voice else []

    def last(self, seconds: float) -> Events:
        """Return what is to be told when all of the stretch, so long, was heard."""
        if self._whole is not None:
            self._whole.end = self._offset_s + seconds
            return self._completed(self._whole)
        if self._is_asked and not self._had_voice:
            # The client committed sound without a voice: an item of its own, without a word.
            item = Item(new_id("item"), self._offset_s, self._offset_s)
            return [*self._conversation.committed(item), *self._completed(item)]
        return []

    def failed(self, refused: Refused) -> Events:
        """Return what is to be told where hearing failed amid an item."""
        item = self._whole or next(iter(self._open.values()), None)
        if item is None:
            return []
        told = {"item_id": item.id, "content_index": 0, "error": openai_error(refused)}
        return [*self._conversation.committed(item), {"type": f"{_TRANSCRIPTION}.failed", **told}]

    def _utterance(self, event: Utterance) -> Events:
        if event.end is None:
            item = self._open[event.start] = Item(new_id("item"), self._offset_s + event.start)
            at = round(1000 * item.start)
            return [{"type": "input_audio_buffer.speech_started", "audio_start_ms": at, "item_id": item.id}]
        item = self._open[event.start]
        item.end = self._offset_s + event.end
        at = round(1000 * item.end)
        told: Events = [{"type": "input_audio_buffer.speech_stopped", "audio_end_ms": at, "item_id": item.id}]
        told += self._conversation.committed(item)
        return told + self._completed(self._open.pop(event.start)) if event.is_empty else told

    def _update(self, update: StreamUpdate) -> Events:
        item = self._whole or self._open[update.start]
        final = update.final_text
        delta, self._n_final = final[self._n_final :], len(final)
        if not item.text:
            delta = delta.lstrip()
        item.words += update.final if self._logprobs else ()
        told: Events = []
        if delta:
            item.text += delta
            event: dict[str, Any] = {"item_id": item.id, "content_index": 0, "delta": delta}
            if self._logprobs:
                event["logprobs"] = logprobs_of(delta, update.final)
            told.append({"type": f"{_TRANSCRIPTION}.delta", **event})
        if update.ends_utterance and self._whole is None:
            told += self._completed(self._open.pop(update.start))
        return told

    def _completed(self, item: Item) -> Events:
        told: dict[str, Any] = {
            "type": f"{_TRANSCRIPTION}.completed",
            "item_id": item.id,
            "content_index": 0,
            "transcript": item.text,
            "usage": {"type": "duration", "seconds": round(max(0.0, item.end - item.start), 3)},
        }
        if self._logprobs:
            told["logprobs"] = logprobs_of(item.text, item.words)
        return [told]
