"""Whole runs without a model: order, shards, failures, and what a run that goes on refuses."""

from __future__ import annotations

import errno
import io
import json
import wave
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from auricle.bulk import BulkOptions, Progress, transcribe_corpus
from auricle.bulk.output import OutputFolder
from auricle.bulk.rows import read_rows
from auricle.corpora import open_corpus
from auricle.errors import OptionError
from auricle.pipelines.speakers import SpeakerModels, read_speakers
from auricle.pipelines.speech_parameters import Request
from auricle.results import Segment, Transcript

Toy = run_path(str(Path(__file__).with_name("toys.py")))["Toy"]


def rows_in(out: Path) -> list[dict]:
    return [row for path in sorted(out.glob("shard-*")) for row in read_rows(path)]


def test_rows_are_in_the_order_of_the_dataset_and_carry_what_is_known(dataset, tmp_path):
    out = tmp_path / "out"
    summary = transcribe_corpus(Toy(), open_corpus(dataset(25)), out, BulkOptions(shard_size=10, batch_size=4))
    rows = rows_in(out)
    assert [path.name for path in sorted(out.glob("shard-*"))] == [f"shard-0000{n}.jsonl" for n in range(3)]
    assert [row["id"] for row in rows] == [f"row-{n}" for n in range(25)]
    assert [row["text"] for row in rows] == [f"{160 * (1 + n * 7 % 10)} {n}" for n in range(25)]
    assert rows[3] == {
        "id": "row-3",
        "text": "320 3",
        "reference": "reference 3",
        "duration": 0.02,
        "language": "en",
        "speaker": None,
        "warnings": [{"kind": "doubtful", "message": "hm", "start": 0.0, "end": 0.02}],
        "error": None,
        "error_type": None,
    }
    assert (summary.rows, summary.new_rows, summary.failed, summary.shards) == (25, 25, 0, 3)
    assert not list(out.glob(".shard*"))
    assert (out / "failures.jsonl").read_text() == ""


def test_rows_of_like_length_are_computed_together(dataset, tmp_path):
    toy = Toy()
    transcribe_corpus(toy, open_corpus(dataset(20)), tmp_path / "out", BulkOptions(batch_size=2))
    assert toy.batches == [[160 * n, 160 * n] for n in range(1, 11)]


def test_failures_are_listed_and_do_not_end_the_run(dataset, tmp_path):
    out = tmp_path / "out"
    toy = Toy(breaks_at=160 * 8, bug_at=160 * 5)
    summary = transcribe_corpus(toy, open_corpus(dataset(10, broken=(6,))), out, BulkOptions(shard_size=4))
    failed = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert [(one["id"], one["error_type"]) for one in failed] == [
        ("row-1", "AudioError"),
        ("row-2", "ZeroDivisionError"),
        ("row-6", "AudioFormatError"),
    ]
    assert summary.failed == 3
    rows = rows_in(out)
    assert [row["id"] for row in rows] == [f"row-{n}" for n in range(10)]
    assert rows[1]["text"] is None
    assert rows[1]["error"] == "this length is not heard"


def test_a_bug_at_the_very_first_row_is_that_row_s_failure(dataset, tmp_path):
    summary = transcribe_corpus(Toy(bug_at=160), open_corpus(dataset(4)), tmp_path / "out")
    assert [row["error_type"] for row in rows_in(tmp_path / "out")] == ["ZeroDivisionError", None, None, None]
    assert summary.failed == 1


def test_a_bug_that_fails_every_row_of_the_first_batch_ends_the_run(dataset, tmp_path, monkeypatch):
    def always(self, samples):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Toy, "heard", always)
    with pytest.raises(ZeroDivisionError):
        transcribe_corpus(Toy(), open_corpus(dataset(5)), tmp_path / "out")


def test_a_finished_run_does_nothing_again(dataset, tmp_path):
    corpus, again = open_corpus(dataset(5)), Toy()
    transcribe_corpus(Toy(), corpus, tmp_path / "out")
    summary = transcribe_corpus(again, corpus, tmp_path / "out")
    assert again.batches == []
    assert (summary.rows, summary.new_rows) == (5, 0)


