"""Punctuation learned from written text: what is said of it, what is drawn, and that a network learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from auricle.errors import ConfigError
from auricle.models.punctuation import MARKS, N_PAUSES, N_SPECIAL, PunctuationConfig
from auricle.speech.punctuation import Punctuator
from auricle.training.punctuation import (
    BLOCK,
    HELD_OUT,
    IGNORED,
    Stretches,
    divided,
    measured,
    shares_of,
    train,
    vocabulary,
)
from auricle.training.punctuation_text import Said, documents, recordings, said


def shown(line: str) -> str:
    return " ".join(("^" if one.capital else "") + one.word + MARKS[one.mark] for one in said(line))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('"Well, I never!" said he.', "^well, ^i never, said he."),
        ("Is it Mr. J. Wilson--a red-headed man?", "^is it ^mister ^j ^wilson, a red headed man?"),
        ("It cost $5.20; no more!", "^it cost five dollars and twenty cents, no more."),
        ("(They met in 1984.) Then:", "^they met in nineteen eighty four. ^then,"),
        ("“Don’t,” he said — and went", "^don't, he said, and went"),
        ("-- ... --", ""),
    ],
)
def test_a_line_is_its_words_with_marks_and_capitals(line: str, expected: str) -> None:
    assert shown(line) == expected


def test_documents_leave_out_what_is_tested_and_titles(tmp_path: Path) -> None:
    texts, manifest = tmp_path / "texts", tmp_path / "manifest.jsonl"
    texts.mkdir()
    tested = "One two three four five six seven eight nine."
    (texts / "a.txt").write_text(f"CHAPTER ONE\nThe house was old. {tested}\nNobody lived there.\n", encoding="utf-8")
    rows = [{"path": "x.wav", "text": tested.upper(), "split": "test", "language": "en", "corpus": "c"}]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ((name, words),) = documents(texts, manifest)
    assert (name, [one.word for one in words]) == ("a.txt", ["nobody", "lived", "there"])
    (texts / "a.txt").write_text(f"{tested}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no sentence that is not tested"):
        list(documents(texts, manifest))


def test_recordings_are_those_of_the_training_split_that_are_written(tmp_path: Path) -> None:
    base = {"split": "train", "language": "en", "corpus": "c"}
    rows = [
        {**base, "path": "a.wav", "text": "He came in."},
        {**base, "path": "b.wav", "text": "HE CAME IN"},
        {**base, "path": "c.wav", "text": "he came in"},
        {**base, "path": "d.wav", "text": "Er kam herein.", "language": "de"},
        {**base, "path": "e.wav", "text": "He came in.", "split": "test"},
    ]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert [path.name for _, path, _ in recordings(tmp_path)] == ["a.wav"]


def test_what_is_measured_on_is_not_trained_on() -> None:
    words = [Said(f"w{place}", 0, False) for place in range(2 * HELD_OUT * BLOCK + 10)]
    taught, held_out = divided([("a", words)])
    assert [len(part) for part in held_out] == [BLOCK, BLOCK]
    assert sorted(one.word for part in [*taught, *held_out] for one in part) == sorted(one.word for one in words)


def toy(n: int, seed: int) -> list[Said]:
    """Sentences of a language: "a ... z", questions end with "eh", names are "bob", and a pause says the rest."""
    numbers, found = np.random.default_rng(seed), []
    while len(found) < n:
        asks = numbers.random() < 0.3
        length = int(numbers.integers(3, 9))
        words = ["so", *numbers.choice(["bob", "saw", "the", "red", "fox"], length), *(["eh"] if asks else [])]
        for place, word in enumerate(words):
            last = place == len(words) - 1
            mark = (3 if asks else 2) if last else 1 if word == "fox" and numbers.random() < 0.5 else 0
            found.append(Said(str(word), mark, place == 0 or word == "bob"))
    return found


def test_a_network_learns_marks_from_words_and_pauses() -> None:
    counts = np.ones((len(MARKS), N_PAUSES)) * 0.01
    counts[0, 1], counts[1, 3], counts[2, 5], counts[3, 5] = 100, 100, 100, 100
    texts = [toy(3000, 0), toy(3000, 1)]
    words = vocabulary(texts)
    config = PunctuationConfig(len(words) + N_SPECIAL, 16, 64, 8, pause_size=8, hidden_size=24, dropout=0.1)
    stretches = Stretches(texts, words, config, shares_of(counts), n_rows=8)
    punctuator = Punctuator(train(stretches, config, epochs=30), words)
    unseen = toy(2000, 2)
    drawn = stretches.pauses(np.array([one.mark for one in unseen]))
    seconds = [(0.0, 0.0, 0.1, 0.2, 0.3, 0.45, 0.7, 1.1)[length] for length in drawn]
    found = measured(punctuator, unseen, seconds)
    for name in (",", ".", "?", "capital within a sentence"):
        assert found[name]["f1"] > 90, (name, found)  # type: ignore[index]
    # Half of the foxes have a comma behind them: without pauses nobody knows which.
    without = measured(punctuator, unseen, [None] * len(unseen))
    assert without[","]["f1"] < 80  # type: ignore[index]


def test_stretches_teach_capitals_only_where_no_sentence_begins() -> None:
    counts = np.ones((len(MARKS), N_PAUSES))
    texts = [toy(500, 0)]
    words = vocabulary(texts)
    stretches = Stretches(texts, words, PunctuationConfig(len(words) + N_SPECIAL), shares_of(counts))
    features, marks, capitals = stretches.draw()
    ends = (marks == 2) | (marks == 3)
    after = ends.roll(1, dims=1)
    after[:, 0] = False
    assert (capitals[after] == IGNORED).all()
    assert ((capitals == IGNORED) | (marks != IGNORED)).all()
    assert set(features[..., -1].unique().tolist()) <= set(range(N_PAUSES))
