"""Common Voice: clips and tables, quotation marks that are text, durations beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.corpora import open_corpus
from auricle.errors import OptionError

HEADER = "client_id\tpath\tsentence\tup_votes\tlocale"


def release(folder: Path, sound, **tables: list[str]) -> Path:
    for number in range(4):
        sound(f"clips/c{number}.wav")
    for split, rows in tables.items():
        (folder / f"{split}.tsv").write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return folder


def test_splits_are_tables_and_validated_is_not_read_twice(tmp_path, sound):
    folder = release(
        tmp_path, sound, train=["a\tc0.wav\tOne\t2\ten"], test=["b\tc1.wav\tTwo\t2\ten"],
        validated=["a\tc0.wav\tOne\t2\ten", "b\tc1.wav\tTwo\t2\ten", "b\tc2.wav\tThree\t2\ten"],
    )  # fmt: skip
    corpus = open_corpus(folder)
    assert corpus.layout == "common_voice"
    assert corpus.splits == ("train", "test", "validated")
    assert [(row.id, row.text, row.speaker, row.language) for row in corpus] == [
        ("c0.wav", "One", "a", "en"),
        ("c1.wav", "Two", "b", "en"),
    ]
    assert [row.id for row in corpus.select("validated")] == ["c0.wav", "c1.wav", "c2.wav"]


def test_quotation_marks_are_text(tmp_path, sound):
    folder = release(tmp_path, sound, train=['a\tc0.wav\t"Go," she said\t2\ten', 'a\tc1.wav\tthe 5" disk\t2\ten'])
    assert [row.text for row in open_corpus(folder)] == ['"Go," she said', 'the 5" disk']


def test_a_tab_within_a_sentence_is_told_and_not_guessed(tmp_path, sound):
    folder = release(tmp_path, sound, train=["a\tc0.wav\tone\ttwo\t2\ten", "a\tc1.wav\tfine\t2\ten"])
    corpus = open_corpus(folder)
    assert [row.text for row in corpus] == ["fine"]
    assert corpus.report.reasons == {"unreadable line": 1}
    assert corpus.report.left_out[0].where == "line 2 of train.tsv, 6 fields for 5 columns"


def test_durations_come_from_their_table(tmp_path, sound):
    folder = release(tmp_path, sound, train=["a\tc1.wav\tOne\t2\ten", "a\tc0.wav\tTwo\t2\ten", "a\tc2.wav\tx\t2\ten"])
    (folder / "clip_durations.tsv").write_text("clip\tduration[ms]\nc0.wav\t3600000\nc1.wav\t1800000\n")
    corpus = open_corpus(folder)
    assert [row.duration for row in corpus] == [1800.0, 3600.0, None]
    assert corpus.report.found["train"].hours == pytest.approx(1.5)
    assert "1.50 h in the 2 rows that state it" in str(corpus.report)


def test_a_table_itself_is_its_split(tmp_path, sound):
    folder = release(tmp_path, sound, train=["a\tc0.wav\tOne\t2\ten"], other=["b\tc3.wav\tTwo\t2\ten"])
    assert [row.id for row in open_corpus(folder / "other.tsv")] == ["c3.wav"]


def test_a_path_that_leaves_the_release_is_refused(tmp_path, sound):
    sound("secret.wav")
    folder = release(tmp_path, sound, train=["a\t../secret.wav\tOne\t2\ten", "a\t/etc/passwd\tTwo\t2\ten"])
    corpus = open_corpus(folder)
    assert list(corpus) == []
    assert corpus.report.reasons == {"a path that leaves the dataset's folder": 2}


def test_an_unknown_split_names_those_there_are(tmp_path, sound):
    folder = release(tmp_path, sound, train=["a\tc0.wav\tOne\t2\ten"])
    with pytest.raises(OptionError, match=r"no split 'trian'; did you mean 'train'\?; its splits are: train"):
        open_corpus(folder, split="trian")


def test_the_folder_around_several_languages_asks_for_one(tmp_path, sound):
    for language in ("de", "en"):
        sound(f"{language}/clips/c0.wav")
        (tmp_path / language / "train.tsv").write_text(f"{HEADER}\na\tc0.wav\tOne\t2\t{language}\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"by languages: de, en; .* give one, such as .*de$"):
        open_corpus(tmp_path)
    assert [row.text for row in open_corpus(tmp_path / "en")] == ["One"]
