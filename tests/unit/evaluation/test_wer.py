from __future__ import annotations

import sys

import pytest

from auricle.errors import MissingExtraError, OptionError
from auricle.evaluation import ErrorCounts, character_errors, word_errors


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


def test_absent_jiwer_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(MissingExtraError, match=r'pip install "auricle\[train\]"'):
        word_errors(["a"], ["a"])
