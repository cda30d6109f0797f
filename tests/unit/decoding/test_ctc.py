"""CTC decoding against answers that are constructed by hand or by trying every alignment."""

from __future__ import annotations

import itertools
import math
import time
import tracemalloc

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.decoding.ctc import BeamOptions, BeamSearch, Token, align, best_path, greedy
from auricle.decoding.ngram import LN_10, NGram
from auricle.engines.cpu.ctc_search import aligned
from auricle.engines.cpu.native_library import kernels
from auricle.errors import OptionError

EXACT = 1e-9  # sums of a few thousand float64 logarithms
LITTLE = 0.3  # nats, of about -17, for noise that is much less sure than speech
LETTERS = ["", " ", *"abcdefghijklmnopqrstuvwxyz"]  # blank 0, space 1
EVERYTHING = BeamOptions(beam_width=10**6, min_token_log_prob=-math.inf, max_beam_distance=math.inf)


def every_reading(log_probs: Tensor, blank: int) -> dict[tuple[int, ...], float]:
    """Sum the probabilities of all alignments of each reading."""
    readings: dict[tuple[int, ...], float] = {}
    n_frames, n_ids = log_probs.shape
    for path in itertools.product(range(n_ids), repeat=n_frames):
        score = sum(log_probs[t, id].item() for t, id in enumerate(path))
        reading = tuple(id for id, _ in itertools.groupby(path) if id != blank)
        readings[reading] = np.logaddexp(readings.get(reading, -math.inf), score)
    return readings


def random_log_probs(n_frames: int, n_ids: int, seed: int, sharpness: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n_frames, n_ids, generator=generator, dtype=torch.float64)
    return (noise * sharpness).log_softmax(-1)


def ids_of(tokens: tuple[Token, ...]) -> tuple[int, ...]:
    return tuple(token.id for token in tokens)


def text_of(tokens: tuple[Token, ...]) -> str:
    return "".join(LETTERS[token.id] for token in tokens)


def spelled(text: str, doubt: dict[int, tuple[str, float]] | None = None) -> Tensor:
    """A sure frame for each letter and a blank after it; `doubt` gives letters a rival and its share."""
    probabilities = torch.full((2 * len(text), len(LETTERS)), 1e-6, dtype=torch.float64)
    for place, letter in enumerate(text):
        other, share = (doubt or {}).get(place, (letter, 0.0))
        probabilities[2 * place, LETTERS.index(letter)] += 1 - share
        probabilities[2 * place, LETTERS.index(other)] += share
        probabilities[2 * place + 1, 0] = 1.0
    return (probabilities / probabilities.sum(-1, keepdim=True)).log()


def test_greedy_merges_repeats_and_keeps_what_a_blank_divides() -> None:
    ids = torch.tensor([0, 2, 2, 0, 2, 3, 3, 3, 0])
    log_probs = torch.full((9, 4), 0.05).scatter_(1, ids[:, None], 0.85).log()
    found = greedy(log_probs, blank=0)
    assert [(token.id, token.start, token.end) for token in found.tokens] == [(2, 1, 3), (2, 4, 5), (3, 5, 8)]
    assert all(token.probability == pytest.approx(0.85) for token in found.tokens)
    assert found.score == pytest.approx(9 * math.log(0.85))


def test_greedy_probability_is_the_mean_over_the_frames() -> None:
    log_probs = torch.tensor([[0.1, 0.9], [0.4, 0.6], [0.9, 0.1]]).log()
    assert greedy(log_probs, blank=0).tokens[0].probability == pytest.approx(0.75)


def test_no_frames_give_no_tokens() -> None:
    nothing = torch.zeros(0, 5)
    assert greedy(nothing, blank=4).tokens == ()
    assert BeamSearch([""] * 5, 4, BeamOptions())(nothing)[0].tokens == ()


