"""Recordings in chunks: each sample where it belongs, and little held of any length."""

from __future__ import annotations

import numpy as np
import pytest

from auricle.models.pyannet import PyanNetConfig
from auricle.speech.diarization_turns import Choice, Frames, fill_and_drop, lay_over, turns_of
from auricle.speech.diarization_windows import (
    Decision,
    Decisions,
    Geometry,
    cut_pieces,
    masks,
    stretches,
    whole_pieces,
)

PUBLISHED = Geometry.of(PyanNetConfig(), 0.1)
SMALL = Geometry(sample_rate=100, chunk_samples=100, step_samples=10, n_frames=9, frame_samples=12, hop_samples=10)


def test_published_geometry() -> None:
    assert (PUBLISHED.chunk_samples, PUBLISHED.step_samples, PUBLISHED.n_frames) == (160000, 16000, 589)
    assert [PUBLISHED.first_frame(chunk) for chunk in (0, 1, 2, 10)] == [0, 59, 119, 593]
    assert PUBLISHED.total_frames(1) == 594
    assert PUBLISHED.time(0) == pytest.approx(991 / 2 / 16000)


@pytest.mark.parametrize("n_samples", [1, 99, 100, 101, 109, 110, 111, 957])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_chunks_are_cut_where_they_begin(n_samples: int, batch_size: int, block: int) -> None:
    samples = np.arange(1, n_samples + 1, dtype=np.float32)
    blocks = [samples[start : start + block] for start in range(0, n_samples, block)]
    found = list(stretches(iter(blocks), SMALL, batch_size))
    chunks = [one.samples[start : start + 100] for one in found for start in one.starts]
    expected = 1 + max(0, -(-(n_samples - 100) // 10))
    assert len(chunks) == expected == SMALL.n_chunks(n_samples)
    filled = np.concatenate([samples, np.zeros(100, np.float32)])
    for number, chunk in enumerate(chunks):
        assert np.array_equal(chunk, filled[number * 10 : number * 10 + 100])
    assert found[-1].heard == n_samples
    assert all(len(one.starts) <= batch_size for one in found)


@pytest.mark.parametrize("n_chunks", [1, 2, 11, 200])
def test_the_same_speech_is_heard_by_as_many_chunks_as_lie_over_it(n_chunks: int) -> None:
    n_over = np.zeros(SMALL.chunk_samples + (n_chunks - 1) * SMALL.step_samples)
    for chunk in range(n_chunks):
        n_over[chunk * SMALL.step_samples :][: SMALL.chunk_samples] += 1
    assert SMALL.repeats(n_chunks) == pytest.approx(n_over.mean())


def test_no_recording_has_no_chunks() -> None:
    assert list(stretches(iter([]), SMALL, 4)) == []


def test_decisions_come_back_and_are_small() -> None:
    rng = np.random.default_rng(0)
    kept, given = Decisions(), []
    for _ in range(50):
        sets = np.repeat(rng.integers(7, size=19), 31)
        probabilities = np.clip(1 - np.abs(rng.standard_normal(589)) * 0.002, 0, 1).astype(np.float32)
        pieces = rng.integers(589, size=(int(rng.integers(8)), 3))
        given.append(Decision(sets, probabilities, pieces, rng.integers(-9, 99, size=len(pieces))))
        kept.add(given[-1])
    for decision, before in zip(kept, given, strict=True):
        assert np.array_equal(decision.sets, before.sets)
        assert np.allclose(decision.probabilities, before.probabilities, atol=1 / 255)
        assert np.array_equal(decision.pieces, before.pieces)
        assert np.array_equal(decision.vectors, before.vectors)
    assert np.array_equal(kept.vectors(), np.concatenate([one.vectors for one in given]))
    assert sum(len(frames) + len(vectors) for frames, vectors in kept._kept) / 50 < 400  # bytes


def test_a_voice_is_heard_where_it_is_alone_if_that_is_enough() -> None:
    active = np.zeros((8, 3))
    active[:5, 0] = active[3:, 1] = active[3:5, 2] = 1
    whole = whole_pieces(active)
    assert whole.tolist() == [[0, 0, 8], [1, 0, 8], [2, 0, 8]]
    assert masks(active, whole, least_frames=2).tolist() == [
        [1, 1, 1, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 0, 0, 0],  # never alone
    ]
    assert masks(active, whole, least_frames=3)[1].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert np.array_equal(masks(active, whole, least_frames=-1), active.T)
    assert masks(active, np.array([[1, 4, 6], [1, 4, 7]]), least_frames=1).tolist() == [
        [0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 0],
    ]


def test_speech_is_cut_at_pauses_and_into_even_parts() -> None:
    active = np.zeros((40, 3))
    active[2:7, 0] = active[9:12, 0] = active[15:40, 0] = active[0:1, 2] = 1
    # A pause of 2 frames is none, one of 3 is; 25 frames in parts of about 10 are two or three.
    assert cut_pieces(active, 10).tolist() == [[0, 2, 12], [0, 15, 28], [0, 28, 40], [2, 0, 1]]
    assert cut_pieces(np.zeros((40, 3)), 10).shape == (0, 3)
    assert whole_pieces(np.zeros((40, 3))).shape == (0, 3)


BOTH = np.array([[0, 0, 4], [1, 0, 4]])  # all of both places


def test_chunks_vote_by_hand() -> None:
    sets = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    geometry = Geometry(100, 40, 20, n_frames=4, frame_samples=10, hop_samples=10)

    def said(*numbers: int) -> Decision:
        return Decision(np.array(numbers, np.uint8), np.full(4, 0.8, np.float32), BOTH, np.zeros(2, np.int32))

    # Places are exchanged from one chunk to the next; at frame 3 one of two chunks hears nobody: 0.5 rounds to none.
    decisions = [said(0, 1, 1, 1), said(2, 0, 3, 1)]
    speakers = np.array([0, 1, 1, 0])
    certainty = np.array([1.0, 1.0, 1.0, 0.5])
    frames = list(lay_over(decisions, speakers, certainty, Choice(sets, 2, None), geometry, 2))
    active = np.concatenate([piece.active for piece in frames])
    sure = np.concatenate([piece.confidence for piece in frames])
    assert active.T.astype(int).tolist() == [[0, 1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1, 0]]
    assert sure[:, 0].tolist() == pytest.approx([0, 0.8, 0.6, 0.4, 0.4, 0, 0])
    spans = turns_of(frames, geometry, duration=0.6)
    assert [(one.speaker, one.start, one.end) for one in spans] == [(0, 0.15, 0.35), (0, 0.45, 0.55), (1, 0.45, 0.6)]
    assert [one.confidence for one in spans] == pytest.approx([0.7, 0.4, 0.8])
    (whole, _) = fill_and_drop(spans, min_off=0.11, min_on=0.0)
    assert (whole.start, whole.end) == (0.15, 0.55)
    assert [one.speaker for one in fill_and_drop(spans, 0.0, min_on=0.12)] == [0, 1]


def test_who_talks_at_the_last_frame_ends_there() -> None:
    piece = Frames(np.array([[True], [True]]), np.ones((2, 1), np.float32))
    (span,) = turns_of([piece], SMALL, duration=9.0)
    assert (span.start, span.end) == pytest.approx((0.06, 0.16))
