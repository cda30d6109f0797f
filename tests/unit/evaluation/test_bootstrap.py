from __future__ import annotations

import numpy as np
import pytest

from auricle.errors import OptionError
from auricle.evaluation.bootstrap import MIN_SPEAKERS, compare, interval, what_to_draw

# Quantiles of 1000 resamples are off by about this much from those of another 1000.
QUANTILE_TOLERANCE = 0.01


def sample(n: int, seed: int, rate: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 20, n)
    return random.binomial(lengths, rate), lengths


def test_drawing_cells_is_drawing_utterances() -> None:
    errors, lengths = sample(200, 0)
    random = np.random.default_rng(1)
    drawn = random.integers(200, size=(4000, 200))
    rates = errors[drawn].sum(axis=1) / lengths[drawn].sum(axis=1)
    found = interval(errors, lengths, resamples=4000)
    assert found is not None
    assert found.low == pytest.approx(np.quantile(rates, 0.025), abs=QUANTILE_TOLERANCE / 2)
    assert found.high == pytest.approx(np.quantile(rates, 0.975), abs=QUANTILE_TOLERANCE / 2)


def test_nineteen_intervals_of_twenty_hold_the_true_rate() -> None:
    held = 0
    for seed in range(100):
        found = interval(*sample(150, seed), resamples=200)
        assert found is not None
        held += found.low <= 0.2 <= found.high
    assert 0.88 <= held / 100 <= 0.99  # 95 % with the spread of 100 trials


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    errors, lengths = sample(50, 0)
    assert interval(errors, lengths, seed=3) == interval(errors, lengths, seed=3)
    assert interval(errors, lengths, seed=3) != interval(errors, lengths, seed=4)


def test_speakers_that_err_alike_widen_the_interval() -> None:
    speakers = [str(number // 20) for number in range(400)]
    lengths = np.full(400, 10)
    errors = np.array([(number // 20) % 2 * 5 for number in range(400)])
    by_utterance, by_speaker = interval(errors, lengths), interval(errors, lengths, speakers)
    assert by_utterance is not None
    assert by_speaker is not None
    assert by_speaker.high - by_speaker.low > 3 * (by_utterance.high - by_utterance.low)


def test_one_utterance_has_no_interval() -> None:
    assert interval(np.array([1]), np.array([5])) is None
    assert interval(np.array([1, 2]), np.array([5, 5]), ["ann", "ann"]) is None


def test_a_model_that_is_better_everywhere_is_better_in_all_resamples() -> None:
    errors, lengths = sample(100, 0)
    found = compare(errors, errors + 1, lengths)
    assert found is not None
    assert found.first_better == 1.0
    assert found.difference == pytest.approx(-100 / lengths.sum())
    assert found.low < found.difference < found.high < 0


def test_a_model_is_no_better_than_itself() -> None:
    errors, lengths = sample(100, 0)
    found = compare(errors, errors, lengths)
    assert found is not None
    assert (found.difference, found.low, found.high, found.first_better) == (0.0, 0.0, 0.0, 0.5)


def test_pairing_sees_what_two_intervals_do_not() -> None:
    errors, lengths = sample(300, 0, rate=0.4)
    better = np.maximum(errors - (np.arange(300) % 5 == 0), 0)
    one, other, both = interval(errors, lengths), interval(better, lengths), compare(better, errors, lengths)
    assert one is not None
    assert other is not None
    assert both is not None
    assert other.high > one.low  # the intervals overlap
    assert both.first_better == 1.0


def test_speakers_are_drawn_where_all_are_known_and_there_are_enough() -> None:
    enough = [str(number) for number in range(MIN_SPEAKERS)]
    assert what_to_draw(enough) == enough
    assert what_to_draw(enough[1:]) is None
    assert what_to_draw([*enough, None]) is None


def test_wrong_levels_are_refused() -> None:
    with pytest.raises(OptionError, match=r"such as 0\.95"):
        interval(*sample(5, 0), level=95)
    with pytest.raises(OptionError, match="resamples=0"):
        interval(*sample(5, 0), resamples=0)
    with pytest.raises(OptionError, match="seed=-1; expected 0 or more"):
        interval(*sample(5, 0), seed=-1)
