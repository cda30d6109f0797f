"""Clustering by centroids, against SciPy's trees and against vectors whose speakers are known."""

from __future__ import annotations

import numpy as np
import pytest

from auricle.speech.clustering import (
    Bounds,
    Voices,
    build_tree,
    cut_at_distance,
    find_clusters,
    find_even_clusters,
    joined,
    large_after_steps,
    unit,
)

FREE = Bounds(1, 10_000, None)


def voices(n_speakers: int, n_each: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around directions that are at right angles, shuffled, and whose each is."""
    rng = np.random.default_rng(seed)
    speakers = rng.permutation(np.repeat(np.arange(n_speakers), n_each))
    return unit(np.eye(16)[speakers] + noise * rng.standard_normal((len(speakers), 16))), speakers


def same_parts(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two clusterings differ by names alone."""
    return bool(((one[:, None] == one[None]) == (other[:, None] == other[None])).all())


@pytest.mark.parametrize("seed", range(6))
def test_tree_is_that_of_scipy(seed: int) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy", reason="SciPy is what trees are compared with")
    vectors = unit(np.random.default_rng(seed).standard_normal((60, 5)))
    theirs = hierarchy.linkage(vectors, "centroid", "euclidean")
    ours = build_tree(vectors, np.ones(60))
    assert np.allclose(ours.distance, theirs[:, 2], atol=1e-6)
    assert ours.size.tolist() == theirs[:, 3].astype(int).tolist()
    for threshold in (0.2, 0.5, 0.7, 0.9, 1.1):
        cut = hierarchy.fcluster(theirs, threshold, "distance")
        assert same_parts(cut_at_distance(ours, 60, threshold), cut), threshold
    theirs[:, 2] = np.arange(59)
    for step in (0, 20, 58):
        assert same_parts(joined(ours, 60, np.arange(59) <= step), hierarchy.fcluster(theirs, step, "distance"))


@pytest.mark.parametrize("seed", range(4))
def test_wards_tree_is_that_of_scipy(seed: int) -> None:
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy", reason="SciPy is what trees are compared with")
    vectors = unit(np.random.default_rng(seed).standard_normal((60, 5)))
    theirs = hierarchy.linkage(vectors, "ward", "euclidean")
    ours = build_tree(vectors, np.ones(60), is_ward=True)
    assert np.allclose(ours.distance, theirs[:, 2], atol=1e-5)
    for number in (1, 2, 5, 20):
        cut = hierarchy.fcluster(theirs, number, "maxclust")
        assert same_parts(joined(ours, 60, np.arange(59) < 60 - number), cut)
    # Two vectors at one place and their sum are the same.
    doubled = build_tree(np.repeat(vectors[:20], 2, axis=0), np.ones(40), is_ward=True)
    weighed = build_tree(vectors[:20], np.full(20, 2), is_ward=True)
    assert np.allclose(doubled.distance[20:], weighed.distance, atol=1e-5)


def test_even_clusters_are_found_among_noisy_vectors() -> None:
    vectors, speakers = voices(4, 60, 0.25)
    found = find_even_clusters(vectors, np.ones(240), FREE, 0.9, 12)
    assert len(set(found)) == 4
    assert np.mean((found[:, None] == found[None]) == (speakers[:, None] == speakers[None])) > 0.95
    assert found[0] == 0
    one, _ = voices(1, 60, 0.25)
    assert set(find_even_clusters(one, np.ones(60), FREE, 0.9, 12)) == {0}


@pytest.mark.parametrize(
    ("bounds", "n_found"), [((3, None, None), 3), ((6, None, None), 6), ((None, 5, None), 5), ((None, None, 2), 2)]
)
def test_even_clusters_are_as_many_as_were_asked_for(bounds: tuple[int | None, ...], n_found: int) -> None:
    vectors, _ = voices(4, 60, 0.1)
    asked = Bounds.of(bounds[0], bounds[1], bounds[2], 240)
    assert len(set(find_even_clusters(vectors, np.ones(240), asked, 0.9, 12))) == n_found


def test_few_vectors_of_one_speaker_are_not_several() -> None:
    # Four vectors of one speaker and of two; two centroids of two vectors each are apart by chance, too.
    one, _ = voices(1, 4, 0.22, seed=3)
    two, speakers = voices(2, 3, 0.1, seed=3)
    assert find_even_clusters(one, np.ones(4), FREE, 0.9, 12).tolist() == [0, 0, 0, 0]
    assert same_parts(find_even_clusters(two, np.ones(6), FREE, 0.9, 12), speakers)


def test_speech_that_ten_windows_hear_is_no_more_than_heard_once() -> None:
    # Six pieces of one speaker and of two, each heard by ten windows, which makes chance no smaller.
    one, _ = voices(1, 6, 0.25, seed=3)
    two, speakers = voices(2, 6, 0.1, seed=3)
    heard, whose, sizes = np.repeat(one, 10, axis=0), np.repeat(speakers, 10), np.ones(60)
    assert len(set(find_even_clusters(heard, sizes, FREE, 0.75, 12))) > 1
    assert set(find_even_clusters(heard, sizes, FREE, 0.75, 12, repeats=10.0)) == {0}
    assert same_parts(find_even_clusters(np.repeat(two, 10, axis=0), np.ones(120), FREE, 0.75, 12, repeats=10.0), whose)


def test_even_clusters_of_hardly_anything() -> None:
    assert find_even_clusters(np.ones((1, 4)), np.ones(1), FREE, 0.9, 12).tolist() == [0]
    assert find_even_clusters(np.eye(4)[:2], np.ones(2), FREE, 0.9, 12).tolist() == [0, 1]
    # Of a single vector each more than the threshold is asked: these are 1.2 apart.
    assert find_even_clusters(unit(np.array([[1.0, 0.0], [0.3, 1.0]])), np.ones(2), FREE, 0.9, 12).tolist() == [0, 0]
    assert find_even_clusters(np.eye(4)[:2], np.ones(2), Bounds.of(1, None, None, 2), 0.9, 12).tolist() == [0, 0]


def test_a_cut_within_a_step_back_keeps_its_whole_cluster_out() -> None:
    # An equilateral triangle: the second step is shorter than the first, whose length counts for both.
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2 - 0.01]])
    tree = build_tree(corners, np.ones(3))
    assert tree.distance[1] < tree.distance[0]
    between = float(tree.distance.mean())
    assert len(set(cut_at_distance(tree, 3, between))) == 3


