"""Manifests: NeMo's, JSON lines and tables; what is wrong with a line is told by its number."""

from __future__ import annotations

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.corpora import open_corpus
from auricle.corpora.stretches import Stretches
from auricle.errors import AudioError, AuricleError, OptionError


def manifest(path: Path, *rows: dict | str) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_a_nemo_manifest_cuts_a_recording_at_its_offset(tmp_path, sound):
    sound("a.wav", 1.0)
    path = manifest(
        tmp_path / "m.json",
        {"audio_filepath": "a.wav", "duration": 0.25, "offset": 0.5, "text": "one"},
        {"audio_filepath": "a.wav", "duration": 1.0, "text": "all"},
    )
    corpus = open_corpus(path)
    cut, whole = corpus
    assert corpus.layout == "nemo"
    assert (cut.id, cut.start, cut.end, cut.duration) == ("a.wav#0.5-0.75", 0.5, 0.75, 0.25)
    samples = cut.source()["array"]
    np.testing.assert_allclose(samples * 32768, np.arange(8000, 12000), atol=0.01)
    assert whole.source() == str(tmp_path / "a.wav")


def test_a_stretch_behind_the_end_of_its_recording_is_an_error_with_both_times(tmp_path, sound):
    sound("a.wav", 0.5)
    (row,) = open_corpus(manifest(tmp_path / "m.jsonl", {"path": "a.wav", "start": 3, "end": 4}))
    with pytest.raises(AudioError, match=r"lasts 0\.50 s, and the stretch from 3 s to 4 s"):
        row.source()


def test_empty_cells_of_a_table_say_nothing(tmp_path, sound):
    sound("a.wav"), sound("b.wav"), sound("c.wav")
    table = "id,path,text,offset,duration\n,a.wav,x,,\n,b.wav,y,0.5,\nown,c.wav,z,,0.25\n"
    (tmp_path / "m.csv").write_text(table)
    corpus = open_corpus(tmp_path / "m.csv")
    assert corpus.report.n_left_out == 0
    assert [(row.id, row.start, row.end, row.duration) for row in corpus] == [
        ("a.wav", None, None, None),
        ("b.wav#0.5-", 0.5, None, None),
        ("own", None, None, 0.25),
    ]


def test_a_start_of_null_is_the_beginning(tmp_path, sound):
    sound("a.wav")
    (row,) = open_corpus(manifest(tmp_path / "m.jsonl", {"path": "a.wav", "start": None, "end": 0.5}))
    assert (row.start, row.end) == (0.0, 0.5)


def test_splits_are_said_by_rows(tmp_path, sound):
    sound("a.wav"), sound("b.wav")
    rows = [{"path": "a.wav", "split": "test", "text": "x"}, {"path": "b.wav", "split": "train", "text": "y"}]
    corpus = open_corpus(manifest(tmp_path / "m.jsonl", *rows))
    assert corpus.layout == "manifest"
    assert corpus.splits == ("test", "train")
    assert [row.text for row in corpus.select("train")] == ["y"]
    assert len(corpus) == 2
    assert len(corpus.select("test")) == 1


def test_files_of_a_folder_are_splits(tmp_path, sound):
    sound("a.wav")
    manifest(tmp_path / "train_manifest.json", {"audio_filepath": "a.wav", "text": "x"})
    manifest(tmp_path / "test_manifest.json", {"audio_filepath": "a.wav", "text": "y"})
    corpus = open_corpus(tmp_path)
    assert corpus.splits == ("test", "train")
    assert [row.text for row in corpus.select("test")] == ["y"]


def test_each_kind_of_bad_row_is_told_with_its_line(tmp_path, sound):
    sound("a.wav"), sound("b.wav")
    path = manifest(
        tmp_path / "m.jsonl",
        {"path": "a.wav", "text": "good"},
        "{broken",
        "[1, 2]",
        {"path": "gone.wav", "text": "x"},
        {"path": "a.wav", "text": "again"},
        {"text": "no sound"},
        {"path": "b.wav", "text": "   "},
        {"path": "b.wav", "start": 3, "end": 2},
        {"path": "b.wav", "offset": 0.1, "duration": 0},
    )
    corpus = open_corpus(path, needs_text=True)
    assert [row.text for row in corpus] == ["good"]
    assert [(one.where, one.reason) for one in corpus.report.left_out] == [
        ("line 2 of m.jsonl", "unreadable line"),
        ("line 3 of m.jsonl", "unreadable line"),
        ("line 4 of m.jsonl", "no such file"),
        ("line 5 of m.jsonl", "duplicate id"),
        ("line 6 of m.jsonl", "no audio"),
        ("line 7 of m.jsonl", "empty text"),
        ("line 8 of m.jsonl", "its times are no stretch of a recording"),
        ("line 9 of m.jsonl", "its times are no stretch of a recording"),
    ]
    assert "left out 2: unreadable line (line 2 of m.jsonl, line 3 of m.jsonl)" in str(corpus.report)


