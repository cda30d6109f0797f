"""When each token was spoken, from where the decoder looked: dynamic time warping over cross-attention.

Dimension key: `H` attention heads, `S` tokens, `T` encoder frames.

Source: openai/whisper timing.py (normalise over tokens, median filter, mean over heads, DTW); Sakoe and
Chiba 1978 for the warping. Numpy, because the matrices are small and the recurrence runs along
anti-diagonals.
"""

from __future__ import annotations

import numpy as np

MEDIAN_WIDTH = 7  # frames, the width of openai/whisper

# How a cell of the warping path was reached.
DIAGONAL, DOWN, ACROSS = 0, 1, 2  # next token and frame · next token, same frame · same token, next frame


def token_onsets(attention: np.ndarray, median_width: int = MEDIAN_WIDTH) -> np.ndarray:
    """The frame at which each token begins, from softmaxed cross-attention weights (H, S, T): (S,) integers.

    The onsets never decrease. Crop `attention` to the frames that hold sound before; its rows need not sum
    to one.
    """
    matrix = np.zeros(attention.shape[1:])  # (S, T)
    for head in attention:  # one at a time: a large model has hundreds
        weights = head.astype(np.float64)
        weights /= np.maximum(weights.sum(-1, keepdims=True), np.finfo(np.float64).tiny)
        spread = weights.std(0, keepdims=True)
        spread[spread == 0] = 1.0  # every token looks equally at this frame: it says nothing, not infinity
        matrix += median_filter((weights - weights.mean(0, keepdims=True)) / spread, median_width)
    tokens, frames = warp(-matrix / len(attention))
    first = np.diff(tokens, prepend=-1) > 0
    return frames[first]


def median_filter(values: np.ndarray, width: int) -> np.ndarray:
    """The running median over the last axis; edges are mirrored, a too short axis is left as it is."""
    if width % 2 == 0:
        raise ValueError(f"the width of a median filter is odd, not {width}")
    margin = width // 2
    if margin == 0 or values.shape[-1] <= margin:
        return values
    padding = [(0, 0)] * (values.ndim - 1) + [(margin, margin)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, padding, mode="reflect"), width, -1)
    return np.partition(windows, margin, axis=-1)[..., margin]


def warp(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest path from the first to the last cell of a (S, T) cost matrix, as its rows and its columns.

    Each step goes one row down, one column across, or both. Of equal ways the one across is taken.
    """
    S, T = cost.shape
    skewed = np.full((S + T - 1, S), np.inf)
    rows, columns = np.indices((S, T))
    skewed[rows + columns, rows] = cost  # (S + T - 1, S): one anti-diagonal per line
    trace = np.empty((S + T - 1, S), dtype=np.int8)
    before = np.full(S, np.inf)  # the accumulated cost one and two anti-diagonals back
    before_that = before.copy()
    for line in range(S + T - 1):
        diagonal, down = _shift(before_that), _shift(before)
        step = np.where((diagonal < down) & (diagonal < before), DIAGONAL, ACROSS)
        step = np.where((down < diagonal) & (down < before), DOWN, step)
        total = np.choose(step, (diagonal, down, before)) if line else np.zeros(S)
        trace[line] = step
        before_that, before = before, total + skewed[line]
    return _trace_back(trace, S, T)


def _shift(values: np.ndarray) -> np.ndarray:
    return np.concatenate(([np.inf], values[:-1]))


def _trace_back(trace: np.ndarray, S: int, T: int) -> tuple[np.ndarray, np.ndarray]:
    row, column = S - 1, T - 1
    path = [(row, column)]
    while row or column:
        step = ACROSS if row == 0 else DOWN if column == 0 else trace[row + column, row]
        row -= step != ACROSS
        column -= step != DOWN
        path.append((row, column))
    rows, columns = np.array(path[::-1]).T
    return rows, columns
