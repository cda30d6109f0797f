"""Speakers through the pipeline, with a recognizer that says the level of what it hears and a diarization by level."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auricle.audio.decode import open_audio
from auricle.errors import AudioFormatError, AuricleError, OptionError
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
from auricle.pipelines.dialects import CTC, SEQ2SEQ, WHISPER
from auricle.pipelines.provenance import ModelIdentity
from auricle.pipelines.speakers import SpeakersAsked, read_speakers
from auricle.pipelines.speech_parameters import Dialect, read_speech_parameters
from auricle.results import Segment, SpeakerTurn, Transcript, Word
from auricle.speech.diarization import Diarization
from auricle.speech.scheduling import at_once

RATE = 16000


@dataclass(frozen=True)
class FakeOptions:
    times: str | None = None


FAKE = Dialect("a fake", FakeOptions, {}, {}, {None: None, "word": "word", "segment": "segment"})


def levels(source: Any) -> list[int]:
    """The level of every second, in hundredths."""
    samples = source.read()
    return [round(100 * float(np.abs(samples[at : at + RATE]).max())) for at in range(0, len(samples), RATE)]


class Levels:
    """Says, for each second with sound, that sound's level, all in one segment."""

    def __init__(self) -> None:
        self.scheduler: Any = at_once

    def transcribe(self, audios: Any, options: Any, progress: Any = None, journals: Any = None) -> list[Transcript]:
        found = []
        for number, audio in enumerate(audios):
            words = tuple(Word(str(level), float(at), at + 0.7, 0.5) for at, level in enumerate(levels(audio)) if level)
            if journals is not None and not journals[number].entries():
                journals[number].append({"heard": len(words)})
            text = " ".join(word.text for word in words)
            segments = (Segment(text, words[0].start, words[-1].end, words),) if words else ()
            found.append(Transcript(text, segments, duration=audio.audio.duration))
            if progress is not None:
                progress(sum(one.duration or 0.0 for one in found))
        return found


class ByLevel:
    """A diarization that hears the same speaker wherever the level is the same."""

    identity = ModelIdentity("me/levels", commit="abc")

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.schedulers: list[Any] = []

    def scheduled(self, scheduler: Any) -> ByLevel:
        self.schedulers.append(scheduler)
        return self

    def voice(self, source: Any) -> list[float]:
        return [float(levels(open_audio(source, RATE))[0])]

    def diarizations(
        self, sources: Any, *, on_error: str, progress: Any = None, **parameters: Any
    ) -> Iterator[Diarization | AuricleError]:
        self.calls.append(parameters)
        for source in sources:
            found = levels(open_audio(source, RATE))
            known = {int(voice[0]): name for name, voice in parameters.get("known_speakers", {}).items()}
            names = {level: f"SPEAKER_{n:02d}" for n, level in enumerate(dict.fromkeys(filter(None, found)))} | known
            turns = tuple(SpeakerTurn(names[level], at, at + 1.0) for at, level in enumerate(found) if level)
            if progress is not None:
                progress(len(found) / 2)
                progress(float(len(found)))
            yield Diarization(turns, tuple(dict.fromkeys(turn.speaker for turn in turns)), float(len(found)))


@pytest.fixture
def diarization() -> ByLevel:
    return ByLevel()


@pytest.fixture
def pipe(diarization: ByLevel) -> AutomaticSpeechRecognitionPipeline:
    return AutomaticSpeechRecognitionPipeline(Levels(), FAKE, name="me/fake", diarization_model=diarization)


def sound(*loudness: float) -> np.ndarray:
    """A second at each level."""
    return np.repeat(loudness, RATE).astype(np.float32)


TALK = sound(0.1, 0.1, 0.0, 0.5, 0.5, 0.0, 0.1)


def wav_bytes(samples: np.ndarray) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples.T * 32767).astype("<i2").tobytes())
    return written.getvalue()


