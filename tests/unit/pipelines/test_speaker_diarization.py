"""The pipeline: its inputs, its parameters and its results, on random networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auricle.checkpoints.diarization import DiarizationConfig
from auricle.errors import AudioNotFoundError, OptionError
from auricle.loading_diarization import save_diarization
from auricle.models.pyannet import PyanNet
from auricle.models.wespeaker import WeSpeakerResNet
from auricle.pipelines import pipeline
from auricle.pipelines.speaker_diarization import SpeakerDiarizationPipeline
from auricle.speech.diarization import Diarization

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    segmentation = PyanNet(PyanNet.tiny())
    with torch.no_grad():
        segmentation.classifier.weight.mul_(20)  # else it never changes its mind
    place = tmp_path_factory.mktemp("diarization")
    config = DiarizationConfig("", "", threshold=0.2, min_cluster_size=2)
    save_diarization(place, config, segmentation, WeSpeakerResNet(WeSpeakerResNet.tiny()))
    return place


@pytest.fixture(scope="module")
def who(folder: Path) -> SpeakerDiarizationPipeline:
    made: Any = pipeline("speaker-diarization", folder, device="cpu")
    return made


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.random(int(seconds * 4) + 1), RATE // 4)[: int(seconds * RATE)]
    return (rng.standard_normal(int(seconds * RATE)) * loudness * 0.3).astype(np.float32)


def test_says_who_speaks_when(who: SpeakerDiarizationPipeline) -> None:
    found = who(sound(6.0))
    assert set(found) == {"turns", "speakers", "duration"}
    assert found["duration"] == 6.0
    assert found["turns"]
    assert json.loads(json.dumps(found)) == found
    for turn in found["turns"]:
        assert set(turn) == {"speaker", "start", "end", "confidence"}
        assert turn["speaker"] in found["speakers"]
        assert 0 <= turn["start"] < turn["end"] <= 6.0
    assert [turn["start"] for turn in found["turns"]] == sorted(turn["start"] for turn in found["turns"])


def test_the_folder_alone_says_its_task(folder: Path) -> None:
    assert isinstance(pipeline(model=folder, device="cpu"), SpeakerDiarizationPipeline)


def test_engines_agree(folder: Path, who: SpeakerDiarizationPipeline) -> None:
    plain = pipeline("speaker-diarization", folder, device="cpu", engine="reference")(sound(6.0))
    for one, other in zip(plain["turns"], who(sound(6.0))["turns"], strict=True):
        assert one["confidence"] == pytest.approx(other["confidence"], abs=0.01)  # held in 1/255
        assert {**one, "confidence": None} == {**other, "confidence": None}


def test_lists_and_generators_and_rows_give_the_same(who: SpeakerDiarizationPipeline) -> None:
    one, other = sound(3.0), sound(2.5, 1)
    alone = [who(one), who(other)]
    assert who([one, other], batch_size=3) == alone
    assert list(who(item for item in (one, other))) == alone
    row = {"audio": {"array": one, "sampling_rate": RATE}, "id": 7}
    assert who(row) == {**alone[0], "id": [7]}


def test_one_that_fails_leaves_the_others(who: SpeakerDiarizationPipeline) -> None:
    found = who(["nowhere.wav", sound(2.0)], on_error="return")
    assert found[0]["error_type"] == "AudioNotFoundError"
    assert found[1]["duration"] == 2.0
    with pytest.raises(AudioNotFoundError):
        who("nowhere.wav")


def test_numbers_of_speakers_are_kept(who: SpeakerDiarizationPipeline) -> None:
    assert len(who(sound(8.0), num_speakers=1)["speakers"]) == 1
    assert len(who(sound(8.0), max_speakers=2)["speakers"]) <= 2


def test_known_speakers_are_named(who: SpeakerDiarizationPipeline) -> None:
    clip = sound(3.0)
    found = who(sound(6.0), known_speakers={"Ann": clip}, known_threshold=-1.0, return_embeddings=True)
    assert found["speakers"] == ["Ann"]
    assert set(found["embeddings"]) == {"Ann"}
    vector = who.voice(clip)
    assert np.linalg.norm(vector) == pytest.approx(1.0)
    again = who(sound(6.0), known_speakers={"Ann": vector}, known_threshold=-1.0, return_embeddings=True)
    assert again == found


def test_gives_diarizations_and_progress(who: SpeakerDiarizationPipeline) -> None:
    heard: list[float] = []
    found = list(who.diarizations([sound(3.0), sound(2.0)], progress=heard.append))
    assert all(isinstance(one, Diarization) for one in found)
    assert heard == sorted(heard)
    assert heard[-1] == 5.0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"num_speaker": 2}, "unknown parameter 'num_speaker'.*did you mean 'num_speakers'"),
        ({"num_speakers": 0}, "num_speakers=0; expected a whole number from 1 on"),
        ({"min_speakers": 3, "max_speakers": 2}, "min_speakers=3 is more than max_speakers=2"),
        ({"num_speakers": 3, "max_speakers": 2}, "num_speakers=3 is not between"),
        ({"known_speakers": ["ann.wav"]}, "expected names with recordings"),
        ({"known_threshold": 2.0}, "from -1 to 1"),
        ({"exclusive": 1}, "expected True or False"),
        ({"min_duration_on": -1.0}, "from 0 on"),
        ({"return_embeddings": "yes"}, "expected True or False"),
    ],
)
def test_refuses_at_once(who: SpeakerDiarizationPipeline, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        who.diarizations("never-opened.wav", **parameters)


def test_refuses_other_arithmetic_and_engines(folder: Path) -> None:
    with pytest.raises(OptionError, match="dtype 'float16'"):
        pipeline("speaker-diarization", folder, device="cpu", dtype="float16")
    with pytest.raises(OptionError, match="engine 'cuda' does not run on the device 'cpu'"):
        pipeline("speaker-diarization", folder, device="cpu", engine="cuda")
