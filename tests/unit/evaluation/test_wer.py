from __future__ import annotations

import sys

import jiwer
import numpy as np
import pytest

from auricle.errors import MissingExtraError, OptionError
from auricle.evaluation import ErrorCounts, character_errors, word_errors
from auricle.evaluation.wer import total, utterance_counts


def test_each_kind_of_error_is_counted() -> None:
    counts = word_errors(["the cat sat down", "yes"], ["the bat sat", "oh yes"])
    assert counts == ErrorCounts(substitutions=1, deletions=1, insertions=1, words=5)
    assert counts.errors == 3
    assert counts.rate == 3 / 5


def test_characters_are_counted_with_spaces() -> None:
    assert character_errors(["a bc"], ["abd"]) == ErrorCounts(1, 1, 0, 4)


def test_rate_is_over_the_collection_not_over_its_texts() -> None:
    assert word_errors(["a", "b c d"], ["x", "b c d"]).rate == 0.25


def test_text_for_an_empty_reference_is_inserted() -> None:
    counts = word_errors(["", "a"], ["so it goes", ""])
    assert counts == ErrorCounts(0, 1, 3, 1)
    assert counts.rate == 4.0


def test_nothing_against_nothing_is_perfect() -> None:
    assert word_errors([], []).rate == 0.0
    assert word_errors([""], [""]).rate == 0.0
    assert word_errors([""], ["a"]).rate == float("inf")


def test_unequal_lists_are_refused() -> None:
    with pytest.raises(OptionError, match="2 texts and 1 texts"):
        word_errors(["a", "b"], ["a"])
    with pytest.raises(OptionError, match="one string 'a'"):
        word_errors("a", "b")


def test_absent_rapidfuzz_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidfuzz.distance", None)
    with pytest.raises(MissingExtraError, match=r'pip install "auricle\[evaluate\]"'):
        word_errors(["a"], ["a"])


def test_counts_of_single_utterances_add_up_to_those_of_the_collection() -> None:
    references, hypotheses = ["the cat sat down", "yes", ""], ["the bat sat", "oh yes", "so"]
    counts = utterance_counts(references, hypotheses, "words")
    assert counts.tolist() == [[1, 1, 0, 4], [0, 0, 1, 1], [0, 0, 1, 0]]
    assert total(counts) == word_errors(references, hypotheses)


# From the README of jiwer 4.0: "hello world" against "hello duck", and the lists below it.
def test_the_examples_of_jiwers_readme() -> None:
    assert word_errors(["hello world"], ["hello duck"]).rate == 0.5
    assert word_errors(["hello world", "i like monthy python"], ["hello duck", "i like python"]).rate == 2 / 6
    assert word_errors(["hello world", "i like monthy python"], ["hello duck", "i like python"]) == ErrorCounts(
        substitutions=1, deletions=1, insertions=0, words=6
    )


@pytest.mark.parametrize(
    ("reference", "hypothesis", "rate"),
    [("X", "X Y Y", 2.0), ("X Y Z", "", 1.0), ("X Y", "a b c d", 2.0), ("This is a test", "this is test", 2 / 4)],
)
def test_insertions_bring_the_rate_above_one(reference: str, hypothesis: str, rate: float) -> None:
    assert word_errors([reference], [hypothesis]).rate == rate


# Wikipedia, "Levenshtein distance": kitten becomes sitting by two substitutions and an insertion.
def test_kitten_becomes_sitting() -> None:
    assert character_errors(["kitten"], ["sitting"]) == ErrorCounts(2, 0, 1, 6)
    assert character_errors(["saturday"], ["sunday"]).errors == 3


def test_counts_are_those_of_jiwer_on_random_texts() -> None:
    random = np.random.default_rng(0)
    words = np.array("a b c dd ee fff the".split())
    references = [" ".join(random.choice(words, random.integers(1, 12))) for _ in range(300)]
    hypotheses = [" ".join(random.choice(words, random.integers(0, 12))) for _ in range(300)]
    for process, count in (
        (jiwer.process_words, word_errors(references, hypotheses)),
        (jiwer.process_characters, character_errors(references, hypotheses)),
    ):
        found = process(references, hypotheses)
        assert (found.substitutions, found.deletions, found.insertions) == (
            count.substitutions,
            count.deletions,
            count.insertions,
        )
