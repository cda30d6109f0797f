"""Killed at any step, a run that goes on leaves every row exactly once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("more", "failed"), [([], ["row-1", "row-4"]), (["retry"], ["row-4"])])
def test_a_run_that_is_killed_at_any_step_on_disk_leaves_every_row_once(dataset, tmp_path, more, failed):
    script = Path(__file__).with_name("crashing.py")
    told = subprocess.run(
        [sys.executable, script, dataset(5, broken=(4,)), tmp_path / "out", *more],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    ends = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(ends) > (15 if more else 20)
    assert [one["killed"] for one in ends].count(0) == 1
    assert {one["killed"] for one in ends} == {0, -signal.SIGKILL}
    for one in ends:
        assert one["status"] == 0
        assert one["ids"] == [f"row-{n}" for n in range(5)]
        assert one["failed"] == failed
        assert one["left"] == []


def test_a_journal_that_was_cut_off_anywhere_gives_its_whole_lines(tmp_path, monkeypatch):
    from auricle.bulk.output import ShardJournal

    monkeypatch.setattr("auricle.bulk.output.os.fsync", lambda file: None)  # nothing dies here
    journal = ShardJournal(tmp_path / "j")
    journal.add({3: {"id": "c"}, 1: {"id": "größer"}})
    journal.close()
    whole = journal.path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(len(whole) + 1):
        journal.path.write_bytes(whole[:length])
        found = ShardJournal(journal.path)
        n_lines = whole[:length].count(b"\n")
        assert list(found.rows) == [3, 1][:n_lines]
        found.add({7: {"id": "later"}})
        found.close()
        assert list(ShardJournal(journal.path).rows) == [*[3, 1][:n_lines], 7]
    assert first < len(whole)
