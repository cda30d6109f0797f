"""audiofolder: metadata in the folder, or in the folders that are its splits."""

from __future__ import annotations

import pytest

from auricle.corpora import open_corpus
from auricle.errors import OptionError


def test_csv_fields_in_quotes_hold_commas_and_line_ends(tmp_path, sound):
    sound("a.wav"), sound("b.wav")
    (tmp_path / "metadata.csv").write_text('file_name,transcription\na.wav,"one, ""two""\nthree"\nb.wav,four\n')
    corpus = open_corpus(tmp_path)
    assert corpus.layout == "audiofolder"
    assert [row.text for row in corpus] == ['one, "two"\nthree', "four"]
    assert corpus.report.columns == {"audio": "file_name", "text": "transcription"}


@pytest.mark.parametrize("given", [".", "../set", "absolute"])
def test_paths_stay_within_the_folder_however_it_is_given(tmp_path, sound, monkeypatch, given):
    sound("set/a.wav"), sound("outside.wav")
    within, beyond = tmp_path / "set" / "a.wav", tmp_path / "outside.wav"
    lines = f"file_name,text\na.wav,x\n{within},y\n{beyond},z\n../outside.wav,z\n"
    (tmp_path / "set" / "metadata.csv").write_text(lines)
    monkeypatch.chdir(tmp_path / "set")
    corpus = open_corpus(tmp_path / "set" if given == "absolute" else given)
    assert [row.text for row in corpus] == ["x", "y"]
    assert corpus.report.reasons == {"a path that leaves the dataset's folder": 2}


def test_the_folder_that_a_path_begins_with_is_its_split(tmp_path, sound):
    sound("train/a.wav"), sound("test/a.wav")
    lines = ['{"file_name": "train/a.wav", "text": "x"}', '{"file_name": "test/a.wav", "text": "y"}']
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    corpus = open_corpus(tmp_path)
    assert corpus.splits == ("train", "test")
    assert [row.text for row in corpus.select("test")] == ["y"]


def test_metadata_in_each_split_gives_ids_that_differ(tmp_path, sound):
    for split in ("train", "test"):
        sound(f"{split}/a.wav")
        (tmp_path / split / "metadata.csv").write_text(f"file_name,text\na.wav,{split} text\n")
    corpus = open_corpus(tmp_path)
    assert corpus.splits == ("test", "train")
    assert [(row.id, row.text) for row in corpus] == [("test/a.wav", "test text"), ("train/a.wav", "train text")]
    assert [row.text for row in open_corpus(tmp_path, split="train")] == ["train text"]


def test_byte_order_mark_and_crlf_are_no_part_of_the_text(tmp_path, sound):
    sound("a.wav")
    (tmp_path / "metadata.csv").write_bytes("\ufefffile_name,text\r\na.wav,größer\r\n".encode())
    assert [row.text for row in open_corpus(tmp_path)] == ["größer"]


def test_latin_1_is_told_by_line(tmp_path, sound):
    sound("a.wav"), sound("b.wav")
    (tmp_path / "metadata.csv").write_bytes("file_name,text\na.wav,größer\nb.wav,ok\n".encode("latin-1"))
    corpus = open_corpus(tmp_path)
    assert [row.text for row in corpus] == ["ok"]
    assert [(one.where, one.reason) for one in corpus.report.left_out] == [("line 2 of metadata.csv", "not UTF-8")]


def test_a_text_column_is_taken_by_name_or_refused(tmp_path, sound):
    sound("a.wav")
    (tmp_path / "metadata.csv").write_text("file_name,text,german\na.wav,one,eins\n")
    assert [row.text for row in open_corpus(tmp_path, text_column="german")] == ["eins"]
    with pytest.raises(OptionError, match=r"text_column='germa': .* has no such column; did you mean 'german'"):
        open_corpus(tmp_path, text_column="germa")


def test_a_table_that_something_else_divides_is_refused(tmp_path, sound):
    sound("a.wav")
    (tmp_path / "metadata.csv").write_text("file_name;transcription\na.wav;one\n")
    with pytest.raises(OptionError, match=r"metadata.csv are divided by ';'.*expected ','"):
        open_corpus(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "rows.tsv").write_text("path,text\na.wav,one\n")
    for source in (tmp_path, tmp_path / "rows.tsv"):
        with pytest.raises(OptionError, match=r"rows.tsv are divided by ','.*expected '.t'"):
            open_corpus(source)
    # Beside a manifest that can be read it is no manifest.
    (tmp_path / "rows.jsonl").write_text('{"path": "a.wav", "text": "one"}\n')
    assert len(open_corpus(tmp_path)) == 1