def test_chunks_say_who_speaks_and_when_and_the_text_stays(pipe: Any) -> None:
    told = pipe(TALK, speakers=True)
    assert told["text"] == pipe(TALK)["text"] == "10 10 50 50 10"
    assert told["chunks"] == [
        {"speaker": "SPEAKER_00", "text": "10 10", "timestamp": (0.0, 1.7)},
        {"speaker": "SPEAKER_01", "text": "50 50", "timestamp": (3.0, 4.7)},
        {"speaker": "SPEAKER_00", "text": "10", "timestamp": (6.0, 6.7)},
    ]
    words = pipe(TALK, speakers=True, return_timestamps="word")["chunks"]
    assert words[2] == {"speaker": "SPEAKER_01", "text": "50", "timestamp": (3.0, 3.7)}


def test_transcripts_have_speakers_turns_and_what_told_them_apart(pipe: Any) -> None:
    (found,) = pipe.transcripts(TALK, speakers={"num_speakers": 2, "known": {"Ann": sound(0.5)}})
    assert [segment.speaker for segment in found.segments] == ["SPEAKER_00", "Ann", "SPEAKER_00"]
    assert {word.speaker for word in found.words} == {"SPEAKER_00", "Ann"}
    assert found.turns[2] == SpeakerTurn("Ann", 3, 4.0)
    told = found.provenance.options["speakers"]
    assert (told["model"], told["revision"], told["num_speakers"]) == ("me/levels", "abc", 2)
    assert told["known"]["Ann"].startswith("sha256:")


def test_known_speakers_are_heard_once_and_before_the_recording(pipe: Any, diarization: ByLevel) -> None:
    heard: list[Any] = []
    diarization.voice = lambda source: heard.append(source) or [50.0]  # type: ignore[method-assign,func-returns-value]
    pipe([TALK, TALK], speakers={"known": {"Ann": "ann.wav", "Bob": [10.0]}})
    assert heard == ["ann.wav"]
    assert diarization.calls[1] == {"known_speakers": {"Ann": [50.0], "Bob": [10.0]}}


def test_known_speaker_that_cannot_be_heard_is_told_by_name(pipe: Any, tmp_path: Path) -> None:
    with pytest.raises(AudioFormatError, match="the known speaker Ann: <bytes>"):
        pipe.transcripts(TALK, speakers={"known": {"Ann": b"nothing"}})


def test_counts_reach_the_diarization_and_its_batches_the_scheduler(pipe: Any, diarization: ByLevel) -> None:
    pipe(TALK, speakers=2)
    pipe(TALK, speakers={"min_speakers": 2, "max_speakers": 3})
    assert diarization.calls == [{"num_speakers": 2}, {"min_speakers": 2, "max_speakers": 3}]

    def scheduler(key: Any, rows: Any, compute: Any) -> Any:
        return compute(rows)

    pipe.scheduled(scheduler)(TALK, speakers=True)
    assert diarization.schedulers == [at_once, at_once, scheduler]


def test_what_can_be_read_only_once_is_read_twice_all_the_same(
    pipe: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = wav_bytes(TALK[None])
    (tmp_path / "a.wav").write_bytes(content)
    opened = io.BytesIO(content)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))
    for source in ("-", opened, content, tmp_path / "a.wav", {"array": TALK, "sampling_rate": RATE, "id": 1}):
        told = pipe(source, speakers=True)
        assert [chunk["speaker"][-1] for chunk in told["chunks"]] == ["0", "1", "0"]
    assert not opened.closed


def test_many_recordings_each_have_their_own_speakers(pipe: Any) -> None:
    found = pipe([TALK, sound(0.0), sound(0.2, 0.3)], speakers=True, batch_size=3)
    assert [len(one["chunks"]) for one in found] == [3, 0, 2]
    assert found[2]["chunks"][1] == {"speaker": "SPEAKER_01", "text": "30", "timestamp": (1.0, 1.7)}


def test_channels_heard_apart_are_told_apart_each(pipe: Any) -> None:
    call = np.stack([sound(0.1, 0.0, 0.3, 0.0), sound(0.0, 0.5, 0.0, 0.5)])
    chunks = pipe(call, channels="split", speakers=True)["chunks"]
    assert [(one["channel"], one["speaker"], one["text"]) for one in chunks] == [
        (0, "channel 0 SPEAKER_00", "10"),
        (1, "channel 1", "50 50"),
        (0, "channel 0 SPEAKER_01", "30"),
    ]
    assert pipe(call, channels="split", speakers=True)["text"] == pipe(call, channels="split")["text"]
    known = pipe(call, channels="split", speakers={"known": {"Ann": sound(0.5)}})["chunks"]
    assert known[1]["speaker"] == "Ann"
    assert "speaker" not in pipe(call, channels="split")["chunks"][0]


