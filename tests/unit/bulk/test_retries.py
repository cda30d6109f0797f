"""Rows that failed, done again; and what of a dataset may change for it."""

from __future__ import annotations

import json
from pathlib import Path
from runpy import run_path

import pytest

from auricle.bulk import BulkOptions, Progress, transcribe_corpus
from auricle.bulk.rows import read_rows
from auricle.corpora import open_corpus
from auricle.errors import OptionError

Toy = run_path(str(Path(__file__).with_name("toys.py")))["Toy"]


def rows_in(out: Path) -> list[dict]:
    return [row for path in sorted(out.glob("shard-*")) for row in read_rows(path)]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_rows_that_failed_are_done_again_where_that_is_asked_for(dataset, tmp_path, form):
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="needs the extra data")
    out, manifest = tmp_path / "out", dataset(10, broken=(1, 6))
    options = BulkOptions(shard_size=4, form=form)
    transcribe_corpus(Toy(), open_corpus(manifest), out, options)
    again = Toy()
    summary = transcribe_corpus(again, open_corpus(manifest), out, options)  # nothing by itself
    assert (summary.new_rows, summary.failed, again.batches) == (0, 2, [])
    mended = manifest.with_name("001.wav")
    mended.write_bytes(manifest.with_name("003.wav").read_bytes())
    summary = transcribe_corpus(again, open_corpus(manifest), out, options, retry_failed=True)
    assert (summary.rows, summary.new_rows, summary.failed) == (10, 2, 1)
    assert again.batches == [[320]]
    rows = rows_in(out)
    assert [row["id"] for row in rows] == [f"row-{n}" for n in range(10)]
    assert [n for n, row in enumerate(rows) if row["error"]] == [6]
    assert rows[1]["text"] == "320 3"
    assert [json.loads(line)["id"] for line in (out / "failures.jsonl").read_text().splitlines()] == ["row-6"]
    # The dataset as it is now is that of the run.
    assert transcribe_corpus(again, open_corpus(manifest), out, options).new_rows == 0


def test_a_retry_without_failures_leaves_a_finished_run_finished(dataset, tmp_path):
    corpus, out = open_corpus(dataset(5)), tmp_path / "out"
    transcribe_corpus(Toy(), corpus, out)
    before = (out / "auricle-bulk.json").read_text()
    assert transcribe_corpus(Toy(), corpus, out, retry_failed=True).new_rows == 0
    assert (out / "auricle-bulk.json").read_text() == before


def test_failures_of_an_unfinished_shard_are_done_again_too(dataset, tmp_path, monkeypatch):
    corpus, out = open_corpus(dataset(10, broken=(0,))), tmp_path / "out"
    told: list[Progress] = []

    def stop(progress):
        told.append(progress)
        if progress.rows > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcribe_corpus(Toy(), corpus, out, BulkOptions(batch_size=2), progress=stop)
    dataset(10)
    mended = open_corpus(tmp_path / "data" / "manifest.jsonl")
    summary = transcribe_corpus(Toy(), mended, out, BulkOptions(batch_size=2), retry_failed=True)
    assert (summary.failed, summary.new_rows) == (0, 10 - told[-1].rows + 1)
    assert [row["text"] is not None for row in rows_in(out)] == [True] * 10


def test_a_run_with_other_rows_is_not_mended(dataset, tmp_path):
    out = tmp_path / "out"
    transcribe_corpus(Toy(), open_corpus(dataset(5, broken=(1,))), out)
    with pytest.raises(OptionError, match="Rows of the dataset were added"):
        transcribe_corpus(Toy(), open_corpus(dataset(6)), out, retry_failed=True)
