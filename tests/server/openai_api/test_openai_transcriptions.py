"""Transcriptions by OpenAI's own client: every format, what each field does, and what is refused by its name."""

from __future__ import annotations

import asyncio
import io
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pysubs2
import pytest
import webvtt
from openai.types.audio import TranscriptionVerbose

from auricle import pipeline
from auricle.results import Transcript
from auricle.server.registry import load_pipeline

pytestmark = pytest.mark.timeout(120)
DURATION_S = 11.0
MS = 0.001


def test_json_has_the_text_of_the_pipeline_and_the_seconds(
    client: openai.OpenAI, recording: Path, heard: Transcript
) -> None:
    found = client.audio.transcriptions.create(file=recording, model="whisper-1")
    assert found.text == heard.text
    assert found.usage is not None
    assert found.usage.to_dict() == {"type": "duration", "seconds": DURATION_S}


def test_verbose_json_is_what_the_client_s_types_say(client: openai.OpenAI, recording: Path, heard: Transcript) -> None:
    reply = client.audio.transcriptions.with_raw_response.create(
        file=recording, model="bundled", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    found = TranscriptionVerbose.model_validate_json(reply.text, strict=True)
    assert (found.text, found.language, found.duration) == (heard.text, "english", DURATION_S)
    assert [(one.word, one.start, one.end) for one in found.words or ()] == [
        (word.text, pytest.approx(word.start, abs=MS), pytest.approx(word.end, abs=MS)) for word in heard.words
    ]
    for place, (one, segment) in enumerate(zip(found.segments or (), heard.segments, strict=True)):
        assert (one.id, one.text, one.tokens) == (place, segment.text, list(segment.tokens))
        assert one.start == pytest.approx(segment.start, abs=MS)
        assert one.seek == round(100 * segment.start)
        assert math.exp(one.avg_logprob) == pytest.approx(segment.confidence)
        assert (one.temperature, one.no_speech_prob) == (0.0, 0.0)
        assert 0 < one.compression_ratio < 2.4
    extras = reply.parse().to_dict()
    assert extras["task"] == "transcribe"
    assert {one["kind"] for one in extras["warnings"]} <= {"clipped", "doubtful", "recording"}  # type: ignore[attr-defined]
    assert extras["provenance"]["model"] == "bundled"  # type: ignore[index]


def test_words_or_segments_are_there_if_they_are_asked_for(client: openai.OpenAI, recording: Path) -> None:
    def asked(**more: Any) -> tuple[bool, bool]:
        found = client.audio.transcriptions.create(file=recording, model="x", response_format="verbose_json", **more)
        return found.words is not None, found.segments is not None

    assert asked() == (False, True)
    assert asked(timestamp_granularities=["word"]) == (True, False)
    assert asked(timestamp_granularities=["segment"]) == (False, True)


def test_text_and_subtitles_are_files_that_other_libraries_read(
    client: openai.OpenAI, recording: Path, heard: Transcript
) -> None:
    create = client.audio.transcriptions.with_raw_response.create
    text = create(file=recording, model="x", response_format="text")
    assert (text.text, text.headers["content-type"]) == (f"{heard.text}\n", "text/plain; charset=utf-8")
    srt = create(file=recording, model="x", response_format="srt")
    assert srt.headers["content-type"] == "application/x-subrip; charset=utf-8"
    cues = pysubs2.SSAFile.from_string(srt.text, format_="srt")
    assert " ".join(cue.plaintext.replace("\n", " ") for cue in cues) == heard.text
    vtt = create(file=recording, model="x", response_format="vtt")
    assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"
    captions = webvtt.from_buffer(io.StringIO(vtt.text))
    assert " ".join(caption.text.replace("\n", " ") for caption in captions) == heard.text
    assert 0 <= captions[0].start_in_seconds < captions[-1].end_in_seconds <= DURATION_S


def test_a_silent_recording_has_an_empty_text_in_every_format(client: openai.OpenAI, silent: Path) -> None:
    create = client.audio.transcriptions.create
    assert create(file=silent, model="x").text == ""
    verbose = create(file=silent, model="x", response_format="verbose_json")
    assert (verbose.text, verbose.segments, verbose.duration) == ("", [], 2.0)
    assert create(file=silent, model="x", response_format="srt") == ""
    assert create(file=silent, model="x", response_format="text").strip() == ""  # type: ignore[attr-defined]
    assert create(file=silent, model="x", response_format="vtt").strip() == "WEBVTT"  # type: ignore[attr-defined]


def test_logprobs_are_pieces_that_joined_are_the_text(client: openai.OpenAI, recording: Path) -> None:
    found = client.audio.transcriptions.create(file=recording, model="x", include=["logprobs"])
    pieces = found.logprobs or []
    assert "".join(one.token or "" for one in pieces) == found.text
    assert all(bytes(map(int, one.bytes or ())).decode() == one.token for one in pieces)
    assert all(-21 < (one.logprob or 0) <= 0 for one in pieces)
    assert len(pieces) == len(found.text.split())


def test_a_list_of_names_as_prompt_and_hot_words_are_listened_for(client: openai.OpenAI, recording: Path) -> None:
    create = client.audio.transcriptions.create
    by_prompt = create(file=recording, model="x", prompt="country, Americans", extra_headers={"x-use-cache": "false"})
    by_field = create(file=recording, model="x", extra_body={"hotwords": ["country", "Americans"]})
    by_keywords = create(file=recording, model="x", keywords=["country", "Americans"])
    assert by_prompt.text == by_field.text == by_keywords.text
    assert "country" in by_prompt.text


def test_voice_detection_is_set_by_their_names_and_by_ours(client: openai.OpenAI, long_recording: Path) -> None:
    def skipped(**more: Any) -> list[Any]:
        found: Any = client.audio.transcriptions.create(
            file=long_recording, model="x", response_format="verbose_json", **more
        )
        return [(one["kind"], one["start"], one["end"]) for one in found.warnings if one["kind"] == "skipped"]

    theirs = {"type": "server_vad", "threshold": 0.6, "silence_duration_ms": 900, "prefix_padding_ms": 50}
    ours = {"vad": True, "vad_threshold": 0.6, "min_silence_s": 0.9, "speech_pad_s": 0.05}
    assert skipped(chunking_strategy=theirs) == skipped(extra_body=ours) != skipped(chunking_strategy="auto")
    assert skipped(extra_body={"vad": False}) == []


def test_a_body_without_a_form_and_parameters_in_the_query_do_as_well(live_server: Any, recording: Path) -> None:
    address = f"{live_server.url}/v1/audio/transcriptions"
    asked = {"response_format": "verbose_json", "timestamp_granularities[]": "word", "num_beams": "1"}
    found = httpx.post(address, params=asked, content=recording.read_bytes(), timeout=60)
    pipe = pipeline("automatic-speech-recognition", "bundled")
    (greedy,) = pipe.transcripts(str(recording), return_timestamps="word", num_beams=1)
    assert isinstance(greedy, Transcript)
    assert found.json()["text"] == greedy.text
    assert len(found.json()["words"]) == len(greedy.words)
    by_form = httpx.post(address, params={"response_format": "srt"}, files={"file": recording.read_bytes()}, data=asked)
    assert by_form.json()["task"] == "transcribe", "the form is believed before the query"


def test_repeated_requests_are_answered_from_the_cache_unless_they_say_no(
    client: openai.OpenAI, recording: Path
) -> None:
    def cache(use: str) -> tuple[str, bool]:
        reply = client.audio.transcriptions.with_raw_response.create(
            file=recording,
            model="x",
            extra_body={"vad_threshold": 0.43, "vad": "true"},
            extra_headers={"x-use-cache": use},
        )
        return reply.headers["x-cache"], "x-compute-time" in reply.headers

    assert [cache("true"), cache("true"), cache("false")] == [("miss", True), ("hit", False), ("miss", True)]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"response_format": "xml"}, "response_format", "none of json, text"),
    ({"timestamp_granularities": ["word"]}, "timestamp_granularities", "verbose_json"),
    ({"response_format": "verbose_json", "timestamp_granularities": ["char"]}, "timestamp_granularities", "'char'"),
    ({"response_format": "text", "include": ["logprobs"]}, "include", "json"),
    ({"language": "de"}, "language", "it writes en"),
    ({"language": "Klingon"}, "language", "not a language"),
    ({"temperature": 0.5}, "temperature", "give 0, or leave it out"),
    ({"temperature": 7}, "temperature", "from 0 to 1"),
    ({"prompt": "This is an interview about the moon and those who went there."}, "prompt", "hotwords"),
    ({"chunking_strategy": {"type": "client_vad"}}, "chunking_strategy", "server_vad"),
    ({"chunking_strategy": {"type": "server_vad", "treshold": 1}}, "chunking_strategy", "threshold"),
    ({"chunking_strategy": {"type": "server_vad", "threshold": 3}}, "chunking_strategy", "vad_threshold"),
    ({"known_speaker_names": ["agent"]}, "known_speaker_names", "one reference for each name"),
    ({"extra_body": {"vad_treshold": 0.4}}, "vad_treshold", "vad_threshold"),
    ({"extra_body": {"beam_width": "wide"}}, "beam_width", "beam_width"),
    ({"extra_body": {"lm": "/etc/passwd"}}, "lm", "not taken over HTTP"),
    ({"stream": True, "response_format": "srt"}, "stream", "events"),
]


