"""What realtime sessions refuse, in which words, and whether they go on."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import numpy as np
import pytest
import websockets
from openai.types.realtime import RealtimeErrorEvent
from realtime_talk import RATE, Talk, append, pieces, session, talk
from websockets.asyncio.client import connect

from auricle.errors import ConfigError
from auricle.server.errors import Refused
from auricle.server.realtime_settings import SessionSettings
from auricle.server.realtime_turns import Conversation, Turns

pytestmark = pytest.mark.timeout(150)

WRONG: list[tuple[dict[str, Any] | str | bytes, str, str | None]] = [
    ("no json", "invalid_json", None),
    ("[" * 100_000, "invalid_json", None),
    (b"\x00\x01", "invalid_json", None),
    ({"type": "response.create"}, "unknown_event", "type"),
    ({"type": ["x"]}, "unknown_event", "type"),
    ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
    ({"type": "input_audio_buffer.append"}, "invalid_value", "audio"),
    ({"type": "input_audio_buffer.append", "audio": "?"}, "invalid_value", "audio"),
    ({"type": "session.update"}, "invalid_value", "session"),
    ({"type": "session.update", "session": {"type": "realtime"}}, "invalid_value", "session.type"),
    ({"type": "session.update", "session": {"voice": "x"}}, "unknown_parameter", "session.voice"),
    (session(format={"type": "audio/mp3"}), "invalid_value", "session.audio.input.format"),
    (session(format={"rate": 7}), "invalid_value", "session.audio.input.format.rate"),
    (session(turn_detection={"type": "semantic_vad"}), "invalid_value", "session.audio.input.turn_detection.type"),
    (session(turn_detection={"threshold": 2}), "invalid_value", "session.audio.input.turn_detection.threshold"),
    (session(transcription={"delay": "none"}), "invalid_value", "session.audio.input.transcription.delay"),
]


def test_what_is_wrong_with_an_event_is_told_with_its_id_and_the_session_goes_on(live_server: Any) -> None:
    async def speak(one: Talk) -> None:
        for place, (event, _, _) in enumerate(WRONG, start=1):
            named = {**event, "event_id": f"mine_{place}"} if isinstance(event, dict) else event
            await one.socket.send(json.dumps(named) if isinstance(named, dict) else named)
            told = await one.until("error", place)
            RealtimeErrorEvent.model_validate(told, strict=True)
        await one.say({"type": "session.update", "session": {}})
        await one.until("session.updated")

    told = talk(live_server, speak)
    for place, ((event, code, param), error) in enumerate(zip(WRONG, told.of("error"), strict=True), start=1):
        found = error["error"]
        assert (found["code"], found["param"], found["type"]) == (code, param, "invalid_request_error")
        assert found["event_id"] == (f"mine_{place}" if isinstance(event, dict) else None)
    assert told.of("session.created")[0]["session"] == told.of("session.updated")[0]["session"]


def test_what_the_model_cannot_do_is_told_when_it_is_asked_for(live_server: Any) -> None:
    async def speak(one: Talk) -> None:
        await one.say(session(transcription={"language": "de"}))
        await one.say(session(transcription={"prompt": "This is a talk about what the moon is made of."}))
        await one.say(session(transcription={"prompt": "Ohm, Volt", "language": "en"}))
        await one.until("session.updated")

    told = talk(live_server, speak)
    assert [one["error"]["param"] for one in told.of("error")] == ["language", "prompt"]
    assert "it writes en" in told.of("error")[0]["error"]["message"]


def test_a_model_that_cannot_be_loaded_ends_the_session_and_fails_its_turn(start_server: Any) -> None:
    def broken(place: str, settings: Any) -> Any:
        raise ConfigError("config.json in /a/folder/of/ours has no model_type")

    async def speak(one: Talk) -> None:
        await one.until("session.created")
        await one.say({"type": "session.update", "session": {"type": "transcription"}})
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            await one.until("never")
        assert one.socket.close_code == 4500

    async def speak_at_once(one: Talk) -> None:
        await one.say(append(pieces(np.zeros(RATE, np.float32))[0]))
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            await one.until("never")
        assert one.socket.close_code == 4500

    server = start_server(load=broken)
    for what in (speak, speak_at_once):
        (error,) = talk(server, what).of("error")
        assert (error["error"]["type"], error["error"]["code"]) == ("server_error", "model_unusable")
        assert "/a/folder" not in error["error"]["message"]
    turns = Turns(Conversation(), 0.0, by_voice=False, logprobs=False)
    committed, *_, failed = turns.failed(Refused(500, "no", code="model_unusable"))
    assert failed["type"] == "conversation.item.input_audio_transcription.failed"
    assert failed["item_id"] == committed["item_id"]
    assert failed["error"]["code"] == "model_unusable"


def test_a_token_is_taken_from_the_header_or_from_a_browser_s_subprotocols(start_server: Any) -> None:
    server = start_server(token_required=True)
    token, _ = server.services.access.store.create("mine", scopes=("infer",))
    url = f"{server.url.replace('http', 'ws')}/v1/realtime"

    async def run() -> int:
        for how in (
            {"additional_headers": {"authorization": f"Bearer {token}"}},
            {"subprotocols": ["realtime", f"openai-insecure-api-key.{token}"]},
        ):
            async with connect(url, **how) as socket:  # type: ignore[arg-type]
                assert json.loads(await socket.recv())["type"] == "session.created"
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            await connect(url)
        return refused.value.response.status_code

    assert asyncio.run(run()) == 401


def test_a_server_that_is_ending_takes_no_new_session(start_server: Any) -> None:
    server = start_server()
    server.services.draining.set()

    async def run() -> int:
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            await connect(f"{server.url.replace('http', 'ws')}/v1/realtime")
        return refused.value.response.status_code

    assert asyncio.run(run()) == 503


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [("?intent=conversation", 400, "intent"), ("?call_id=1", 400, "call_id")],
)
def test_sessions_that_are_not_for_transcription_are_refused_before_they_open(
    live_server: Any, query: str, status: int, param: str
) -> None:
    async def run() -> Any:
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            await connect(f"{live_server.url.replace('http', 'ws')}/v1/realtime{query}")
        return refused.value.response

    response = asyncio.run(run())
    assert response.status_code == status
    assert json.loads(response.body)["error"]["param"] == param


def test_only_what_an_update_names_changes() -> None:
    given = SessionSettings("m", language="en", prompt="Ohm")
    changed = given.updated({"audio": {"input": {"turn_detection": {"threshold": 0.7}}}})
    assert (changed.language, changed.prompt) == ("en", "Ohm")
    assert changed.turn is not None
    assert changed.turn.threshold == 0.7
    assert changed.updated({"audio": {"input": {"transcription": {"prompt": ""}}}}).prompt is None
    assert changed.updated({"audio": {"input": {"transcription": None}}}).language is None
    assert changed.updated_flat({"turn_detection": None}).turn is None
    assert changed.nested("s")["audio"]["input"]["turn_detection"]["threshold"] == 0.7
    with pytest.raises(Refused, match=re.escape("did you mean 'turn_detection'")):
        given.updated({"audio": {"input": {"turn_detecton": None}}})
