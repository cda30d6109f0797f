"""Which pipeline and which model `pipeline()` chooses, and what it says about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import auricle.hub
from auricle.errors import ModelNotFoundError, OptionError, TaskError
from auricle.pipelines import pipeline
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline as Speech
from auricle.pipelines.speaker_diarization import SpeakerDiarizationPipeline as Diarization


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Notes what is to be loaded instead of loading it."""
    calls: list[Any] = []
    monkeypatch.setattr(Speech, "load", classmethod(lambda cls, *given, **named: calls.append((*given, named))))
    return calls


def checkpoint(folder: Path, **config: Any) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def bundled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(auricle.hub, "locate", lambda name, **_: tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("architecture", "model_type"),
    [
        ("Wav2Vec2ForCTC", "wav2vec2"),
        ("WhisperForConditionalGeneration", "whisper"),
        ("MoonshineForConditionalGeneration", "moonshine"),
    ],
)
def test_task_is_inferred_from_a_folder(loaded: list[Any], tmp_path: Path, architecture: str, model_type: str) -> None:
    folder = checkpoint(tmp_path, architectures=[architecture], model_type=model_type)
    pipeline(model=folder, batch_size=4, target_lang="fra")
    ((model, settings, named),) = loaded
    assert model == folder
    assert settings.dtype == "auto"
    assert named == {"batch_size": 4, "target_lang": "fra"}


def test_model_for_something_else_is_refused(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, architectures=["BertForMaskedLM"], model_type="bert")
    with pytest.raises(TaskError, match="BertForMaskedLM"):
        pipeline("automatic-speech-recognition", folder)


def test_model_that_is_not_here_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="absent"):
        pipeline(model=tmp_path / "absent")


def test_model_that_is_no_name_is_refused() -> None:
    with pytest.raises(OptionError):
        pipeline("automatic-speech-recognition", model=object())  # type: ignore[arg-type]


def test_default_model_announces_itself_in_one_line_on_stderr(
    loaded: list[Any], bundled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundled / "auricle.json").write_text(json.dumps({"name": "auricle-small-en", "summary": "English; 20 % errors"}))
    pipeline("automatic-speech-recognition")
    shown = capsys.readouterr()
    assert loaded[0][0] == "bundled"
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "auricle-small-en (English; 20 % errors)" in shown.err
    assert 'model="' in shown.err


@pytest.mark.usefixtures("bundled")
def test_the_default_of_another_task_advises_a_model_of_that_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Diarization, "load", classmethod(lambda cls, *given, **named: None))
    pipeline("speaker-diarization")
    shown = capsys.readouterr().err
    assert "whisper" not in shown
    assert 'choose another with model="pyannote/speaker-diarization-3.1"' in shown


@pytest.mark.usefixtures("bundled")
def test_named_bundled_model_is_silent(loaded: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    pipeline("automatic-speech-recognition", "bundled")
    assert loaded[0][0] == "bundled"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("name", "value"), [("name", "x"), ("sample_rate", 8000), ("dialect", None)])
def test_parameters_of_the_class_that_the_model_decides_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"^{name}"):
        pipeline("automatic-speech-recognition", "bundled", **{name: value})


def test_parts_may_be_named_as_the_model_is(loaded: list[Any]) -> None:
    pipeline("automatic-speech-recognition", "bundled", tokenizer="bundled", feature_extractor="bundled")
    with pytest.raises(OptionError, match="tokenizer='other' is refused: the tokenizer is read from the model's"):
        pipeline("automatic-speech-recognition", "bundled", tokenizer="other")
    assert [one[0] for one in loaded] == ["bundled"]


def test_a_dtype_may_stand_in_model_kwargs(loaded: list[Any]) -> None:
    for nested in ({"torch_dtype": "float16"}, {"dtype": "float16"}):
        pipeline("automatic-speech-recognition", "bundled", model_kwargs=nested)
    assert [one[1].dtype for one in loaded] == ["float16", "float16"]
    with pytest.raises(OptionError, match="dtype='float32' and model_kwargs='float16' are both given"):
        pipeline("automatic-speech-recognition", "bundled", dtype="float32", model_kwargs={"dtype": "float16"})
    with pytest.raises(OptionError, match=r"model_kwargs=.*attn_implementation.* is refused"):
        pipeline("automatic-speech-recognition", "bundled", model_kwargs={"attn_implementation": "eager"})


def test_an_unknown_task_is_told_the_nearest_once() -> None:
    with pytest.raises(TaskError, match=r"did you mean 'text-generation' or 'text2text-generation'\?"):
        pipeline("text-generaton", "bundled")


def test_vqa_is_another_name_of_the_task() -> None:
    with pytest.raises(ModelNotFoundError):
        pipeline("vqa", "/nowhere/at/all")
    with pytest.raises(TaskError, match="unknown task"):
        pipeline("vqaa", "/nowhere/at/all")
