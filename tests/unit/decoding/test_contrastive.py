"""Contrastive search over a table, against the paper's rule by hand and a second implementation with loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from auricle.decoding import filters
from auricle.decoding.generate import Generated, GenerateOptions, generate

EOS, V, D = 0, 9, 4
PROMPT = [1, 2]


class TableStep:
    """Logits by a row's table and its last token; the hidden state by the last two tokens."""

    max_length = 12

    def __init__(self, tables: Tensor, states: Tensor) -> None:
        self.tables, self.states = tables, states  # (R, V, V), (V, V, D)
        self.rows = torch.arange(len(tables))
        self.tokens = torch.zeros(len(tables), 1, dtype=torch.long)  # before the prompt
        self.hidden = torch.zeros(0)

    @property
    def n_rows(self) -> int:
        return len(self.rows)

    @property
    def length(self) -> int:
        return self.tokens.shape[1] - 1

    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        assert len(tokens) == self.n_rows
        self.tokens = torch.cat([self.tokens, tokens], 1)
        n = tokens.shape[1]
        self.hidden = self.states[self.tokens[:, -n - 1 : -1], self.tokens[:, -n:]]
        return self.tables[self.rows[:, None], self.tokens[:, -n_last:]]

    def reorder(self, rows: Tensor) -> None:
        self.rows, self.tokens = self.rows[rows], self.tokens[rows]
        self.hidden = torch.zeros(0)


def by_loops(
    table: Tensor, states: Tensor, k: int, alpha: float, limit: int, forbidden: frozenset[int] = frozenset()
) -> list[int]:
    """Equation 5 of Su et al. 2022, one row and one candidate at a time, from nothing but the tokens."""
    tokens = list(PROMPT)
    while len(tokens) < len(PROMPT) + limit:
        logits = table[tokens[-1]].clone()
        logits[list(forbidden)] = -math.inf
        probabilities = logits.softmax(-1)
        seen = [states[before, token] for before, token in zip([0, *tokens], tokens, strict=False)]
        best = (-math.inf, -1)
        for candidate in sorted(set(range(V)) - forbidden, key=lambda one: -float(probabilities[one]))[:k]:
            own = states[tokens[-1], candidate]
            likeness = max(float(own @ one / (own.norm() * one.norm())) for one in seen)
            best = max(best, ((1 - alpha) * float(probabilities[candidate]) - alpha * likeness, candidate))
        tokens.append(best[1])
        if tokens[-1] == EOS:
            break
    return [token for token in tokens[len(PROMPT) :] if token != EOS]


def random_model(n_rows: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_rows, V, V, generator=generator) * 2, torch.randn(V, V, D, generator=generator)


def run(tables: Tensor, states: Tensor, options: GenerateOptions, **more: object) -> list[Generated]:
    prompt = torch.tensor([PROMPT] * len(tables))
    return generate(TableStep(tables, states), prompt, options, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [2, 4, 20])
@pytest.mark.parametrize("alpha", [0.1, 0.6, 0.95])
def test_the_paper_s_rule_decides(k: int, alpha: float) -> None:
    tables, states = random_model(20, seed=k)
    options = GenerateOptions(eos=EOS, top_k=k, penalty_alpha=alpha, max_new_tokens=7)
    found = run(tables, states, options)
    assert [list(one.tokens) for one in found] == [by_loops(table, states, k, alpha, 7) for table in tables]
    assert len({len(one.tokens) for one in found}) > 1


def test_a_token_that_says_nothing_new_gives_way_to_the_next_one() -> None:
    tables = torch.full((1, V, V), -9.0)
    tables[0, :, 3], tables[0, :, 4] = 2.0, 1.9  # 3 is always a little more probable than 4
    states = torch.eye(V)[None].repeat(V, 1, 1)  # and a token is like itself and nothing else
    plain = run(tables, states, GenerateOptions(eos=EOS, max_new_tokens=2))[0]
    assert plain.tokens == (3, 3)
    [found] = run(tables, states, GenerateOptions(eos=EOS, top_k=2, penalty_alpha=0.5, max_new_tokens=2))
    assert found.tokens == (3, 4)
    assert found.logprobs == pytest.approx([float(tables[0, 0].log_softmax(-1)[token]) for token in (3, 4)])


def test_a_small_penalty_is_greedy_search() -> None:
    tables, states = random_model(10, seed=1)
    found = run(tables, states, GenerateOptions(eos=EOS, top_k=4, penalty_alpha=1e-7, max_new_tokens=8))
    greedy = run(tables, states, GenerateOptions(eos=EOS, max_new_tokens=8))
    assert [one.tokens for one in found] == [one.tokens for one in greedy]
    assert [one.sum_logprob for one in found] == pytest.approx([one.sum_logprob for one in greedy])


def test_rows_do_not_see_each_other_and_have_limits_of_their_own() -> None:
    tables, states = random_model(5, seed=2)
    options = GenerateOptions(eos=EOS, top_k=3, penalty_alpha=0.6)
    limits = [8, 1, 5, 8, 3]
    together = run(tables, states, options, limits=limits)
    for row, limit in enumerate(limits):
        assert run(tables[row : row + 1], states, options, limits=[limit]) == [together[row]]
        assert list(together[row].tokens) == by_loops(tables[row], states, 3, 0.6, limit)


def test_a_forbidden_token_is_no_candidate_even_where_fewer_are_left_than_asked_for() -> None:
    tables, states = random_model(10, seed=3)
    forbidden = frozenset({EOS, 1, 2, 5, 6, 7, 8})
    options = GenerateOptions(eos=EOS, top_k=5, penalty_alpha=0.9, max_new_tokens=6)
    for found, table in zip(
        run(tables, states, options, filters=[filters.suppress(sorted(forbidden))]), tables, strict=True
    ):
        assert set(found.tokens) <= {3, 4}
        assert list(found.tokens) == by_loops(table, states, 5, 0.9, 6, forbidden)


def test_the_last_place_of_the_decoder_is_used_and_none_beyond() -> None:
    tables, states = random_model(3, seed=4)
    tables[..., EOS] = -99.0
    found = run(tables, states, GenerateOptions(eos=EOS, top_k=3, penalty_alpha=0.6))
    assert [len(one.tokens) for one in found] == [TableStep.max_length - len(PROMPT)] * 3
