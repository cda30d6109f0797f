"""Checkpoints that pyannote.audio trained, read without running anything of them.

Such a file is a pickle of PyTorch Lightning's. Beside tensors, numbers and texts it names a few classes of
pyannote.audio, which stand for a description of the task. Here harmless stand-ins take their places: they keep what
they are given. Every other name is refused, by `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import enum
import pickle
import re
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auricle.errors import TensorError

# Trained with a task of sets of speakers.
MONO_LABEL, REPRESENTATION, EACH_FRAME = 1, 3, 1


class _Kept:
    """Stands for an object: keeps the values it is made of, and the state it is given."""

    def __init__(self, *values: Any) -> None:
        self.values = values


class _Text(str):
    """Stands for a text with comparisons of its own, as torch writes its version."""

    __slots__ = ()


class _Mapping(dict[str, Any]):
    """Stands for Lightning's dictionaries."""


class _Specifications(_Kept):
    """Stands for the description of a task."""


class _Problem(_Kept):
    """Stands for the kind of a task, an enumeration's member told by its number."""


class _Resolution(_Kept):
    """Stands for how often a network answers, an enumeration's member told by its number."""


# All that such a file may name beside what torch itself allows, and what is made instead. Torch matches by the name
# alone, so that nothing is imported; and a stand-in is found by its class, so that no two names share one.
STAND_INS: tuple[tuple[type, str], ...] = (
    (_Text, "torch.torch_version.TorchVersion"),
    (_Specifications, "pyannote.audio.core.task.Specifications"),
    (_Problem, "pyannote.audio.core.task.Problem"),
    (_Resolution, "pyannote.audio.core.task.Resolution"),
    (_Mapping, "pytorch_lightning.utilities.parsing.AttributeDict"),
    (_Mapping, "lightning_fabric.utilities.data.AttributeDict"),
)
_ALLOWING = threading.Lock()


class Problem(enum.Enum):
    """What a network was trained to answer, by the numbers that files state."""

    SETS = MONO_LABEL
    VECTOR = REPRESENTATION
    OTHER = -1


@dataclass(frozen=True)
class LightningCheckpoint:
    """What the file says."""

    tensors: dict[str, Tensor]
    architecture: str  # the class that it is to be laid into, such as "PyanNet"
    hyper_parameters: dict[str, Any]
    problem: Problem
    each_frame: bool  # whether the network answers at each frame, or once
    duration: float | None  # seconds of a chunk
    classes: tuple[str, ...] | None
    powerset_max_classes: int | None
    warm_up: tuple[float, float]


def read_lightning(path: Path) -> LightningCheckpoint:
    """Read a checkpoint of pyannote.audio.

    Raises:
        TensorError: The file is damaged, is no such checkpoint, or names something that opening it would run.
    """
    content = _load(path)
    about = content.get("pyannote.audio") if isinstance(content, Mapping) else None
    tensors = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(about, Mapping) or not isinstance(tensors, Mapping):
        raise TensorError(
            f"{path} is no checkpoint of pyannote.audio: expected 'state_dict' and 'pyannote.audio' in it, found "
            f"{', '.join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__}."
        )
    others = [str(name) for name, value in tensors.items() if not isinstance(value, Tensor)]
    if others:
        raise TensorError(f"{path}: state_dict holds entries that are no tensors: {', '.join(others[:10])}.")
    specifications = about.get("specifications")
    # A network may do several tasks; then this is a tuple of descriptions.
    if not isinstance(specifications, _Specifications):
        raise TensorError(
            f"{path} describes its task by a {type(specifications).__name__}; expected one description. Networks of "
            "several tasks, such as those that also separate voices, are not supported."
        )
    told = specifications.__dict__
    try:
        number = told["problem"].values[0]
        classes = told.get("classes")
        return LightningCheckpoint(
            tensors={str(name): value.detach() for name, value in tensors.items()},
            architecture=str(about["architecture"]["class"]),
            hyper_parameters={str(name): value for name, value in (content.get("hyper_parameters") or {}).items()},
            problem=Problem(number) if number in (MONO_LABEL, REPRESENTATION) else Problem.OTHER,
            each_frame=told["resolution"].values[0] == EACH_FRAME,
            duration=None if told.get("duration") is None else float(told["duration"]),
            classes=None if classes is None else tuple(map(str, classes)),
            powerset_max_classes=told.get("powerset_max_classes"),
            warm_up=tuple(told.get("warm_up") or (0.0, 0.0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise TensorError(
            f"{path} does not describe its task as pyannote.audio 2 and 3 write it ({type(error).__name__}: {error})."
        ) from error


def _load(path: Path) -> Any:
    try:
        # What is allowed is the process's: two readers at a time would take it from each other.
        with _ALLOWING, torch.serialization.safe_globals(list(STAND_INS)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        allowed = ", ".join(name for _, name in STAND_INS)
        raise TensorError(
            f"{path} was refused: it names something that opening it could run ({_named(error)}). Beside tensors it "
            f"may name {allowed}. Take the checkpoint from its author again."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise TensorError(f"{path} is damaged or is no PyTorch file: {_first_line(error)}. Fetch it again.") from error


def _named(error: pickle.UnpicklingError) -> str:
    """Return the name that torch refused, from the middle of its advice to allow it."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    return found[1] if found else _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