def test_one_channel_is_heard_and_told_apart_alone(pipe: Any) -> None:
    call = np.stack([sound(0.1, 0.1), sound(0.2, 0.5)])
    assert [one["text"] for one in pipe(call, channels=1, speakers=True)["chunks"]] == ["20", "50"]


def test_progress_goes_on_to_the_end_of_the_recordings(pipe: Any) -> None:
    told: list[float] = []
    list(pipe.transcripts([TALK, TALK], speakers=True, progress=told.append))
    assert told == sorted(told)
    assert told[0] == 3.5  # heard, and nobody told apart yet
    assert told[-1] == 14.0


def test_journal_is_of_use_whoever_speaks(pipe: Any, tmp_path: Path) -> None:
    place = tmp_path / "kept.jsonl"
    (before,) = pipe.transcripts(TALK, resume=place)
    (after,) = pipe.transcripts(TALK, resume=place, speakers=True)
    assert place.read_text().count("heard") == 1
    assert before.text == after.text
    assert after.segments[1].speaker == "SPEAKER_01"


class Failing(ByLevel):
    def diarizations(self, sources: Any, **parameters: Any) -> Iterator[Diarization | AuricleError]:
        yield AudioFormatError("the second reading broke off")


def test_error_of_the_second_reading_is_the_recordings(pipe: Any) -> None:
    pipe.speaker_models.default = Failing()
    with pytest.raises(AudioFormatError, match="second reading"):
        pipe(TALK, speakers=True)
    assert pipe([TALK], speakers=True, on_error="return")[0]["error_type"] == "AudioFormatError"


def test_model_that_is_not_there_is_told_before_anything_is_heard(pipe: Any, tmp_path: Path) -> None:
    def unheard() -> Iterator[Any]:
        raise AssertionError("nothing should be read")
        yield

    with pytest.raises(AuricleError):
        pipe.transcripts(unheard(), speakers={"model": str(tmp_path / "none")}, on_error="return")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (False, None),
        (True, SpeakersAsked()),
        (3, SpeakersAsked(3)),
        ({"max_speakers": 4, "model": None}, SpeakersAsked(max_speakers=4)),
    ],
)
def test_values_of_speakers(value: Any, expected: Any) -> None:
    assert read_speakers(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "num_speakers=0"),
        ("two", "expected True, the number of speakers"),
        ({"n_speakers": 2}, "did you mean 'num_speakers'"),
        ({"min_speakers": 3, "max_speakers": 2}, "min_speakers=3"),
        ({"known": ["a.wav"]}, "known is a list"),
        ({"known": {"": "a.wav"}}, "known"),
    ],
)
def test_wrong_values_are_refused_by_name(value: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_speakers(value)


@pytest.mark.parametrize("dialect", [CTC, WHISPER, SEQ2SEQ])
def test_every_kind_of_model_takes_speakers_and_times_words_where_it_can(dialect: Dialect) -> None:
    request = read_speech_parameters({"speakers": 2}, dialect)
    assert request.speakers == SpeakersAsked(2)
    assert request.times is None
    if "return_timestamps" in dialect.fields and "word" in dialect.times.values():
        assert request.options.return_timestamps == "word"


def test_stream_refuses_speakers_and_says_why(pipe: Any) -> None:
    with pytest.raises(OptionError, match="who speaks is known when all was heard"):
        next(pipe.stream("-", speakers=True))


def test_segments_without_words_get_speakers_too(pipe: Any) -> None:
    class Unworded(Levels):
        def transcribe(self, audios: Any, options: Any, progress: Any = None, journals: Any = None) -> Any:
            found = super().transcribe(audios, options, progress, journals)
            return [replace(one, segments=tuple(replace(part, words=()) for part in one.segments)) for one in found]

    pipe.recognizer = Unworded()
    chunks = pipe(TALK, speakers=True)["chunks"]
    assert [(one["speaker"][-1], one["text"]) for one in chunks] == [("0", "10 10"), ("1", "50 50"), ("0", "10")]
