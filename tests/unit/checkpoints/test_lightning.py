"""Pickles of pyannote.audio are read by names alone: nothing in them is imported or run."""

from __future__ import annotations

import dataclasses
import enum
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from auricle.checkpoints.lightning import Problem, read_lightning
from auricle.errors import TensorError


@pytest.fixture
def task() -> Iterator[Any]:
    """The classes that such files name, there while a file is written and gone when it is read."""
    module: Any = types.ModuleType("pyannote.audio.core.task")
    problems = {"MONO_LABEL_CLASSIFICATION": 1, "REPRESENTATION": 3}
    module.Problem = enum.Enum("Problem", problems, module=module.__name__)
    module.Resolution = enum.Enum("Resolution", {"FRAME": 1, "CHUNK": 2}, module=module.__name__)
    module.Specifications = dataclasses.make_dataclass(
        "Specifications",
        [
            ("problem", Any),
            ("resolution", Any),
            ("duration", float),
            ("min_duration", Any, None),
            ("warm_up", Any, (0.0, 0.0)),
            ("classes", Any, None),
            ("powerset_max_classes", Any, None),
            ("permutation_invariant", bool, False),
        ],
    )
    module.Specifications.__module__ = module.__name__
    names = [".".join(module.__name__.split(".")[: n + 1]) for n in range(4)]
    for name in names[:-1]:
        sys.modules[name] = types.ModuleType(name)
    sys.modules[names[-1]] = module
    yield module
    for name in names:
        sys.modules.pop(name, None)


def content(task: Any, **changes: Any) -> dict[str, Any]:
    return {
        "epoch": 3,
        "pytorch-lightning_version": "1.6.5",
        "state_dict": {"linear.weight": torch.arange(6.0).reshape(2, 3)},
        "hyper_parameters": {"lstm": {"hidden_size": 128}, "sample_rate": 16000},
        "pyannote.audio": {
            "versions": {"torch": torch.torch_version.TorchVersion("1.13.0"), "pyannote.audio": "3.0.0"},
            "architecture": {"module": "pyannote.audio.models.segmentation.PyanNet", "class": "PyanNet"},
            "specifications": task.Specifications(
                problem=task.Problem.MONO_LABEL_CLASSIFICATION,
                resolution=task.Resolution.FRAME,
                duration=10.0,
                classes=["speaker#1", "speaker#2", "speaker#3"],
                powerset_max_classes=2,
                permutation_invariant=True,
            ),
        },
        **changes,
    }


def test_says_all_that_the_file_says_of_its_network(tmp_path: Path, task: Any) -> None:
    torch.save(content(task), tmp_path / "pytorch_model.bin")
    for name in [name for name in sys.modules if name.startswith("pyannote")]:
        del sys.modules[name]
    found = read_lightning(tmp_path / "pytorch_model.bin")
    assert found.tensors["linear.weight"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert found.architecture == "PyanNet"
    assert found.hyper_parameters == {"lstm": {"hidden_size": 128}, "sample_rate": 16000}
    assert found.problem is Problem.SETS
    assert found.each_frame
    assert (found.duration, found.powerset_max_classes, found.warm_up) == (10.0, 2, (0.0, 0.0))
    assert found.classes == ("speaker#1", "speaker#2", "speaker#3")
    assert not [name for name in sys.modules if name.startswith("pyannote")]


def test_knows_a_network_of_vectors(tmp_path: Path, task: Any) -> None:
    made = content(task)
    made["pyannote.audio"]["specifications"] = task.Specifications(
        problem=task.Problem.REPRESENTATION, resolution=task.Resolution.CHUNK, duration=5.0
    )
    torch.save(made, tmp_path / "pytorch_model.bin")
    found = read_lightning(tmp_path / "pytorch_model.bin")
    assert found.problem is Problem.VECTOR
    assert not found.each_frame


class Malicious:
    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("place", ["callbacks", "state_dict", "specifications"])
def test_refuses_what_would_run(tmp_path: Path, task: Any, place: str) -> None:
    made, evil = content(task), Malicious(tmp_path / "ran")
    if place == "specifications":
        made["pyannote.audio"]["specifications"].classes = evil
    else:
        made[place] = {"x": evil}
    torch.save(made, tmp_path / "pytorch_model.bin")
    with pytest.raises(TensorError, match=r"refused: it names something that opening it could run .*mkdir"):
        read_lightning(tmp_path / "pytorch_model.bin")
    assert not (tmp_path / "ran").exists()


def test_stand_ins_are_for_this_reader_alone(tmp_path: Path, task: Any) -> None:
    before = set(map(str, torch.serialization.get_safe_globals()))
    torch.save(content(task), tmp_path / "pytorch_model.bin")
    read_lightning(tmp_path / "pytorch_model.bin")
    assert set(map(str, torch.serialization.get_safe_globals())) == before


def test_refuses_plain_weights_and_rubbish(tmp_path: Path, task: Any) -> None:
    torch.save({"linear.weight": torch.zeros(2)}, tmp_path / "plain.bin")
    with pytest.raises(TensorError, match=r"no checkpoint of pyannote.audio.*found linear.weight"):
        read_lightning(tmp_path / "plain.bin")
    (tmp_path / "rubbish.bin").write_bytes(b"rubbish")
    with pytest.raises(TensorError):
        read_lightning(tmp_path / "rubbish.bin")
    made = content(task)
    made["pyannote.audio"]["specifications"] = (made["pyannote.audio"]["specifications"],) * 2
    torch.save(made, tmp_path / "several.bin")
    with pytest.raises(TensorError, match="several tasks"):
        read_lightning(tmp_path / "several.bin")
