"""Each warper by an example whose probabilities are chosen; the parity tests hold them against transformers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from auricle.decoding import sampling
from auricle.decoding.options import GenerateOptions

PROBABILITIES = [0.02, 0.4, 0.08, 0.3, 0.2]  # entropy 1.31 nats, so that a typical token has exp(-1.31) = 0.27


def left(warp: sampling.Warper, probabilities: list[float] = PROBABILITIES) -> set[int]:
    """The tokens that stay possible; what stays keeps its logit."""
    logits = torch.tensor([probabilities], dtype=torch.float64).log()
    kept = warp(logits)[0]
    stay = kept > -math.inf
    assert torch.equal(kept[stay], logits[0, stay])
    return set(stay.nonzero().flatten().tolist())


@pytest.mark.parametrize(("k", "expected"), [(1, {1}), (2, {1, 3}), (4, {1, 2, 3, 4}), (9, {0, 1, 2, 3, 4})])
def test_top_k_keeps_the_most_probable(k: int, expected: set[int]) -> None:
    assert left(sampling.top_k(k)) == expected


@pytest.mark.parametrize(
    ("mass", "expected"),
    [(0.0, {1}), (0.39, {1}), (0.41, {1, 3}), (0.69, {1, 3}), (0.71, {1, 3, 4}), (0.97, {1, 2, 3, 4})],
)
def test_top_p_keeps_the_fewest_that_together_have_the_probability(mass: float, expected: set[int]) -> None:
    assert left(sampling.top_p(mass)) == expected


@pytest.mark.parametrize(("mass", "expected"), [(0.2, {3}), (0.4, {3, 4}), (0.8, {1, 3, 4}), (0.95, {1, 2, 3, 4})])
def test_typical_keeps_what_is_about_as_surprising_as_expected(mass: float, expected: set[int]) -> None:
    """The most probable token is not the most typical one: it says less than is expected."""
    assert left(sampling.typical(mass)) == expected


@pytest.mark.parametrize(("cutoff", "expected"), [(0.01, {0, 1, 2, 3, 4}), (0.1, {1, 3, 4}), (0.9, {1})])
def test_epsilon_keeps_what_is_probable_enough_and_at_least_the_best(cutoff: float, expected: set[int]) -> None:
    assert left(sampling.epsilon(cutoff)) == expected


def test_eta_lowers_the_limit_where_the_distribution_is_flat() -> None:
    # sqrt(0.1) · exp(-1.31) = 0.085 is below 0.1, and 0.08 below both.
    assert left(sampling.eta(0.1)) == {1, 3, 4}
    # Flat: exp(-entropy) = 1/5, so that the limit is 0.2 · sqrt(0.3) = 0.11, where epsilon would keep one.
    assert left(sampling.eta(0.3), [0.2] * 5) == {0, 1, 2, 3, 4}
    # Peaked: sqrt(0.01) · exp(-0.11) = 0.09 is above 0.01, which is the limit.
    assert left(sampling.eta(0.01), [0.98, 0.011, 0.009]) == {0, 1}


@pytest.mark.parametrize(
    "warp",
    [
        sampling.top_k(1, 2),
        sampling.top_p(0.1, 2),
        sampling.typical(0.01, 2),
        sampling.epsilon(0.99, 2),
        sampling.eta(0.99, 2),
    ],
)
def test_beams_keep_two_tokens_at_least(warp: sampling.Warper) -> None:
    assert len(left(warp, [0.003, 0.99, 0.005, 0.002])) == 2


def test_a_later_warper_judges_what_the_earlier_ones_left() -> None:
    """Temperature, then top_k, then top_p: the order of transformers."""
    options = GenerateOptions(eos=0, temperature=0.5, top_k=3, top_p=0.5)
    logits: Tensor = torch.tensor([PROBABILITIES], dtype=torch.float64).log()
    for warp in sampling.warpers(options):
        logits = warp(logits)
    # Squared and normalised among three: 0.16, 0.09, 0.04 of 0.29 are 0.55, 0.31, 0.14.
    assert (logits > -math.inf).tolist() == [[False, True, False, False, False]]
    # Without the temperature the best of three has 0.44, and the second is needed, too.
    warm = GenerateOptions(eos=0, temperature=1.0, top_k=3, top_p=0.5)
    logits = torch.tensor([PROBABILITIES], dtype=torch.float64).log()
    for warp in sampling.warpers(warm):
        logits = warp(logits)
    assert (logits > -math.inf).sum() == 2


def test_no_warper_is_applied_whose_option_is_off() -> None:
    assert sampling.warpers(GenerateOptions(eos=0, do_sample=True)) == []


def test_noise_draws_without_replacement_as_often_as_probability_says() -> None:
    log_probs = torch.tensor([0.5, 0.3, 0.2]).log()
    noise = sampling.gumbel_noise(3, [torch.Generator().manual_seed(seed) for seed in range(4000)], log_probs.device)
    first, second = (log_probs + noise).topk(2).indices.T
    shares = torch.bincount(first, minlength=3) / 4000
    # Three standard deviations of a share of one half among 4000; among fewer for the second draw.
    torch.testing.assert_close(shares, log_probs.exp(), atol=3 * math.sqrt(0.25 / 4000), rtol=0)
    after_best = torch.bincount(second[first == 0], minlength=3) / (first == 0).sum()
    torch.testing.assert_close(after_best, torch.tensor([0.0, 0.6, 0.4]), atol=3 * math.sqrt(0.25 / 2000), rtol=0)
