"""`python -m auricle.training all` runs the steps in their order, and none whose result is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auricle.training import __main__ as commands

STEPS = ["synthesize", "prepare", "teach", "align", "train", "export", "language-model"]


def whole(folder: Path, *more: str) -> list[str]:
    places = {"--text": "text", "--speech": "speech", "--data": "data", "--run": "run", "--out": "out"}
    given = [part for name, place in places.items() for part in (name, str(folder / place))]
    return ["all", *given, "--minutes", "1.5", "--name", "a model", "--summary", "of a test", *more]


def test_every_step_is_a_command_that_reads_what_the_one_before_wrote(tmp_path: Path) -> None:
    steps = commands.steps_of(commands.read_arguments(whole(tmp_path, "--encoder", "teacher", "--aligner", "m")))
    read = [commands.read_arguments(step) for _, step in steps]
    assert [one.command for one in read] == STEPS
    synthesize, prepare, teach, align, train, export, words = read
    assert synthesize.tested == tmp_path / "speech" / "manifest.jsonl"
    assert prepare.synthetic == synthesize.out
    assert (align.features, align.model) == (prepare.out, Path("m"))
    assert (train.features, train.teacher, train.words, train.minutes) == (prepare.out, teach.out, align.out, 1.5)
    assert (export.run, export.name, export.summary) == (train.run, "a model", "of a test")
    assert (words.out.parent, words.synthetic) == (export.out, synthesize.out)
    without = [step[0] for _, step in commands.steps_of(commands.read_arguments(whole(tmp_path)))]
    assert without == [step for step in STEPS if step not in ("teach", "align")]


def test_a_second_run_begins_where_the_first_ended_and_the_model_is_their_mean(tmp_path: Path) -> None:
    steps = commands.steps_of(commands.read_arguments(whole(tmp_path, "--again", "2")))
    read = [commands.read_arguments(step) for _, step in steps]
    named = [one.command for one in read]
    assert named == ["synthesize", "prepare", "train", "export", "align", "train", "export", "language-model"]
    first, of_first, align, again, last = read[2:7]
    assert (first.words, first.start_from, first.minutes) == (None, None, 1.5)
    assert (of_first.run, align.model, again.start_from) == (first.run, of_first.out, of_first.out)
    assert (again.words, again.minutes) == (align.out, 2.0)
    assert again.run != first.run
    assert again.seed != first.seed
    assert again.peak < first.peak
    assert (last.run, last.mean_with, last.out) == (again.run, [of_first.out], tmp_path / "out")
    known = commands.steps_of(commands.read_arguments(whole(tmp_path, "--again", "2", "--aligner", "m")))
    assert [step[0] for _, step in known].index("align") == 2
    assert all(done.name != "config.json" or done.parent == tmp_path / "out" for done, _ in known)


def test_what_is_made_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = commands.steps_of(commands.read_arguments(whole(tmp_path)))
    run: list[str] = []
    original = commands.main

    def noted(given: Any) -> None:
        run.append(given[0])
        done = next(done for done, step in steps if step == list(given))
        done.parent.mkdir(parents=True, exist_ok=True)
        done.touch()

    monkeypatch.setattr(commands, "main", noted)
    steps[0][0].parent.mkdir(parents=True)
    steps[0][0].touch()
    original(whole(tmp_path))
    assert run == ["prepare", "train", "export", "language-model"]
    original(whole(tmp_path))
    assert len(run) == 4
