"""config.yaml of speaker-diarization-3.1, and what is refused of its relatives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from auricle.checkpoints.diarization import DiarizationConfig, read_diarization, write_diarization
from auricle.errors import ConfigError

# As pyannote/speaker-diarization-3.1 has it.
PUBLISHED = """
version: 3.1.0

pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: AgglomerativeClustering
    embedding: pyannote/wespeaker-voxceleb-resnet34-LM
    embedding_batch_size: 32
    embedding_exclude_overlap: true
    segmentation: pyannote/segmentation-3.0
    segmentation_batch_size: 32

params:
  clustering:
    method: centroid
    min_cluster_size: 12
    threshold: 0.7045654963945799
  segmentation:
    min_duration_off: 0.0
"""


def read(folder: Path, text: str) -> DiarizationConfig:
    (folder / "config.yaml").write_text(text)
    return read_diarization(folder / "config.yaml")


def test_reads_the_published_file(tmp_path: Path) -> None:
    assert read(tmp_path, PUBLISHED) == DiarizationConfig(
        segmentation="pyannote/segmentation-3.0",
        embedding="pyannote/wespeaker-voxceleb-resnet34-LM",
        threshold=0.7045654963945799,
        min_cluster_size=12,
        min_duration_off=0.0,
        segmentation_step=0.1,
        embedding_exclude_overlap=True,
    )


def test_reads_what_it_writes(tmp_path: Path) -> None:
    config = DiarizationConfig("segmentation", "embedding", 0.6, 5, 0.2, 0.2, False)
    write_diarization(tmp_path / "config.yaml", config)
    assert read_diarization(tmp_path / "config.yaml") == config
    gated = replace(config, vad=True, vad_threshold=0.4, speech_pad_s=0.2, min_silence_s=0.5)
    gated = replace(gated, linkage="ward", piece_s=2.0, founding_s=1.0)
    write_diarization(tmp_path / "config.yaml", gated)
    assert read_diarization(tmp_path / "config.yaml") == gated


def test_what_only_we_know_is_beside_what_the_other_program_reads(tmp_path: Path) -> None:
    write_diarization(tmp_path / "config.yaml", DiarizationConfig("segmentation", "embedding"))
    plain = yaml.safe_load((tmp_path / "config.yaml").read_text())
    write_diarization(tmp_path / "config.yaml", DiarizationConfig("segmentation", "embedding", vad=True))
    ours = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert {name: ours[name] for name in plain} == plain
    assert set(ours) - set(plain) == {"auricle"}


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        ("{vadd: true}", "unknown key 'vadd'; did you mean 'vad'"),
        ("{vad: 1}", "vad is 1; expected bool"),
        ("{vad_threshold: 1.0}", "vad_threshold is 1.0"),
        ("{speech_pad_s: -0.1}", "speech_pad_s -0.1"),
        ("{linkage: average}", "linkage is 'average'; expected one of centroid, ward"),
        ("{piece_s: -1.0}", "piece_s is -1.0"),
        ("3", "auricle is 3"),
    ],
)
def test_refuses_what_it_does_not_know_of_the_voice_detector(tmp_path: Path, ours: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, PUBLISHED + f"auricle: {ours}\n")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("AgglomerativeClustering", "VBxClustering", "VBxClustering"),
        ("method: centroid", "method: average", "'average'; supported is 'centroid'"),
        ("min_duration_off: 0.0", "threshold: 0.44", "speaker-diarization 2.x"),
        ("min_cluster_size", "min_clustersize", "unknown key 'min_clustersize'; did you mean 'min_cluster_size'"),
        ("threshold: 0.7045654963945799", "threshold: high", "threshold is 'high'; expected int or float"),
        ("threshold: 0.7045654963945799", "threshold: 3.5", "0 to 2"),
        ("    threshold: 0.7045654963945799\n", "", "does not state threshold"),
        ("SpeakerDiarization", "VoiceActivityDetection", "pipeline.name is"),
        ("params:\n  clustering:", "params: 3\nother:\n  clustering:", "params is 3"),
        ("embedding: pyannote/wespeaker-voxceleb-resnet34-LM", "embedding: [1]", r"embedding is \[1\]; expected str"),
        ("pipeline:", "pipeline: [", "is not YAML"),
    ],
)
def test_refuses_with_the_key_and_what_is_supported(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in PUBLISHED
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, PUBLISHED.replace(old, new))


def test_runs_nothing_that_the_file_names(tmp_path: Path) -> None:
    evil = PUBLISHED.replace("version: 3.1.0", f"version: !!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']")
    with pytest.raises(ConfigError, match="not YAML"):
        read(tmp_path, evil)
    assert not (tmp_path / "ran").exists()