@pytest.mark.parametrize(("n_frames", "n_ids", "blank"), [(1, 2, 0), (6, 3, 0), (5, 4, 3), (6, 4, 1)])
def test_unpruned_beams_sum_every_alignment(n_frames: int, n_ids: int, blank: int) -> None:
    log_probs = random_log_probs(n_frames, n_ids, seed=n_frames)
    expected = every_reading(log_probs, blank)
    found = BeamSearch(["x"] * n_ids, blank, EVERYTHING)(log_probs, n_best=10**6)
    assert {ids_of(one.tokens): one.score for one in found} == pytest.approx(expected, abs=EXACT)
    assert len(found) == len(expected)
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)


def test_the_winner_is_the_likeliest_reading_where_the_best_path_is_not() -> None:
    # Each frame's best is blank, but all paths of "a" together weigh more than the one path of silence.
    log_probs = torch.tensor([[0.6, 0.4], [0.6, 0.4]], dtype=torch.float64).log()
    assert greedy(log_probs, 0).tokens == ()
    best = BeamSearch(["", "a"], 0, EVERYTHING)(log_probs)[0]
    assert ids_of(best.tokens) == (1,)
    assert best.score == pytest.approx(math.log(0.64))


@pytest.mark.parametrize("beam_width", [1, 4, 50])
def test_a_narrow_beam_reads_clear_speech(beam_width: int) -> None:
    log_probs = spelled("hello all")
    found = BeamSearch(LETTERS, 0, BeamOptions(beam_width=beam_width))(log_probs)[0]
    assert text_of(found.tokens) == "hello all"
    assert [(token.start, token.end) for token in found.tokens] == [(2 * n, 2 * n + 1) for n in range(9)]


def test_pruning_costs_little_of_the_best_score() -> None:
    everything = BeamOptions(beam_width=1000, min_token_log_prob=-math.inf, max_beam_distance=math.inf)
    for seed in range(5):
        log_probs = random_log_probs(40, 12, seed, sharpness=4.0)
        pruned = BeamSearch(["x"] * 12, 0, BeamOptions(beam_width=50))(log_probs)[0]
        wide = BeamSearch(["x"] * 12, 0, everything)(log_probs)[0]
        assert wide.score - LITTLE < pruned.score <= wide.score + EXACT


@pytest.mark.parametrize("seed", range(5))
def test_alignment_is_the_best_of_all_paths(seed: int) -> None:
    log_probs = random_log_probs(6, 3, seed)
    for ids in ([1], [1, 2], [1, 1], [2, 1, 2], []):
        fitting = [
            path
            for path in itertools.product(range(3), repeat=6)
            if [id for id, _ in itertools.groupby(path) if id] == ids
        ]
        best = max(fitting, key=lambda path: sum(log_probs[t, id].item() for t, id in enumerate(path)))
        tokens = align(log_probs.numpy(), ids, blank=0)
        written = [0] * 6
        for token in tokens:
            written[token.start : token.end] = [token.id] * (token.end - token.start)
        assert written == list(best)


@pytest.mark.skipif(kernels() is None, reason="built without native kernels for this processor")
@pytest.mark.parametrize("seed", range(20))
def test_native_alignment_finds_the_plain_ones_path(seed: int) -> None:
    log_probs = random_log_probs(30, 4, seed).double().numpy()
    log_probs[3:6, seed % 4] = -np.inf
    ids = np.random.default_rng(seed).integers(1, 4, seed).tolist()  # repeats included, some too long for 30 frames
    plain, native = best_path(log_probs, ids, 0), aligned(log_probs, ids, 0)
    assert (plain is None) == (native is None)
    if plain is not None and native is not None:
        assert native.tolist() == plain.tolist()
    if seed:
        assert aligned(log_probs[:3], ids[:1] * 3, 0) is None


def test_alignment_refuses_more_tokens_than_frames() -> None:
    with pytest.raises(OptionError, match="3 frames cannot hold 2 tokens"):
        # Equal neighbours need a blank between them: three frames hold "aa", but not if blank is impossible.
        align(np.log(np.array([[1e-300, 1.0]] * 3)) + np.array([-np.inf, 0.0]), [1, 1], blank=0)


