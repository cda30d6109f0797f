"""Who speaks, over HTTP: OpenAI's diarized_json with its own client, the Inference API's routes, jobs."""

from __future__ import annotations

import base64
import io
import itertools
import json
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from auricle.audio.decode import open_audio
from auricle.results import SpeakerTurn
from auricle.server.errors import Refused
from auricle.server.parameters import adapted
from auricle.server.registry import load_pipeline
from auricle.server.settings import Settings
from auricle.server.speakers import heard, letters, named, read_speakers, without_recordings
from auricle.speech.diarization import Diarization


class Halves:
    """A diarization by the clock: somebody speaks in the first 5.3 s, somebody else after; a known one is the first."""

    name = "halves"

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def voice(self, source: Any) -> list[float]:
        return [open_audio(source).read().size / 16000]

    def diarizations(
        self, sources: Any, *, on_error: str, progress: Any = None, **parameters: Any
    ) -> Iterator[Diarization]:
        self.asked.append(parameters)
        for source in sources:
            seconds = open_audio(source).read().size / 16000
            names = [*parameters.get("known_speakers", {}), "SPEAKER_00", "SPEAKER_01"]
            turns = (SpeakerTurn(names[0], 0.0, 5.3, 0.9), SpeakerTurn(names[1], 5.3, seconds, 0.8))
            if progress is not None:
                progress(seconds)
            yield Diarization(turns, tuple(names[:2]), seconds)


def loaded(place: str, settings: Settings) -> Any:
    """The bundled recognizer with `Halves`."""
    pipeline: Any = load_pipeline(place, settings)
    pipeline.speaker_models.default = Halves()
    return pipeline


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, live_serving: Any) -> Iterator[Any]:
    with live_serving(loaded, data_dir=tmp_path_factory.mktemp("speakers")) as made:
        yield made


