from __future__ import annotations

from pathlib import Path

import pytest

from auricle.errors import OptionError
from auricle.evaluation.diarization import Scoring, score_diarization
from auricle.evaluation.speaker_words import cp_errors, wd_errors
from auricle.evaluation.turns import Turn, read_turns, read_uem, write_rttm
from auricle.evaluation.wer import ErrorCounts

SAID = [Turn("A", 0, 10), Turn("B", 12, 20), Turn("A", 24, 27), Turn("C", 30, 40)]
HEARD = [Turn("a", 2, 13), Turn("d", 13, 14), Turn("b", 14, 20), Turn("c", 22, 38), Turn("d", 38, 40)]


def test_the_example_of_pyannote_metrics_documentation() -> None:
    found = score_diarization({"rec": SAID}, {"rec": HEARD}).all
    assert (found.total, found.confusion, found.false_alarm, found.missed) == (31.0, 7.0, 7.0, 2.0)
    assert found.der == pytest.approx(0.516129, abs=1e-6)


def test_a_perfect_hypothesis_with_other_names_has_no_errors() -> None:
    renamed = [Turn(turn.speaker.lower() * 3, turn.start, turn.end) for turn in SAID]
    found = score_diarization({"rec": SAID}, {"rec": renamed}).all
    assert (found.der, found.jer) == (0.0, 0.0)


def test_silence_misses_everything() -> None:
    found = score_diarization({"rec": SAID}, {}).all
    assert (found.der, found.jer, found.missed) == (1.0, 1.0, 31.0)


def test_the_collar_is_on_each_side_as_in_md_eval() -> None:
    said, late = [Turn("A", 1.0, 5.0)], [Turn("x", 1.2, 5.2)]
    strict = score_diarization({"rec": said}, {"rec": late}).all
    assert (strict.missed, strict.false_alarm) == pytest.approx((0.2, 0.2))
    assert score_diarization({"rec": said}, {"rec": late}, Scoring(collar=0.25)).all.errors == pytest.approx(0.0)
    nearly = score_diarization({"rec": said}, {"rec": late}, Scoring(collar=0.15)).all
    assert (nearly.missed, nearly.false_alarm) == pytest.approx((0.05, 0.05))


def test_overlap_counts_each_speaker_unless_it_is_left_out() -> None:
    said, heard = [Turn("A", 0, 10), Turn("B", 6, 10)], [Turn("a", 0, 10)]
    both = score_diarization({"rec": said}, {"rec": heard}).all
    assert (both.total, both.missed) == (14.0, 4.0)
    assert score_diarization({"rec": said}, {"rec": heard}, Scoring(skip_overlap=True)).all.errors == 0.0


def test_jer_is_the_mean_over_speakers() -> None:
    # A: 8 of the union 10; B: 10 of the union 12.
    said = [Turn("A", 0, 10), Turn("B", 10, 20)]
    heard = [Turn("a", 0, 8), Turn("b", 8, 20)]
    assert score_diarization({"rec": said}, {"rec": heard}).all.jer == pytest.approx((2 / 10 + 2 / 12) / 2)


def test_only_the_stretches_of_the_uem_are_scored() -> None:
    found = score_diarization({"rec": [Turn("A", 0, 10)]}, {"rec": [Turn("a", 2, 20)]}, scored={"rec": [(5.0, 12.0)]})
    assert (found.all.total, found.all.missed, found.all.false_alarm) == (5.0, 0.0, 2.0)


def test_recordings_add_up_and_have_an_interval() -> None:
    found = score_diarization({"a": SAID, "b": SAID}, {"a": HEARD, "b": []})
    assert found.all.der == pytest.approx((16 + 31) / 62)
    between = found.interval()
    assert between is not None
    assert (between.low, between.high) == pytest.approx((16 / 31, 1.0))
    with pytest.raises(OptionError, match="'c' the first"):
        score_diarization({"a": SAID}, {"c": SAID})


def test_words_of_the_wrong_speaker_are_deleted_and_inserted() -> None:
    said = [Turn("A", 0, 2, "one two three"), Turn("B", 2, 4, "four five")]
    assert cp_errors(said, [Turn("x", 0, 2, "four five"), Turn("y", 2, 4, "one two three")], str) == ErrorCounts(
        0, 0, 0, 5
    )
    moved = [Turn("x", 0, 2, "one two three four"), Turn("y", 3, 4, "five")]
    assert cp_errors(said, moved, str) == ErrorCounts(0, 1, 1, 5)
    assert cp_errors(said, [Turn("x", 0, 4, "one two three four five")], str).errors == 4  # two put in, two left out
    assert cp_errors(said, [], str) == ErrorCounts(0, 5, 0, 5)


def test_wder_is_of_the_words_that_were_heard() -> None:
    said = [Turn("A", 0, 2, "one two three"), Turn("B", 2, 4, "four five")]
    # "three" is substituted and right; "four" is the wrong speaker's; "five" was not heard.
    found = wd_errors(said, [Turn("x", 0, 3, "one two tree four")], str)
    assert (found.wrong, found.heard, found.rate) == (1, 4, 0.25)
    assert wd_errors(said, [Turn("y", 0, 2, "one two three"), Turn("x", 2, 4, "four five")], str).rate == 0.0
    assert wd_errors(said, [], str).rate == 0.0


def test_turns_are_read_as_they_were_written(tmp_path: Path) -> None:
    turns = {"rec": [Turn("A", 0.5, 2.25), Turn("B", 1.0, 3.0)]}
    write_rttm(tmp_path / "a.rttm", turns)
    assert read_turns(tmp_path / "a.rttm") == turns
    (tmp_path / "a.uem").write_text("rec 1 0.0 60.0\n")
    assert read_uem(tmp_path / "a.uem") == {"rec": [(0.0, 60.0)]}


def test_words_are_read_of_stm_and_seglst(tmp_path: Path) -> None:
    (tmp_path / "a.stm").write_text("rec 1 ann 0 1.5 <o> hello there\n")
    (tmp_path / "a.json").write_text(
        '[{"session_id": "rec", "speaker": "ann", "start_time": 0, "end_time": 1.5, "words": "hello there"}]'
    )
    assert read_turns(tmp_path / "a.stm") == read_turns(tmp_path / "a.json")
    assert read_turns(tmp_path / "a.stm") == {"rec": [Turn("ann", 0.0, 1.5, "hello there")]}


def test_wrong_files_of_turns_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.rttm").write_text("SPEAKER rec 1 zero 1.0 <NA> <NA> A <NA> <NA>\n")
    with pytest.raises(OptionError, match="line 1: 'zero' is no number of seconds"):
        read_turns(tmp_path / "a.rttm")
    with pytest.raises(OptionError, match=r"is none of \.rttm, \.stm, \.json"):
        read_turns(tmp_path / "a.txt")
