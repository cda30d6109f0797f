"""The generation loops over a table of logits, whose best and most probable continuations are known."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from auricle.decoding import filters
from auricle.decoding.generate import Generated, GenerateOptions, generate
from auricle.errors import OptionError

EOS = 0
V = 4
PROMPT = torch.tensor([[1]])


class TableStep:
    """Logits by a row's table and its last two tokens; counts what it is asked."""

    max_length = 12

    def __init__(self, tables: Tensor) -> None:
        self.tables = tables  # (R, V, V, V)
        self.rows = torch.arange(len(tables))
        self.tokens = torch.zeros(len(tables), 0, dtype=torch.long)
        self.n_calls = 0

    @property
    def n_rows(self) -> int:
        return len(self.rows)

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        assert tokens.shape[0] == self.n_rows
        self.tokens = torch.cat([self.tokens, tokens], 1)
        self.n_calls += 1
        found = []
        for place in range(self.length - n_last, self.length):
            before = self.tokens[:, place - 1] if place else torch.zeros_like(self.rows)
            found.append(self.tables[self.rows, before, self.tokens[:, place]])
        return torch.stack(found, 1)

    def reorder(self, rows: Tensor) -> None:
        self.rows, self.tokens = self.rows[rows], self.tokens[rows]


def random_tables(n_rows: int, seed: int = 0, spread: float = 2.0) -> Tensor:
    tables = torch.randn(n_rows, V, V, V, generator=torch.Generator().manual_seed(seed)) * spread
    tables[..., EOS] -= 1.0  # a few tokens before most rows end
    return tables


def run(tables: Tensor, options: GenerateOptions, **more: object) -> list[Generated]:
    return generate(TableStep(tables), PROMPT.repeat(len(tables), 1), options, **more)  # type: ignore[arg-type]


def seeded(n: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + row) for row in range(n)]


def score_of(table: Tensor, tokens: list[int], ended: bool) -> float:
    history = [0, int(PROMPT[0, 0])]
    total = 0.0
    for token in [*tokens, EOS] if ended else tokens:
        total += float(table[history[-2], history[-1]].log_softmax(-1)[token])
        history.append(token)
    return total


def best_of_all(table: Tensor, n_tokens: int, length_penalty: float) -> tuple[float, list[int]]:
    """Try every continuation of up to `n_tokens`."""
    found = []
    for length in range(n_tokens + 1):
        for tokens in itertools.product(range(1, V), repeat=length):
            ended = length < n_tokens
            if length or ended:
                score = score_of(table, list(tokens), ended) / (length + ended) ** length_penalty
                found.append((score, list(tokens)))
    return max(found)


def test_greedy_takes_the_most_probable_token_each_time() -> None:
    table = torch.full((1, V, V, V), -5.0)
    table[0, 0, 1, 2] = table[0, 1, 2, 3] = table[0, 2, 3, EOS] = 5.0
    [found] = run(table, GenerateOptions(eos=EOS))
    assert found.tokens == (2, 3)
    assert found.ended
    assert found.sum_logprob == pytest.approx(score_of(table[0], [2, 3], True))
    assert found.avg_logprob == pytest.approx(found.sum_logprob / 3)


def test_rows_end_each_in_its_own_time_and_do_not_see_each_other() -> None:
    tables = random_tables(6)
    options = GenerateOptions(eos=EOS, max_new_tokens=7)
    together = run(tables, options)
    alone = [run(tables[row : row + 1], options)[0] for row in range(6)]
    assert together == alone
    assert len({len(one.tokens) for one in together}) > 1


def test_the_loop_stops_with_its_last_row() -> None:
    table = torch.full((1, V, V, V), -5.0)
    table[..., EOS] = 5.0
    step = TableStep(table)
    assert generate(step, PROMPT, GenerateOptions(eos=EOS))[0].tokens == ()
    assert step.n_calls == 1


def test_max_new_tokens_and_the_step_s_room_both_limit() -> None:
    tables = random_tables(1)
    tables[..., EOS] = -50.0
    assert len(run(tables, GenerateOptions(eos=EOS, max_new_tokens=3))[0].tokens) == 3
    [filled] = run(tables, GenerateOptions(eos=EOS, max_new_tokens=100))
    assert len(filled.tokens) == TableStep.max_length - 1
    assert not filled.ended
    assert len(filled.logprobs) == len(filled.tokens)


