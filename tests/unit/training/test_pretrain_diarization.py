"""The command that makes the networks of the bundled diarization from recordings."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from auricle.training import pretrain_diarization


def arguments_of(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    pretrain_diarization.add_arguments(parser)
    return parser.parse_args(given)


def test_all_runs_every_step_once_and_leaves_out_what_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[argparse.Namespace] = []
    run_all = pretrain_diarization.main
    monkeypatch.setattr(pretrain_diarization, "main", ran.append)
    places = ("--speech", "S", "--data", str(tmp_path), "--runs", "R", "--out", "O")
    asked = arguments_of("all", *places, "--minutes", "21", "--name", "n", "--summary", "s")

    run_all(asked)

    assert [one.step for one in ran] == ["voices", "mixtures", "speakers", "pieces", "segmentation", "export"]
    assert sum(one.minutes for one in ran if "minutes" in one) == pytest.approx(21)
    assert {(one.data, one.runs, one.speech) for one in ran} == {(tmp_path, Path("R"), Path("S"))}
    ran.clear()
    for made in ("voices", "mixtures-train"):
        (tmp_path / made).mkdir()
        (tmp_path / made / "index.json").touch()
    run_all(asked)
    assert [one.step for one in ran] == ["speakers", "pieces", "segmentation", "export"]
