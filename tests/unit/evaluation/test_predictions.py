from __future__ import annotations

import json
from pathlib import Path

import pytest

from auricle.errors import OptionError
from auricle.evaluation.external import read_external
from auricle.evaluation.predictions import Prediction, read_jsonl


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_line_is_read_as_it_was_written(tmp_path: Path) -> None:
    lines = [
        Prediction("1", "Ça va?", "ca va", "a.wav", 1.5, 0.25, "ann", "fr"),
        Prediction("2", "x", None, "b.wav", error="AudioFormatError: it broke"),
    ]
    path = write(tmp_path / "p.jsonl", "".join(one.line() + "\n" for one in lines))
    assert read_jsonl(path) == lines
    first = json.loads(path.read_text().splitlines()[0])
    assert list(first)[:6] == ["audio_filepath", "id", "duration", "time", "text", "pred_text"]


def test_the_last_line_of_an_id_counts_and_half_a_line_is_passed_over(tmp_path: Path) -> None:
    lines = [Prediction("1", "x", None, error="broke"), Prediction("1", "x", "x")]
    path = write(tmp_path / "p.jsonl", "".join(one.line() + "\n" for one in lines) + '{"id": "2", "te')
    assert read_jsonl(path) == [lines[1]]


def test_a_wrong_line_is_told_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"line 2 is no JSON"):
        read_jsonl(write(tmp_path / "a.jsonl", '{"text": "a", "pred_text": "a"}\nnothing\n'))
    with pytest.raises(OptionError, match="line 1 has the keys text, words and no prediction; expected one of pred"):
        read_jsonl(write(tmp_path / "b.jsonl", '{"text": "a", "words": "a"}\n'))


# Keys as the Open ASR Leaderboard, NeMo, common scripts and spreadsheets have them.
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.jsonl", '{"audio_filepath": "a.wav", "text": "a b", "pred_text": "a c"}\n'),
        ("p.jsonl", '{"path": "a.wav", "reference": "a b", "hypothesis": "a c"}\n'),
        ("p.jsonl", '{"id": "a.wav", "text": "a c", "reference": "a b", "error": null}\n'),  # of transcribe --out
        ("p.json", '[{"file": "a.wav", "sentence": "a b", "prediction": "a c"}]'),
        ("p.json", '{"audio_filepath": "a.wav", "text": "a b", "pred_text": "a c"}\n'),
        ("p.csv", "id,reference,prediction\na.wav,a b,a c\n"),
        ("p.tsv", "id\ttext\thyp\na.wav\ta b\ta c\n"),
    ],
)
def test_files_of_others_are_read(tmp_path: Path, name: str, text: str) -> None:
    [one] = read_external(write(tmp_path / name, text))
    assert (one.id, one.reference, one.prediction) == ("a.wav", "a b", "a c")


def test_two_texts_go_line_by_line(tmp_path: Path) -> None:
    said, heard = write(tmp_path / "ref.txt", "a b\n\nc\n"), write(tmp_path / "hyp.txt", "a b\nx\nd\n")
    assert [(one.reference, one.prediction) for one in read_external(heard, said)] == [
        ("a b", "a b"),
        ("", "x"),
        ("c", "d"),
    ]
    with pytest.raises(OptionError, match=r"has 3 lines and .* has 1"):
        read_external(heard, write(tmp_path / "short.txt", "a\n"))


def test_trn_goes_by_id_and_a_missing_one_has_failed(tmp_path: Path) -> None:
    said = write(tmp_path / "ref.trn", "a b (u-1)\nc d (u-2)\n")
    one, other = read_external(write(tmp_path / "hyp.trn", "c e (u-2)\n"), said)
    assert (one.id, one.prediction, one.error) == ("u-1", None, "it has no line in the predictions")
    assert (other.reference, other.prediction) == ("c d", "c e")
    with pytest.raises(OptionError, match="'u-9' the first"):
        read_external(write(tmp_path / "odd.trn", "x (u-9)\n"), said)


def test_words_of_a_ctm_go_to_the_segment_of_their_middle(tmp_path: Path) -> None:
    said = write(
        tmp_path / "ref.stm",
        ";; a comment\nrec 1 ann 0.0 2.0 <o,f0> hello there\nrec 1 bob 2.0 4.0 yes\n"
        "rec 1 bob 4.0 5.0 IGNORE_TIME_SEGMENT_IN_SCORING\n",
    )
    heard = write(tmp_path / "hyp.ctm", "rec 1 2.1 0.5 yes 0.9\nrec 1 0.2 0.4 hello\nrec 1 1.8 0.3 their\n")
    found = read_external(heard, said)
    assert [(one.reference, one.prediction, one.speaker) for one in found] == [
        ("hello there", "hello their", "ann"),
        ("yes", "yes", "bob"),
        ("ignore_time_segment_in_scoring", "", "bob"),
    ]


