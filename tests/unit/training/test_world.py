"""Two processes that meet as torchrun would have them learn what one learns from the same batches."""

from __future__ import annotations

import multiprocessing
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_toys import finetune_toy, toy_checkpoint, write_corpus
from safetensors.torch import load_file

from auricle.errors import OptionError
from auricle.training.journal import read_log
from auricle.training.world import join_world

# Sums over two halves are rounded otherwise than sums over the whole, at each of six steps.
TOLERANCE = 1e-5
# Without dropout and masks, which each process draws for its own rows.
OPTIONS: dict[str, Any] = {
    "steps": 6,
    "batch_seconds": 8.0,
    "learning_rate": 1e-3,
    "evaluate_every": 3,
    "augments": False,
    "patience": None,
    "device": "cpu",
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    start = str(toy_checkpoint(tmp_path / "start", "parakeet_ctc"))
    data = str(write_corpus(tmp_path / "data"))
    finetune_toy(start, data, str(tmp_path / "one"), OPTIONS)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["finetune_toys"])
    port = free_port()
    pair = [
        context.Process(target=finetune_toy, args=(start, data, str(tmp_path / "two"), OPTIONS, (rank, 2, port)))
        for rank in range(2)
    ]
    for process in pair:
        process.start()
    for process in pair:
        process.join(120)
    assert [process.exitcode for process in pair] == [0, 0]
    one, two = load_file(tmp_path / "one" / "model.safetensors"), load_file(tmp_path / "two" / "model.safetensors")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=TOLERANCE, rtol=0)
    logs = [read_log(tmp_path / name / "log.jsonl") for name in ("one", "two")]
    assert [row["step"] for row in logs[0]] == [row["step"] for row in logs[1]]
    assert [row["loss"] for row in logs[0] if "loss" in row] == pytest.approx(
        [row["loss"] for row in logs[1] if "loss" in row], rel=1e-4
    )
    assert logs[0][-1]["audio_seconds" if "loss" in logs[0][-1] else "words"] > 0


def test_several_processes_without_a_meeting_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match="torchrun or accelerate launch"):
        join_world("cpu")
