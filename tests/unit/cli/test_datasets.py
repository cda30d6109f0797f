"""`auricle transcribe` over a dataset: what it writes and tells, its exit codes, and a process that is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auricle.cli import app

SAMPLES = Path(__file__).parents[3] / "samples"
DEADLINE_S = 120.0


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Three stretches of one recording, and one row that is no recording."""
    (tmp_path / "broken.wav").write_text("nothing")
    audio = str(SAMPLES / "jfk.flac")
    rows: list[dict[str, object]] = [
        {"path": audio, "start": start, "end": start + 2.0, "text": f"part {start}", "id": f"part-{start}"}
        for start in (0.0, 3.0, 6.0)
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, {"path": "broken.wav", "id": "broken"}])))
    return path


def ids(out: Path) -> list[str]:
    return [json.loads(line)["id"] for path in sorted(out.glob("shard-*")) for line in path.read_text().splitlines()]


def test_a_dataset_is_written_in_shards_and_failures_are_told(manifest, tmp_path):
    out = tmp_path / "out"
    command = ["transcribe", str(manifest), "--out", str(out), "--shard-size", "2", "--timestamps", "word"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "manifest (audio=path, text=text, id=id)" in done.stderr
    assert "4 rows in 2 shards" in done.stderr
    assert "1 failed (failures.jsonl;" in done.stderr
    assert ids(out) == ["part-0.0", "part-3.0", "part-6.0", "broken"]
    first = json.loads((out / "shard-00000.jsonl").read_text().splitlines()[0])
    assert first["reference"] == "part 0.0"
    assert first["chunks"][0]["start"] >= 0.0
    assert first["duration"] == 2.0
    strict = CliRunner().invoke(app, [*command, "--strict"])
    assert strict.exit_code == 1
    changed = CliRunner().invoke(app, [*command, "--shard-size", "3"])
    assert changed.exit_code == 2
    assert "holds another run: shard_size was 2 and is 3" in " ".join(changed.stderr.split())


def test_a_recording_that_was_mended_is_done_again_where_that_is_asked_for(manifest, tmp_path):
    command = ["transcribe", str(manifest), "--out", str(tmp_path / "out"), "--strict"]
    failed = CliRunner().invoke(app, command)
    assert failed.exit_code == 1
    assert "1 failed (failures.jsonl; --retry-failed does them again)" in " ".join(failed.stderr.split())
    shutil.copy(SAMPLES / "jfk.flac", tmp_path / "broken.wav")
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert "if those are of rows that failed and were mended, do these anew (--retry-failed)" in refused.stderr
    done = CliRunner().invoke(app, [*command, "--retry-failed"])
    assert done.exit_code == 0, done.output
    assert "4 rows in 1 shards" in done.stderr
    assert ids(tmp_path / "out") == ["part-0.0", "part-3.0", "part-6.0", "broken"]


@pytest.mark.parametrize("quoted", [True, False])
def test_recordings_that_are_named_or_match_a_pattern_are_a_dataset(tmp_path, monkeypatch, quoted):
    monkeypatch.chdir(tmp_path)
    for name in ("a b/same.flac", "ü/same.flac", "ü/broken.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy(SAMPLES / "jfk.flac", name) if name.endswith("flac") else Path(name).write_text("nothing")
    names = ["**/*.flac", "ü/*.wav"] if quoted else ["a b/same.flac", "ü/same.flac", "./ü/same.flac", "ü/broken.wav"]
    done = CliRunner().invoke(app, ["transcribe", *names, "--out", "out"])
    assert done.exit_code == 0, done.output
    assert ids(tmp_path / "out") == ["a b/same.flac", "ü/same.flac", "ü/broken.wav"]
    assert "3 rows in 1 shards in out, 1 failed" in " ".join(done.stderr.split())
    lost = CliRunner().invoke(app, ["transcribe", *names, "nowhere.wav", "--out", "more"])
    assert "left out 1: no such file (nowhere.wav)" in lost.stderr
    Path("rows.jsonl").write_text("{}")
    refused = CliRunner().invoke(app, ["transcribe", "rows*", "--out", "other"])
    assert refused.exit_code == 2
    assert "rows.jsonl is named as a dataset is" in refused.stderr


def test_a_dataset_without_a_row_is_no_success(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"path": "nowhere.wav"}\n')
    done = CliRunner().invoke(app, ["transcribe", str(tmp_path / "m.jsonl"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert done.stderr.splitlines()[1:3] == ["  no rows", "  left out 1: no such file (line 1 of m.jsonl)"]
    assert "has no rows to transcribe; left out: 1 no such file" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "x.jsonl"], "add --out FOLDER"),
        (["a.jsonl", "b.jsonl", "--out", "o"], "one dataset and 2 were given"),
        (["a.wav", "b.jsonl", "--out", "o"], "b.jsonl is no recording by its name"),
        (["--out", "o"], "one dataset and 0 were given"),
        (["-", "--out", "o"], "'-' is one recording on stdin, and --out is for datasets"),
        (["a.wav", "--out", "o", "--cluster"], "give a folder or a manifest with the recordings"),
        (["nothing/*.wav", "--out", "o"], "no file matches 'nothing/*.wav'"),
        (["a.wav", "--split", "test"], "--split is for datasets"),
        (["a.wav", "--text-column", "words"], "--text-column is for datasets"),
        (["a.wav", "--shard-size", "3"], "--shard-size is for datasets"),
        (["a.wav", "--output-format", "parquet"], "--output-format is for datasets"),
        (["a.jsonl", "--out", "o", "--workers", "4"], "--workers is for --cluster"),
        (["a.jsonl", "--out", "o", "--ray-address", "auto"], "--ray-address is for --cluster"),
        (["a.wav", "--retry-failed"], "--retry-failed is for datasets"),
        (["a.jsonl", "--out", "o", "--retry-failed", "--cluster"], "leave --cluster out for it"),
        (["a.jsonl", "--out", "o", "--retry-failed", "--overwrite"], "give one of them"),
        (["small.PARQUET"], "small.PARQUET is named as a dataset is, whose rows are written in shards; add --out"),
        (["a.wav", "rows.jsonl"], "rows.jsonl is named as a dataset is"),
        (["a.jsonl", "--out", "o", "--format", "srt"], "--format is for single recordings"),
        (["a.jsonl", "--out", "o"], "there is no dataset 'a.jsonl'"),
        (["-q"], "there is nothing to transcribe"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_loaded(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["transcribe", *arguments])
    assert done.exit_code == 2
    assert told in " ".join(done.stderr.split())


def test_a_process_that_is_killed_is_gone_on_from_by_the_same_command(tmp_path):
    audio = str(SAMPLES / "jfk.flac")
    rows = [{"path": audio, "start": n / 4, "end": n / 4 + 1.0, "id": f"part-{n}"} for n in range(12)]
    manifest, out = tmp_path / "m.jsonl", tmp_path / "out"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    command = [sys.executable, "-m", "auricle", "transcribe", manifest, "--out", out, "--shard-size", "4"]
    command += ["--batch-size", "2", "--quiet"]
    process = subprocess.Popen(command, env=dict(os.environ, CUDA_VISIBLE_DEVICES=""))
    end = time.monotonic() + DEADLINE_S
    while not (out / "shard-00000.jsonl").exists() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(ids(out)) < 12
    subprocess.run(command, check=True, timeout=DEADLINE_S)
    assert ids(out) == [f"part-{n}" for n in range(12)]
