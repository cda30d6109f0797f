"""Two trained runs as a folder that `pipeline("speaker-diarization")` reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from auricle.checkpoints.diarization import DiarizationConfig
from auricle.errors import CheckpointError
from auricle.loading_diarization import EMBEDDING as EMBEDDING_FOLDER
from auricle.loading_diarization import SEGMENTATION as SEGMENTATION_FOLDER
from auricle.loading_diarization import save_diarization
from auricle.models.pyannet import PyanNet, PyanNetConfig
from auricle.models.wespeaker import WeSpeakerConfig, WeSpeakerResNet
from auricle.training.run_file import read_run

# Chosen on made conversations: docs/log.md.
BUNDLED = DiarizationConfig(
    SEGMENTATION_FOLDER, EMBEDDING_FOLDER, linkage="ward", vad=True, piece_s=2.0, founding_s=0.7
)


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
    runs: Path, folder: Path, configs: tuple[PyanNetConfig, WeSpeakerConfig], threshold: float, card: dict[str, Any]
) -> None:
    """Write config.yaml, both networks of `runs` and `card` (as auricle.json) to `folder`.

    `threshold` is the distance of voices above which they are of two speakers.
    """
    segmentation, embedding = PyanNet(configs[0]), WeSpeakerResNet(configs[1])
    segmentation.load_state_dict(trained(runs / "segmentation"))
    embedding.load_state_dict(trained(runs / "speakers"))
    config = replace(BUNDLED, threshold=threshold)
    save_diarization(folder, config, segmentation, embedding)
    (folder / "auricle.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
