"""Each filter by hand-made examples; the parity tests hold them against transformers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from auricle.decoding import filters

# A vocabulary of 5 text tokens, eos, start, <|notimestamps|>, and timestamps 0 … 7.
EOS, START, NO_TIMESTAMPS, STAMP = 5, 6, 7, 8
V = 16
PROMPT = [START]


def allowed(tokens: list[int], logits: Tensor | None = None, max_initial: int | None = None) -> set[int]:
    """The ids that the timestamp rules leave after `tokens`."""
    rule = filters.timestamp_rules(STAMP, NO_TIMESTAMPS, EOS, len(PROMPT), max_initial)
    # Text far above timestamps, so that only the grammar decides, unless the test brings its own logits.
    if logits is None:
        logits = torch.zeros(V)
        logits[:STAMP] = 20.0
    kept = rule(torch.tensor([[*PROMPT, *tokens]]), logits[None])[0]
    return {id for id in range(V) if kept[id] > -math.inf}


TEXT = set(range(5))
SPECIAL = {EOS, START}
STAMPS = set(range(STAMP, V))


def test_a_window_begins_with_a_timestamp() -> None:
    assert allowed([]) == STAMPS


def test_the_first_timestamp_is_at_most_the_stated_one() -> None:
    assert allowed([], max_initial=2) == {STAMP, STAMP + 1, STAMP + 2}


def test_after_the_opening_timestamp_comes_text() -> None:
    assert allowed([STAMP + 1]) == TEXT | SPECIAL


def test_after_text_comes_text_or_a_later_timestamp() -> None:
    assert allowed([STAMP + 1, 0]) == TEXT | SPECIAL | set(range(STAMP + 2, V))


def test_after_a_closing_timestamp_comes_another_or_the_end() -> None:
    assert allowed([STAMP, 0, STAMP + 3]) == SPECIAL | set(range(STAMP + 3, V))


def test_after_a_pair_comes_text() -> None:
    assert allowed([STAMP, 0, STAMP + 3, STAMP + 3]) == TEXT | SPECIAL


def test_a_timestamp_is_forced_when_all_together_beat_the_best_text() -> None:
    logits = torch.full((V,), -20.0)
    logits[0] = 1.0
    # Seven timestamps are left, each half as probable as the text, together more.
    logits[STAMP:] = 1.0 - math.log(2)
    assert allowed([STAMP, 1], logits) == set(range(STAMP + 1, V))
    logits[STAMP:] = 1.0 - math.log(8)
    assert allowed([STAMP, 1], logits) > TEXT


LAST, ADDED = STAMP + 1500, STAMP + 1501  # 30.00 s, and the first token behind it


def test_tokens_behind_the_last_timestamp_are_text() -> None:
    rule = filters.timestamp_rules(STAMP, NO_TIMESTAMPS, EOS, len(PROMPT), 50)

    def added_allowed(tokens: list[int], best: float = 0.0) -> tuple[bool, bool]:
        logits = torch.zeros(1, ADDED + 2)
        logits[:, ADDED:] = best
        kept = rule(torch.tensor([[*PROMPT, *tokens]]), logits)[0] > -math.inf
        return bool(kept[ADDED:].all()), bool(kept[STAMP:ADDED].any())

    assert added_allowed([], 20.0) == (False, True)
    assert added_allowed([STAMP], 20.0) == (True, False)
    # Said, it is no time: later ones stay possible, and earlier ones do not become so.
    assert added_allowed([STAMP, ADDED], 20.0) == (True, True)
    assert added_allowed([STAMP, ADDED, STAMP + 9], 20.0) == (False, True)
    # 1501 timestamps together are more probable than one token that is as probable as each of them.
    assert added_allowed([STAMP, ADDED]) == (False, True)
    logits = torch.zeros(1, ADDED + 1)
    logits[:, :STAMP] = 20.0
    assert rule(torch.tensor([[*PROMPT, STAMP, ADDED, LAST]]), logits)[0, STAMP:].isfinite().tolist()[-2:] == [
        True,
        False,
    ]


def test_rows_are_judged_each_by_its_own_tokens() -> None:
    rule = filters.timestamp_rules(STAMP, NO_TIMESTAMPS, EOS, 1, None)
    logits = torch.randn(2, V, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([[START, STAMP, 0], [START, STAMP, 2]])
    tokens[1, 2] = STAMP + 4
    both = rule(tokens, logits)
    for row in range(2):
        torch.testing.assert_close(both[row], rule(tokens[row : row + 1], logits[row : row + 1])[0])


def test_suppressed_tokens_are_impossible_and_the_others_untouched() -> None:
    logits = torch.arange(6.0)[None]
    kept = filters.suppress([1, 4, 99])(torch.tensor([[0]]), logits)
    assert kept.tolist() == [[0.0, -math.inf, 2.0, 3.0, -math.inf, 5.0]]
    assert logits.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]]


def test_numbers_of_no_token_suppress_none() -> None:
    logits = torch.arange(6.0)[None]
    assert filters.suppress([-1, -6, 6, 10**9])(torch.zeros(1, 1, dtype=torch.long), logits).tolist() == logits.tolist()


def test_suppression_at_one_place_ends_with_it() -> None:
    rule = filters.suppress([2], only_at=3)
    logits = torch.zeros(1, 4)
    assert rule(torch.zeros(1, 3, dtype=torch.long), logits)[0, 2] == -math.inf
    assert rule(torch.zeros(1, 4, dtype=torch.long), logits)[0, 2] == 0


def test_repetition_penalty_lowers_what_occurred_whatever_its_sign() -> None:
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    kept = filters.repetition_penalty(2.0)(torch.tensor([[0, 1, 1]]), logits)
    assert kept.tolist() == [[1.0, -4.0, 2.0, -2.0]]


@pytest.mark.parametrize(
    ("size", "tokens", "banned"),
    [
        (1, [0, 2], {0, 2}),
        (2, [0, 1, 0], {1}),
        (2, [0, 1, 0, 2, 0], {1, 2}),
        (3, [0, 1, 2, 0, 1], {2}),
        (3, [0, 1], set()),
        (4, [0, 1], set()),
    ],
)
def test_no_ngram_is_completed_twice(size: int, tokens: list[int], banned: set[int]) -> None:
    kept = filters.no_repeat_ngram(size)(torch.tensor([tokens]), torch.zeros(1, 4))
    assert {id for id in range(4) if kept[0, id] == -math.inf} == banned
