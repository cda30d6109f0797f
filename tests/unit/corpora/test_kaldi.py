"""Kaldi's folders: joined by id in whatever order, cut by segments, and commands that are never run."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from auricle.corpora import open_corpus
from auricle.corpora.keyed_lines import KeyedLines


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("wav_scp", "wav.scp")).write_text(content, encoding="utf-8")
    return folder


def test_files_are_joined_by_id_in_any_order(tmp_path, sound):
    sound("a.wav"), sound("b.wav")
    folder = write(
        tmp_path,
        wav_scp=f"u1 {tmp_path}/a.wav\nu2 b.wav\n",
        text="u2 two  words\nu1\tone\n",
        utt2spk="u1 ann\nu2 bob\n",
        utt2dur="u1 1.5\nu2 2.5\n",
    )
    corpus = open_corpus(folder)
    assert corpus.layout == "kaldi"
    assert [(row.id, row.text, row.speaker, row.duration) for row in corpus] == [
        ("u1", "one", "ann", 1.5),
        ("u2", "two  words", "bob", 2.5),
    ]


def test_segments_cut_recordings(tmp_path, sound):
    sound("r.wav", 2.0)
    folder = write(
        tmp_path,
        wav_scp="rec r.wav\n",
        segments="u1 rec 0.00 0.50\nu2 rec 0.50 1.25\nu3 gone 0 1\nu4 rec 1 0.5\nu5 rec\n",
        text="u1 a\nu2 b\n",
    )
    corpus = open_corpus(folder)
    assert [(row.id, row.start, row.end, row.duration) for row in corpus] == [
        ("u1", 0.0, 0.5, 0.5),
        ("u2", 0.5, 1.25, 0.75),
    ]
    assert [row.source()["array"].shape for row in corpus] == [(8000,), (12000,)]
    assert corpus.report.reasons == {
        "its recording is not listed": 1,
        "its times are no stretch of a recording": 1,
        "unreadable line": 1,
    }


def test_a_segment_may_go_on_to_the_end_of_its_recording(tmp_path, sound):
    sound("r.wav", 2.0)
    folder = write(
        tmp_path, wav_scp="rec r.wav\n", segments="u1 rec 0 0.5\nu2 rec 0.5 -1\nu3 rec 1 -2\n", text="u2 b\n"
    )
    corpus = open_corpus(folder)
    assert [(row.id, row.start, row.end, row.duration) for row in corpus] == [
        ("u1", 0.0, 0.5, 0.5),
        ("u2", 0.5, None, None),
    ]
    assert [row.source()["array"].shape for row in corpus] == [(8000,), (24000,)]
    assert corpus.report.reasons == {"its times are no stretch of a recording": 1}


def test_a_command_is_told_and_never_run(tmp_path, sound):
    sound("a.wav")
    mark = tmp_path / "ran"
    folder = write(tmp_path, wav_scp=f"u1 touch {mark} |\nu2 a.wav\nu3 x.ark:17\n")
    corpus = open_corpus(folder)
    assert [row.id for row in corpus] == ["u2"]
    assert not mark.exists()
    assert corpus.report.reasons == {"a command, which is never run": 1, "a place within a Kaldi archive": 1}
    assert corpus.report.left_out[0].where == "u1, line 1 of wav.scp"


def test_folders_with_a_list_each_are_splits(tmp_path, sound):
    sound("train/a.wav"), sound("test/b.wav")
    write(tmp_path / "train", wav_scp="a a.wav\n")
    write(tmp_path / "test", wav_scp="b b.wav\n")
    assert open_corpus(tmp_path).splits == ("test", "train")


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_keys_are_found_whatever_order_they_are_asked_for_in(tmp_path_factory, data):
    keys = data.draw(st.lists(st.text("abcé", min_size=1, max_size=4), min_size=1, unique=True))
    path = tmp_path_factory.mktemp("keys") / "text"
    path.write_text("".join(f"{key} value of {key}\n" for key in keys), encoding="utf-8")
    asked = data.draw(st.lists(st.sampled_from([*keys, "missing"]), max_size=20))
    found = KeyedLines(path, lambda where, reason: None)
    assert [found.get(key) for key in asked] == [f"value of {key}" if key in keys else None for key in asked]
