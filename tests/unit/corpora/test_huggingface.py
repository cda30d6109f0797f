"""Datasets of the package `datasets`: saved, in memory, streamed; never decoded there, never over a network here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from auricle.corpora import open_corpus
from auricle.corpora.corpus import Corpus
from auricle.corpora.fields import Fields
from auricle.corpora.huggingface import of_object
from auricle.errors import AuricleError, MissingExtraError, OptionError

datasets = pytest.importorskip("datasets", reason="needs the extra datasets: pip install 'auricle[datasets]'")


@pytest.fixture
def two_rows(sound):
    paths = [str(sound("a.wav")), str(sound("b.wav"))]
    rows = {"audio": paths, "sentence": ["one", "two"], "locale": ["en", "de"]}
    return datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())


def test_a_dataset_in_memory_is_read_undecoded(two_rows, sound):
    corpus = open_corpus(two_rows)
    assert corpus.layout == "huggingface"
    assert [(row.text, row.language) for row in corpus] == [("one", "en"), ("two", "de")]
    assert len(corpus) == 2
    assert [row.id for row in corpus] == ["train:0", "train:1"]


def test_a_folder_that_was_saved_is_opened_with_its_splits(two_rows, tmp_path):
    datasets.DatasetDict({"train": two_rows, "test": two_rows}).save_to_disk(str(tmp_path / "saved"))
    corpus = open_corpus(tmp_path / "saved")
    assert corpus.splits == ("train", "test")
    (first, _) = corpus.select("test")
    assert first.text == "one"
    assert isinstance(first.audio, bytes)
    assert first.audio.startswith(b"RIFF")


def test_what_is_streamed_says_what_was_read(two_rows):
    corpus = open_corpus(two_rows.to_iterable_dataset())
    assert corpus.is_streamed
    assert [row.text for row in corpus] == ["one", "two"]
    assert corpus.report.rows == 2


def test_a_fetched_dataset_names_no_file_of_this_machine(two_rows):
    plain = datasets.Dataset.from_dict({"audio": ["/etc/passwd"], "text": ["x"]})
    corpus = Corpus(of_object(plain, "owner/name", Fields(), is_fetched=True))
    assert list(corpus) == []
    assert corpus.report.reasons == {"a path that leaves the dataset's folder": 1}


def test_a_name_that_is_none_is_refused(monkeypatch):
    with pytest.raises(OptionError, match=r"no name on the Hub \(OWNER/NAME"):
        open_corpus("what is this?")


def test_a_hub_that_does_not_answer_is_told(monkeypatch):
    def unreachable(*args: object, **kwargs: object) -> None:
        assert kwargs == {"revision": "main", "streaming": True}
        assert args == ("owner/name", "en")
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(AuricleError, match="the Hub's dataset cannot be had: ConnectionError: no route"):
        open_corpus("owner/name:en@main")


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'auricle\[datasets\]'"):
        open_corpus("owner/name")
