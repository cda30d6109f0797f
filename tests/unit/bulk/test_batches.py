"""Batches by length: each row once, within limits, little padding."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auricle.bulk import BulkOptions
from auricle.bulk.batches import batches
from auricle.bulk.listening import ahead
from auricle.errors import OptionError


@given(
    seconds=st.lists(st.floats(0, 100)),
    max_rows=st.integers(1, 10),
    max_seconds=st.floats(1, 200),
)
def test_every_row_is_in_one_batch_within_the_limits(seconds, max_rows, max_seconds):
    found = batches(seconds, max_rows, max_seconds)
    assert sorted(place for batch in found for place in batch) == list(range(len(seconds)))
    for batch in found:
        assert len(batch) <= max_rows
        assert len(batch) == 1 or len(batch) * max(seconds[place] for place in batch) <= max_seconds
    lengths = [seconds[place] for batch in found for place in batch]
    assert lengths == sorted(lengths)


def test_what_a_thread_raises_arrives_where_its_items_are_taken():
    def numbers():
        yield 1
        raise ValueError("in the thread")

    with ahead(numbers()) as taken:
        assert next(taken) == 1
        with pytest.raises(ValueError, match="in the thread"):
            next(taken)


def test_a_taker_that_leaves_ends_the_thread():
    given_out = []

    def numbers():
        for number in range(10**9):
            given_out.append(number)
            yield number

    with ahead(numbers()) as taken:
        assert next(taken) == 0
    assert len(given_out) <= 4


@pytest.mark.parametrize(
    "wrong", [{"form": "csv"}, {"shard_size": 0}, {"batch_seconds": 0}, {"parameters": {"batch_size": 3}}]
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(OptionError):
        BulkOptions(**wrong)