@pytest.mark.parametrize(("fields", "param", "words"), REFUSED)
def test_what_cannot_be_done_is_refused_by_the_name_of_the_field(
    client: openai.OpenAI, recording: Path, fields: dict[str, Any], param: str, words: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as refused:
        client.audio.transcriptions.create(file=recording, model="x", **fields)
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
    assert refused.value.response.headers["x-error-code"] == refused.value.code


def test_a_language_that_the_model_writes_is_taken_by_code_name_and_region(
    client: openai.OpenAI, recording: Path, heard: Transcript
) -> None:
    for language in ("en", "English", "en-US", "EN"):
        assert client.audio.transcriptions.create(file=recording, model="x", language=language).text == heard.text
    asked = client.audio.transcriptions.create(file=recording, model="x", languages=["de", "en"], temperature=0)
    assert asked.text == heard.text


def test_bodies_that_hold_no_recording_are_refused_in_words(live_server: Any, client: openai.OpenAI) -> None:
    address = f"{live_server.url}/v1/audio/transcriptions"

    def error(**body: Any) -> dict[str, Any]:
        reply = httpx.post(address, **body)
        assert reply.status_code == 400
        return reply.json()["error"]

    assert error(json={"model": "x"})["param"] == "file"
    assert error(files={"model": (None, "x")})["param"] == "file"
    assert error(content=b"")["code"] == "empty_body"
    assert error(files={"file": b"I am no recording at all"})["code"] == "invalid_audio"
    with pytest.raises(openai.BadRequestError, match=r"notes\.txt"):
        client.audio.transcriptions.create(file=("../../notes.txt", b"I am no recording at all"), model="x")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_model_that_cannot_translate_says_so(client: openai.OpenAI, recording: Path) -> None:
    with pytest.raises(openai.BadRequestError, match="cannot translate") as refused:
        client.audio.translations.create(file=recording, model="whisper-1")
    assert (refused.value.param, refused.value.code) == ("model", "cannot_translate")


def test_many_requests_of_the_asynchronous_client_at_once_have_one_text(
    live_server: Any, recording: Path, heard: Transcript
) -> None:
    async def all_at_once() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{live_server.url}/v1", api_key="none") as client:
            asked = [
                client.audio.transcriptions.create(file=recording, model="x", extra_headers={"x-use-cache": "false"})
                for _ in range(8)
            ]
            return [one.text for one in await asyncio.gather(*asked)]

    assert asyncio.run(all_at_once()) == [heard.text] * 8


def test_a_client_that_retries_gets_its_text_once_the_model_is_loaded(
    start_server: Any, recording: Path, heard: Transcript
) -> None:
    may_load, tries = threading.Event(), 0

    def load_late(place: str, settings: Any) -> Any:
        may_load.wait(60)
        return load_pipeline(place, settings)

    server = start_server(load=load_late, hold=0.01)

    def count(request: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            may_load.set()

    http_client = openai.DefaultHttpxClient(event_hooks={"request": [count]})
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=5, http_client=http_client) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            client.with_options(max_retries=0).audio.transcriptions.create(file=recording, model="x")
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) >= 1
        assert refused.value.body["type"] == "overloaded_error"  # type: ignore[index]
        assert client.audio.transcriptions.create(file=recording, model="x").text == heard.text
    assert tries >= 3


