"""A folder's two networks come back as they were; what does not belong there is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from auricle.checkpoints.diarization import DiarizationConfig
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
    with pytest.raises(ModelNotFoundError, match=r"has no config.yaml; it holds made"):
        load_diarization(tmp_path)
    shutil.rmtree(folder / "embedding")
    with pytest.raises(ModelNotFoundError, match="embedding"):
        load_diarization(folder)
    with pytest.raises(OptionError, match="only models of the Hub"):
        load_diarization(folder, revision="main")
