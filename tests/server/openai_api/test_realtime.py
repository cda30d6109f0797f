"""Realtime sessions of OpenAI's API: their own client, both dialects, turns, and sessions that end badly."""

from __future__ import annotations

import asyncio
import base64
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import websockets
from openai.types.realtime import (
    ConversationItemInputAudioTranscriptionCompletedEvent,
    SessionCreatedEvent,
    SessionUpdatedEvent,
)
from realtime_talk import COMPLETED, DEADLINE_S, DELTA, PIECE_S, RATE, Talk, append, pieces, session, talk
from websockets.asyncio.client import connect

from auricle.evaluation.wer import character_errors
from auricle.server.live_streams import SoundEnded
from auricle.server.realtime_sound import samples_of
from auricle.server.realtime_turns import Conversation, Turns
from auricle.speech.streaming import Utterance

pytestmark = pytest.mark.timeout(150)
# Characters that differ between turns, each heard alone, and the recording as a whole.
CLOSE = 0.2


@pytest.fixture(scope="module")
def expected(live_server: Any, read_aloud: Path) -> str:
    """The text of the whole recording."""
    reply = httpx.post(
        f"{live_server.url}/v1/audio/transcriptions", files={"file": read_aloud.read_bytes()}, timeout=60
    )
    return str(reply.json()["text"])


def test_the_client_s_session_in_real_time_has_turns_with_their_text(
    live_server: Any, recording: Path, pcm: Any
) -> None:
    speech = pcm(recording, RATE)[: 5 * RATE]
    sound = np.concatenate((speech, np.zeros(RATE, np.float32)))

    async def run() -> list[Any]:
        events: list[Any] = []
        client = openai.AsyncOpenAI(base_url=f"{live_server.url}/v1", api_key="none")
        async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
            wanted: Any = {
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": RATE},
                        "transcription": {"model": "gpt-4o-transcribe", "language": "en", "delay": "minimal"},
                        "noise_reduction": {"type": "near_field"},
                        "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
                    }
                },
                "include": ["item.input_audio_transcription.logprobs"],
            }
            await connection.session.update(session=wanted)

            async def send() -> None:
                for piece in pieces(sound):
                    await connection.input_audio_buffer.append(audio=piece)
                    await asyncio.sleep(PIECE_S)

            sending = asyncio.create_task(send())
            while sum(one.type == COMPLETED for one in events) < 2:
                events.append(await asyncio.wait_for(connection.recv(), DEADLINE_S))
            await sending
        await client.close()
        return events

    events = asyncio.run(run())
    assert isinstance(events[0], SessionCreatedEvent)
    assert isinstance(events[1], SessionUpdatedEvent)
    told = events[1].session.to_dict()
    assert told["audio"]["input"]["noise_reduction"] is None, "the effective settings, and it is not there"  # type: ignore[index]
    completed = [one for one in events if isinstance(one, ConversationItemInputAudioTranscriptionCompletedEvent)]
    for one in completed:
        ConversationItemInputAudioTranscriptionCompletedEvent.model_validate(one.to_dict(), strict=True)
        of_item = [other for other in events if getattr(other, "item_id", None) == one.item_id]
        kinds = [other.type.removeprefix("input_audio_buffer.") for other in of_item if "delta" not in other.type]
        assert kinds == ["speech_started", "speech_stopped", "committed", COMPLETED]
        assert "".join(other.delta for other in of_item if other.type == DELTA) == one.transcript
        assert "".join(piece.token for piece in one.logprobs or ()) == one.transcript
        assert one.usage.type == "duration"
    starts = [one.audio_start_ms for one in events if one.type == "input_audio_buffer.speech_started"]
    assert starts[0] == pytest.approx(150, abs=200)
    assert starts[1] == pytest.approx(3000, abs=400)
    committed = [one for one in events if one.type == "input_audio_buffer.committed"]
    assert [one.previous_item_id for one in committed] == [None, committed[0].item_id]


