"""Recordings in and the Hub's dictionaries out, with a recognizer that is a fake."""

from __future__ import annotations

import copy
import io
import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auricle.errors import AuricleError, OptionError
from auricle.pipelines import KeyDataset
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
from auricle.pipelines.dialects import WHISPER
from auricle.pipelines.speech_parameters import Dialect
from auricle.results import Character, Segment, Transcript, Word
from auricle.speech.whisper_options import WhisperOptions

RATE = 16000


@dataclass(frozen=True)
class FakeOptions:
    louder: bool = False
    batch_size: int | None = None


FAKE = Dialect(
    model="a fake",
    options=FakeOptions,
    fields={"louder": "louder"},
    refused={"quieter": "it cannot"},
    times={None: None, True: "word", "word": "word", "char": "char", "segment": "segment"},
    has_windows=True,
    languages={"en": "english"},
)


class FakeRecognizer:
    """Hears how many samples there are, and says that number in two words."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.options: list[Any] = []

    def transcribe(
        self, audios: Any, options: FakeOptions, progress: Callable[[float], None] | None = None
    ) -> list[Transcript]:
        self.batches.append([audio.name for audio in audios])
        self.options.append(options)
        found = []
        for audio in audios:
            samples = audio.read()
            seconds = len(samples) / RATE
            count = f"{len(samples)}!" if options.louder else str(len(samples))
            words = (Word(count, 0.0, 0.5, 0.8), Word("samples", 0.5, 1.0, 0.9))
            letters = tuple(Character(letter, 0.0, 0.1) for letter in count)
            segment = Segment(f"{count} samples", 0.0, seconds, words, letters, language="en")
            found.append(Transcript(segment.text, (segment,), language="en", duration=seconds))
            if progress is not None:
                progress(sum(one.duration or 0.0 for one in found))
        return found


@pytest.fixture
def recognizer() -> FakeRecognizer:
    return FakeRecognizer()


@pytest.fixture
def pipe(recognizer: FakeRecognizer) -> AutomaticSpeechRecognitionPipeline:
    return AutomaticSpeechRecognitionPipeline(recognizer, FAKE, sample_rate=RATE, name="me/fake")


def sound(seconds: float) -> np.ndarray:
    return np.sin(np.arange(round(seconds * RATE)) / 20).astype(np.float32)


def wav_bytes(samples: np.ndarray) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32000).astype("<i2").tobytes())
    return written.getvalue()


def test_text_alone_is_the_result_by_default(pipe: Any) -> None:
    assert pipe(sound(1)) == {"text": "16000 samples"}


@pytest.mark.parametrize("times", [True, "word"])
def test_words_are_chunks_with_a_tuple_of_seconds(pipe: Any, times: object) -> None:
    assert pipe(sound(1), return_timestamps=times) == {
        "text": "16000 samples",
        "chunks": [{"text": "16000", "timestamp": (0.0, 0.5)}, {"text": "samples", "timestamp": (0.5, 1.0)}],
    }


def test_segments_and_characters_are_chunks_when_asked_for(pipe: Any) -> None:
    assert pipe(sound(1), return_timestamps="segment")["chunks"] == [{"text": "16000 samples", "timestamp": (0.0, 1.0)}]
    characters = pipe(sound(1), return_timestamps="char")["chunks"]
    assert characters[0] == {"text": "1", "timestamp": (0.0, 0.1)}
    assert len(characters) == 5


def test_language_stands_in_each_chunk_by_its_name(pipe: Any) -> None:
    assert pipe(sound(1), return_language=True)["chunks"] == [{"language": "english", "text": "16000 samples"}]
    chunk = pipe(sound(1), return_language=True, return_timestamps="word")["chunks"][0]
    assert chunk == {"language": "english", "text": "16000", "timestamp": (0.0, 0.5)}


@pytest.mark.parametrize("key", ["array", "raw"])
def test_dictionary_comes_back_with_the_callers_keys_and_is_not_changed(pipe: Any, key: str) -> None:
    given = {key: sound(1), "sampling_rate": RATE, "path": None, "speaker": "s1", "partial": False}
    before = dict(given)
    for _ in range(2):
        assert pipe(given) == {"text": "16000 samples", "speaker": ["s1"], "partial": [False]}
    assert given.keys() == before.keys()
    assert all(given[name] is before[name] for name in before)


def test_results_own_keys_stand_over_the_callers(pipe: Any) -> None:
    row = {"audio": {"array": sound(1), "sampling_rate": RATE}, "text": "reference", "id": 7}
    assert pipe(row) == {"text": "16000 samples", "id": [7]}


def test_paths_bytes_files_and_their_dictionaries_are_recordings(pipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_bytes(sound(1)))
    with path.open("rb") as file:
        content = path.read_bytes()
        for given in (str(path), path, content, file, {"path": str(path)}, {"bytes": content},
                      {"path": "elsewhere.wav", "bytes": content}, torch.from_numpy(sound(1))):  # fmt: skip
            assert pipe(given) == {"text": "16000 samples"}


def test_lists_datasets_and_generators_come_in_order(pipe: Any) -> None:
    rows = [{"audio": {"array": sound(seconds), "sampling_rate": RATE}, "id": seconds} for seconds in (3, 1, 2)]
    texts = ["48000 samples", "16000 samples", "32000 samples"]
    assert [one["text"] for one in pipe(rows, batch_size=2)] == texts
    assert [one["text"] for one in pipe(iter(rows), batch_size=2)] == texts
    assert list(pipe(KeyDataset(rows, "audio"), batch_size=8)) == [{"text": text} for text in texts]


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_one_bad_recording_gives_one_error_item(pipe: Any, tmp_path: Path, batch_size: int) -> None:
    (tmp_path / "text.wav").write_text("this is no recording, whatever its name says " * 10)
    bad = {"path": str(tmp_path / "text.wav"), "id": 3}
    results = pipe([sound(1), bad, tmp_path / "absent.wav", sound(2)], batch_size=batch_size, on_error="return")
    assert results[0] == {"text": "16000 samples"}
    assert results[3] == {"text": "32000 samples"}
    assert set(results[1]) == {"error", "error_type", "id"}
    assert results[1]["id"] == [3]
    assert results[2]["error_type"] == "AudioNotFoundError"
    assert "absent.wav" in results[2]["error"]


def test_recording_that_breaks_off_does_not_harm_its_batch(
    pipe: Any, recognizer: FakeRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from auricle.audio.decode import Audio
    from auricle.errors import AudioFormatError

    whole = Audio.blocks

    def broken(audio: Any) -> Any:
        yield from whole(audio)
        if audio.duration == 3.0:
            raise AudioFormatError("the stream is damaged at 3 s")

    monkeypatch.setattr(Audio, "blocks", broken)
    results = pipe([sound(1), sound(3), sound(2)], batch_size=3, on_error="return")
    assert [one.get("text") for one in results] == ["16000 samples", None, "32000 samples"]
    assert results[1] == {"error": "the stream is damaged at 3 s", "error_type": "AudioFormatError"}
    with pytest.raises(AudioFormatError, match="damaged"):
        pipe([sound(1), sound(3)], batch_size=2)


def test_a_list_of_numbers_is_refused_as_no_recording(pipe: Any) -> None:
    with pytest.raises(AuricleError):
        pipe([0.1, 0.2])


def test_batch_size_reaches_recordings_and_windows(pipe: Any, recognizer: FakeRecognizer) -> None:
    pipe([sound(1)] * 3, batch_size=2)
    assert [len(batch) for batch in recognizer.batches] == [2, 1]
    assert {options.batch_size for options in recognizer.options} == {2}


def test_recordings_of_like_length_share_a_batch_and_come_back_in_order(pipe: Any, recognizer: FakeRecognizer) -> None:
    rows = [{"array": sound(seconds), "sampling_rate": RATE, "path": f"{seconds}"} for seconds in (9, 1, 8, 2)]
    assert [one["text"].split()[0] for one in pipe(rows, batch_size=2)] == ["144000", "16000", "128000", "32000"]
    assert recognizer.batches == [["1", "2"], ["8", "9"]]


def test_transcripts_are_typed_lazy_and_tell_their_progress(pipe: Any, recognizer: FakeRecognizer) -> None:
    heard: list[float] = []
    found = pipe.transcripts([sound(1), sound(2), sound(3)], batch_size=2, progress=heard.append, louder=True)
    assert recognizer.batches == []
    first = next(found)
    assert isinstance(first, Transcript)
    assert first.text == "16000! samples"
    assert len(recognizer.batches) == 1
    assert [one.duration for one in found] == [2.0, 3.0]
    assert heard == sorted(heard)
    assert heard[-1] == 6.0


def test_one_source_gives_one_transcript(pipe: Any) -> None:
    for source in (sound(1), {"raw": sound(1), "sampling_rate": RATE}):
        assert [one.text for one in pipe.transcripts(source)] == ["16000 samples"]
    with pytest.raises(AuricleError, match=r"absent\.wav"):
        list(pipe.transcripts("absent.wav"))


def test_transcripts_return_errors_as_values_when_asked(pipe: Any) -> None:
    found = list(pipe.transcripts(["absent.wav", sound(1)], on_error="return"))
    assert isinstance(found[0], AuricleError)
    assert found[1].text == "16000 samples"


def test_wrong_parameters_are_refused_before_anything_is_opened(pipe: Any) -> None:
    for call in (pipe, lambda given, **wrong: pipe.transcripts([given], **wrong)):
        with pytest.raises(OptionError, match="quieter=True is refused by a fake: it cannot"):
            call("absent.wav", quieter=True)


def test_parameters_of_the_constructor_are_defaults_of_calls(recognizer: FakeRecognizer) -> None:
    pipe = AutomaticSpeechRecognitionPipeline(recognizer, FAKE, louder=True, return_timestamps="word")
    assert pipe(sound(1))["text"] == "16000! samples"
    assert "chunks" not in pipe(sound(1), return_timestamps=None)
    with pytest.raises(OptionError, match="unknown parameter 'loudr'"):
        AutomaticSpeechRecognitionPipeline(recognizer, FAKE, loudr=True)


@pytest.mark.parametrize(
    ("defaults", "call", "asked"),
    [
        ({"generate_kwargs": {"language": "de"}}, {"language": "en"}, {"language": "en"}),
        ({"language": "de"}, {"generate_kwargs": {"language": "en"}}, {"language": "en"}),
        (
            {"generate_kwargs": {"language": "de", "num_beams": 2}},
            {"generate_kwargs": {"num_beams": 3}},
            {"language": "de", "n_beams": 3},
        ),
        ({"generate_kwargs": {"language": "de"}}, {"generate_kwargs": {"language": None}}, {}),
        ({"generate_kwargs": {"language": "de"}}, {"generate_kwargs": None}, {"language": "de"}),
        ({"generate_kwargs": {"language": "de"}}, {"language": None}, {}),
        ({"generate_kwargs": {"num_beams": 2}}, {"generation_parameters": {"num_beams": 3}}, {"n_beams": 3}),
    ],
    ids=str,
)
def test_a_call_says_otherwise_than_its_pipeline_whichever_of_them_nests(
    recognizer: FakeRecognizer, defaults: dict[str, Any], call: dict[str, Any], asked: dict[str, Any]
) -> None:
    pipe = AutomaticSpeechRecognitionPipeline(recognizer, WHISPER, **copy.deepcopy(defaults))
    for _ in range(2):  # the pipeline's own stay as they are
        request, _, _ = pipe.read_call(call, None, None)
        assert request.options == WhisperOptions(**asked)


def test_repr_names_model_kind_and_device(pipe: Any) -> None:
    assert repr(pipe) == "<AutomaticSpeechRecognitionPipeline 'me/fake': a fake on cpu>"


def test_limits_of_another_kind_are_refused_when_the_pipeline_is_made() -> None:
    with pytest.raises(OptionError, match="limits is 3"):
        AutomaticSpeechRecognitionPipeline(FakeRecognizer(), FAKE, limits=3)  # type: ignore[arg-type]
