"""Trained runs as a folder that `pipeline("speaker-diarization")` reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from auricle.checkpoints.diarization import DiarizationConfig
from auricle.errors import CheckpointError
from auricle.loading_diarization import EMBEDDING as EMBEDDING_FOLDER
from auricle.loading_diarization import SEGMENTATION as SEGMENTATION_FOLDER
from auricle.loading_diarization import load_diarization, save_diarization
from auricle.models.pyannet import PyanNet, PyanNetConfig
from auricle.models.wespeaker import WeSpeakerConfig, WeSpeakerResNet
from auricle.training.run_file import read_run

# Chosen on made conversations: docs/log.md.
BUNDLED = DiarizationConfig(
    SEGMENTATION_FOLDER, EMBEDDING_FOLDER, linkage="ward", vad=True, piece_s=2.0, founding_s=0.7
)


def has_run(folder: Path) -> bool:
    """Whether a run was written to a folder."""
    return (folder / "run.pt").exists()


def trained(folder: Path) -> dict[str, Any]:
    """Return the averaged weights of a run.

    Raises: CheckpointError where there is no run.
    """
    state = read_run(folder)
    if state is None:
        raise CheckpointError(f"{folder} holds no run: expected run.pt; train first")
    found: dict[str, Any] = state["average"]
    return found


def export(
    runs: Path,
    folder: Path,
    configs: tuple[PyanNetConfig, WeSpeakerConfig],
    threshold: float,
    card: dict[str, Any],
    start: str | None = None,
) -> None:
    """Write config.yaml, both networks of `runs` and `card` (as auricle.json) to `folder`.

    Voices are told apart by the run of `pieces`, or where there is none by that of `speakers`; a network of no run is
    that of the diarization `start`, if one is given. `threshold` is the distance of voices above which they are of two
    speakers.
    """
    first = None if start is None else load_diarization(start)
    segmentation, embedding = PyanNet(configs[0]), WeSpeakerResNet(configs[1])
    if first is not None and not has_run(runs / "segmentation"):
        segmentation = first.segmentation
    else:
        segmentation.load_state_dict(trained(runs / "segmentation"))
    voices = next((runs / name for name in ("pieces", "speakers") if has_run(runs / name)), None)
    if first is not None and voices is None:
        embedding = first.embedding
    else:
        embedding.load_state_dict(trained(voices or runs / "speakers"))
    config = replace(BUNDLED, threshold=threshold)
    save_diarization(folder, config, segmentation, embedding)
    (folder / "auricle.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
