"""A diarization's name in, its two networks and the numbers between them out.

Beside `loading`, the only module that knows models, checkpoints and hub together: what is loaded here is no checkpoint
of one model, but a file that names two.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from auricle.checkpoints.config import build_config, read_json
from auricle.checkpoints.diarization import BESIDE, CONFIG, DiarizationConfig, read_diarization, write_diarization
from auricle.checkpoints.lightning import LightningCheckpoint, Problem, read_lightning
from auricle.checkpoints.tensors import PICKLE, load_tensors, read_tensors, write_checkpoint
from auricle.errors import ConfigError, ModelNotFoundError, OptionError, nearest
from auricle.hub import commit_of, locate_file
from auricle.models import PARTS
from auricle.models.pyannet import PyanNet
from auricle.models.wespeaker import WeSpeakerResNet

# The class that a checkpoint of pyannote.audio names, and the model_type of ours.
ARCHITECTURES = {"PyanNet": "pyannet", "WeSpeakerResNet34": "wespeaker_resnet"}
LOCAL_CONFIG = "config.json"
_NO_DIARIZATION = (
    f"Who speaks when is told by a folder whose {CONFIG} names two networks, such as 'bundled-diarization' or "
    "'pyannote/speaker-diarization-3.1'; a model of speech recognition is none."
)
SEGMENTATION, EMBEDDING = "segmentation", "embedding"


@dataclass(frozen=True)
class LoadedDiarization:
    """Two networks in evaluation mode, and how they are put together."""

    name: str  # as it was asked for
    folder: Path
    revision: str | None  # the Hub's commit; None for a folder or the bundled one
    config: DiarizationConfig
    segmentation: PyanNet
    embedding: WeSpeakerResNet


def load_diarization(
    name: str | Path,
    *,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    token: str | bool | None = None,
) -> LoadedDiarization:
    """Load a diarization: "bundled-diarization", a folder with config.yaml, or one of the Hub.

    Raises:
        CheckpointError: Not found, or its configuration or weights cannot be used.
        OptionError: The device does not exist, or a revision is asked of a folder.
    """
    place = _device(device)
    try:
        path = locate_file(name, CONFIG, revision=revision, token=token)
    except ModelNotFoundError as error:
        raise type(error)(f"{error} {_NO_DIARIZATION}" if f"has no {CONFIG}" in str(error) else str(error)) from error
    config = read_diarization(path)
    whole = _Whole(name, path.parent, revision, token)
    segmentation = load_part(whole, config.segmentation, SEGMENTATION)
    embedding = load_part(whole, config.embedding, EMBEDDING)
    if segmentation.config.sample_rate != embedding.config.sample_rate:
        raise ConfigError(
            f"{path}: the segmentation hears {segmentation.config.sample_rate} Hz and the embedding "
            f"{embedding.config.sample_rate} Hz; they must be equal."
        )
    return LoadedDiarization(
        name=str(name),
        folder=path.parent,
        revision=commit_of(path.parent),
        config=config,
        segmentation=cast(PyanNet, segmentation.to(place)),
        embedding=cast(WeSpeakerResNet, embedding.to(place)),
    )


def save_diarization(
    folder: Path, config: DiarizationConfig, segmentation: PyanNet, embedding: WeSpeakerResNet
) -> None:
    """Write a folder that `load_diarization` reads: config.yaml and, beside it, each network as safetensors.

    Raises:
        TensorError: A value is too large for float32, or the disk refuses.
    """
    for name, model_type, model in (
        (SEGMENTATION, "pyannet", segmentation),
        (EMBEDDING, "wespeaker_resnet", embedding),
    ):
        write_checkpoint(folder / name, {"model_type": model_type, **asdict(model.config)}, model.state_dict())
    write_diarization(folder / CONFIG, replace(config, segmentation=SEGMENTATION, embedding=EMBEDDING))


@dataclass(frozen=True)
class _Whole:
    """Where config.yaml is from: its parts may lie beside it."""

    name: str | Path
    folder: Path
    revision: str | None
    token: str | bool | None


def load_part(whole: _Whole, named: str, kind: str) -> Any:
    """Load the network of `kind` that config.yaml names: a folder, a file, or a name of the Hub with "@revision".

    Raises:
        CheckpointError: It is not there, is for something else, or cannot be used.
    """
    beside = whole.folder / named.removeprefix(BESIDE)
    if beside.is_dir() and (beside / LOCAL_CONFIG).is_file():
        return _from_folder(beside, kind)
    if beside.is_dir() or beside.is_file():
        return _from_lightning(beside / PICKLE if beside.is_dir() else beside, kind)
    if named.startswith(BESIDE):
        file = f"{named.removeprefix(BESIDE)}/{PICKLE}"
        return _from_lightning(locate_file(whole.name, file, revision=whole.revision, token=whole.token), kind)
    hub_name, _, revision = named.partition("@")
    return _from_lightning(locate_file(hub_name, PICKLE, revision=revision or None, token=whole.token), kind)


def _from_folder(folder: Path, kind: str) -> Any:
    where = str(folder / LOCAL_CONFIG)
    raw = read_json(folder, LOCAL_CONFIG, required=True)
    model_class = _part_class(raw.get("model_type"), kind, where)
    model = model_class(build_config(model_class, raw, where))
    load_tensors(model, read_tensors(folder), model_class.RENAMES, model_class.IGNORED_TENSORS, where=str(folder))
    return model.eval()


def _from_lightning(path: Path, kind: str) -> Any:
    checkpoint = read_lightning(path)
    if checkpoint.architecture not in ARCHITECTURES:
        raise ConfigError(
            f"{path} is a {checkpoint.architecture}; supported are {', '.join(ARCHITECTURES)}"
            f"{nearest(checkpoint.architecture, ARCHITECTURES) or '.'}"
        )
    model_class = _part_class(ARCHITECTURES[checkpoint.architecture], kind, str(path))
    task = _sets_of_speakers(checkpoint, str(path)) if kind == SEGMENTATION else {}
    raw = {**checkpoint.hyper_parameters, **task}
    model = model_class(build_config(model_class, raw, str(path)))
    load_tensors(model, checkpoint.tensors, model_class.RENAMES, model_class.IGNORED_TENSORS, where=str(path))
    return model.eval()


def _sets_of_speakers(checkpoint: LightningCheckpoint, where: str) -> Mapping[str, Any]:
    """Return what the task's description says of the network's classes."""
    is_set = checkpoint.problem is Problem.SETS and checkpoint.powerset_max_classes is not None
    if not (is_set and checkpoint.each_frame and checkpoint.classes and checkpoint.duration):
        raise ConfigError(
            f"{where} was not trained to tell sets of speakers at each frame, as pyannote/segmentation-3.0 was; "
            "networks of speaker-diarization 2.x are not supported."
        )
    if any(checkpoint.warm_up):
        raise ConfigError(f"{where} asks for a warm-up of {checkpoint.warm_up} s, which is not supported; expected 0.")
    return {
        "duration": checkpoint.duration,
        "max_speakers_per_chunk": len(checkpoint.classes),
        "max_speakers_per_frame": checkpoint.powerset_max_classes,
    }


def _part_class(model_type: Any, kind: str, where: str) -> Any:
    if model_type not in PARTS:
        raise ConfigError(f"{where}: model_type is {model_type!r}; supported are {', '.join(PARTS)}.")
    module, _, attribute = PARTS[model_type].partition(":")
    model_class = getattr(importlib.import_module(module), attribute)
    if model_class.kind != kind:
        raise ConfigError(f"{where} is a network for {model_class.kind}; one for {kind} was expected here.")
    return model_class


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # the assertion is torch's, of a build without this device
        raise OptionError(f"device {str(device)!r} cannot be used: {error}. Pass 'cpu'.") from error
