"""The ARPA reader against hand-made sums and against kenlm."""

from __future__ import annotations

import gzip
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from auricle.decoding.language_models import open_language_model
from auricle.decoding.ngram import KENLM_MAGIC, LN_10, KenLM, LanguageModel, NGram
from auricle.errors import MissingExtraError, OptionError

SINGLE = 1e-5  # kenlm keeps float32
ARPA = """\\data\\
ngram 1=7
ngram 2=5
ngram 3=2

\\1-grams:
-99\t<s>\t-0.30
-1.2\t</s>
-2.5\t<unk>\t-0.05
-1.0\tthe\t-0.40
-1.5\tcat\t-0.20
-1.7\tsat\t-0.10
-2.0\tPARIS

\\2-grams:
-0.5\t<s> the\t-0.15
-0.7\tthe cat\t-0.25
-0.9\tcat sat\t-0.35
-1.1\tthe <unk>\t-0.12
-0.6\tsat </s>

\\3-grams:
-0.2\t<s> the cat
-0.3\tthe cat sat

\\end\\
"""


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


def sentence_scores(model: LanguageModel, words: tuple[str, ...]) -> list[float]:
    state, scores = model.start(), []
    for word in words:
        score, state, _ = model.score_word(state, word)
        scores.append(score)
    return [*scores, model.end(state)]


def test_scores_are_the_longest_gram_and_the_backed_off_weights(arpa: Path) -> None:
    scores = sentence_scores(open_language_model(arpa), ("the", "cat", "the", "sat"))
    the = -0.5  # (<s> the)
    cat = -0.2  # (<s> the cat)
    again = -0.25 - 0.20 - 1.0  # back off from (the cat), from (cat), to (the)
    sat = -0.40 - 1.7  # (cat the) is unknown and weighs nothing; back off from (the)
    end = -0.6  # (the sat) is unknown; (sat </s>)
    assert scores == pytest.approx([power * LN_10 for power in (the, cat, again, sat, end)])


def test_our_reader_equals_kenlm_on_every_short_sentence(arpa: Path) -> None:
    pytest.importorskip("kenlm", reason="the kenlm package is not installed")
    ours, theirs = NGram.from_arpa(arpa), KenLM(arpa)
    assert ours.order == theirs.order == 3
    for length in range(1, 5):
        for words in itertools.product(("the", "cat", "sat", "dog"), repeat=length):
            assert sentence_scores(ours, words) == pytest.approx(sentence_scores(theirs, words), abs=SINGLE)


@pytest.mark.parametrize("reader", [NGram.from_arpa, KenLM])
def test_case_is_bridged_when_the_written_form_is_unknown(arpa: Path, reader: Callable[[Path], LanguageModel]) -> None:
    pytest.importorskip("kenlm", reason="the kenlm package is not installed")
    model = reader(arpa)
    assert model.score_word(model.start(), "THE")[0] == pytest.approx(-0.5 * LN_10, abs=SINGLE)
    assert model.score_word(model.start(), "paris")[2]
    assert not model.score_word(model.start(), "london")[2]


def test_beginnings_of_words_are_known(arpa: Path) -> None:
    model = NGram.from_arpa(arpa)
    assert model.may_become_word("ca")
    assert model.may_become_word("CAT")
    assert not model.may_become_word("cx")
    assert not model.may_become_word("<")


def test_gzipped_models_are_read(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa.gz"
    path.write_bytes(gzip.compress(ARPA.encode()))
    assert open_language_model(path).score_word(("<s>",), "the")[0] == pytest.approx(-0.5 * LN_10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "no whole ARPA file"),
        (ARPA.replace("\\end\\", ""), "no whole ARPA file"),
        (ARPA.replace("-0.7\tthe cat\t-0.25", "-0.7\tthe"), "line 17: expected a probability, 2 words"),
        (ARPA.replace("-0.9\tcat", "zero\tcat"), "line 18: could not convert"),
    ],
)
def test_damaged_models_are_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "lm.arpa"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError, match=message):
        open_language_model(path)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is no file"):
        open_language_model(tmp_path / "absent.arpa")
    noise = tmp_path / "noise.arpa"
    noise.write_bytes(bytes(range(128, 256)))
    with pytest.raises(OptionError, match="no ARPA text"):
        open_language_model(noise)
    noise.rename(tmp_path / "noise.gz")
    with pytest.raises(OptionError, match="no ARPA text"):
        open_language_model(tmp_path / "noise.gz")


def test_binary_without_kenlm_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lm.bin"
    path.write_bytes(KENLM_MAGIC + b" version 5\n\0")
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(MissingExtraError, match=r'pip install "auricle\[lm\]"'):
        open_language_model(path)


def test_damaged_binary_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("kenlm", reason="the kenlm package is not installed")
    path = tmp_path / "lm.bin"
    path.write_bytes(KENLM_MAGIC + b" version 5\n\0")
    with pytest.raises(OptionError, match="cannot be read by kenlm"):
        open_language_model(path)