def test_finds_who_is_who() -> None:
    vectors, speakers = voices(4, 30, 0.1)
    assert same_parts(find_clusters(vectors, np.ones(120), FREE, 0.7, 12), speakers)


@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 6])
def test_gives_as_many_as_are_asked_for(wanted: int) -> None:
    vectors, _ = voices(4, 30, 0.25)
    bounds = Bounds.of(wanted, None, None, 120)
    assert len(set(find_clusters(vectors, np.ones(120), bounds, 0.7, 2))) == wanted


def test_bounds_move_the_number_only_where_it_is_outside() -> None:
    vectors, speakers = voices(4, 30, 0.1)
    sizes = np.ones(120)
    inside = find_clusters(vectors, sizes, Bounds.of(None, 2, 5, 120), 0.7, 12)
    assert same_parts(inside, speakers)
    assert len(set(find_clusters(vectors, sizes, Bounds.of(None, None, 3, 120), 0.7, 12))) == 3
    assert len(set(find_clusters(vectors, sizes, Bounds.of(None, 5, None, 120), 0.7, 1))) == 5


def test_small_clusters_go_to_the_nearest_large_one() -> None:
    vectors, speakers = voices(2, 40, 0.05)
    stray = unit(np.array([[0.8, 0.2, 0.9] + [0.0] * 13]))
    found = find_clusters(np.concatenate([vectors, stray]), np.ones(81), FREE, 0.5, 8)
    assert same_parts(found[:80], speakers)
    assert found[80] == found[int(np.flatnonzero(speakers == 0)[0])]


def test_counts_large_clusters_after_each_step() -> None:
    vectors, _ = voices(3, 10, 0.3)
    tree = build_tree(vectors, np.ones(30))
    counted = [
        int((np.bincount(joined(tree, 30, np.arange(29) <= step)) >= 4).sum()) for step in range(len(tree.first))
    ]
    assert large_after_steps(tree, np.ones(30), 4).tolist() == counted


def test_sums_of_vectors_lead_to_the_same_speakers() -> None:
    vectors, speakers = voices(3, 200, 0.12)
    held, whole = Voices(most=64), Voices()
    for vector in vectors:
        held.add(vector)
        whole.add(vector)
    _, units, sizes = held.items()
    assert len(sizes) <= 64
    assert sizes.sum() == 600
    found = find_clusters(units, sizes, FREE, 0.7, 12)[held.item_of()]
    assert same_parts(found, speakers)
    assert whole.item_of().tolist() == list(range(600))


def test_one_vector_is_one_speaker() -> None:
    assert find_clusters(np.ones((1, 4)), np.ones(1), FREE, 0.7, 12).tolist() == [0]