@pytest.fixture
def client(server: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def voice() -> str:
    """Two seconds of a tone, as a data: URL."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(32000) / 9) * 9000).astype("<i2").tobytes())
    return f"data:audio/wav;base64,{base64.b64encode(written.getvalue()).decode()}"


NAMES, REFERENCES = "known_speaker_names", "known_speaker_references"


def turns(speakers: Iterable[str]) -> list[str]:
    """Who speaks, each once for as long as nobody else does."""
    return [speaker for speaker, _ in itertools.groupby(speakers)]


MODEL = "gpt-4o-transcribe-diarize"  # a lone model answers to any name


def test_openais_client_reads_diarized_json(client: openai.OpenAI, recording: Path) -> None:
    plain = client.audio.transcriptions.create(file=recording, model=MODEL, chunking_strategy="auto")
    found: Any = client.audio.transcriptions.create(
        file=recording, model=MODEL, response_format="diarized_json", chunking_strategy="auto"
    )
    assert type(found).__name__ == "TranscriptionDiarized"
    assert (found.task, found.text, found.usage.type) == ("transcribe", plain.text, "duration")
    assert found.duration == pytest.approx(11.0, abs=0.1)
    assert turns(one.speaker for one in found.segments) == ["A", "B"]
    assert [one.id for one in found.segments] == [f"seg_{place}" for place in range(len(found.segments))]
    assert {one.type for one in found.segments} == {"transcript.text.segment"}
    assert " ".join(one.text for one in found.segments) == plain.text
    times = [time for one in found.segments for time in (one.start, one.end)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= found.duration


def test_known_speakers_keep_their_names(client: openai.OpenAI, recording: Path, voice: str) -> None:
    found: Any = client.audio.transcriptions.create(
        file=recording,
        model=MODEL,
        response_format="diarized_json",
        known_speaker_names=["Kennedy, J."],
        known_speaker_references=[voice],
    )
    assert turns(one.speaker for one in found.segments) == ["Kennedy, J.", "A"]


def test_events_have_the_segments_once_it_is_known_who_speaks(client: openai.OpenAI, recording: Path) -> None:
    events = list(
        client.audio.transcriptions.create(file=recording, model=MODEL, response_format="diarized_json", stream=True)
    )
    kinds = [event.type for event in events]
    at = kinds.index("transcript.text.segment")
    assert set(kinds[:at]) == {"transcript.text.delta"}
    assert set(kinds[at:-1]) == {"transcript.text.segment"}
    assert kinds[-1] == "transcript.text.done"
    text = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert text == events[-1].text
    told = [event for event in events if event.type == "transcript.text.segment"]
    assert {type(one).__name__ for one in told} == {"TranscriptionTextSegmentEvent"}
    assert turns(one.speaker for one in told) == ["A", "B"]
    assert events[-1].model_extra["segments"][-1]["speaker"] == "B"


def test_other_formats_have_speakers_where_they_are_asked_for(client: openai.OpenAI, recording: Path) -> None:
    asked: dict[str, Any] = {"file": recording, "model": MODEL, "extra_body": {"speakers": "true"}}
    verbose: Any = client.audio.transcriptions.create(
        response_format="verbose_json", timestamp_granularities=["word", "segment"], **asked
    )
    assert turns(one.speaker for one in verbose.segments) == ["SPEAKER_00", "SPEAKER_01"]
    assert {word.speaker for word in verbose.words} == {"SPEAKER_00", "SPEAKER_01"}
    assert verbose.provenance["options"]["speakers"]["model"] == "halves"
    assert "<v SPEAKER_01>" in str(client.audio.transcriptions.create(response_format="vtt", **asked))
    text = str(client.audio.transcriptions.create(response_format="text", **asked)).splitlines()
    assert [line.partition(":")[0] for line in text] == ["SPEAKER_00", "SPEAKER_01"]


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({NAMES: ["a"]}, NAMES, "1 entries and known_speaker_references 0"),
        ({REFERENCES: ["VOICE"]}, REFERENCES, "0 entries"),
        ({NAMES: ["a", "a"], REFERENCES: ["VOICE", "VOICE"]}, NAMES, "twice"),
        ({NAMES: ["a"], REFERENCES: ["/etc/passwd"]}, REFERENCES, "data: URL"),
        ({NAMES: ["a"], REFERENCES: ["data:audio/wav,xx"]}, REFERENCES, "data: URL"),
        ({"extra_body": {"speakers": "many"}}, "speakers", "the number of speakers"),
        ({"extra_body": {"speakers": '{"model": "/tmp"}'}}, "speakers", "not taken over HTTP"),
        ({"response_format": "diarized_json", "extra_body": {"speakers": "false"}}, "speakers", "opposite"),
        ({"response_format": "diarized_json", "include": ["logprobs"]}, "include", "json"),
    ],
)  # fmt: skip
def test_what_is_wrong_about_speakers_is_refused_by_field(
    client: openai.OpenAI, recording: Path, voice: str, fields: dict[str, Any], param: str, words: str
) -> None:
    given = json.loads(json.dumps(fields).replace("VOICE", voice))
    with pytest.raises(openai.BadRequestError, match=words) as refused:
        client.audio.transcriptions.create(file=recording, model=MODEL, **given)
    assert refused.value.param == param


def test_translations_have_no_speakers(server: Any, recording: Path) -> None:
    answer = httpx.post(
        f"{server.url}/v1/audio/translations",
        files={"file": recording.read_bytes()},
        data={"response_format": "diarized_json"},
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "response_format")


def test_inference_api_has_speakers_in_chunks(server: Any, recording: Path, voice: str) -> None:
    content = recording.read_bytes()
    by_query = httpx.post(f"{server.url}/models/bundled?speakers=true", content=content, timeout=60).json()
    assert turns(chunk["speaker"] for chunk in by_query["chunks"]) == ["SPEAKER_00", "SPEAKER_01"]
    assert by_query["chunks"][0]["timestamp"] == by_query["chunks"][0]["timestamps"]
    body = {
        "inputs": base64.b64encode(content).decode(),
        "parameters": {"speakers": {"max_speakers": 3, "known": {"Ann": voice}}, "return_timestamps": "word"},
    }
    by_json = httpx.post(f"{server.url}/models/bundled", json=body, timeout=60).json()
    assert by_json["text"] == by_query["text"]
    assert [by_json["chunks"][at]["speaker"] for at in (0, -1)] == ["Ann", "SPEAKER_00"]


def test_results_are_kept_for_the_same_speakers_only(server: Any, recording: Path, voice: str) -> None:
    def cache(speakers: Any) -> str:
        body = {
            "inputs": base64.b64encode(recording.read_bytes()).decode(),
            "parameters": {"speakers": speakers, "vad_threshold": 0.44, "vad": True},
        }
        return httpx.post(f"{server.url}/models/bundled", json=body, timeout=60).headers["x-cache"]

    wishes = [2, 2, True, {"known": {"Ann": voice}}, {"known": {"Bob": voice}}, {"known": {"Ann": voice}}]
    assert [cache(one) for one in wishes] == ["miss", "hit", "miss", "miss", "miss", "hit"]


def test_jobs_have_speakers_in_every_format(server: Any, recording: Path, until: Any) -> None:
    posted = httpx.post(f"{server.url}/jobs?speakers=2", content=recording.read_bytes(), timeout=60)
    assert posted.status_code == 202, posted.text
    place = f"{server.url}/jobs/{posted.json()['id']}"
    until(lambda: httpx.get(place).json()["status"] in ("done", "failed"), "the job ends")
    found = httpx.get(f"{place}/result", params={"format": "diarized_json"}).json()
    assert turns(one["speaker"] for one in found["segments"]) == ["A", "B"]
    assert "<v SPEAKER_00>" in httpx.get(f"{place}/result", params={"format": "vtt"}).text
    assert httpx.get(f"{place}/result", params={"format": "rttm"}).text.count("SPEAKER ") == 2


def test_jobs_do_not_show_the_recordings_of_known_speakers(server: Any, recording: Path, voice: str) -> None:
    body = {
        "inputs": base64.b64encode(recording.read_bytes()).decode(),
        "parameters": {"speakers": {"known": {"Ann": voice}}},
    }
    posted = httpx.post(f"{server.url}/jobs", json=body, timeout=60).json()
    assert posted["parameters"] == {"speakers": {"known": {"Ann": "data:audio/wav;base64,..."}}}


def test_model_that_is_not_there_is_told(start_server: Any, recording: Path, tmp_path: Path) -> None:
    server = start_server(diarization_model=str(tmp_path / "none"))
    answer = httpx.post(f"{server.url}/models/bundled?speakers=true", content=recording.read_bytes(), timeout=60)
    assert answer.status_code >= 400
    assert "error" in answer.json()
    without = httpx.post(f"{server.url}/models/bundled", content=recording.read_bytes(), timeout=60)
    assert without.status_code == 200


def test_documentation_names_speakers(server: Any) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    form = paths["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert "diarized_json" in form["properties"]["response_format"]["enum"]
    assert {"known_speaker_names[]", "known_speaker_references[]", "speakers"} <= set(form["properties"])


def test_labels_are_letters_beside_the_names_that_are_known() -> None:
    many = [f"SPEAKER_{number:02d}" for number in range(28)]
    assert list(letters(["SPEAKER_01", "Ann", "SPEAKER_00", None], ["Ann"]).items()) == [
        (None, "unknown"),
        ("SPEAKER_01", "A"),
        ("Ann", "Ann"),
        ("SPEAKER_00", "B"),
    ]
    assert letters(["SPEAKER_00", "A"], ["A"])["SPEAKER_00"] == "B"
    assert letters(many, [])["SPEAKER_27"] == "AB"
    assert letters(["channel 1"], [])["channel 1"] == "channel 1"


@pytest.mark.parametrize("value", ["99999999999999999999999", 10**30, {"max_speakers": 10_001}])
def test_more_speakers_than_anybody_hears_are_refused(value: Any) -> None:
    with pytest.raises(Refused, match="expected at most 10000") as caught:
        read_speakers(value)
    assert (caught.value.status, caught.value.param) == (400, "speakers")


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("2", 2), (2.0, 2), ('{"min_speakers": 2}', {"min_speakers": 2})]
)
def test_values_arrive_as_text_or_json(text: Any, value: Any) -> None:
    assert read_speakers(text) == value


def test_known_recordings_become_bytes_and_paths_never_do(voice: str) -> None:
    found = heard({"known": {"lm": voice}})["known"]["lm"]
    assert found[:4] == b"RIFF"
    with pytest.raises(Refused, match="data: URL"):
        heard({"known": {"Ann": "voices/ann.wav"}})
    with pytest.raises(Refused, match="did you mean 'num_speakers'"):
        read_speakers({"nums_speakers": 2})
    assert named(["a"], [voice]) == {"a": voice}


def test_recordings_are_shown_by_their_beginning_however_they_came() -> None:
    long = f"data:audio/wav;base64,{'A' * 5000}"
    shown = {"known": {"Ann": "data:audio/wav;base64,..."}, "max_speakers": 2}
    asked = {"known": {"Ann": long}, "max_speakers": 2}
    for speakers in (asked, json.dumps(asked)):
        assert without_recordings({"speakers": speakers, "lm": "x"}) == {"speakers": shown, "lm": "x"}
    assert without_recordings({"known_speaker_references": long}) == {
        "known_speaker_references": "data:audio/wav;base64,..."
    }
    assert without_recordings({"speakers": "true"}) == {"speakers": "true"}
    assert len(without_recordings({"speakers": f'{{"known": "{long}'})["speakers"]) == 80


def test_every_dialect_takes_speakers() -> None:
    from auricle.pipelines.dialects import CTC, SEQ2SEQ, WHISPER

    for dialect in (CTC, SEQ2SEQ, WHISPER):
        assert adapted({"speakers": "2"}, dialect).parameters == {"speakers": 2}
