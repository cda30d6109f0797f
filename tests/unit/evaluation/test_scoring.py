from __future__ import annotations

import pytest

from auricle.errors import OptionError
from auricle.evaluation.alignment import Piece, align, confusions
from auricle.evaluation.normalizers import normalizer
from auricle.evaluation.predictions import Prediction
from auricle.evaluation.rows import Made, speech_row
from auricle.evaluation.scoring import Sampling, by_duration, compare_scores, score

ENGLISH = normalizer("english")
SAID = [
    Prediction("a", "The cat sat.", "the cat sat", duration=1.0, seconds=0.5, speaker="ann"),
    Prediction("b", "On the mat!", "on a mat mat", duration=3.0, seconds=0.5, speaker="bob"),
]


def test_raw_and_normalised_rates_stand_side_by_side() -> None:
    one = score(SAID, ENGLISH)
    assert one.normalized.word_total.rate == 2 / 6  # the -> a, and a mat too many
    assert one.raw.word_total.rate == 6 / 6  # The, sat., On, the, mat!, and a mat too many
    assert one.normalized.words.tolist() == [[0, 0, 0, 3], [1, 0, 1, 3]]


def test_a_prediction_that_is_not_there_has_failed_with_a_reason() -> None:
    one = score([*SAID, Prediction("null", "words", None)], ENGLISH)
    assert [(failed.id, failed.error) for failed in one.failed] == [("null", "it has no prediction")]


def test_what_has_no_reference_or_none_to_score_is_dropped_and_counted() -> None:
    odd = [
        Prediction("none", None, "x"),
        Prediction("empty", "  ", "x"),
        Prediction("ignored", "ignore_time_segment_in_scoring", "x"),
        Prediction("ignored too", "Ignore time segment in scoring", "x"),
        Prediction("symbols", "…!", "x"),
        Prediction("broken", "words", None, error="it broke"),
    ]
    one = score([*SAID, *odd], ENGLISH)
    assert [kept.id for kept in one.kept] == ["a", "b"]
    assert one.dropped == {
        "it has no reference": ["none", "empty"],
        "its reference says that it is not to be scored": ["ignored", "ignored too"],
        "the reference is empty after english": ["symbols"],
    }
    assert [failed.id for failed in one.failed] == ["broken"]
    assert one.normalized.word_total == score(SAID, ENGLISH).normalized.word_total


def test_speed_is_all_audio_by_all_time_and_unknown_where_a_time_is() -> None:
    assert score(SAID, ENGLISH).rtfx == 4.0
    assert score([*SAID, Prediction("c", "x", "x")], ENGLISH).rtfx is None


def test_rates_are_told_by_duration() -> None:
    assert by_duration(score(SAID, ENGLISH)) == [
        {"from": 0.0, "to": 2.0, "n_utterances": 1, "words": 3, "wer": 0.0},
        {"from": 2.0, "to": 5.0, "n_utterances": 1, "words": 3, "wer": 2 / 3},
    ]


def test_speakers_are_drawn_when_asked_and_refused_when_unknown() -> None:
    assert score(SAID, ENGLISH, Sampling(drawn="speaker")).groups == ["ann", "bob"]
    assert score(SAID, ENGLISH).groups is None
    with pytest.raises(OptionError, match="1 of 3 utterances have no speaker"):
        _ = score([*SAID, Prediction("c", "x", "x")], ENGLISH, Sampling(drawn="speaker")).groups
    with pytest.raises(OptionError, match="expected auto, utterance or speaker"):
        Sampling(drawn="word")


def test_models_are_compared_on_the_utterances_that_both_have() -> None:
    worse = [Prediction(one.id, one.reference, "nothing alike") for one in SAID]
    only = Prediction("c", "an utterance more", "x")
    found = compare_scores(score([*SAID, only], ENGLISH), score(worse, ENGLISH))
    assert found is not None
    assert (found.n_utterances, found.difference, found.first_better) == (2, -4 / 6, 1.0)


def test_what_is_not_alike_is_not_compared() -> None:
    with pytest.raises(OptionError, match="score both again with the same"):
        compare_scores(score(SAID, ENGLISH), score(SAID, normalizer("none")))
    other = [Prediction("a", "other words", "x"), SAID[1]]
    with pytest.raises(OptionError, match="1 utterances have different references in the two, 'a' the first"):
        compare_scores(score(SAID, ENGLISH), score(other, ENGLISH))


def test_a_row_says_all_that_was_counted_and_how() -> None:
    row = speech_row(score(SAID, ENGLISH), Made("m", "d", hardware="a machine", left_out={"no such file": 3}))
    assert (row["wer"], row["raw"]["wer"], row["n_utterances"], row["rtfx"]) == (2 / 6, 6 / 6, 2, 4.0)
    assert (row["substitutions"], row["deletions"], row["insertions"], row["words"]) == (1, 0, 1, 6)
    assert row["wer_low"] <= row["wer"] <= row["wer_high"]
    assert row["normalizer"] == {"name": "english", "version": "1", "hash": ENGLISH.hash}
    assert row["dropped"] == {"no such file": {"n": 3, "ids": []}}
    assert row["interval"] == {"level": 0.95, "resamples": 1000, "seed": 0, "drawn": "utterance"}


def test_nothing_to_score_is_an_error_that_says_why() -> None:
    with pytest.raises(OptionError, match=r"nothing to score; 0 utterances failed, it has no reference: 1"):
        speech_row(score([Prediction("a", None, "x")], ENGLISH), Made("m", "d"))


def test_alignment_puts_errors_in_pieces() -> None:
    assert align("the cat sat down", "the bat sat") == [
        Piece("equal", "the", "the"),
        Piece("replace", "cat", "bat"),
        Piece("equal", "sat", "sat"),
        Piece("delete", "down", ""),
    ]
    assert align("", "oh") == [Piece("insert", "", "oh")]
    assert align("a b", "a b") == [Piece("equal", "a b", "a b")]


def test_the_most_frequent_confusions_are_counted() -> None:
    pairs = [("a cat", "a bat"), ("the cat", "the bat"), ("one two", "one")]
    assert confusions(pairs).most_common() == [(("cat", "bat"), 2)]
    assert confusions(pairs, "delete").most_common() == [(("two", ""), 1)]
