"""A Whisper behind OpenAI's API: languages, translation, prompts, and its own numbers; beside another model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.audio import TranscriptionVerbose

from auricle.hub import locate

pytestmark = [pytest.mark.timeout(180), pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")]
# One temperature: a random decoder is never sure, and would try them all.
PLAIN: dict[str, Any] = {"model": "org/whisper", "extra_body": {"do_sample": False}}


def verbose(client: openai.OpenAI, recording: Path, **fields: Any) -> TranscriptionVerbose:
    reply = client.audio.transcriptions.with_raw_response.create(
        file=recording, response_format="verbose_json", **{**PLAIN, **fields}
    )
    return TranscriptionVerbose.model_validate_json(reply.text, strict=True)


def test_the_language_is_told_by_its_name_whether_it_was_given_or_detected(
    whisper: openai.OpenAI, recording: Path
) -> None:
    german = [verbose(whisper, recording, language=one) for one in ("de", "German", "de-AT")]
    assert {(one.language, one.text) for one in german} == {("german", german[0].text)}
    assert verbose(whisper, recording).language in ("german", "english")
    with pytest.raises(openai.BadRequestError, match="french") as refused:
        verbose(whisper, recording, language="fr")
    assert refused.value.param == "language"
    with pytest.raises(openai.BadRequestError, match="give one, or none") as refused:
        verbose(whisper, recording, languages=["de", "en"])
    assert refused.value.param == "languages"


def test_segments_have_the_decoder_s_own_numbers(whisper: openai.OpenAI, recording: Path) -> None:
    found = verbose(whisper, recording, language="en", timestamp_granularities=["segment", "word"])
    assert found.segments
    for one in found.segments:
        assert one.tokens
        assert one.avg_logprob < 0
        assert 0 < one.no_speech_prob < 1
        assert one.temperature == 0.0
    assert [one.word for one in found.words or ()] == [one.word.strip() for one in found.words or ()]
    assert "".join(one.word for one in found.words or ()).replace(" ", "") == found.text.replace(" ", "")


def test_a_translation_is_english_and_has_its_task(whisper: openai.OpenAI, recording: Path) -> None:
    reply = whisper.audio.translations.with_raw_response.create(file=recording, response_format="verbose_json", **PLAIN)
    found = reply.http_response.json()
    assert (found["task"], found["language"]) == ("translate", "english")
    plain = whisper.audio.translations.create(file=recording, **PLAIN)
    assert plain.text == found["text"]
    assert whisper.audio.translations.create(file=recording, response_format="srt", **PLAIN).startswith("1\n")


def test_prompt_hot_words_temperature_and_seed_reach_the_decoder(whisper: openai.OpenAI, recording: Path) -> None:
    def text(**fields: Any) -> str:
        asked = {**PLAIN, "language": "en", "extra_headers": {"x-use-cache": "false"}, **fields}
        return whisper.audio.transcriptions.create(file=recording, **asked).text

    plain = text()
    assert text(temperature=0) == plain
    assert text(prompt="Ohm, Volt") != plain
    assert text(keywords=["Ohm"]) != plain
    drawn = [text(temperature=1, extra_body={"seed": seed}) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("schedule", ["sequential", "batched"])
def test_streamed_pieces_are_the_whole(two_models: Any, long_recording: Path, schedule: str) -> None:
    asked: dict[str, Any] = {"do_sample": False, "schedule": schedule, "language": "de"}
    with openai.OpenAI(base_url=f"{two_models.url}/models/org/whisper/v1", api_key="x") as client:
        events: Any = list(
            client.audio.transcriptions.create(file=long_recording, model="", stream=True, extra_body=asked)
        )
    pieces = [one.delta for one in events if one.type == "transcript.text.delta"]
    assert "".join(pieces) == events[-1].text
    assert (len(pieces) > 1) == (schedule == "sequential")


def test_among_several_models_an_unknown_name_is_none(two_models: Any, whisper: openai.OpenAI, recording: Path) -> None:
    with pytest.raises(openai.NotFoundError, match="whisper-1 is not served here") as refused:
        whisper.audio.transcriptions.create(file=recording, model="whisper-1")
    assert (refused.value.param, refused.value.code) == ("model", "model_not_found")
    assert {one.id: one.owned_by for one in whisper.models.list()} == {"bundled": "auricle", "org/whisper": "org"}
    assert whisper.models.retrieve("org/whisper").id == "org/whisper"
    (alone,) = httpx.get(f"{two_models.url}/models/org/whisper/v1/models").json()["data"]
    assert sorted(alone["languages"]) == ["de", "en"]


def test_no_reply_says_where_the_models_lie(start_server: Any, whisper_folder: Path, recording: Path) -> None:
    speakers = locate("bundled-diarization")
    server = start_server(models=(f"org/whisper={whisper_folder}",), diarization_model=str(speakers))
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        for _ in range(2):  # the second one is kept from the first
            reply = client.audio.transcriptions.with_raw_response.create(
                file=recording,
                model="org/whisper",
                response_format="verbose_json",
                extra_body={"do_sample": False, "speakers": "true"},
            )
            made_by = reply.http_response.json()["provenance"]
            assert (made_by["model"], made_by["options"]["speakers"]["model"]) == ("org/whisper", speakers.name)
            assert str(whisper_folder.parent) not in reply.text
            assert str(speakers.parent) not in reply.text
