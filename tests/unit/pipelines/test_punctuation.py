"""punctuate=True, as callers ask for it: what it changes, and where it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from auricle import pipeline
from auricle.audio.decode import load_audio
from auricle.errors import OptionError
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
from auricle.pipelines.dialects import SEQ2SEQ, WHISPER
from auricle.pipelines.speech_parameters import read_speech_parameters
from auricle.results import Segment

SAMPLE = Path(__file__).parents[3] / "samples" / "librispeech-1320-122612-0008.ogg"


@pytest.fixture(scope="module")
def listen() -> AutomaticSpeechRecognitionPipeline:
    return pipeline("automatic-speech-recognition")


def plain(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter not in ".,?")


def test_the_words_stay_and_the_text_is_a_sentence(listen: AutomaticSpeechRecognitionPipeline) -> None:
    before, after = (listen(SAMPLE, return_timestamps="word", punctuate=one) for one in (False, True))
    assert before["text"] == plain(before["text"])
    assert plain(after["text"]) == before["text"]
    assert after["text"][0].isupper()
    assert after["text"].endswith(".")
    assert [one["timestamp"] for one in after["chunks"]] == [one["timestamp"] for one in before["chunks"]]
    assert " ".join(one["text"] for one in after["chunks"]) == after["text"]


def test_it_can_be_the_pipelines_own_and_a_call_says_otherwise(listen: AutomaticSpeechRecognitionPipeline) -> None:
    always = pipeline("automatic-speech-recognition", punctuate=True)
    assert always(SAMPLE) == listen(SAMPLE, punctuate=True)
    assert always(SAMPLE, punctuate=False) == listen(SAMPLE)
    (transcript,) = always.transcripts([SAMPLE])
    assert transcript.provenance.options["punctuate"] is True


def test_characters_are_the_text(listen: AutomaticSpeechRecognitionPipeline) -> None:
    found = listen(SAMPLE, return_timestamps="char", punctuate=True)
    assert "".join(one["text"] for one in found["chunks"]) == found["text"]


def test_channels_are_punctuated_each_by_itself(listen: AutomaticSpeechRecognitionPipeline) -> None:
    heard = load_audio(SAMPLE)
    both = np.stack([heard, np.zeros_like(heard)])
    found = listen({"raw": both, "sampling_rate": 16000}, channels="split", punctuate=True)
    assert found["text"] == listen(SAMPLE, punctuate=True)["text"]


def test_it_is_refused_while_the_words_behind_are_still_to_come(listen: AutomaticSpeechRecognitionPipeline) -> None:
    with pytest.raises(OptionError, match="punctuate=True is refused in a stream"):
        listen.stream(np.zeros(16000, dtype=np.float32), punctuate=True)


def test_segments_are_told_once_all_was_heard(listen: AutomaticSpeechRecognitionPipeline) -> None:
    told: list[tuple[Segment, ...]] = []
    (transcript,) = listen.transcripts([SAMPLE], told=told.append, punctuate=True)
    assert told == [transcript.segments]


def test_models_that_write_as_they_were_trained_to_take_only_true() -> None:
    for dialect in (WHISPER, SEQ2SEQ):
        assert read_speech_parameters({"punctuate": True}, dialect).options == dialect.options()
        with pytest.raises(OptionError, match="punctuate=False is refused"):
            read_speech_parameters({"punctuate": False}, dialect)


def test_what_is_no_answer_is_refused(listen: AutomaticSpeechRecognitionPipeline) -> None:
    with pytest.raises(OptionError, match="punctuate='yes' is refused by a CTC model: it is str; expected bool"):
        listen(SAMPLE, punctuate="yes")
