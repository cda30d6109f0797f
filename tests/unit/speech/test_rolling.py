"""Samples of recordings, a window or a span at a time: nothing is lost or read twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from auricle.speech.rolling import Reader, RollingSamples


def blocks(n_samples: int, length: int) -> Iterator[np.ndarray]:
    for begin in range(0, n_samples, length):
        yield np.arange(begin, min(begin + length, n_samples))


def test_windows_begin_where_the_first_block_is_put() -> None:
    samples = RollingSamples(blocks(10, 4), start=100)
    assert samples.window(6).tolist() == [0, 1, 2, 3, 4, 5]
    samples.skip(5)
    assert (samples.start, samples.window(3).tolist()) == (105, [5, 6, 7])


@pytest.mark.parametrize("length", [1, 3, 7, 100])
def test_samples_are_skipped_in_pieces_up_to_a_position_or_the_end(length: int) -> None:
    samples = RollingSamples(blocks(50, length))
    samples.skip_to(20, n_at_once=8)
    assert (samples.start, samples.window(2).tolist()) == (20, [20, 21])
    samples.skip_to(99, n_at_once=8)
    assert (samples.start, samples.ended) == (50, True)


@pytest.mark.parametrize("length", [1, 3, 7, 100])
def test_spans_of_a_recording_are_read_in_one_pass(length: int) -> None:
    reader = Reader(blocks(50, length))
    spans = [(0, 5), (5, 6), (20, 31), (40, None)]
    found = [[int(one) for block in reader.span(*span) for one in block] for span in spans]
    assert found == [list(range(5)), [5], list(range(20, 31)), list(range(40, 50))]
    assert reader.position == 50


def test_a_span_behind_the_end_is_empty() -> None:
    reader = Reader(blocks(10, 4))
    assert list(reader.span(20, 30)) == []
    assert reader.position == 10
