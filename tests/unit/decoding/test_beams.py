"""Diverse beam search and beam sampling, against a second implementation with lists and against known ends."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from auricle.decoding import filters
from auricle.decoding.generate import Generated, GenerateOptions, generate
from auricle.errors import OptionError

EOS, V, LIMIT = 0, 7, 6
PROMPT = 1

# Sums of up to six float32 numbers of order one, in another order.
SCORE_TOLERANCE = 1e-5


class MarkovStep:
    """Logits by a row's table and its last token."""

    max_length = 20

    def __init__(self, tables: Tensor) -> None:
        self.tables = tables  # (R, V, V)
        self.rows = torch.arange(len(tables))
        self.length = 0

    @property
    def n_rows(self) -> int:
        return len(self.rows)

    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        assert tokens.shape == (self.n_rows, 1)
        self.length += 1
        return self.tables[self.rows, tokens[:, 0]][:, None]

    def reorder(self, rows: Tensor) -> None:
        self.rows = self.rows[rows]


def random_tables(n_rows: int, seed: int) -> Tensor:
    return torch.randn(n_rows, V, V, generator=torch.Generator().manual_seed(seed)) * 1.5


def run(tables: Tensor, options: GenerateOptions, **more: object) -> list[Generated]:
    prompt = torch.full((len(tables), 1), PROMPT)
    return generate(MarkovStep(tables), prompt, options, **more)  # type: ignore[arg-type]


def diverse(table: Tensor, options: GenerateOptions, penalty: float) -> tuple[float, list[int]]:
    """Algorithm 1 of Vijayakumar et al. 2016 for one prompt, one hypothesis at a time.

    Each group is a beam search as everywhere here: the best 2·K candidates, of which those among the first K that
    end are kept, and stopping when no running one can beat the K-th best finished one.
    """
    K = options.n_beams // options.n_beam_groups
    running: list[list[tuple[float, list[int]]]] = [[(0.0, [])] for _ in range(options.n_beam_groups)]
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in running]
    closed = [False for _ in running]
    for length in range(1, LIMIT + 1):
        chosen: Counter[int] = Counter()
        for group, beams in enumerate(running):
            if closed[group]:
                continue
            candidates = []
            for score, tokens in beams:
                log_probs = table[tokens[-1] if tokens else PROMPT].log_softmax(-1).tolist()
                for token in range(V):
                    candidates.append((score + log_probs[token] - penalty * chosen[token], [*tokens, token]))
            candidates.sort(reverse=True)
            candidates = candidates[: 2 * K]
            for score, tokens in candidates[:K]:
                if tokens[-1] == EOS or length == LIMIT:
                    finished[group].append((score / length**options.length_penalty, tokens))
            finished[group] = sorted(finished[group], reverse=True)[:K]
            running[group] = [one for one in candidates if one[1][-1] != EOS][:K]
            best = running[group][0][0] / length**options.length_penalty
            closed[group] = len(finished[group]) == K and (
                options.early_stopping is True or best <= finished[group][-1][0]
            )
            chosen.update(tokens[-1] for _, tokens in running[group])
    score, tokens = max(one for group in finished for one in group)
    return score, [token for token in tokens if token != EOS]