@pytest.mark.parametrize(
    ("changes", "n_tokens"),
    [
        ({"max_length": 4}, 3),  # one of them is the prompt's
        ({"max_length": 4, "max_new_tokens": 6}, 6),
        ({"max_length": 1, "max_new_tokens": 2}, 2),
        ({"max_length": 448}, TableStep.max_length - 1),
    ],
)
def test_max_length_counts_the_prompt_and_yields_to_max_new_tokens(changes: dict[str, int], n_tokens: int) -> None:
    tables = random_tables(1)
    tables[..., EOS] = -50.0
    assert len(run(tables, GenerateOptions(eos=EOS, **changes))[0].tokens) == n_tokens


def test_a_prompt_as_long_as_max_length_is_refused() -> None:
    with pytest.raises(OptionError, match=r"max_length=1 counts the prompt, which alone has 1 tokens.*max_new_tokens"):
        run(random_tables(1), GenerateOptions(eos=EOS, max_length=1))


@pytest.mark.parametrize(
    ("changes", "n_tokens"),
    [
        ({"min_length": 4}, 3),
        ({"min_new_tokens": 4}, 4),
        ({"min_length": 9, "min_new_tokens": 4}, 4),
        ({"min_length": 9, "min_new_tokens": 0}, 0),
        ({"min_length": 1}, 0),
        ({"min_new_tokens": 100}, TableStep.max_length - 1),
    ],
)
@pytest.mark.parametrize(
    "search",
    [
        {},
        {"n_beams": 2},
        {"n_beams": 2, "n_beam_groups": 2},
        {"temperature": 0.1},
        {"n_beams": 2, "temperature": 0.1},
    ],
    ids=str,
)
def test_a_row_goes_on_until_its_least_length(changes: dict[str, int], n_tokens: int, search: dict[str, Any]) -> None:
    table = torch.zeros(1, V, V, V)
    table[..., EOS] = 50.0  # whoever may end, does
    options = GenerateOptions(eos=EOS, **changes, **search)
    assert len(run(table, options, generators=seeded(1))[0].tokens) == n_tokens


def test_do_sample_alone_samples_at_temperature_one() -> None:
    tables = random_tables(20)
    drawn = run(tables, GenerateOptions(eos=EOS, do_sample=True), generators=seeded(20))
    assert drawn == run(tables, GenerateOptions(eos=EOS, temperature=1.0), generators=seeded(20))
    assert drawn != run(tables, GenerateOptions(eos=EOS, do_sample=False))
    assert run(tables, GenerateOptions(eos=EOS, do_sample=False)) == run(tables, GenerateOptions(eos=EOS))


def test_samples_report_the_probabilities_of_temperature_one_among_all_tokens() -> None:
    tables = random_tables(10, seed=8)
    options = GenerateOptions(eos=EOS, temperature=0.5, top_k=2, top_p=0.9, typical_p=0.9)
    for found, table in zip(run(tables, options, generators=seeded(10)), tables, strict=True):
        assert found.sum_logprob == pytest.approx(score_of(table, list(found.tokens), found.ended), abs=1e-4)


@pytest.mark.parametrize("n_beams", [1, 3])
def test_each_row_may_have_its_own_limit(n_beams: int) -> None:
    tables = random_tables(3)
    tables[..., EOS] = -50.0
    options = GenerateOptions(eos=EOS, n_beams=n_beams)
    found = run(tables, options, limits=[2, 5, 1])
    assert [len(one.tokens) for one in found] == [2, 5, 1]
    assert found[1] == run(tables[1:2], options, limits=[5])[0]


def test_a_prompt_without_room_is_refused_with_its_length() -> None:
    step = TableStep(random_tables(1))
    with pytest.raises(OptionError, match="prompt has 12 tokens"):
        generate(step, torch.ones(1, 12, dtype=torch.long), GenerateOptions(eos=EOS))


