"""LibriSpeech, texts beside recordings, and folders of recordings alone."""

from __future__ import annotations

from auricle.corpora import open_corpus


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
