"""Word times by dynamic time warping, on matrices whose answer is known by construction."""

from __future__ import annotations

import time

import numpy as np
import pytest

from auricle.decoding.alignment import median_filter, token_onsets, warp


def warp_plainly(cost: np.ndarray) -> tuple[list[int], list[int]]:
    """The textbook recurrence, cell by cell; ties go across."""
    S, T = cost.shape
    total = np.full((S + 1, T + 1), np.inf)
    total[0, 0] = 0
    came = np.zeros((S + 1, T + 1), dtype=int)
    for row in range(1, S + 1):
        for column in range(1, T + 1):
            diagonal, down, across = (
                total[row - 1, column - 1],
                total[row - 1, column],
                total[row, column - 1],
            )
            if diagonal < down and diagonal < across:
                best, came[row, column] = diagonal, 0
            elif down < diagonal and down < across:
                best, came[row, column] = down, 1
            else:
                best, came[row, column] = across, 2
            total[row, column] = best + cost[row - 1, column - 1]
    row, column, path = S, T, [(S - 1, T - 1)]
    while (row, column) != (1, 1):
        step = 2 if row == 1 else 1 if column == 1 else came[row, column]
        row, column = row - (step != 2), column - (step != 1)
        path.append((row - 1, column - 1))
    rows, columns = zip(*path[::-1], strict=True)
    return list(rows), list(columns)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 7), (7, 5), (30, 200)])
def test_warp_equals_the_recurrence_cell_by_cell(shape: tuple[int, int]) -> None:
    cost = np.random.default_rng(3).normal(size=shape)
    rows, columns = warp(cost)
    assert (rows.tolist(), columns.tolist()) == warp_plainly(cost)


def test_warp_breaks_ties_like_the_recurrence() -> None:
    cost = np.random.default_rng(0).integers(0, 2, size=(12, 20)).astype(float)
    rows, columns = warp(cost)
    assert (rows.tolist(), columns.tolist()) == warp_plainly(cost)


def test_warp_follows_a_staircase() -> None:
    # Token 0 is heard in frames 0-2, token 1 in 3, token 2 in 4-6.
    cost = np.ones((3, 7))
    cost[0, :3] = cost[1, 3] = cost[2, 4:] = -1
    rows, columns = warp(cost)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (0, 0), (0, 1), (0, 2), (1, 3), (2, 4), (2, 5), (2, 6)
    ]  # fmt: skip


def test_a_window_of_speech_warps_in_a_moment() -> None:
    cost = np.random.default_rng(0).normal(size=(225, 1500))
    begin = time.perf_counter()
    warp(cost)
    # 40 ms here; the recurrence cell by cell takes over a second in Python.
    assert time.perf_counter() - begin < 1.0


@pytest.mark.parametrize("width", [1, 3, 7])
def test_median_filter_takes_the_middle_of_mirrored_windows(width: int) -> None:
    values = np.random.default_rng(1).normal(size=(2, 3, 20))
    margin = width // 2
    padded = np.pad(values, [(0, 0), (0, 0), (margin, margin)], mode="reflect")
    expected = np.stack([np.median(padded[..., at : at + width], -1) for at in range(20)], -1)
    np.testing.assert_array_equal(median_filter(values, width), expected)


def test_median_filter_leaves_an_axis_too_short_to_mirror() -> None:
    values = np.array([[3.0, 1.0, 2.0]])
    assert median_filter(values, 7) is values


def test_onsets_are_found_in_every_head_that_follows_the_speech() -> None:
    onsets = [0, 12, 30, 31, 55]
    weights = np.full((3, len(onsets), 80), 1e-3)
    for token, (begin, end) in enumerate(zip(onsets, [*onsets[1:], 80], strict=True)):
        weights[:2, token, begin:end] = 1.0
    weights[2] = np.random.default_rng(5).uniform(size=weights[2].shape)  # a head that looks anywhere
    assert token_onsets(weights[:2], median_width=1).tolist() == onsets
    assert np.abs(token_onsets(weights, median_width=1) - onsets).max() <= 1


def test_onsets_never_decrease_and_there_is_one_per_token() -> None:
    weights = np.random.default_rng(7).uniform(size=(4, 40, 90))
    found = token_onsets(weights)
    assert len(found) == 40
    assert (np.diff(found) >= 0).all()


def test_frames_that_no_token_prefers_do_not_break_the_path() -> None:
    weights = np.ones((2, 3, 10)) / 10
    found = token_onsets(weights)
    assert len(found) == 3
    assert np.isfinite(found).all()


def test_more_tokens_than_frames_share_frames() -> None:
    assert len(token_onsets(np.random.default_rng(0).uniform(size=(2, 9, 2)))) == 9