def test_given_logits_are_used_in_place_of_a_prefill() -> None:
    tables = random_tables(2)
    step = TableStep(tables)
    logits = step.advance(PROMPT.repeat(2, 1))[:, -1]
    found = generate(step, PROMPT.repeat(2, 1), GenerateOptions(eos=EOS), logits=logits)
    assert found == run(tables, GenerateOptions(eos=EOS))


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("seed", range(6))
def test_beams_as_wide_as_the_tree_find_the_best_of_all(seed: int, length_penalty: float) -> None:
    table = random_tables(1, seed)
    options = GenerateOptions(
        eos=EOS, n_beams=V**4, max_new_tokens=4, length_penalty=length_penalty, early_stopping="never"
    )
    [found] = run(table, options)
    score, tokens = best_of_all(table[0], 4, length_penalty)
    assert found.score == pytest.approx(score, abs=1e-4)
    assert list(found.tokens) == tokens


@pytest.mark.parametrize("early_stopping", [True, False, "never"])
@pytest.mark.parametrize("patience", [1.0, 2.0])
def test_beam_rows_do_not_see_each_other(early_stopping: bool, patience: float) -> None:
    tables = random_tables(5, seed=2)
    options = GenerateOptions(eos=EOS, n_beams=3, early_stopping=early_stopping, patience=patience)
    together = run(tables, options)
    alone = [run(tables[row : row + 1], options)[0] for row in range(5)]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_a_beam_reports_its_own_probabilities() -> None:
    tables = random_tables(4, seed=5)
    for row, found in enumerate(run(tables, GenerateOptions(eos=EOS, n_beams=3))):
        assert found.sum_logprob == pytest.approx(score_of(tables[row], list(found.tokens), found.ended), abs=1e-4)
        assert found.score == pytest.approx(found.sum_logprob / len(found.logprobs), abs=1e-5)


def test_patience_finds_hypotheses_that_finish_later() -> None:
    options = GenerateOptions(eos=EOS, n_beams=2, early_stopping=True)
    tables = random_tables(40, seed=11)
    hasty = run(tables, options)
    patient = run(tables, replace(options, patience=4.0))
    assert all(late.score >= early.score - 1e-6 for late, early in zip(patient, hasty, strict=True))
    assert any(late.score > early.score + 1e-3 for late, early in zip(patient, hasty, strict=True))


def test_longer_hypotheses_win_with_a_higher_length_penalty() -> None:
    tables = random_tables(20, seed=3)
    lengths = []
    for penalty in (0.0, 1.0, 3.0):
        options = GenerateOptions(eos=EOS, n_beams=4, length_penalty=penalty, early_stopping="never")
        lengths.append(sum(len(one.tokens) for one in run(tables, options)))
    assert lengths[0] < lengths[1] < lengths[2]


def test_renormalizing_scores_what_the_filters_left() -> None:
    tables = random_tables(1)
    only_two = filters.suppress([EOS, 1, 3])
    options = GenerateOptions(eos=EOS, n_beams=2, max_new_tokens=3)
    [plain] = run(tables, options, filters=[only_two])
    [normal] = run(tables, replace(options, renormalize=True), filters=[only_two])
    assert plain.tokens == normal.tokens == (2, 2, 2)
    assert normal.sum_logprob == pytest.approx(0.0, abs=1e-5)
    assert plain.sum_logprob < -0.1


def test_sampling_draws_as_often_as_probability_says() -> None:
    probabilities = torch.tensor([0.05, 0.15, 0.3, 0.5])
    tables = probabilities.log().expand(2000, V, V, V)
    options = GenerateOptions(eos=EOS, temperature=1.0, max_new_tokens=1)
    drawn = [(*one.tokens, EOS)[0] for one in run(tables, options, generators=seeded(2000))]
    shares = torch.bincount(torch.tensor(drawn), minlength=V) / 2000
    # Three standard deviations of a share of one half among 2000.
    torch.testing.assert_close(shares, probabilities, atol=3 * math.sqrt(0.25 / 2000), rtol=0)


def test_a_lower_temperature_draws_the_probable_more_often() -> None:
    tables = torch.tensor([0.05, 0.15, 0.3, 0.5]).log().expand(500, V, V, V)
    shares = []
    for temperature in (2.0, 0.7, 0.2):
        options = GenerateOptions(eos=EOS, temperature=temperature, max_new_tokens=1)
        found = run(tables, options, generators=seeded(500))
        shares.append(sum(one.tokens == (3,) for one in found))
    assert shares[0] < shares[1] < shares[2]