def test_an_interrupted_run_loses_a_batch_at_most(dataset, tmp_path, monkeypatch):
    corpus, out = open_corpus(dataset(20)), tmp_path / "out"
    options = BulkOptions(shard_size=8, batch_size=2)
    hear, n_heard = Toy.heard, [0]

    def interrupted(self, samples):
        n_heard[0] += 1
        if n_heard[0] > 13:
            raise KeyboardInterrupt
        return hear(self, samples)

    monkeypatch.setattr(Toy, "heard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        transcribe_corpus(Toy(), corpus, out, options)
    monkeypatch.undo()
    summary = transcribe_corpus(Toy(), corpus, out, options)
    assert summary.new_rows == 8
    assert [row["id"] for row in rows_in(out)] == [f"row-{n}" for n in range(20)]


@pytest.mark.parametrize(
    ("toy", "options", "told"),
    [
        (Toy("other"), BulkOptions(shard_size=5), 'model.revision was "toy-1" and is "other-1"'),
        (Toy(), BulkOptions(shard_size=6), "shard_size was 5 and is 6"),
        (Toy(), BulkOptions(shard_size=5, timestamps="word"), 'timestamps was null and is "word"'),
        (Toy(), BulkOptions(shard_size=5, parameters={"lm": "x"}), 'options.lm was null and is "x"'),
    ],
)
def test_a_run_of_something_else_is_refused_with_both_values(dataset, tmp_path, toy, options, told):
    corpus = open_corpus(dataset(5))
    transcribe_corpus(Toy(), corpus, tmp_path / "out", BulkOptions(shard_size=5))
    with pytest.raises(OptionError) as caught:
        transcribe_corpus(toy, corpus, tmp_path / "out", options)
    assert told in str(caught.value)
    assert "--overwrite" in str(caught.value)


def test_a_changed_dataset_is_refused_and_overwrite_begins_anew(dataset, tmp_path):
    out = tmp_path / "out"
    transcribe_corpus(Toy(), open_corpus(dataset(5)), out)
    (out / "notes.txt").write_text("mine")
    larger = open_corpus(dataset(6))
    with pytest.raises(OptionError, match=r"dataset\.fingerprint was .* and is"):
        transcribe_corpus(Toy(), larger, out)
    assert transcribe_corpus(Toy(), larger, out, overwrite=True).new_rows == 6
    assert (out / "notes.txt").read_text() == "mine"


def test_what_changed_of_a_dataset_is_said(dataset, tmp_path):
    out, manifest = tmp_path / "out", dataset(5)
    transcribe_corpus(Toy(), open_corpus(manifest), out)
    with pytest.raises(OptionError, match="Rows of the dataset were added, removed or changed"):
        transcribe_corpus(Toy(), open_corpus(dataset(6)), out)
    dataset(5)
    manifest.with_name("002.wav").write_bytes(b"shorter")
    with pytest.raises(OptionError, match="has the same rows, and files of another size"):
        transcribe_corpus(Toy(), open_corpus(manifest), out)


def test_a_finished_run_that_lost_a_shard_makes_it_anew(dataset, tmp_path):
    corpus, out = open_corpus(dataset(10)), tmp_path / "out"
    options = BulkOptions(shard_size=4)
    transcribe_corpus(Toy(), corpus, out, options)
    whole = rows_in(out)
    (out / "shard-00001.jsonl").unlink()
    summary = transcribe_corpus(Toy(), corpus, out, options)
    assert summary.new_rows == 4
    assert rows_in(out) == whole


class Full(io.RawIOBase):
    """A file on a disk without room."""

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        return place

    def tell(self) -> int:
        return 0

    def truncate(self, size: int | None = None) -> int:
        return 0

    def write(self, content: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_says_to_make_room(dataset, tmp_path, monkeypatch):
    corpus, is_full = open_corpus(dataset(3)), [True]
    to_open = Path.open

    def opened(self, mode="r", *rest, **named):
        full = self.suffix == ".journal" and mode == "wb" and is_full[0]
        return io.BufferedWriter(Full()) if full else to_open(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(OptionError, match="No space left on device; make room, and the same command goes on"):
        transcribe_corpus(Toy(), corpus, tmp_path / "out")
    is_full[0] = False
    assert transcribe_corpus(Toy(), corpus, tmp_path / "out").new_rows == 3


def test_two_runs_cannot_write_one_folder(tmp_path):
    with (
        OutputFolder(tmp_path / "out", "jsonl", False),
        pytest.raises(OptionError, match="another run writes to"),
        OutputFolder(tmp_path / "out", "jsonl", False),
    ):
        pass


def test_shards_of_nobody_are_not_written_over(dataset, tmp_path):
    (tmp_path / "shard-00000.jsonl").write_text("something")
    for overwrite in (False, True):
        with pytest.raises(OptionError, match=r"holds shards and no auricle-bulk\.json"):
            transcribe_corpus(Toy(), open_corpus(dataset(1)), tmp_path, overwrite=overwrite)
    assert (tmp_path / "shard-00000.jsonl").read_text() == "something"


def test_parquet_holds_the_same_rows_with_times(dataset, tmp_path):
    pytest.importorskip("pyarrow", reason="needs the extra data")
    corpus = open_corpus(dataset(5, broken=(1,)))
    found = []
    for form in ("jsonl", "parquet"):
        options = BulkOptions(shard_size=3, form=form, timestamps="word")
        transcribe_corpus(Toy(), corpus, tmp_path / form, options)
        found.append(rows_in(tmp_path / form))
    assert found[0] == found[1]
    assert found[0][0]["chunks"] == [
        {"text": " 160 0", "start": 0.0, "end": 0.01, "confidence": 0.5, "speaker": None, "channel": None}
    ]


def test_an_empty_dataset_is_a_run_without_shards(tmp_path):
    assert transcribe_corpus(Toy(), open_corpus([]), tmp_path / "out").shards == 0


def test_a_stream_goes_on_though_nobody_knows_its_length(dataset, tmp_path):
    rows = list(open_corpus(dataset(7)))
    options = BulkOptions(shard_size=3)
    transcribe_corpus(Toy(), open_corpus(iter(rows)), tmp_path / "out", options)
    (tmp_path / "out" / "shard-00001.jsonl").unlink()
    plan = tmp_path / "out" / "auricle-bulk.json"
    plan.write_text(json.dumps({key: value for key, value in json.loads(plan.read_text()).items() if key != "rows"}))
    summary = transcribe_corpus(Toy(), open_corpus(iter(rows)), tmp_path / "out", options)
    assert summary.new_rows == 3
    assert [row["id"] for row in rows_in(tmp_path / "out")] == [f"row-{n}" for n in range(7)]


def test_long_recordings_are_left_to_the_pipeline(dataset, tmp_path):
    toy, manifest = Toy(), dataset(4)
    options = BulkOptions(long_seconds=0.05)
    transcribe_corpus(toy, open_corpus(manifest), tmp_path / "out", options)
    lengths = [160 * (1 + n * 7 % 10) for n in range(4)]
    assert toy.batches == [[160, 320, 800], [1280]]
    assert [row["text"] for row in rows_in(tmp_path / "out")] == [f"{n} {k}" for k, n in enumerate(lengths)]


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """Rows of a recording of two channels, whose samples are 3 and 5, and of one with a single channel, of 7."""
    for name, samples in (("stereo", np.array([[3, 5]] * 1600)), ("mono", np.full((1600, 1), 7))):
        with wave.open(str(tmp_path / f"{name}.wav"), "wb") as file:
            file.setparams((samples.shape[1], 2, 16000, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    parts = ({}, {"offset": 0.02, "duration": 0.03})
    rows = [{"path": f"{name}.wav", **part} for name in ("stereo", "mono") for part in parts]
    (tmp_path / "call.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "call.jsonl"


@pytest.mark.parametrize(
    ("channels", "heard"),
    [(None, ["1600 4", "480 4", "1600 7", "480 7"]), (0, ["1600 3", "480 3", "1600 7", "480 7"]),
     (np.int64(1), ["1600 5", "480 5", None, None])],
)  # fmt: skip
def test_a_channel_is_picked_of_stretches_as_of_whole_recordings(call, tmp_path, channels, heard):
    toy, parameters = Toy(), {} if channels is None else {"channels": channels}
    transcribe_corpus(toy, open_corpus(call), tmp_path / "out", BulkOptions(parameters=parameters))
    rows = rows_in(tmp_path / "out")
    assert [row["text"] for row in rows] == heard
    assert all("which has 1, counted from 0" in row["error"] for row in rows if row["text"] is None)
    assert "channels" not in toy.asked  # what is in memory is that channel already


def test_channels_of_a_stretch_are_heard_apart(call, tmp_path, monkeypatch):
    arrived = []
    monkeypatch.setattr(Toy, "transcripts", lambda self, sources, **asked: arrived.extend(sources) or iter(
        [self.heard(np.zeros(1600, np.float32))] * len(sources)))  # fmt: skip
    options = BulkOptions(parameters={"channels": "split"}, batch_size=1)
    transcribe_corpus(Toy(), open_corpus(call), tmp_path / "out", options)
    stretches = [one["array"] for one in arrived if isinstance(one, dict)]
    assert [(one.shape, np.unique((one * 32768).round()).tolist()) for one in stretches] == [
        ((2, 480), [3.0, 5.0]),
        ((480,), [7.0]),
    ]
    assert [Path(one).name for one in arrived if isinstance(one, str)] == ["stereo.wav", "mono.wav"]


def test_chunks_say_whose_channel_they_are(call, tmp_path, monkeypatch):
    segments = (Segment("left", 0.0, 0.1, channel=0), Segment("right", 0.1, 0.2, channel=1))
    monkeypatch.setattr(Toy, "heard", lambda self, samples: Transcript("left\nright", segments, duration=0.2))
    options = BulkOptions(timestamps="segment", parameters={"channels": "split"})
    transcribe_corpus(Toy(), open_corpus([{"audio": str(call.with_name("stereo.wav"))}]), tmp_path / "out", options)
    assert [(one["text"], one["channel"]) for one in rows_in(tmp_path / "out")[0]["chunks"]] == [
        ("left", 0),
        ("right", 1),
    ]


def test_progress_tells_rates_and_what_is_left():
    progress = Progress(rows=300, total=1000, failed=2, seconds=3600.0, new_rows=200, took=50.0)
    assert str(progress) == "300/1000 rows, 2 failed; 4.0 rows/s, 1.20 h of sound a minute, 2:55 left"


def test_progress_comes_after_every_batch(dataset, tmp_path):
    told: list[Progress] = []
    transcribe_corpus(Toy(), open_corpus(dataset(6)), tmp_path / "out", BulkOptions(batch_size=2), progress=told.append)
    assert [one.rows for one in told] == [2, 4, 6]
    assert {one.total for one in told} == {6}


class Diarizing(Toy):
    """Tells so many speakers apart, as its request says."""

    speaker_models = SpeakerModels()

    def read_call(self, parameters, batch_size, on_error):
        rest = {name: value for name, value in parameters.items() if name != "speakers"}
        return Request(rest, speakers=read_speakers(parameters.get("speakers"))), 1, "return"


def test_a_run_with_other_speakers_is_another_run(dataset, tmp_path):
    corpus, out = open_corpus(dataset(3)), tmp_path / "out"
    two = BulkOptions(timestamps="segment", parameters={"speakers": 2})
    transcribe_corpus(Diarizing(), corpus, out, two)
    transcribe_corpus(Diarizing(), corpus, out, two)
    with pytest.raises(OptionError, match=r"speakers\.num_speakers was 2 and is 3"):
        transcribe_corpus(Diarizing(), corpus, out, replace(two, parameters={"speakers": 3}))
    with pytest.raises(OptionError, match="holds another run: speakers"):
        transcribe_corpus(Diarizing(), corpus, out, replace(two, parameters={}))


def test_speakers_without_times_would_be_lost():
    with pytest.raises(OptionError, match="speakers are told in chunks"):
        BulkOptions(parameters={"speakers": True})
