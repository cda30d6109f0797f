"""A run that is killed at any moment and started again ends as one that nobody touched, to the last bit."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from finetune_toys import finetune_toy, toy_checkpoint, write_corpus
from safetensors.torch import load_file

from auricle.errors import OptionError
from auricle.training.finetuning import finetune
from auricle.training.journal import read_log
from auricle.training.options import FinetuneOptions

STEPS = 10
# Augmentation, dropout, averaging and accumulation draw and keep what a resumed run must find again. Snapshots come
# whenever a moment has passed.
OPTIONS: dict[str, Any] = {
    "steps": STEPS,
    "batch_seconds": 6.0,
    "learning_rate": 2e-3,
    "evaluate_every": 4,
    "accumulate": 2,
    "averaging": 0.9,
    "patience": None,
    "save_minutes": 0.01,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """Processes that begin with everything imported; before Python 3.13 their server is not told of sys.path."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["finetune_toys"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        yield context


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("toys")
    start = toy_checkpoint(folder / "start", "parakeet_ctc", dropout=0.1, attention_dropout=0.1)
    return str(start), str(write_corpus(folder / "data"))


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def killed_after(
    context: ForkServerContext, toys: tuple[str, str], out: Path, watched: Path, n_lines: int
) -> int | None:
    """Start a run, kill it when a file has so many lines, and say how it ended."""
    process = context.Process(target=finetune_toy, args=(*toys, str(out), OPTIONS))
    process.start()
    while process.is_alive() and lines_of(watched) < n_lines:
        time.sleep(0.001)
    if process.is_alive():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode


def without_times(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in log]


def test_a_run_killed_three_times_ends_as_one_that_was_not(
    tmp_path: Path, toys: tuple[str, str], processes: ForkServerContext
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finetune_toy(*toys, str(whole), OPTIONS)
    rows = cut / "training_state" / "training" / "rows.jsonl"
    assert killed_after(processes, toys, cut, rows, 4) == -signal.SIGKILL  # while features are computed
    for n_lines in (3, 8):  # before the first evaluation, and between two
        assert killed_after(processes, toys, cut, cut / "log.jsonl", n_lines) == -signal.SIGKILL
    finetune_toy(*toys, str(cut), OPTIONS)
    log = read_log(cut / "log.jsonl")
    assert [row["step"] for row in log if "loss" in row] == list(range(1, STEPS + 1))
    assert without_times(log) == without_times(read_log(whole / "log.jsonl"))
    ours, theirs = load_file(cut / "model.safetensors"), load_file(whole / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)


def test_a_run_goes_on_only_with_what_it_was_begun_with(tmp_path: Path, toys: tuple[str, str]) -> None:
    few = {**OPTIONS, "steps": 2, "evaluate_every": 1}
    finetune_toy(*toys, str(tmp_path), few)
    prepared = (tmp_path / "training_state" / "training" / "rows.jsonl").read_bytes()
    for option, value in (("learning_rate", 1e-3), ("freeze", "encoder"), ("max_duration", 9.0)):
        with pytest.raises(OptionError, match=rf"{option} was .* and is {value!r}"):
            finetune(*toys, tmp_path, FinetuneOptions(**{**few, option: value}))
    assert (tmp_path / "training_state" / "training" / "rows.jsonl").read_bytes() == prepared
    rows = Path(toys[1]).read_text(encoding="utf-8").splitlines()
    other = Path(toys[1]).with_name("fewer.jsonl")
    other.write_text("\n".join(rows[:-2]) + "\n", encoding="utf-8")
    with pytest.raises(OptionError, match="training data was"):
        finetune(toys[0], other, tmp_path, FinetuneOptions(**few))
    finetune(*toys, tmp_path, FinetuneOptions(**{**few, "steps": 3}))
    assert [row["step"] for row in read_log(tmp_path / "log.jsonl") if "loss" in row] == [1, 2, 3]


def test_a_longer_run_is_evaluated_at_its_own_pace(tmp_path: Path, toys: tuple[str, str]) -> None:
    few = {**OPTIONS, "evaluate_every": None}
    finetune_toy(*toys, str(tmp_path), {**few, "steps": 2})
    finetune_toy(*toys, str(tmp_path), {**few, "steps": 30})
    evaluated = [row["step"] for row in read_log(tmp_path / "log.jsonl") if "wer" in row]
    assert evaluated == [0, 1, 2, *range(4, 31, 2)]


def test_a_run_that_lost_its_patience_goes_on_when_it_is_given_more(tmp_path: Path, toys: tuple[str, str]) -> None:
    still = {**OPTIONS, "steps": 6, "evaluate_every": 1, "learning_rate": 1e-12}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auricle.training.trainer.LEARNING", 10.0)
        for patience, n_steps in ((2, 2), (2, 2), (4, 4), (None, 6)):
            finetune_toy(*toys, str(tmp_path), {**still, "patience": patience})
            assert len([row for row in read_log(tmp_path / "log.jsonl") if "loss" in row]) == n_steps


def test_a_log_that_ends_within_a_line_stops_no_run(tmp_path: Path, toys: tuple[str, str]) -> None:
    finetune_toy(*toys, str(tmp_path), {**OPTIONS, "steps": 2})
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "lo')
    finetune_toy(*toys, str(tmp_path), {**OPTIONS, "steps": 3})
    assert [row["step"] for row in read_log(tmp_path / "log.jsonl") if "loss" in row] == [1, 2, 3]


def test_the_last_two_snapshots_are_kept(tmp_path: Path, toys: tuple[str, str]) -> None:
    finetune_toy(*toys, str(tmp_path), {**OPTIONS, "steps": 4, "evaluate_every": 1})
    kept = sorted(path.name for path in (tmp_path / "training_state").glob("snapshot-*"))
    assert kept == ["snapshot-000000003.pt", "snapshot-000000004.pt"]


def test_what_others_read_is_whole_json(tmp_path: Path, toys: tuple[str, str]) -> None:
    finetune_toy(*toys, str(tmp_path), {**OPTIONS, "steps": 2})
    about = json.loads((tmp_path / "auricle.json").read_text(encoding="utf-8"))
    assert about["base_model"] == toys[0]
    assert about["name"] == tmp_path.name