def test_models_are_listed_and_told_one_by_one(client: openai.OpenAI, live_server: Any) -> None:
    listed = {one.id: one for one in client.models.list()}
    one = client.models.retrieve("bundled")
    assert listed["bundled"] == one
    assert (one.object, one.owned_by) == ("model", "auricle")
    assert one.created > 1_600_000_000
    with pytest.raises(openai.NotFoundError, match="not served here") as refused:
        client.models.retrieve("org/other")
    assert refused.value.param == "model"
    assert httpx.get(f"{live_server.url}/v1/models/../../etc").status_code == 404


def test_the_model_may_stand_in_the_path(live_server: Any, recording: Path, heard: Transcript) -> None:
    with openai.OpenAI(base_url=f"{live_server.url}/models/bundled/v1", api_key="x") as client:
        assert client.audio.transcriptions.create(file=recording, model="anything").text == heard.text
        assert [one.id for one in client.models.list()] == ["bundled"]


def test_the_documentation_names_every_field(live_server: Any) -> None:
    routes = httpx.get(f"{live_server.url}/openapi.json").json()["paths"]
    form = routes["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "model", "language", "prompt", "response_format", "stream", "include[]"} <= set(form["properties"])
    assert "503" in routes["/v1/audio/translations"]["post"]["responses"]
    assert "/v1/models/{model_id}" in routes


def test_work_of_a_client_that_has_gone_is_cancelled(
    live_server: Any, long_recording: Path, until: Callable[..., None]
) -> None:
    runner = live_server.services.runner
    with httpx.Client() as gone:
        asked = {"stream": "true", "response_format": "verbose_json", "vad_threshold": "0.47"}
        with gone.stream(
            "POST",
            f"{live_server.url}/v1/audio/transcriptions",
            data=asked,
            files={"file": long_recording.read_bytes()},
        ) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            next(reply.iter_lines())
    until(lambda: runner.n_active == 0, "the work has ended")
    folder = live_server.services.settings.data_dir / "incoming"
    until(lambda: not list(folder.iterdir()), "the body is removed")