def test_words_of_a_ctm_outside_all_segments_are_insertions_as_sclite_counts_them(tmp_path: Path) -> None:
    said = write(tmp_path / "ref.stm", "rec 1 bob 4.0 5.0 yes\nrec 1 ann 1.0 2.0 hello\nrec 1 ann 4.5 6.0 well\n")
    times = {"um": 0.1, "hello": 1.2, "oh": 3.0, "yes": 4.4, "well": 5.2, "bye": 9.0}
    heard = write(tmp_path / "hyp.ctm", "".join(f"rec 1 {start} 0.2 {word}\n" for word, start in times.items()))
    found = {one.reference: one.prediction for one in read_external(heard, said)}
    assert found == {"yes": "oh yes", "hello": "um hello", "well": "well bye"}


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    text, lines = write(tmp_path / "a.txt", "a\n"), write(tmp_path / "a.jsonl", '{"text": "a", "pred_text": "a"}\n')
    with pytest.raises(OptionError, match="has no references that are known of; give --references"):
        read_external(text)
    with pytest.raises(OptionError, match="nowhere cannot be read: there is no such file"):
        read_external(tmp_path / "nowhere")
    with pytest.raises(OptionError, match="has references of its own"):
        read_external(lines, text)
    with pytest.raises(OptionError, match="do not fit together"):
        read_external(write(tmp_path / "a.trn", "a (1)\n"), text)
    with pytest.raises(OptionError, match="cannot be read"):
        read_external(tmp_path / "none.jsonl")


def test_lines_of_json_are_read_with_the_ending_that_nemo_gives_them(tmp_path: Path) -> None:
    lines = '{"text": "a", "pred_text": "b"}\n{"text": "c", "pred_text": "d"}\n'
    assert [one.prediction for one in read_external(write(tmp_path / "p.json", lines))] == ["b", "d"]
    with pytest.raises(OptionError, match="is no JSON"):
        read_external(write(tmp_path / "broken.json", '[{"text": "a",'))


def test_quotation_marks_of_a_tsv_are_text(tmp_path: Path) -> None:
    path = write(tmp_path / "p.tsv", 'text\tpred_text\n"hello there\t"hello there\nb\tc\n')
    assert [(one.reference, one.prediction) for one in read_external(path)] == [
        ('"hello there', '"hello there'),
        ("b", "c"),
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a dog, ran,a dog", r"unreadable line \(line 3 of p.csv, 3 fields for 2 columns\)"),
        ("a dog", r"unreadable line \(line 3 of p.csv, 1 fields for 2 columns\)"),
        (f"{'a ' * 70_000},b", r"unreadable line \(line 3 of p.csv\)"),
    ],
)
def test_a_row_of_a_table_that_does_not_fit_is_refused(tmp_path: Path, row: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        read_external(write(tmp_path / "p.csv", f"text,pred_text\nthe cat,the cat\n{row}\n"))


def test_a_table_with_another_separator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="divided by ';'"):
        read_external(write(tmp_path / "p.csv", "text;pred_text\na;b\n"))


def test_an_id_that_a_trn_has_twice_is_refused(tmp_path: Path) -> None:
    said = write(tmp_path / "ref.trn", "a (u-1)\nb (u-1)\n")
    with pytest.raises(OptionError, match="line 2 has the id 'u-1' again"):
        read_external(write(tmp_path / "hyp.trn", "a (u-1)\n"), said)


@pytest.mark.parametrize("words", ["other 1 0.2 0.4 hello\n", "rec A 0.2 0.4 hello\n"])
def test_words_of_a_ctm_without_a_segment_of_their_recording_are_refused(tmp_path: Path, words: str) -> None:
    said = write(tmp_path / "ref.stm", "rec 1 ann 0.0 2.0 hello there\n")
    with pytest.raises(OptionError, match="expected the same names and channels in both"):
        read_external(write(tmp_path / "hyp.ctm", words), said)


def test_a_time_that_is_no_number_is_not_known(tmp_path: Path) -> None:
    [one] = read_external(write(tmp_path / "p.jsonl", '{"text": "a", "pred_text": "a", "duration": NaN}\n'))
    assert one.duration is None
