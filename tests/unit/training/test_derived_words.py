"""Words that a text lacks by an ending."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from auricle.training.derived_words import bases, expected_counts, forms, with_derived
from auricle.training.language_model import estimate


@pytest.mark.parametrize(
    ("word", "s", "ed", "ing", "ly"),
    [
        ("walk", "walks", "walked", "walking", "walkly"),
        ("stop", "stops", "stopped", "stopping", "stoply"),
        ("carry", "carries", "carried", "carrying", "carrily"),
        ("gentle", "gentles", "gentled", "gentling", "gently"),
        ("watch", "watches", "watched", "watching", "watchly"),
        ("agree", "agrees", "agreed", "agreeing", "agreely"),
        ("play", "plays", "played", "playing", "playly"),
        ("rain", "rains", "rained", "raining", "rainly"),
    ],
)
def test_endings_are_written_as_in_english(word: str, s: str, ed: str, ing: str, ly: str) -> None:
    assert forms(word) == {"s": s, "ed": ed, "ing": ing, "ly": ly, "'s": f"{word}'s"}
    assert all(word in bases(form) for ending, form in forms(word).items() if ending != "'s")


def test_short_words_and_genitives_have_no_forms() -> None:
    assert forms("at") == {}
    assert forms("john's") == {}


def test_a_word_is_expected_as_often_as_its_ending_is_found() -> None:
    counts = Counter({"walk": 8, "walks": 4, "talk": 2, "shouted": 1, "about": 1})

    found = expected_counts(counts)

    # Half of `walk` has it, and of `talk`, `shouted` and `about` nothing.
    assert found["talks"] == pytest.approx(2 * 4 / (8 + 2 + 1 + 1))
    assert found["shout"] > 0  # of which `shouted` is derived
    assert "shoute" not in found  # no word ends so
    assert not {"walkses", "walksed"} & found.keys()  # of a form there are none
    assert not counts.keys() & found.keys()


def test_derived_words_share_what_good_and_turing_leave() -> None:
    sentences = [["walk", "and", "walks"], ["talk", "walks"], ["walk", "and", "talk"], ["stop"]]
    counts = Counter(word for words in sentences for word in words)
    scored = estimate(sentences)

    found = with_derived(scored, counts)

    new = {gram for gram in found if gram not in scored}
    assert {("talks",), ("stops",)} <= new
    assert sum(10 ** found[gram][0] for gram in new) == pytest.approx(0.7 * 1 / 9)
    lost = [math.isclose(10 ** (found[gram][0] - scored[gram][0]), 1 - 0.7 / 9) for gram in scored if gram == ("walk",)]
    assert lost == [True]
    assert all(found[gram] == scored[gram] for gram in scored if len(gram) > 1)
