"""A folder's two networks come back as they were; what does not belong there is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

import auricle.loading_diarization as loading
from auricle.checkpoints.diarization import DiarizationConfig
from auricle.checkpoints.lightning import LightningCheckpoint, Problem
from auricle.errors import ConfigError, ModelNotFoundError, OptionError
from auricle.loading_diarization import load_diarization, save_diarization
from auricle.models.pyannet import PyanNet
from auricle.models.wespeaker import WeSpeakerResNet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = DiarizationConfig("", "", threshold=0.6)
    made = PyanNet(PyanNet.tiny()), WeSpeakerResNet(WeSpeakerResNet.tiny())
    save_diarization(tmp_path / "made", config, *made)
    return tmp_path / "made"


def test_loads_what_was_saved(folder: Path) -> None:
    loaded = load_diarization(folder)
    torch.manual_seed(0)
    segmentation, embedding = PyanNet(PyanNet.tiny()).eval(), WeSpeakerResNet(WeSpeakerResNet.tiny()).eval()
    waveforms = torch.randn(2, 32000)
    assert torch.equal(loaded.segmentation(waveforms), segmentation(waveforms))
    assert torch.equal(loaded.embedding(waveforms), embedding(waveforms))
    assert loaded.config == DiarizationConfig("segmentation", "embedding", threshold=0.6)
    assert not loaded.segmentation.training
    assert not loaded.embedding.training


def test_parts_may_be_named_as_beside_the_file(folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("embedding: embedding", "embedding: $model/embedding"))
    assert load_diarization(folder).config.embedding == "$model/embedding"


def test_refuses_a_network_in_the_place_of_the_other(folder: Path) -> None:
    shutil.rmtree(folder / "embedding")
    shutil.copytree(folder / "segmentation", folder / "embedding")
    with pytest.raises(ConfigError, match="a network for segmentation; one for embedding was expected"):
        load_diarization(folder)


def test_refuses_unequal_rates(folder: Path) -> None:
    path = folder / "embedding" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sample_rate": 8000, "num_mel_bins": 16}))
    with pytest.raises(ConfigError, match="16000 Hz and the embedding 8000 Hz"):
        load_diarization(folder)


def test_says_what_is_missing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match=r"has no config.yaml; it holds made.*'bundled-diarization'"):
        load_diarization(tmp_path)
    shutil.rmtree(folder / "embedding")
    with pytest.raises(ModelNotFoundError, match="embedding"):
        load_diarization(folder)
    with pytest.raises(OptionError, match="only models of the Hub"):
        load_diarization(folder, revision="main")


def as_published(model: Any, name: str, **changes: Any) -> LightningCheckpoint:
    """What the reader of pickles gives of a file with the names and keys that pyannote.audio writes."""
    segmenter = name == "PyanNet"
    fields = asdict(model.config)
    tensors = dict(model.state_dict())
    if segmenter:
        for field in ("duration", "max_speakers_per_chunk", "max_speakers_per_frame"):
            del fields[field]
        tensors = {place.replace("conv1d.0.", "conv1d.0.filterbank."): value for place, value in tensors.items()}
        tensors |= {f"sincnet.conv1d.0.filterbank.{buffer}": torch.zeros(1, 25) for buffer in ("window_", "n_")}
    told = {
        "tensors": tensors,
        "architecture": name,
        "hyper_parameters": fields,
        "problem": Problem.SETS if segmenter else Problem.VECTOR,
        "each_frame": segmenter,
        "duration": 2.0,
        "classes": ("a", "b", "c") if segmenter else None,
        "powerset_max_classes": 2 if segmenter else None,
        "warm_up": (0.0, 0.0),
    }
    return LightningCheckpoint(**{**told, **changes})


@pytest.fixture
def pickles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, LightningCheckpoint]:
    """The folder with pytorch_model.bin in the place of its networks' own files, and what the reader gives of them."""
    loaded = load_diarization(folder)
    found = {
        "segmentation": as_published(loaded.segmentation, "PyanNet"),
        "embedding": as_published(loaded.embedding, "WeSpeakerResNet34"),
    }
    for name in found:
        shutil.rmtree(folder / name)
        (folder / name).mkdir()
        (folder / name / "pytorch_model.bin").write_bytes(b"")
    monkeypatch.setattr(loading, "read_lightning", lambda path: found[path.parent.name])
    return found


def test_pickles_of_pyannote_make_the_same_networks(folder: Path, pickles: dict[str, LightningCheckpoint]) -> None:
    loaded = load_diarization(folder)
    torch.manual_seed(0)
    segmentation, embedding = PyanNet(PyanNet.tiny()).eval(), WeSpeakerResNet(WeSpeakerResNet.tiny()).eval()
    waveforms = torch.randn(2, 32000)
    assert torch.equal(loaded.segmentation(waveforms), segmentation(waveforms))
    assert torch.equal(loaded.embedding(waveforms), embedding(waveforms))


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("segmentation", {"powerset_max_classes": None}, "networks of speaker-diarization 2.x are not supported"),
        ("segmentation", {"problem": Problem.OTHER}, "not trained to tell sets of speakers"),
        ("segmentation", {"warm_up": (0.1, 0.1)}, "warm-up"),
        ("segmentation", {"architecture": "PyanNett"}, "is a PyanNett; supported are .*did you mean 'PyanNet'"),
        ("embedding", {"architecture": "PyanNet"}, "a network for segmentation; one for embedding was expected"),
        (
            "embedding",
            {"hyper_parameters": {"num_mel_bins": 16, "window_type": "povey"}},
            "'povey'; supported: 'hamming'",
        ),
    ],
)
def test_refuses_other_networks(
    folder: Path, pickles: dict[str, LightningCheckpoint], part: str, changes: dict[str, Any], message: str
) -> None:
    kinds = {"segmentation": PyanNet, "embedding": WeSpeakerResNet}
    architecture = {"segmentation": "PyanNet", "embedding": "WeSpeakerResNet34"}[part]
    pickles[part] = as_published(kinds[part](kinds[part].tiny()), architecture, **changes)
    with pytest.raises(ConfigError, match=message):
        load_diarization(folder)