@pytest.mark.parametrize("by_voice", [True, False], ids=["found by voice", "committed by the client"])
def test_turns_at_once_have_about_the_text_of_the_recording(
    live_server: Any, read_aloud: Path, pcm: Any, expected: str, by_voice: bool
) -> None:
    sound = np.concatenate((pcm(read_aloud, RATE), np.zeros(RATE, np.float32)))

    async def speak(one: Talk) -> None:
        await one.say(session(turn_detection={"type": "server_vad"} if by_voice else None))
        await one.say(*map(append, pieces(sound)), {"type": "input_audio_buffer.commit"})
        if by_voice:
            await one.say({"type": "input_audio_buffer.clear"})
            await one.until("input_audio_buffer.cleared")
        # Everything has its end: as many turns are completed as were committed.
        while not one.of(COMPLETED) or len(one.of(COMPLETED)) < len(one.of("input_audio_buffer.committed")):
            await one.until(COMPLETED, len(one.of(COMPLETED)) + 1)

    told = talk(live_server, speak)
    text = " ".join(one["transcript"] for one in told.of(COMPLETED) if one["transcript"])
    assert character_errors([expected], [text]).rate < CLOSE
    assert not told.of("error")
    if not by_voice:
        (done,) = told.of(COMPLETED)
        assert done["usage"] == {"type": "duration", "seconds": pytest.approx(len(sound) / RATE, abs=1e-3)}
        assert not told.of("input_audio_buffer.speech_started")


def test_commits_follow_each_other_in_order_and_sound_without_voice_has_no_text(
    live_server: Any, recording: Path, pcm: Any
) -> None:
    speech, silence = pcm(recording, RATE)[: 3 * RATE], np.zeros(RATE, np.float32)
    commit = {"type": "input_audio_buffer.commit"}

    async def speak(one: Talk) -> None:
        await one.say(session(turn_detection=None))
        for sound in (speech, silence, speech):
            await one.say(*map(append, pieces(sound)), commit)
        await one.until(COMPLETED, 3)
        await one.say(session(turn_detection={"type": "server_vad"}))
        await one.say(*map(append, pieces(silence)), commit)
        await one.until(COMPLETED, 4)
        await one.say(*map(append, pieces(speech)), commit)
        await one.until(COMPLETED, 5)

    told = talk(live_server, speak)
    assert [one["item_id"] for one in told.of("input_audio_buffer.committed")] == [
        one["item_id"] for one in told.of(COMPLETED)
    ]
    texts = [one["transcript"] for one in told.of(COMPLETED)]
    assert texts[0] == texts[2]
    assert len(texts[0]) > 5
    assert texts[3] == ""
    assert len(texts[4]) > 5
    (started,) = told.of("input_audio_buffer.speech_started")
    assert started["audio_start_ms"] == pytest.approx(8150, abs=250), "counted from the session's beginning"


def test_the_beta_s_events_and_a_telephone_s_sound(live_server: Any, recording: Path, pcm: Any) -> None:
    samples = pcm(recording, 8000)[: 3 * 8000]
    magnitude = np.minimum(np.abs(samples), 1.0)
    exponents = np.sign(samples) * np.log1p(255 * magnitude) / np.log(256)
    code = (np.round(np.abs(exponents) * 127).astype(np.uint8) | np.where(samples < 0, 0x80, 0).astype(np.uint8)) ^ 0xFF
    wanted = {
        "input_audio_format": "g711_ulaw",
        "input_audio_transcription": {"model": "whisper-1"},
        "turn_detection": None,
    }

    async def speak(one: Talk) -> None:
        await one.until("transcription_session.created")
        await one.say({"type": "transcription_session.update", "session": wanted})
        await one.say(append(base64.b64encode(code.tobytes()).decode()), {"type": "input_audio_buffer.commit"})
        await one.until(COMPLETED)

    for how in (
        {"additional_headers": {"OpenAI-Beta": "realtime=v1"}},
        {"subprotocols": ["realtime", "openai-beta.realtime-v1"]},
    ):
        told = talk(live_server, speak, **how)  # type: ignore[arg-type]
        updated = told.of("transcription_session.updated")[0]["session"]
        assert (updated["input_audio_format"], updated["turn_detection"]) == ("g711_ulaw", None)
        assert len(told.of("conversation.item.created")) == 1
        assert not told.of("conversation.item.added")
        assert len(told.of(COMPLETED)[0]["transcript"]) > 5
        assert told.of(COMPLETED)[0]["usage"]["seconds"] == pytest.approx(3.0)


