"""Kneser-Ney by hand, that probabilities are probabilities, and that no tested book teaches its own words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auricle.decoding.ngram import END, LN_10, START, UNKNOWN, NGram
from auricle.errors import ConfigError, OptionError
from auricle.training.language_model import estimate, perplexity, read_sentences, write_arpa

SENTENCES = [line.split() for line in ("the cat sat", "the cat ran", "a cat sat", "the dog sat", "a dog ran away")] * 2


@pytest.mark.parametrize("cutoffs", [(0, 0, 0), (0, 0, 2), (0, 2, 2)])
def test_probabilities_after_any_words_add_up_to_one(tmp_path: Path, cutoffs: tuple[int, ...]) -> None:
    write_arpa(estimate(SENTENCES, 3, cutoffs), tmp_path / "lm.arpa")
    model = NGram.from_arpa(tmp_path / "lm.arpa")
    words = sorted({word for sentence in SENTENCES for word in sentence} | {END, UNKNOWN})
    for context in ((), ("the",), ("the", "cat"), ("cat", "the"), ("sat", "never"), ("a", "dog")):
        state = model.start()
        for word in context:
            _, state, _ = model.score_word(state, word)
        total = sum(2.718281828459045 ** model._score((*state, word)) for word in words)
        assert total == pytest.approx(1.0, abs=1e-4), context


def test_a_word_counts_by_what_it_follows_not_by_how_often_it_is_there() -> None:
    # "francisco" is frequent and only follows "san"; after another word it is less likely than "cat".
    scored = estimate(
        [["san", "francisco"]] * 9 + [["a", "cat"], ["the", "cat"], ["my", "cat"], ["big", "dog"]], 2, (0, 0)
    )
    assert scored[("cat",)][0] > scored[("francisco",)][0]


def test_two_orders_by_hand() -> None:
    # Too little text for the discounts' formula: they are 0.5, 0.75 and 0.9.
    scored = estimate([["a"], ["a"]], 2, (0, 0))
    # "a" and the end each follow one word; half of each count goes to all three words there are.
    unigram = (1 - 0.5) / 2 + 0.5 / 3
    assert 10 ** scored[("a",)][0] == pytest.approx(unigram)
    assert 10 ** scored[(START, "a")][0] == pytest.approx((2 - 0.75) / 2 + 0.75 / 2 * unigram)
    assert scored[(UNKNOWN,)][0] * LN_10 < scored[("a",)][0] * LN_10


def test_perplexity_counts_known_words_and_ends() -> None:
    scored = estimate(SENTENCES, 2, (0, 0))
    seen, unknown = perplexity(scored, 2, [["the", "cat", "sat"]])
    other, _ = perplexity(scored, 2, [["sat", "the", "away"]])
    assert seen < other
    assert unknown == 0.0
    assert perplexity(scored, 2, [["xylophone"]])[1] == 0.5


def test_what_a_tested_book_says_is_left_out_and_the_rest_is_not(tmp_path: Path) -> None:
    quoted = [f"it was in the year {word} that i first came to {word} town" for word in ("ten", "nine", "six")]
    book = "\n".join(["the first page of the book says this", *quoted, "its last page says that"])
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "book.txt").write_text(book)
    saying = "a saying that all people say again and again today"
    (tmp_path / "texts" / "other.txt").write_text(f"{saying}\nbirds sing\nbirds fly")
    rows = [
        *({"split": "test", "text": text, "language": "en"} for text in quoted),
        {"split": "test", "text": saying, "language": "en"},
        {"split": "test", "text": "Birds fly", "language": "en"},
        {"split": "train", "text": "We learn from this", "language": "en", "speaker": "x"},
        {"split": "train", "text": "nous apprenons", "language": "fr", "speaker": "y"},
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    assert list(map(" ".join, read_sentences(tmp_path / "texts", manifest))) == ["birds sing", "we learn from this"]
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_text(json.dumps({"split": "test", "text": "Birds sing."}))
    left = read_sentences(tmp_path / "texts", manifest, held_out)
    assert list(map(" ".join, left)) == ["we learn from this"]
    (tmp_path / "texts" / "other.txt").unlink()
    manifest.write_text(json.dumps(rows[0]))
    (tmp_path / "texts" / "book.txt").write_text("")
    with pytest.raises(ConfigError, match="hold no sentence"):
        list(read_sentences(tmp_path / "texts", manifest))


def test_orders_and_cutoffs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(OptionError, match="a cutoff for each"):
        estimate(SENTENCES, 3, (0, 1))