@pytest.mark.parametrize(("n_beams", "n_groups"), [(2, 2), (4, 2), (6, 3), (6, 2), (5, 5)])
@pytest.mark.parametrize("penalty", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_groups_find_what_the_paper_s_algorithm_finds(
    n_beams: int, n_groups: int, penalty: float, early_stopping: bool
) -> None:
    tables = random_tables(12, seed=n_beams + n_groups)
    options = GenerateOptions(
        eos=EOS,
        n_beams=n_beams,
        n_beam_groups=n_groups,
        diversity_penalty=penalty,
        max_new_tokens=LIMIT,
        early_stopping=early_stopping,
    )
    for found, table in zip(run(tables, options), tables, strict=True):
        score, tokens = diverse(table, options, penalty)
        assert list(found.tokens) == tokens
        assert found.score == pytest.approx(score, abs=SCORE_TOLERANCE)


def test_the_second_group_leaves_what_the_first_one_chose() -> None:
    """One beam each: the first group takes the best token, and only the second finds the better continuation."""
    tables = torch.full((1, V, V), -9.0)
    tables[0, PROMPT, 2], tables[0, PROMPT, 3] = 1.0, 0.5
    tables[0, 2, :] = 0.0  # after the best token nothing is probable
    tables[0, 3, EOS] = 9.0
    options = GenerateOptions(eos=EOS, n_beams=2, n_beam_groups=2, diversity_penalty=1.0, max_new_tokens=2)
    assert run(tables, options)[0].tokens == (3,)
    # 1.0 - 0.5 stays a lead where the penalty is smaller: both groups take the same token.
    assert run(tables, replace(options, diversity_penalty=0.4))[0].tokens[0] == 2
    # The default is 0.5.
    tables[0, PROMPT, 3] = 0.55
    assert run(tables, replace(options, diversity_penalty=None))[0].tokens == (3,)
    tables[0, PROMPT, 3] = 0.45
    assert run(tables, replace(options, diversity_penalty=None))[0].tokens[0] == 2


def test_at_the_limit_too_an_end_is_not_what_others_are_kept_from() -> None:
    """What runs on is what the next group leaves; a hypothesis that ends is out of its way."""
    tables = torch.full((1, V, V), -9.0)
    tables[0, PROMPT, 2], tables[0, PROMPT, 3] = 1.0, 0.9
    tables[0, 2, :] = 0.0
    tables[0, 2, EOS], tables[0, 2, 5] = 0.1, 0.05
    tables[0, 3, EOS], tables[0, 3, 4] = 2.0, 1.5
    options = GenerateOptions(eos=EOS, n_beams=2, n_beam_groups=2, diversity_penalty=1.0, max_new_tokens=2)
    [found] = run(tables, options)
    assert (found.tokens, found.ended) == ((3,), True)


def test_a_group_that_has_finished_keeps_others_from_nothing() -> None:
    tables = torch.full((1, V, V), -9.0)
    tables[0, PROMPT, 2], tables[0, PROMPT, 3] = 1.0, 0.9
    tables[0, 2, :] = 0.0
    tables[0, 2, EOS], tables[0, 2, 4] = 0.1, 0.05  # the first group ends; had it gone on, 4 and 6 would follow
    tables[0, 4, 6] = 9.0
    tables[0, 3, 5] = 9.0
    tables[0, 5, 6], tables[0, 5, EOS] = 1.0, 0.5
    options = GenerateOptions(
        eos=EOS, n_beams=2, n_beam_groups=2, diversity_penalty=1.0, max_new_tokens=3, early_stopping=True
    )
    assert run(tables, options)[0].tokens == (3, 5, 6)


def test_diversity_comes_before_the_filters() -> None:
    """As in transformers: what a group loses is multiplied by the repetition penalty, too."""
    tables = torch.full((1, V, V), -9.0)
    tables[0, PROMPT] = math.log(0.31 / 5)
    tables[0, PROMPT, PROMPT], tables[0, PROMPT, 2] = math.log(0.6), math.log(0.09)
    tables[0, 2, EOS] = 9.0
    # The repeated token: 3 · log 0.6 = -1.5, then 3 · (log 0.6 - 0.5) = -3.0; the other one: log 0.09 = -2.4.
    options = GenerateOptions(
        eos=EOS, n_beams=2, n_beam_groups=2, diversity_penalty=0.5, repetition_penalty=3.0, max_new_tokens=2
    )
    assert run(tables, options)[0].tokens == (2,)
    # 3 · (log 0.6 - 0.2) = -2.1 is still the best.
    assert run(tables, replace(options, diversity_penalty=0.2))[0].tokens[0] == PROMPT


def test_sampled_beams_have_a_second_token_whatever_the_warpers_leave() -> None:
    tables = torch.full((20, V, V), -9.0)
    tables[:, PROMPT, 2], tables[:, PROMPT, 3] = 1.0, 0.5
    tables[:, 2, :] = 0.0  # after the best token nothing is probable
    tables[:, 3, EOS] = 9.0
    options = GenerateOptions(eos=EOS, n_beams=2, do_sample=True, top_k=1, max_new_tokens=2)
    found = run(tables, options, generators=[torch.Generator().manual_seed(row) for row in range(20)])
    assert (3,) in [one.tokens for one in found]


def test_groups_without_penalty_are_one_search_several_times() -> None:
    tables = random_tables(8, seed=1)
    groups = GenerateOptions(eos=EOS, n_beams=6, n_beam_groups=3, diversity_penalty=0.0, max_new_tokens=LIMIT)
    single = GenerateOptions(eos=EOS, n_beams=2, max_new_tokens=LIMIT)
    assert run(tables, groups) == run(tables, single)


def test_a_group_reports_the_model_s_probabilities_and_ranks_by_the_penalised_ones() -> None:
    tables = random_tables(1, seed=4)
    options = GenerateOptions(eos=EOS, n_beams=3, n_beam_groups=3, diversity_penalty=0.2, max_new_tokens=LIMIT)
    for found, table in zip(run(tables, options), tables, strict=True):
        history = [PROMPT, *found.tokens, EOS][: len(found.logprobs) + 1]
        own = [float(table[one].log_softmax(-1)[next]) for one, next in pairwise(history)]
        assert found.logprobs == pytest.approx(own, abs=SCORE_TOLERANCE)
        assert found.score <= found.avg_logprob + SCORE_TOLERANCE


@pytest.mark.parametrize("changes", [{"n_beam_groups": 2}, {"do_sample": True, "temperature": 0.8}], ids=str)
def test_rows_do_not_see_each_other(changes: dict[str, object]) -> None:
    tables = random_tables(6, seed=2)
    options = GenerateOptions(eos=EOS, n_beams=4, max_new_tokens=LIMIT, **changes)  # type: ignore[arg-type]
    seeds = [torch.Generator().manual_seed(row) for row in range(6)]
    together = run(tables, options, generators=seeds, limits=[6, 5, 4, 3, 2, 6])
    for row, limit in enumerate([6, 5, 4, 3, 2, 6]):
        seed = torch.Generator().manual_seed(row)
        assert run(tables[row : row + 1], options, generators=[seed], limits=[limit]) == [together[row]]


@pytest.mark.parametrize("n_groups", [1, 2])
def test_filters_and_penalties_hold_in_every_group(n_groups: int) -> None:
    options = GenerateOptions(
        eos=EOS, n_beams=4, n_beam_groups=n_groups, no_repeat_ngram_size=1, min_new_tokens=4, max_new_tokens=LIMIT
    )
    for found in run(random_tables(10, seed=3), options, filters=[filters.suppress([6])]):
        assert len(found.tokens) == 4  # of seven tokens the end, the prompt's and a suppressed one are left out
        assert sorted(found.tokens) == [2, 3, 4, 5]


def test_beams_of_samples_depend_on_the_seed_and_stay_within_top_k() -> None:
    tables = random_tables(20, seed=5)
    options = GenerateOptions(eos=EOS, n_beams=2, do_sample=True, top_k=3, max_new_tokens=LIMIT)
    seeds = [[torch.Generator().manual_seed(row + offset) for row in range(20)] for offset in (0, 0, 100)]
    first, again, other = (run(tables, options, generators=one) for one in seeds)
    assert first == again
    assert first != other
    for found, table in zip(first, tables, strict=True):
        for before, token in zip([PROMPT, *found.tokens], found.tokens, strict=False):
            assert token in table[before].topk(3).indices


def test_beams_of_samples_at_a_low_temperature_are_the_best_beams() -> None:
    tables = random_tables(10, seed=6)
    seeds = [torch.Generator().manual_seed(row) for row in range(10)]
    sampled = run(tables, GenerateOptions(eos=EOS, n_beams=3, temperature=1e-3, max_new_tokens=LIMIT), generators=seeds)
    best = run(tables, GenerateOptions(eos=EOS, n_beams=3, max_new_tokens=LIMIT))
    assert [one.tokens for one in sampled] == [one.tokens for one in best]
    # They report probabilities of temperature 1.
    assert [one.sum_logprob for one in sampled] == pytest.approx([one.sum_logprob for one in best], abs=1e-5)


def test_sampled_beams_need_generators() -> None:
    with pytest.raises(OptionError, match="one generator per row"):
        run(random_tables(1, 0), GenerateOptions(eos=EOS, n_beams=2, do_sample=True))


def test_no_row_ends_with_an_impossible_score() -> None:
    """Fewer tokens left than beams: those that do not exist never win."""
    only_two = filters.suppress([EOS, 1, 4, 5, 6])
    options = GenerateOptions(eos=EOS, n_beams=5, max_new_tokens=3)
    for found in run(random_tables(4, seed=7), options, filters=[only_two]):
        assert math.isfinite(found.score)
        assert set(found.tokens) <= {2, 3}
