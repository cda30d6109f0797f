"""Parquet: sound as bytes, in a struct or as a path; a few rows in memory at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auricle.corpora import open_corpus
from auricle.corpora.parquet import opened
from auricle.errors import MissingExtraError, OptionError

pa = pytest.importorskip("pyarrow", reason="needs the extra data: pip install 'auricle[data]'")
pq = pytest.importorskip("pyarrow.parquet")
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path: Path, audio: Any, rows: int | None = None, **columns: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"audio": audio, **columns}), path, row_group_size=rows or 2)
    return path


def test_sound_in_a_struct_is_read_when_the_row_is(tmp_path):
    sounds = pa.array([{"bytes": f"sound {n}".encode(), "path": f"{n}.wav"} for n in range(5)], STRUCT)
    path = write(tmp_path / "train-00000-of-00001.parquet", sounds, text=[f"text {n}" for n in range(5)])
    corpus = open_corpus(path)
    assert corpus.layout == "parquet"
    assert corpus.splits == ("train",)
    assert [row.text for row in corpus] == [f"text {n}" for n in range(5)]
    assert [row.audio for row in corpus.rows(3)] == [b"sound 3", b"sound 4"]
    assert [row.id for row in corpus.rows(3)] == ["train-00000-of-00001:3", "train-00000-of-00001:4"]


def test_rows_that_are_kept_past_their_turn_still_have_their_own_sound(tmp_path):
    sounds = pa.array([{"bytes": bytes([n]) * 3, "path": None} for n in range(50)], STRUCT)
    rows = list(open_corpus(write(tmp_path / "a.parquet", sounds, 20, text=["x"] * 50)))
    assert [row.audio for row in rows] == [bytes([n]) * 3 for n in range(50)]


def test_plain_bytes_and_paths_are_sound_too(tmp_path, sound):
    sound("one/a.wav")
    write(tmp_path / "one" / "a.parquet", pa.array([b"abc", b"def"], pa.binary()))
    assert [row.audio for row in open_corpus(tmp_path / "one" / "a.parquet")] == [b"abc", b"def"]
    write(tmp_path / "one" / "a.parquet", pa.array(["a.wav", "../x.wav"]))
    corpus = open_corpus(tmp_path / "one" / "a.parquet")
    assert [row.audio for row in corpus] == [str(tmp_path / "one/a.wav")]
    assert corpus.report.reasons == {"a path that leaves the dataset's folder": 1}


def test_rows_without_sound_are_told_or_found_by_their_path(tmp_path, sound):
    sound("a.wav")
    cells = [{"bytes": b"x", "path": None}, {"bytes": None, "path": "a.wav"}, {"bytes": None, "path": None}, None]
    corpus = open_corpus(write(tmp_path / "a.parquet", pa.array(cells, STRUCT), 4))
    assert [row.audio for row in corpus] == [b"x", str(tmp_path / "a.wav")]
    assert corpus.report.reasons == {"no audio": 2}
    assert [one.where for one in corpus.report.left_out] == ["a:2", "a:3"]


def test_files_of_a_folder_are_read_in_order_and_name_their_splits(tmp_path):
    for name in ("data/test-00000-of-00001", "data/train-00001-of-00002", "data/train-00000-of-00002"):
        write(tmp_path / f"{name}.parquet", pa.array([name.encode()], pa.binary()))
    corpus = open_corpus(tmp_path)
    assert corpus.splits == ("test", "train")
    assert [row.audio for row in corpus.select("train")] == [
        b"data/train-00000-of-00002",
        b"data/train-00001-of-00002",
    ]


def test_what_is_no_parquet_or_has_no_sound_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(OptionError, match="is no Parquet file that can be read"):
        open_corpus(tmp_path / "a.parquet")
    pq.write_table(pa.table({"speech": [b"x"], "text": ["y"]}), tmp_path / "a.parquet")
    with pytest.raises(OptionError, match=r"no column of recordings: it has speech, text; name it with audio_column"):
        open_corpus(tmp_path / "a.parquet")
    assert [row.audio for row in open_corpus(tmp_path / "a.parquet", audio_column="speech")] == [b"x"]


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'auricle\[data\]'"):
        opened(tmp_path / "a.parquet")