def test_a_browser_brings_its_key_among_the_subprotocols_and_gets_realtime_back(live_server: Any) -> None:
    async def speak(one: Talk) -> None:
        await one.until("session.created")
        assert one.socket.subprotocol == "realtime"

    talk(live_server, speak, subprotocols=["realtime", "openai-insecure-api-key.sk-none"])


def test_settings_may_change_between_turns_but_not_amid_one_that_is_not_committed(
    live_server: Any, recording: Path, pcm: Any
) -> None:
    sound = pieces(pcm(recording, RATE)[: 2 * RATE])
    other = pieces(pcm(recording, 16000)[: 2 * 16000], rate=16000)

    async def speak(one: Talk) -> None:
        await one.say(session(turn_detection=None), *map(append, sound))
        await one.say(session(format={"type": "audio/pcm", "rate": 16000}))
        await one.until("error")
        await one.say({"type": "input_audio_buffer.commit"})
        await one.say(session(format={"type": "audio/pcm", "rate": 16000}), *map(append, other))
        await one.say({"type": "input_audio_buffer.commit"})
        await one.until(COMPLETED, 2)

    told = talk(live_server, speak)
    assert told.of("error")[0]["error"]["code"] == "buffer_not_empty"
    assert [one["usage"]["seconds"] for one in told.of(COMPLETED)] == [2.0, 2.0]
    first, second = (one["transcript"] for one in told.of(COMPLETED))
    assert character_errors([first], [second]).rate < 0.3


def test_what_is_cleared_is_never_heard(live_server: Any, recording: Path, pcm: Any) -> None:
    speech = pieces(pcm(recording, RATE)[: 3 * RATE])

    async def speak(one: Talk) -> None:
        await one.say(session(turn_detection=None), *map(append, speech), {"type": "input_audio_buffer.clear"})
        await one.until("input_audio_buffer.cleared")
        await one.say({"type": "input_audio_buffer.commit"})
        await one.until("error")
        await one.say(*map(append, speech), {"type": "input_audio_buffer.commit"})
        await one.until(COMPLETED)

    told = talk(live_server, speak)
    assert told.of("error")[0]["error"]["code"] == "input_audio_buffer_commit_empty"
    assert len(told.of("input_audio_buffer.committed")) == 1


def test_a_model_is_chosen_by_the_address_or_by_the_session(two_models: Any, recording: Path, pcm: Any) -> None:
    sound = list(map(append, pieces(pcm(recording, RATE)[:RATE])))

    async def speak(one: Talk) -> None:
        await one.until("session.created")
        await one.say(session(transcription={"model": "org/none"}))
        await one.until("error")
        await one.say(session(transcription={"model": "bundled"}, turn_detection=None))
        await one.say(*sound, {"type": "input_audio_buffer.commit"})
        await one.until(COMPLETED)

    told = talk(two_models, speak, "/v1/realtime?model=org/whisper")
    created = told.of("session.created")[0]["session"]
    assert created["audio"]["input"]["transcription"]["model"] == "org/whisper"
    assert told.of("error")[0]["error"]["code"] == "model_not_found"
    assert two_models.services.registry.state("bundled") == "ready"

    async def run() -> int:
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            await connect(f"{two_models.url.replace('http', 'ws')}/v1/realtime?model=whisper-1")
        return refused.value.response.status_code

    assert asyncio.run(run()) == 404