def test_a_row_without_text_is_kept_where_none_is_needed(tmp_path, sound):
    sound("a.wav")
    corpus = open_corpus(manifest(tmp_path / "m.jsonl", {"path": "a.wav", "text": ""}))
    assert [row.text for row in corpus] == [None]
    assert corpus.report.found["train"].n_texts == 0


def test_a_manifest_of_the_user_may_lead_anywhere(tmp_path, sound):
    sound("elsewhere/a.wav")
    (tmp_path / "lists").mkdir()
    corpus = open_corpus(manifest(tmp_path / "lists" / "m.jsonl", {"path": "../elsewhere/a.wav", "text": "x"}))
    assert [row.audio for row in corpus] == [str(tmp_path / "elsewhere/a.wav")]


def test_a_json_array_is_refused_with_the_way_out(tmp_path):
    path = manifest(tmp_path / "m.json", '[{"path": "a.wav"}]')
    with pytest.raises(OptionError, match=r"one JSON array.*jq -c"):
        open_corpus(path)


def test_utf_16_is_refused_by_name(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes('{"path": "a.wav"}'.encode("utf-16"))
    with pytest.raises(OptionError, match="is UTF-16"):
        open_corpus(path)


def test_a_dataset_that_is_changed_while_it_is_read_is_an_error(tmp_path, sound):
    sound("a.wav"), sound("b.wav")
    path = manifest(tmp_path / "m.jsonl", {"path": "a.wav"}, {"path": "b.wav"})
    corpus = open_corpus(path)
    assert len(corpus) == 2
    manifest(path, {"path": "a.wav"})
    with pytest.raises(AuricleError, match="was changed while it was read"):
        list(corpus)


def test_a_recording_that_vanishes_after_the_report_keeps_the_numbers_of_the_others(tmp_path, sound):
    gone = sound("a.wav")
    sound("b.wav")
    corpus = open_corpus(manifest(tmp_path / "m.jsonl", {"path": "a.wav"}, {"path": "b.wav"}))
    assert len(corpus) == 2
    gone.unlink()
    assert [row.id for row in corpus.rows(1)] == ["b.wav"]


def test_the_fingerprint_follows_texts_and_files(tmp_path, sound):
    sound("a.wav")
    path = manifest(tmp_path / "m.jsonl", {"path": "a.wav", "text": "x"})
    first = open_corpus(path).fingerprint
    assert open_corpus(path).fingerprint == first
    manifest(path, {"path": "a.wav", "text": "y"})
    second = open_corpus(path).fingerprint
    sound("a.wav", 0.02)
    assert len({first, second, open_corpus(path).fingerprint}) == 3


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=8))
def test_any_text_comes_back_as_it_is_written(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.wav").write_bytes(b"RIFF")
    path = manifest(folder / "m.jsonl", *({"path": "a.wav", "id": str(n), "text": t} for n, t in enumerate(texts)))
    if texts:
        assert [row.text for row in open_corpus(path)] == [text if text.strip() else None for text in texts]


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=200))
def test_no_content_of_a_file_does_more_than_be_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "m.jsonl"
    path.write_bytes(b'{"path": "a.wav"}\n' + content)
    try:
        corpus = open_corpus(path)
        list(corpus)
    except AuricleError:
        return
    assert corpus.report.n_left_out >= 1


def test_rows_in_memory_are_a_dataset(sound):
    path = sound("a.wav")
    corpus = open_corpus([{"audio": str(path), "text": "x"}, {"audio": {"bytes": path.read_bytes()}, "text": "y"}])
    assert [row.text for row in corpus] == ["x", "y"]
    assert not corpus.is_streamed
    assert len({row.id for row in corpus}) == 2


def test_a_generator_is_streamed_and_counted_as_it_is_read(sound):
    path = str(sound("a.wav"))
    corpus = open_corpus({"audio": path, "text": "x"} for _ in range(3))
    with pytest.raises(TypeError, match="streamed"):
        len(corpus)
    assert len([*corpus]) == 3
    assert corpus.report.rows == 3
    assert not corpus.report.is_complete


def test_what_is_no_dataset_is_refused_with_what_was_looked_for(tmp_path):
    with pytest.raises(OptionError, match=r"holds no dataset: looked for wav\.scp"):
        open_corpus(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(OptionError, match="expected JSON lines"):
        open_corpus(tmp_path / "notes.txt")
    with pytest.raises(OptionError, match="there is no dataset"):
        open_corpus("./nowhere")


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    with pytest.raises(OptionError, match=r"m\.jsonl is empty \(0 bytes\)"):
        open_corpus(manifest(tmp_path / "m.jsonl"))


def test_a_closed_reader_of_stretches_holds_no_decoder(tmp_path, sound):
    reader = Stretches(8000)
    with pytest.raises(AudioError, match="and the stretch from 5 s to 6 s was asked for"):
        reader.read(str(sound("a.wav", 1.0)), 5.0, 6.0)
    blocks = weakref.ref(reader._blocks)
    reader.close()
    assert blocks() is None
