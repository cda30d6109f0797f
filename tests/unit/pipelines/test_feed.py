"""Segments told while a recording is heard are those of the transcript, and so are those computed elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import pytest

from auricle.pipelines import pipeline
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
from auricle.results import Segment, Transcript

SAMPLE = Path(__file__).parents[3] / "samples" / "librispeech-1320-122612-0008.ogg"


@pytest.fixture(scope="module")
def listen() -> AutomaticSpeechRecognitionPipeline:
    made = pipeline("automatic-speech-recognition", "bundled")
    assert isinstance(made, AutomaticSpeechRecognitionPipeline)
    return made


def transcribed(listen: AutomaticSpeechRecognitionPipeline, **parameters: Any) -> Transcript:
    (found,) = listen.transcripts(str(SAMPLE), **parameters)
    assert isinstance(found, Transcript)
    return found


def test_the_segments_that_are_told_are_those_of_the_transcript(listen: AutomaticSpeechRecognitionPipeline) -> None:
    told: list[Segment] = []
    found = transcribed(listen, told=told.extend)
    assert [one.text for one in told] == [one.text for one in found.segments]
    assert [one.words for one in told] == [one.words for one in found.segments]


def test_what_a_journal_has_is_told_again(listen: AutomaticSpeechRecognitionPipeline, tmp_path: Path) -> None:
    journal = tmp_path / "one.jsonl"
    first: list[Segment] = []
    again: list[Segment] = []
    before = transcribed(listen, told=first.extend, resume=journal, vad=True)
    after = transcribed(listen, told=again.extend, resume=journal, vad=True)
    assert first == again
    assert first
    assert before.text == after.text


def test_channels_heard_apart_are_told_with_their_number(listen: AutomaticSpeechRecognitionPipeline) -> None:
    told: list[Segment] = []
    transcribed(listen, told=told.extend, channels="split")
    assert {one.channel for one in told} == {0}


def test_batches_computed_by_somebody_else_give_the_same_text(listen: AutomaticSpeechRecognitionPipeline) -> None:
    keys: list[Hashable] = []

    def elsewhere(key: Hashable, rows: Sequence[Any], compute: Callable[[Sequence[Any]], Sequence[Any]]) -> list[Any]:
        keys.append(key)
        return [compute([row])[0] for row in rows]

    assert transcribed(listen.scheduled(elsewhere)).text == transcribed(listen).text
    assert keys
    keys.clear()
    transcribed(listen)
    assert not keys, "the pipeline itself stays as it was"
