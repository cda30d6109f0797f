"""The compact model against the ARPA model that it is made of, and the native search against the plain one."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auricle.decoding.compact_ngram import CompactNGram, write_compact
from auricle.decoding.ctc import BeamOptions, BeamSearch
from auricle.decoding.language_models import open_language_model
from auricle.decoding.ngram import END, LN_10, START, UNKNOWN, NGram
from auricle.engines.cpu.native_library import kernels
from auricle.errors import OptionError
from auricle.speech.ctc_search import native_search

HALF = 4e-3  # two numbers of up to 8 in half precision
WORDS = "a an ant at cat cats hat that the".split()
LETTERS = [*" 'acehnst", ""]  # the last one is the blank


def grams(seed: int) -> dict[tuple[str, ...], tuple[float, float]]:
    rng = np.random.default_rng(seed)
    found = {(word,): (-LN_10 * rng.uniform(1, 3), -rng.uniform(0, 1)) for word in (*WORDS, START, END, UNKNOWN)}
    for order in (2, 3):
        every = [gram for gram in product((START, *WORDS, END), repeat=order) if gram[:-1] in found or order == 2]
        for place in rng.choice(len(every), 40, replace=False):
            if order == 2 or every[place][:2] in found:
                found[every[place]] = (-rng.uniform(0.1, 6), -rng.uniform(0, 1) if order == 2 else 0.0)
    return found


@pytest.fixture
def both(tmp_path: Path) -> tuple[NGram, CompactNGram]:
    found = grams(seed=1)
    write_compact(found, tmp_path / "words.safetensors")
    model = open_language_model(tmp_path / "words.safetensors")
    assert isinstance(model, CompactNGram)
    return NGram(found, 3), model


def test_every_sentence_scores_as_with_the_model_it_is_made_of(both: tuple[NGram, CompactNGram]) -> None:
    plain, compact = both
    for sentence in product([*WORDS[::2], "Cat", "xylophone"], repeat=3):
        one, other = plain.start(), compact.start()
        for word in sentence:
            (score, one, known), (mine, other, mine_known) = (
                plain.score_word(one, word),
                compact.score_word(other, word),
            )
            assert known == mine_known
            assert mine == pytest.approx(score, abs=HALF)
        assert compact.end(other) == pytest.approx(plain.end(one), abs=HALF)


def test_it_may_be_read_by_whoever_may_read_other_files(tmp_path: Path) -> None:
    write_compact(grams(0), tmp_path / "words.safetensors")
    (tmp_path / "other").touch()
    assert (tmp_path / "words.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_beginnings_of_words_are_known(both: tuple[NGram, CompactNGram]) -> None:
    for beginning in ("", "c", "ca", "cats", "catsx", "z", "th", "TH"):
        assert both[1].may_become_word(beginning) == both[0].may_become_word(beginning), beginning


def test_other_files_and_long_or_shouted_grams_are_refused(tmp_path: Path) -> None:
    (tmp_path / "no.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(OptionError, match="is no language model"):
        open_language_model(tmp_path / "no.safetensors")
    with pytest.raises(OptionError, match="lacks backoff1"):
        CompactNGram({"words": np.zeros(1, np.uint8)})
    for gram in (("a", "an", "at", "the"), ("THE",)):
        with pytest.raises(OptionError, match="at most 3 words in lower case"):
            write_compact({gram: (-1.0, 0.0)}, tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("first2", lambda array: array + 1),
        ("first3", lambda array: array[:-1]),
        ("first3", lambda array: array[::-1]),
        ("starts", lambda array: array.astype(np.int64)),
        ("word2", lambda array: array + 100),
        ("word3", lambda array: array - 100),
        ("backoff2", lambda array: array[1:]),
        ("probability1", lambda array: array.astype(np.float64)),
    ],
)
def test_places_that_lie_outside_are_refused(both: tuple[NGram, CompactNGram], name: str, change: Any) -> None:
    with pytest.raises(OptionError, match=f"the language model has a wrong {name}"):
        CompactNGram({**both[1].arrays, name: change(both[1].arrays[name])})


@pytest.mark.skipif(kernels() is None, reason="the package was built without native kernels")
@pytest.mark.parametrize("n_pieces", [len(LETTERS) + 2, len(LETTERS) - 1])
def test_a_vocabulary_and_a_model_of_other_sizes_are_searched_alike(
    both: tuple[NGram, CompactNGram], n_pieces: int
) -> None:
    pieces = ["", *LETTERS[:-1], "", ""][:n_pieces]
    options = BeamOptions(20, both[1])
    plain, native = BeamSearch(pieces, 0, options), native_search(pieces, 0, options)
    assert native is not None
    logits = 2 * torch.randn(40, len(LETTERS), generator=torch.Generator().manual_seed(5))
    logits[:, n_pieces:] = -20.0
    log_probs = logits.log_softmax(-1)
    assert native(log_probs)[0].tokens == plain(log_probs)[0].tokens


@pytest.mark.skipif(kernels() is None, reason="the package was built without native kernels")
@pytest.mark.parametrize("weights", [(0.5, 1.5, -10.0), (1.2, -0.5, 2.0), (0.0, 0.0, 0.0)])
@pytest.mark.parametrize("beam_width", [1, 3, 50])
def test_the_native_search_finds_what_the_plain_one_finds(
    both: tuple[NGram, CompactNGram], weights: tuple[float, float, float], beam_width: int
) -> None:
    blank = len(LETTERS) - 1
    options = BeamOptions(beam_width, both[1], *weights)
    plain, native = BeamSearch(LETTERS, blank, options), native_search(LETTERS, blank, options)
    assert native is not None
    generator = torch.Generator().manual_seed(beam_width)
    for sharpness in (0.5, 2.0, 6.0):
        for n_frames in (1, 7, 60):
            log_probs = (sharpness * torch.randn(n_frames, len(LETTERS), generator=generator)).log_softmax(-1)
            one, other = plain(log_probs)[0], native(log_probs)[0]
            assert other.tokens == one.tokens
            assert other.score == pytest.approx(one.score, abs=1e-9)
            assert other.fusion_score == pytest.approx(one.fusion_score, abs=1e-9)


@pytest.mark.skipif(kernels() is None, reason="the package was built without native kernels")
def test_pieces_of_several_letters_are_searched_alike(both: tuple[NGram, CompactNGram]) -> None:
    pieces = [" the", " c", "at", "s", " h", " ", "th", ""]
    options = BeamOptions(20, both[1])
    plain, native = BeamSearch(pieces, 7, options), native_search(pieces, 7, options)
    assert native is not None
    log_probs = (2 * torch.randn(40, 8, generator=torch.Generator().manual_seed(5))).log_softmax(-1)
    assert native(log_probs)[0].tokens == plain(log_probs)[0].tokens


def test_what_native_code_cannot_search_is_left_to_the_plain_search(both: tuple[NGram, CompactNGram]) -> None:
    blank = len(LETTERS) - 1
    assert native_search(LETTERS, blank, BeamOptions(lm=both[0])) is None
    assert native_search(LETTERS, blank, BeamOptions(lm=both[1], hotwords=("cat",))) is None
    assert native_search(["c", "a", "t", ""], 3, BeamOptions(lm=both[1])) is None