def test_samples_depend_on_the_seed_and_not_on_the_neighbours() -> None:
    tables = random_tables(5)
    options = GenerateOptions(eos=EOS, temperature=1.0, best_of=3)
    together = run(tables, options, generators=seeded(5))
    alone = [
        run(tables[row : row + 1], options, generators=[torch.Generator().manual_seed(row)])[0] for row in range(5)
    ]
    assert together == alone
    assert together != run(tables, options, generators=seeded(5, seed=100))


def test_best_of_keeps_the_most_probable_sample() -> None:
    tables = random_tables(30, seed=4)
    one = run(tables, GenerateOptions(eos=EOS, temperature=1.0), generators=seeded(30))
    eight = run(tables, GenerateOptions(eos=EOS, temperature=1.0, best_of=8), generators=seeded(30))
    assert sum(found.score for found in eight) > sum(found.score for found in one)


def test_top_k_never_draws_beyond_the_k_most_probable() -> None:
    tables = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().expand(300, V, V, V)
    options = GenerateOptions(eos=EOS, temperature=5.0, top_k=2, max_new_tokens=1)
    assert {one.tokens for one in run(tables, options, generators=seeded(300))} == {(2,), (3,)}


def test_a_masked_token_is_never_drawn() -> None:
    tables = torch.zeros(300, V, V, V)
    options = GenerateOptions(eos=EOS, temperature=1.0, max_new_tokens=1)
    found = run(tables, options, generators=seeded(300), filters=[filters.suppress([EOS, 3])])
    assert {one.tokens for one in found} == {(1,), (2,)}


@pytest.mark.parametrize("n_beams", [1, 3])
def test_no_repeat_ngram_size_holds_in_every_search(n_beams: int) -> None:
    tables = random_tables(8, seed=6)
    tables[..., EOS] = -50.0
    options = GenerateOptions(eos=EOS, n_beams=n_beams, no_repeat_ngram_size=2, max_new_tokens=8)
    for found in run(tables, options):
        pairs = list(itertools.pairwise([1, *found.tokens]))
        assert len(set(pairs)) == len(pairs)