def language_model() -> NGram:
    """Knows "see" and "sea"; after "deep" it expects "sea"."""
    grams = {
        ("<s>",): (-99.0, 0.0),
        ("</s>",): (-1.0, 0.0),
        ("<unk>",): (-4.0, 0.0),
        ("i",): (-1.0, 0.0),
        ("deep",): (-1.5, 0.0),
        ("see",): (-1.0, 0.0),
        ("sea",): (-2.0, 0.0),
        ("deep", "sea"): (-0.1, 0.0),
    }
    return NGram({gram: (p * LN_10, b * LN_10) for gram, (p, b) in grams.items()}, order=2)


def test_language_model_changes_the_winner() -> None:
    heard = spelled("deep see", doubt={7: ("a", 0.4)})
    assert text_of(BeamSearch(LETTERS, 0, BeamOptions())(heard)[0].tokens) == "deep see"
    fused = BeamSearch(LETTERS, 0, BeamOptions(lm=language_model(), alpha=1.0))(heard)[0]
    assert text_of(fused.tokens) == "deep sea"


def test_fused_score_is_the_sum_of_its_parts() -> None:
    options = BeamOptions(lm=language_model(), alpha=0.7, beta=0.3)
    heard = spelled("deep zzz")
    found = BeamSearch(LETTERS, 0, options)(heard)[0]
    expected = 0.7 * (-1.5 - 4.0 - 1.0) * LN_10 + 2 * 0.3 - 10.0
    assert found.fusion_score == pytest.approx(expected)
    plain = BeamSearch(LETTERS, 0, BeamOptions())(heard)[0]
    assert found.score == pytest.approx(plain.score + expected, abs=1e-6)


def test_a_beginning_that_no_word_has_bears_the_penalty_before_its_end() -> None:
    # With room for two prefixes the wrong letter must lose at once, or the right one has left the beam.
    heard = spelled("sea", doubt={0: ("z", 0.9), 1: ("z", 0.9)})
    found = BeamSearch(LETTERS, 0, BeamOptions(beam_width=3, lm=language_model()))(heard)[0]
    assert text_of(found.tokens) == "sea"


def test_words_of_subword_pieces_are_scored_where_the_next_begins() -> None:
    pieces = ["", " de", "ep", " se", "a", "e"]
    frames = torch.full((10, 6), 1e-6, dtype=torch.float64)
    for t, id in enumerate([1, 0, 2, 0, 3, 0]):
        frames[t, id] = 1.0
    frames[6, 4], frames[6, 5] = 0.4, 0.6
    frames[7:, 0] = 1.0
    heard = (frames / frames.sum(-1, keepdim=True)).log()
    plain = BeamSearch(pieces, 0, BeamOptions())(heard)[0]
    fused = BeamSearch(pieces, 0, BeamOptions(lm=language_model(), alpha=1.0))(heard)[0]
    assert ids_of(plain.tokens) == (1, 2, 3, 5)
    assert ids_of(fused.tokens) == (1, 2, 3, 4)


def test_without_spaces_each_piece_is_a_word() -> None:
    grams = {("你",): (-1.0, 0.0), ("好",): (-0.1, 0.0), ("号",): (-3.0, 0.0), ("<unk>",): (-9.0, 0.0)}
    heard = torch.tensor([[0.01, 0.97, 0.01, 0.01], [0.01, 0.01, 0.44, 0.54]], dtype=torch.float64).log()
    options = BeamOptions(lm=NGram(grams, order=1), alpha=1.0)
    assert ids_of(BeamSearch(["", "你", "好", "号"], 0, options)(heard)[0].tokens) == (1, 2)


