"""LibriSpeech, texts beside recordings, and folders of recordings alone."""

from __future__ import annotations

import os

import pytest

from auricle.corpora import open_corpus
from auricle.errors import OptionError


def test_librispeech_reads_transcripts_beside_their_recordings(tmp_path, sound):
    sound("84/121123/84-121123-0000.flac"), sound("84/121123/84-121123-0001.wav")
    lines = "84-121123-0000 GO ON\n84-121123-0001 DO YOU HEAR\n84-121123-0002 NOT HERE\n"
    (tmp_path / "84/121123/84-121123.trans.txt").write_text(lines)
    corpus = open_corpus(tmp_path)
    assert corpus.layout == "librispeech"
    assert [(row.id, row.text, row.speaker) for row in corpus] == [
        ("84-121123-0000", "GO ON", "84"),
        ("84-121123-0001", "DO YOU HEAR", "84"),
    ]
    assert corpus.report.reasons == {"no such file": 1}


def test_a_column_that_is_named_where_there_are_none_is_told(tmp_path, sound):
    sound("84/1/84-1-0.flac")
    (tmp_path / "84/1/84-1.trans.txt").write_text("84-1-0 GO ON\n")
    assert open_corpus(tmp_path).report.notes == ()
    report = open_corpus(tmp_path, text_column="german").report
    assert report.notes == ("text_column and audio_column are not used: this layout has no columns",)


def test_librispeech_parts_are_splits(tmp_path, sound):
    for part, reader in (("dev-clean", "1"), ("train-clean-5", "2")):
        sound(f"{part}/{reader}/7/{reader}-7-0.flac")
        (tmp_path / part / reader / "7" / f"{reader}-7.trans.txt").write_text(f"{reader}-7-0 WORDS OF {reader}\n")
    corpus = open_corpus(tmp_path)
    assert corpus.splits == ("dev-clean", "train-clean-5")
    assert [row.text for row in corpus.select("train-clean-5")] == ["WORDS OF 2"]


def test_texts_beside_recordings_are_theirs(tmp_path, sound):
    sound("train/a.wav"), sound("test/b.wav"), sound("test/c.wav")
    (tmp_path / "train/a.txt").write_bytes("\ufeffHello there\r\n".encode())
    (tmp_path / "test/b.txt").write_bytes("größer".encode("latin-1"))
    corpus = open_corpus(tmp_path)
    assert corpus.layout == "parallel"
    assert [(row.id, row.text) for row in corpus] == [("test/c", None), ("train/a", "Hello there")]
    assert [(one.where, one.reason) for one in corpus.report.left_out] == [("test/b.txt", "not UTF-8")]
    assert corpus.splits == ("test", "train")


def test_a_folder_of_recordings_has_no_texts_and_ids_that_differ(tmp_path, sound):
    sound("x/a.wav"), sound("x/a.flac"), sound("b.wav"), sound(".hidden/c.wav")
    (tmp_path / "SOURCE.txt").write_text("whence it came")
    corpus = open_corpus(tmp_path)
    assert corpus.layout == "folder"
    assert [row.id for row in corpus] == ["b", "x/a.flac", "x/a.wav"]
    assert all(row.text is None for row in corpus)
    assert "3 rows, all without text" in str(corpus.report)


def test_folders_that_are_links_are_told_and_not_read(tmp_path, sound):
    sound("data/b.wav"), sound("elsewhere/c.wav")
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "more")
    report = open_corpus(tmp_path / "data").report
    assert report.rows == 1
    assert report.notes == ("not read: more, a link to a folder; give the folder itself, or a manifest with its paths",)
    (tmp_path / "data" / "b.wav").unlink()
    with pytest.raises(OptionError, match="not read: more, a link to a folder"):
        open_corpus(tmp_path / "data")


def test_a_pipe_is_no_missing_file(tmp_path, sound):
    sound("b.wav")
    os.mkfifo(tmp_path / "a.wav")
    assert open_corpus(tmp_path).report.reasons == {"a folder, a pipe or a device": 1}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
@pytest.mark.parametrize("place", [".", "out"])
def test_what_a_run_wrote_into_a_dataset_is_no_part_of_it(tmp_path, sound, form, place):
    sound("b.wav")
    before = open_corpus(tmp_path).fingerprint
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "auricle-bulk.json").write_text("{}")
    (tmp_path / place / f"shard-00000.{form}").write_text('{"id": "b", "text": "good night"}\n')
    (tmp_path / place / "failures.jsonl").write_text('{"id": "b", "error": "it broke"}\n')
    corpus = open_corpus(tmp_path)
    assert (corpus.layout, corpus.fingerprint, corpus.report.notes) == ("folder", before, ())


def test_a_run_s_folder_is_no_dataset(tmp_path):
    (tmp_path / "auricle-bulk.json").write_text("{}")
    (tmp_path / "shard-00000.jsonl").write_text('{"id": "b", "text": "good night"}\n')
    with pytest.raises(OptionError, match="is what `auricle transcribe --out` wrote, and no dataset"):
        open_corpus(tmp_path)