def test_repetition_penalty_leaves_a_loop() -> None:
    table = torch.zeros(1, V, V, V)
    table[..., 1], table[..., EOS] = 2.0, -9.0
    assert run(table, GenerateOptions(eos=EOS, max_new_tokens=3))[0].tokens == (1, 1, 1)
    [found] = run(table - 3.0, GenerateOptions(eos=EOS, max_new_tokens=3, repetition_penalty=9.0))
    assert found.tokens[0] != 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"n_beams": 0}, "n_beams is 0"),
        ({"n_beams": 10**9}, "expected 1 to 256"),
        ({"best_of": 257, "temperature": 1.0}, "best_of is 257"),
        ({"patience": 0.0, "n_beams": 2}, "patience"),
        ({"early_stopping": "sometimes"}, "'never'"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"best_of": 5}, "temperature is 0"),
        ({"top_k": 5}, "temperature is 0"),
        ({"patience": 2.0}, "set n_beams above 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size"),
        ({"min_new_tokens": -1}, "min_new_tokens is -1; expected 0 or more"),
        ({"max_length": 0}, "max_length is 0; expected 1 or more"),
        ({"min_length": -1}, "min_length is -1; expected 0 or more"),
        ({"min_length": 9, "max_length": 8}, "min_length=9 is more than max_length=8"),
        ({"min_new_tokens": 9, "max_new_tokens": 8}, "min_new_tokens=9 is more than max_new_tokens=8"),
        ({"do_sample": "yes"}, "do_sample is 'yes'; expected True, False or None"),
        ({"do_sample": False, "temperature": 0.7}, "leave out temperature to search, or do_sample to sample"),
        ({"do_sample": True, "temperature": 0.0}, "do_sample=True draws tokens and temperature=0 takes the best"),
        ({"top_p": 1.1, "do_sample": True}, "top_p is 1.1; expected 0 to 1"),
        ({"top_p": 0.9}, "top_p=0.9 chooses among samples, but the temperature is 0; set a temperature above 0 or do_"),
        ({"typical_p": 0.0, "do_sample": True}, "typical_p is 0.0; expected above 0 and at most 1"),
        ({"typical_p": 0.9}, "typical_p=0.9 chooses among samples"),
        ({"epsilon_cutoff": 1.0, "do_sample": True}, "epsilon_cutoff is 1.0; expected 0"),
        ({"epsilon_cutoff": 0.1}, "epsilon_cutoff=0.1 chooses among samples"),
        ({"eta_cutoff": math.nan, "do_sample": True}, "eta_cutoff is nan; expected 0"),
        ({"eta_cutoff": 0.1}, "eta_cutoff=0.1 chooses among samples"),
        ({"length_penalty": math.nan}, "length_penalty is nan"),
        ({"n_beam_groups": 2}, "n_beam_groups is 2; expected 1 to n_beams, which is 1"),
        ({"n_beam_groups": 2, "n_beams": 5}, "n_beams=5 cannot be divided into n_beam_groups=2"),
        ({"diversity_penalty": 0.5, "n_beams": 4}, "diversity_penalty=0.5 is between groups of beams; set n_beam_gr"),
        ({"diversity_penalty": -0.5, "n_beams": 4, "n_beam_groups": 2}, "diversity_penalty is -0.5"),
        ({"n_beam_groups": 2, "n_beams": 4, "do_sample": True}, "do_sample=True draws them; choose one"),
        ({"n_beams": 4, "do_sample": True, "best_of": 2}, "best_of=2 draws independent samples and n_beams=4"),
        ({"penalty_alpha": 1.5, "top_k": 4}, "penalty_alpha is 1.5; expected 0 .off. to 1"),
        ({"penalty_alpha": 0.6}, "top_k=0 tokens; give top_k of 2 to 256, such as 4"),
        ({"penalty_alpha": 0.6, "top_k": 1}, "top_k=1 tokens"),
        ({"penalty_alpha": 0.6, "top_k": 4, "n_beams": 2}, "n_beams=2 several; choose one"),
        ({"penalty_alpha": 0.6, "top_k": 4, "temperature": 0.5}, "temperature=0.5 does; choose one"),
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        GenerateOptions(eos=EOS, **changes)  # type: ignore[arg-type]


SEARCHES: list[dict[str, Any]] = [{}, {"n_beams": 2}, {"n_beams": 2, "renormalize": False}, {"do_sample": True}]


@pytest.mark.parametrize("search", SEARCHES, ids=str)
@pytest.mark.parametrize("n_before", [0, 2])
def test_rules_that_leave_nothing_are_an_error_and_no_text(search: dict[str, Any], n_before: int) -> None:
    def nothing(tokens: Tensor, logits: Tensor) -> Tensor:
        return logits if tokens.shape[1] < 1 + n_before else torch.full_like(logits, -math.inf)

    tables = random_tables(2)
    tables[..., EOS] = -20.0
    options = GenerateOptions(eos=EOS, max_new_tokens=5, **search)
    with pytest.raises(OptionError, match="leave no token that may follow"):
        run(tables, options, filters=[nothing], generators=seeded(2))


@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_logits_that_are_no_numbers_are_an_error_and_no_text(search: dict[str, Any]) -> None:
    tables = random_tables(2)
    tables[1] = math.nan
    with pytest.raises(OptionError, match="no numbers"):
        run(tables, GenerateOptions(eos=EOS, max_new_tokens=5, **search), generators=seeded(2))


def test_sampling_without_generators_is_refused() -> None:
    with pytest.raises(OptionError, match="one generator per row"):
        run(random_tables(1), GenerateOptions(eos=EOS, temperature=1.0))


@pytest.mark.parametrize("penalty", [-1e300, 1e300, 101.0, float("nan")])
def test_a_length_penalty_that_ranks_nothing_is_refused(penalty: float) -> None:
    with pytest.raises(OptionError, match=r"length_penalty is .* expected -100 to 100"):
        GenerateOptions(eos=EOS, n_beams=2, length_penalty=penalty)
