"""Events of a transcription while it is heard: what is told piece by piece is the whole, to the letter."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from auricle.results import Segment, Transcript, Word
from auricle.server.openai_deltas import Deltas
from auricle.server.openai_fields import Asked
from auricle.server.openai_replies import Reply
from auricle.server.openai_stream import Joining, Telling
from auricle.server.recognition import Heard, Progress, Recognized
from auricle.server.text_events import kept_alive

pytestmark = pytest.mark.timeout(120)


def events_of(url: str, recording: Path, **fields: Any) -> list[dict[str, Any]]:
    """Return the events as they come over the wire; the last line of all is [DONE]."""
    asked = {"stream": "true", **fields}
    with (
        httpx.Client(timeout=60) as client,
        client.stream(
            "POST", f"{url}/v1/audio/transcriptions", data=asked, files={"file": recording.read_bytes()}
        ) as reply,
    ):
        assert reply.status_code == 200
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = [line.removeprefix("data: ") for line in reply.iter_lines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def joined(events: list[dict[str, Any]]) -> str:
    return "".join(one["delta"] for one in events if one["type"] == "transcript.text.delta")


def test_the_client_s_stream_has_the_text_in_pieces_and_then_whole(client: openai.OpenAI, long_recording: Path) -> None:
    whole = client.audio.transcriptions.create(file=long_recording, model="x", extra_headers={"x-use-cache": "false"})
    stream = client.audio.transcriptions.create(
        file=long_recording, model="x", stream=True, extra_headers={"x-use-cache": "false"}
    )
    events = list(stream)
    assert {one.type for one in events} == {"transcript.text.delta", "transcript.text.done"}, "no events of ours"
    pieces = [one.delta for one in events if one.type == "transcript.text.delta"]
    assert len(pieces) > 1
    assert events[-1].type == "transcript.text.done"
    assert "".join(pieces) == events[-1].text == whole.text


def test_verbose_events_have_segments_with_words_and_progress(live_server: Any, long_recording: Path) -> None:
    asked = {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"], "vad_threshold": 0.49}
    events = events_of(live_server.url, long_recording, **asked)
    done = events[-1]
    assert joined(events) == done["text"]
    segments = [one for one in events if one["type"] == "transcript.text.segment"]
    assert [one["id"] for one in segments] == [f"seg_{place}" for place in range(len(segments))]
    assert [one["text"] for one in segments] == [one["text"].strip() for one in done["segments"]]
    assert [word for one in segments for word in one["words"]] == done["words"]
    progress = [one["done"] for one in events if one["type"] == "transcript.progress"]
    assert progress == sorted(set(progress))
    assert progress[-1] == pytest.approx(done["duration"], abs=0.1)
    first = next(place for place, one in enumerate(events) if one["type"] == "transcript.text.segment")
    assert first < max(place for place, one in enumerate(events) if one["type"] == "transcript.progress")
    again = events_of(live_server.url, long_recording, **asked)
    assert again[-1] == done, "and so it is from the cache"
    assert joined(again) == done["text"]


@pytest.mark.parametrize("asked", [{"channels": "split"}, {"vad": "false"}, {"chunk_length_s": "10"}])
def test_pieces_are_the_whole_however_it_is_divided(
    live_server: Any, long_recording: Path, asked: dict[str, str]
) -> None:
    events = events_of(live_server.url, long_recording, **asked)
    assert joined(events) == events[-1]["text"]
    assert len(events[-1]["text"]) > 100


def test_logprobs_of_the_pieces_are_those_of_the_whole(live_server: Any, long_recording: Path) -> None:
    events = events_of(live_server.url, long_recording, **{"include[]": "logprobs"})
    told = [piece for one in events[:-1] for piece in one["logprobs"]]
    assert "".join(one["token"] for one in told) == events[-1]["text"]
    assert [one["logprob"] for one in told] == [one["logprob"] for one in events[-1]["logprobs"]]


def test_what_is_wrong_is_told_by_a_status_before_the_first_event(
    live_server: Any, client: openai.OpenAI, recording: Path
) -> None:
    with pytest.raises(openai.BadRequestError, match="text that begins"):
        client.audio.transcriptions.create(file=b"nothing of the kind", model="x", stream=True)
    with pytest.raises(openai.BadRequestError, match="language"):
        client.audio.transcriptions.create(file=recording, model="x", stream=True, language="fr")


def telling(work: Any, holds: bool = False, joint: str | None = " ", **asked: Any) -> list[dict[str, Any] | None]:
    """Return the events of something that is heard as `work` says."""

    async def run() -> list[dict[str, Any] | None]:
        wanted = Asked(streams=True, **asked)
        one = Telling(work, wanted, lambda found: Reply(found.transcript, wanted), Joining(joint, holds))
        return [event async for event in kept_alive(one.events())]

    return asyncio.run(run())


def recognized(*segments: Segment) -> Recognized:
    text = " ".join(one.text for one in segments)
    return Recognized(Transcript(text, segments, duration=9.0), {}, "m", 1.0, False, "cpu")


def segment(text: str, start: float = 0.0) -> Segment:
    return Segment(text, start, start + 1, tuple(Word(one, start, start + 1, 0.5) for one in text.split()))


def test_a_work_that_fails_after_its_first_words_ends_with_an_error() -> None:
    async def work(tell: Any) -> Recognized:
        tell(Heard((segment("so far"),)))
        raise ValueError("in the midst of /a/path/of/ours")

    delta, error = telling(work)
    assert delta == {"type": "transcript.text.delta", "delta": "so far"}
    assert error is not None
    assert error["error"] == {
        "message": "unknown error",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }


def test_words_that_a_short_recording_loses_at_its_end_are_not_told() -> None:
    async def work(tell: Any) -> Recognized:
        tell(Heard((segment("uh"), segment("well"))))
        return recognized(segment("well"))

    events = telling(work, holds=True, form="verbose_json")
    assert [one["text"] for one in events if one and one["type"] == "transcript.text.segment"] == ["well"]
    assert joined([one for one in events if one]) == "well"


def test_segments_in_any_order_are_told_as_they_come_and_their_text_at_the_end() -> None:
    async def work(tell: Any) -> Recognized:
        tell(Heard((segment("there", 5.0),)))
        tell(Progress(5.0, 9.0))
        tell(Heard((segment("here", 1.0),)))
        return recognized(segment("here", 1.0), segment("there", 5.0))

    events = [one for one in telling(work, joint=None, form="verbose_json") if one]
    assert [one["type"].rpartition(".")[2] for one in events] == ["segment", "progress", "segment", "delta", "done"]
    assert joined(events) == "here there"


def test_silence_while_much_is_computed_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.server.text_events.KEEP_ALIVE_S", 0.02)

    async def work(tell: Any) -> Recognized:
        await asyncio.sleep(0.2)
        return recognized(segment("late"))

    events = telling(work)
    assert events.count(None) > 2
    assert events[-2:] == [{"type": "transcript.text.delta", "delta": "late"}, events[-1]]


@pytest.mark.parametrize(
    ("joint", "groups"),
    [
        (" ", [["a b", "c"], ["d"]]),
        ("", [[" a b.", " c"], [" "], [], [" d "]]),
        ("", [["  "], [" a"], [" "]]),
        ("", [["你"], ["好", "吗"]]),
        (" ", [[], []]),
        (None, [["b"], ["a"]]),
    ],
)
def test_pieces_joined_are_all_texts_joined(joint: str | None, groups: list[list[str]]) -> None:
    deltas = Deltas(joint)
    pieces = [deltas.add(group) for group in groups]
    whole = (joint or "").join(text for group in groups for text in group).strip()
    rest = deltas.rest(whole)
    assert rest is not None
    assert "".join(pieces) + rest == whole
    assert all(piece == piece.rstrip() for piece in pieces)
    assert rest == "" or joint is None


def test_a_whole_that_begins_otherwise_has_no_rest() -> None:
    deltas = Deltas(" ")
    deltas.add(["so"])
    assert deltas.rest("and so") is None


def test_numbers_that_a_model_does_not_have_are_stood_for() -> None:
    bare = Segment("uh uh uh uh", 1.5, None, tokens=(3, 4))
    reply = Reply(Transcript("uh uh uh uh", (bare,)), Asked(form="verbose_json"))
    (found,) = reply.body()["segments"]
    assert found["avg_logprob"] == found["temperature"] == found["no_speech_prob"] == 0.0
    assert (found["start"], found["end"], found["seek"], found["tokens"]) == (1.5, 1.5, 150, [3, 4])
    assert found["compression_ratio"] > 0.5
    assert (reply.body()["language"], reply.body()["duration"]) == ("unknown", 0.0)
    sure = Reply(Transcript("a", (Segment("a", 0.0, 1.0, confidence=0.25),)), Asked(form="verbose_json"))
    assert sure.body()["segments"][0]["avg_logprob"] == pytest.approx(math.log(0.25))
    mute = Segment("a", 0.0, 1.0, avg_logprob=-math.inf, compression_ratio=math.nan, no_speech_prob=math.nan)
    json.dumps(Reply(Transcript("a", (mute,)), Asked(form="verbose_json")).body(), allow_nan=False)