def test_hot_word_changes_the_winner_and_only_where_it_is_meant() -> None:
    heard = spelled("call cake now", doubt={5: ("k", 0.1), 7: ("t", 0.1)})
    assert text_of(BeamSearch(LETTERS, 0, BeamOptions())(heard)[0].tokens) == "call cake now"
    found = BeamSearch(LETTERS, 0, BeamOptions(hotwords=("Kate",), hotword_weight=10.5))(heard)[0]
    assert text_of(found.tokens) == "call kate now"
    assert found.fusion_score == pytest.approx(10.5 * 4 / 7)


def test_an_unfinished_hot_word_earns_nothing() -> None:
    # "kat" is begun by the phrase "kate", but is a word of its own: the share is taken back at its end.
    heard = spelled("cat", doubt={0: ("k", 0.3)})
    options = BeamOptions(hotwords=("kate",), hotword_weight=10.5)
    found = BeamSearch(LETTERS, 0, options)(heard)[0]
    assert text_of(found.tokens) == "cat"
    assert found.fusion_score == 0.0


def test_hot_words_match_whole_words_and_phrases() -> None:
    search = BeamSearch(LETTERS, 0, BeamOptions(hotwords=("new york", "art"), hotword_weight=7.0))
    earned = {
        text: search(spelled(text))[0].fusion_score
        for text in (
            "new york",
            "a new york art",
            "new  york",
            "newyork",
            "artist",
            "smart art",
            "new new york",
        )
    }
    expected = [7.0, 10.0, 7.0, 0.0, 0.0, 3.0, 7.0]  # a letter of a short word earns no more than one of a long
    assert list(earned.values()) == pytest.approx(expected)


def test_short_hot_words_are_not_made_up_where_little_is_heard() -> None:
    # A pause in which every letter has 1 in 50: with the whole weight for "the" it would be full of them.
    heard = torch.full((6, len(LETTERS)), 0.02, dtype=torch.float64)
    heard[:, 0] = 1.0 - 0.02 * (len(LETTERS) - 1)
    assert BeamSearch(LETTERS, 0, BeamOptions(hotwords=("the",)))(heard.log())[0].tokens == ()


def test_two_spaces_with_nothing_between_them_are_one() -> None:
    for options in (BeamOptions(), BeamOptions(hotwords=("cat",))):
        found = BeamSearch(LETTERS, 0, options)(spelled("a  cat"))[0]
        assert text_of(found.tokens) == "a cat"


def test_wide_beams_need_no_table_of_all_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    heard = torch.randn(12, len(LETTERS), generator=generator, dtype=torch.float64).log_softmax(-1)
    tracemalloc.start()
    BeamSearch(LETTERS, 0, BeamOptions(beam_width=20_000))(heard)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e8  # 20 000 * 20 000 bytes are 4e8


def test_hot_words_count_anywhere_without_spaces() -> None:
    search = BeamSearch(["", "你", "好", "号"], 0, BeamOptions(hotwords=("好号",), hotword_weight=2.0))
    heard = torch.full((4, 4), 1e-4, dtype=torch.float64)
    heard[[0, 1, 2, 3], [1, 2, 3, 1]] = 1.0
    assert search(heard.log())[0].fusion_score == 2.0


def test_hot_words_that_cannot_be_written_are_refused() -> None:
    with pytest.raises(OptionError, match=r"'R2D2'.*'2'"):
        BeamSearch(LETTERS, 0, BeamOptions(hotwords=("R2D2",)))
    with pytest.raises(OptionError, match="no letters"):
        BeamSearch(LETTERS, 0, BeamOptions(hotwords=(" ",)))


def test_twenty_seconds_at_beam_fifty_take_seconds_not_minutes() -> None:
    # Measured 0.2 s on a quiet core; the bound only catches a change of complexity.
    log_probs = random_log_probs(1000, 32, seed=1, sharpness=6.0)
    begun = time.process_time()
    BeamSearch(["x"] * 32, 0, BeamOptions(beam_width=50))(log_probs)
    assert time.process_time() - begun < 5.0