def test_sessions_that_break_off_leave_nothing_behind(
    live_server: Any, long_recording: Path, pcm: Any, until: Callable[..., None]
) -> None:
    sound = list(map(append, pieces(pcm(long_recording, RATE), seconds=5.0)))

    async def speak(one: Talk) -> None:
        await one.say(*sound)
        await one.until("input_audio_buffer.speech_started")
        one.socket.transport.abort()

    for _ in range(3):
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            talk(live_server, lambda one: _then_wait(one, speak))
    services = live_server.services
    until(lambda: services.streams.n_active == 0, "all places are free")
    (model,) = services.registry.loaded()
    until(lambda: model.batcher.n_waiting == 0 and model.n_users == 0, "nothing is computed any more")
    assert not list((services.settings.data_dir / "incoming").iterdir())


async def _then_wait(one: Talk, speak: Callable[[Talk], Awaitable[None]]) -> None:
    await speak(one)
    await one.until("never")


def test_thousands_of_messages_in_many_turns_lose_no_word_and_hold_no_memory(
    live_server: Any, recording: Path, pcm: Any
) -> None:
    turn = np.concatenate((pcm(recording, RATE)[: 2 * RATE], np.zeros(RATE, np.float32)))
    n_turns = 40
    messages = [append(piece) for piece in pieces(turn, seconds=0.04)]

    async def speak(one: Talk) -> None:
        await one.until("session.created")
        grown = []

        # Some turns ahead of what is heard, as one who sends a recording.
        for n_sent in range(1, n_turns + 1):
            await one.say(*messages)
            if n_sent > 3:
                await one.until(COMPLETED, n_sent - 3)
            grown.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        await one.until(COMPLETED, n_turns)
        assert grown[-1] - grown[n_turns // 4] < 100 * 1024, "KiB: the sound alone is 5 MB, and is let go of"

    told = talk(live_server, speak)
    assert len(messages) * n_turns >= 3000
    by_item: dict[str, str] = {}
    for one in told.of(DELTA):
        by_item[one["item_id"]] = by_item.get(one["item_id"], "") + one["delta"]
    completed = told.of(COMPLETED)
    assert [by_item.get(one["item_id"], "") for one in completed] == [one["transcript"] for one in completed]
    assert all(len(one["transcript"]) > 5 for one in completed)
    starts = [one["audio_start_ms"] for one in told.of("input_audio_buffer.speech_started")]
    assert starts == sorted(starts)
    assert starts[-1] == pytest.approx(1000 * 3 * (n_turns - 1) + 150, abs=300)
    assert len({one["event_id"] for one in told.events}) == len(told.events)


def test_g711_s_tables_are_those_of_the_standard() -> None:
    def one(code: int, encoding: str) -> int:
        return int.from_bytes(samples_of(base64.b64encode(bytes([code])).decode(), encoding), "little", signed=True)

    # The extremes and the middle of ITU-T G.711, in 16 bits.
    assert [one(code, "g711_ulaw") for code in (0x00, 0x80, 0x7F, 0xFF, 0x0F)] == [-32124, 32124, 0, 0, -16764]
    assert [one(code, "g711_alaw") for code in (0x2A, 0xAA, 0x55, 0xD5)] == [-32256, 32256, -8, 8]


def test_a_voice_without_words_is_a_turn_without_text() -> None:
    turns = Turns(Conversation(), 10.0, by_voice=True, logprobs=False)
    told = [*turns.of(Utterance(0.5)), *turns.of(Utterance(0.5, 2.0, True)), *turns.of(SoundEnded()), *turns.last(3.0)]
    kinds = [one["type"].rpartition(".")[2] for one in told]
    assert kinds == ["speech_started", "speech_stopped", "committed", "added", "done", "completed"]
    assert told[0]["audio_start_ms"] == 10_500
    assert (told[-1]["transcript"], told[-1]["usage"]["seconds"]) == ("", 1.5)
