"""Words that two hypotheses agree on: by hand, and against texts whose end is known."""

from __future__ import annotations

import numpy as np
import pytest

from auricle.results import Word
from auricle.speech.agreement import LocalAgreement, key, n_repeated


def said(text: str, start: float = 0.0, each: float = 0.5) -> list[Word]:
    """Words of equal length, one after the other."""
    return [Word(word, start + each * at, start + each * (at + 1), 0.9) for at, word in enumerate(text.split())]


def texts(words: object) -> list[str]:
    return [word.text for word in words]  # type: ignore[attr-defined]


def test_words_are_final_when_two_hypotheses_in_a_row_begin_with_them() -> None:
    agreement = LocalAgreement()
    assert agreement.update(said("good morning an"), 1.4, 1.5) == ()
    assert texts(agreement.tentative) == ["good", "morning", "an"]
    assert texts(agreement.update(said("good morning and wel"), 1.9, 2.0)) == ["good", "morning"]
    assert texts(agreement.tentative) == ["and", "wel"]
    assert texts(agreement.update(said("good morning and welcome"), 1.9, 2.0)) == ["and"]


def test_words_after_the_first_difference_wait_even_if_they_agree() -> None:
    agreement = LocalAgreement()
    agreement.update(said("a cat sat"), 9.0, 9.0)
    assert texts(agreement.update(said("a hat sat"), 9.0, 9.0)) == ["a"]


def test_agreement_overlooks_case_and_punctuation_and_hands_out_the_latest_form() -> None:
    agreement = LocalAgreement()
    agreement.update(said("good morning"), 9.0, 9.0)
    assert texts(agreement.update(said("Good morning,"), 9.0, 9.0)) == ["Good", "morning,"]


def test_a_word_that_touches_the_end_of_the_sound_is_never_final() -> None:
    agreement = LocalAgreement()
    for _ in range(3):
        final = agreement.update(said("recog"), 0.4, 0.5)
        assert final == ()
    assert texts(agreement.update(said("recog"), 0.5, 0.6)) == ["recog"]


def test_final_words_stay_as_they_were_whatever_is_said_later() -> None:
    agreement = LocalAgreement()
    agreement.update(said("a part of"), 9.0, 9.0)
    assert texts(agreement.update(said("a part of"), 9.0, 9.0)) == ["a", "part", "of"]
    # Two of them are one word now, and the times have moved.
    later = [Word("apart", 0.1, 0.9, 0.9), Word("off", 1.1, 1.6, 0.9), Word("it", 1.6, 1.9, 0.9)]
    agreement.update(later, 9.0, 9.0)
    assert texts(agreement.update(later, 9.0, 9.0)) == ["it"]


def test_times_neither_go_back_nor_lie_ahead_of_the_sound() -> None:
    agreement = LocalAgreement()
    agreement.update(said("one two"), 2.0, 2.0)
    agreement.update(said("one two"), 2.0, 2.0)
    agreement.update([*said("one two"), Word("three", 0.9, 9.0, 0.9)], 2.0, 2.0)
    assert [(word.start, word.end) for word in agreement.tentative] == [(1.0, 2.0)]


def test_settling_takes_what_ends_early_enough_agreed_on_or_not() -> None:
    agreement = LocalAgreement()
    agreement.update(said("one two three"), 9.0, 9.0)
    assert texts(agreement.settle(1.0)) == ["one", "two"]
    assert texts(agreement.settle(np.inf)) == ["three"]
    assert agreement.settle(np.inf) == ()


def test_forgotten_words_are_not_looked_for_again() -> None:
    agreement = LocalAgreement()
    agreement.update(said("one two three"), 9.0, 9.0)
    agreement.settle(np.inf)
    assert texts(agreement.forget(1.2)) == ["one", "two"]
    agreement.update(said("three four", start=1.0), 9.0, 9.0)
    assert texts(agreement.tentative) == ["four"]


@pytest.mark.parametrize(
    ("final", "hypothesis", "expected"),
    [
        (said("it is very"), said("it is very very good"), 3),  # a word that is really said twice
        (said("it is very"), [*said("it is"), Word("very", 1.2, 1.9, 0.9), Word("good", 1.9, 2.3, 0.9)], 3),  # moved
        (said("it is"), [Word("eh", 0.0, 0.9, 0.9), *said("good", 1.0)], 1),  # two words heard as one
        (said("it is"), said("good", 1.0), 0),  # final words not heard any more
        (said("is"), [Word("h", 0.0, 0.05, 0.9), *said("is good", 0.1)], 2),  # the rest of a word before the cut
        ([], said("good day", 3.0), 0),
        (said("it is"), [], 0),
    ],
)
def test_new_words_begin_where_the_final_ones_end(final: list[Word], hypothesis: list[Word], expected: int) -> None:
    assert n_repeated(final, hypothesis, final[-1].end if final else 1.0) == expected


def test_misheard_and_mistimed_repetitions_of_final_words_are_found_in_many_random_texts() -> None:
    rng = np.random.default_rng(0)
    vocabulary = [f"w{number}" for number in range(30)]
    wrong = 0
    for _ in range(300):
        text = [vocabulary[at] for at in rng.integers(0, 30, 20)]
        words = said(" ".join(text))
        n_final = int(rng.integers(3, 18))
        final = words[:n_final]
        heard: list[Word] = []
        expected = 0
        for at, word in enumerate(words):
            if at == n_final:
                expected = len(heard)
            shift = float(rng.normal(0, 0.08))
            sounds = word.text if rng.random() > 0.15 else "wrong"
            if rng.random() > 0.05 or at in (n_final - 1, n_final):
                heard.append(Word(sounds, word.start + shift, word.end + shift, 0.9))
        wrong += n_repeated(final, heard, final[-1].end) != expected
    assert wrong == 0


def test_keys_are_equal_for_forms_of_one_word_only() -> None:
    assert key(" Don't,") == key("dont") == key("DON’T")
    assert key("Straße") == key("STRASSE")
    assert key("two") != key("too")


def test_words_in_dispute_for_too_long_are_final_and_hold_up_nothing_after_them() -> None:
    agreement = LocalAgreement()
    agreement.update(said("a cat sat down"), 9.0, 9.0)
    assert texts(agreement.update(said("a hat sat down"), 9.0, 9.0, overdue_until=0.9)) == ["a"]
    assert texts(agreement.update(said("a bat sat up"), 9.0, 9.0, overdue_until=1.0)) == ["bat", "sat"]
    # Two words where the last hypothesis had one: what follows is found by its time.
    agreement = LocalAgreement()
    agreement.update([Word("apart", 0.0, 1.0, 0.9), *said("of it", 1.0)], 9.0, 9.0)
    assert texts(agreement.update(said("a part of it"), 9.0, 9.0, overdue_until=1.0)) == ["a", "part", "of", "it"]
