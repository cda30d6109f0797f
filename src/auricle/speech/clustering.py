"""Vectors of voices to speakers: agglomerative clustering by the distance of centroids.

Two clusters whose centroids are nearest become one, again and again; the tree of these steps is then cut where
clusters are further apart than a threshold, or where as many are left as were asked for. Small clusters go to the
nearest large one. Of many vectors of short speech that way makes one large cluster and some strays; for them the tree
is Ward's, cut at every number of speakers, and each cut settles as means do (`find_even_clusters`). Memory is bounded:
of more than `MOST_VECTORS`, those that are nearest are held as their sum.

Sources: J. H. Ward, "Hierarchical grouping to optimize an objective function" (1963); D. Müllner, "Modern
hierarchical, agglomerative clustering algorithms" (arXiv 1109.2378), section 3.3; the cut by distance is that of
pyannote.audio's speaker-diarization-3.1.

Dimension key: N items (vectors, or sums of several), D width, K clusters, M steps of the tree (N - 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Vectors that are clustered one by one, about an hour of conversation; above it the nearest are summed. A matrix of
# their distances takes 64 MB.
MOST_VECTORS = 4096
MOST_SPEAKERS = 20  # that are looked for where no number is given
CHANCE = 0.5  # of 2 s of speech, whose vector is from its speaker's centroid: the square of the distance
MOST_ROUNDS = 20  # until means settle; a few are enough
ROWS = 256  # of the matrix that are computed in one go


@dataclass(frozen=True)
class Tree:
    """Which two clusters became one at each step; a cluster is named by its first item."""

    first: np.ndarray  # (M,) the cluster that stays
    second: np.ndarray  # (M,) the cluster that ends
    distance: np.ndarray  # (M,) of their centroids; may fall from one step to the next, but Ward's does not
    size: np.ndarray  # (M,) vectors in what became of them


@dataclass(frozen=True)
class Bounds:
    """How many speakers there may be."""

    least: int
    most: int
    exact: int | None  # where it is known

    @classmethod
    def of(cls, num: int | None, least: int | None, most: int | None, n_vectors: int) -> Bounds:
        """Bound the number by what was asked for and by how many vectors there are."""
        low = max(1, min(n_vectors, num or least or 1))
        high = max(1, min(n_vectors, num or most or n_vectors))
        return cls(low, high, low if low == high else num)


def build_tree(centroids: np.ndarray, sizes: np.ndarray, most_steps: int | None = None, is_ward: bool = False) -> Tree:
    """Join the nearest clusters until one is left, or for `most_steps`.

    Near is what has near centroids, or with `is_ward` what adds least to the squared distances of all vectors from
    their centroids; then a step's distance is the root of twice that. `centroids` (N, D) are means of `sizes` (N,) unit
    vectors. Time is O(N²) where few clusters lose their nearest one at a step, and memory 4 N² bytes. A joined
    cluster's distances follow from those of its parts (section 2.2).
    """
    n_items = len(centroids)
    n_steps = n_items - 1 if most_steps is None else min(most_steps, n_items - 1)
    centres, counts = centroids.astype(np.float64), sizes.astype(np.int64)
    table = squared_distances(centres)
    if is_ward:
        for number, count in enumerate(counts.tolist()):
            table[number] *= (2 * count * counts / (count + counts)).astype(np.float32)
    np.fill_diagonal(table, np.inf)
    nearest = table.argmin(1)
    gaps = table[np.arange(n_items), nearest]
    steps: list[tuple[int, int, float, int]] = []
    for _ in range(n_steps):
        one = int(gaps.argmin())
        other = int(nearest[one])
        one, other = min(one, other), max(one, other)
        total = counts[one] + counts[other]
        # What has ended is infinitely far from both, and stays so.
        if is_ward:
            between = float(table[one, other])
            added = (counts[one] + counts) * table[one] + (counts[other] + counts) * table[other]
            row = ((added - counts * between) / (total + counts)).astype(np.float32)
        else:
            between = float(((centres[one] - centres[other]) ** 2).sum())
            parts = np.float32(counts[one] / total), np.float32(counts[other] / total)
            row = parts[0] * table[one] + parts[1] * table[other] - parts[0] * parts[1] * np.float32(between)
        row[[one, other]] = np.inf
        centres[one] = (counts[one] * centres[one] + counts[other] * centres[other]) / total
        counts[one] = total
        steps.append((one, other, between**0.5, int(total)))
        _replace_row(table, nearest, gaps, np.maximum(row, 0), one, other)
    columns = list(zip(*steps, strict=True)) or [(), (), (), ()]
    first, second, distances, totals = columns
    return Tree(np.array(first, int), np.array(second, int), np.array(distances, float), np.array(totals, int))


def squared_distances(vectors: np.ndarray) -> np.ndarray:
    """Return the squared distance of each two of vectors (N, D), (N, N) float32."""
    squares = np.einsum("nd,nd->n", vectors, vectors)
    table = np.empty((len(vectors), len(vectors)), np.float32)
    for start in range(0, len(vectors), ROWS):  # in float64, without a second table of that
        rows = slice(start, start + ROWS)
        table[rows] = np.maximum(squares[rows, None] + squares - 2 * (vectors[rows] @ vectors.T), 0)
    return table


def _replace_row(
    table: np.ndarray, nearest: np.ndarray, gaps: np.ndarray, row: np.ndarray, one: int, other: int
) -> None:
    """Lay the distances of the joined cluster into the table, and keep every cluster's nearest one true."""
    table[one], table[:, one] = row, row
    table[other], table[:, other] = np.inf, np.inf
    lost = np.flatnonzero((nearest == one) | (nearest == other))
    closer = row < gaps
    nearest[closer], gaps[closer] = one, row[closer]
    again = lost[~closer[lost]]
    again = again[(again != one) & (again != other) & np.isfinite(gaps[again])]
    if again.size:
        nearest[again] = table[again].argmin(1)
        gaps[again] = table[again, nearest[again]]
    nearest[one] = int(row.argmin())
    gaps[one], gaps[other] = row[nearest[one]], np.inf


def joined(tree: Tree, n_items: int, is_done: np.ndarray) -> np.ndarray:
    """Return the cluster of each item after the steps of `is_done` (M,): (N,) from 0 up, by first items."""
    owner = np.arange(n_items)
    for first, second in zip(tree.first[is_done].tolist(), tree.second[is_done].tolist(), strict=True):
        owner[second] = first
    # A cluster's name is its smallest item, so that owners come before what they own.
    for item in range(n_items):
        owner[item] = owner[owner[item]]
    return np.unique(owner, return_inverse=True)[1]


def cut_at_distance(tree: Tree, n_items: int, threshold: float) -> np.ndarray:
    """Return the clusters (N,) within which no step was longer than `threshold`."""
    longest = np.zeros(n_items)  # of the steps that made the cluster so far
    is_done = np.zeros(len(tree.first), bool)
    for step, (first, second) in enumerate(zip(tree.first.tolist(), tree.second.tolist(), strict=True)):
        longest[first] = max(longest[first], longest[second], tree.distance[step])
        is_done[step] = longest[first] <= threshold
    return joined(tree, n_items, is_done)


def large_after_steps(tree: Tree, sizes: np.ndarray, least_size: int) -> np.ndarray:
    """Return how many clusters have `least_size` vectors or more after each step, (M,)."""
    counts = sizes.astype(np.int64)
    n_large = int((counts >= least_size).sum())
    found = np.empty(len(tree.first), int)
    for step, (first, second) in enumerate(zip(tree.first.tolist(), tree.second.tolist(), strict=True)):
        both = counts[first] + counts[second]
        n_large += int(both >= least_size) - int(counts[first] >= least_size) - int(counts[second] >= least_size)
        counts[first] = both
        found[step] = n_large
    return found


def find_clusters(
    units: np.ndarray, sizes: np.ndarray, bounds: Bounds, threshold: float, least_size: int
) -> np.ndarray:
    """Return the speaker of each item, (N,) from 0 up in the order of first items.

    `units` (N, D) are means of `sizes` (N,) unit vectors.
    """
    n_items = len(units)
    if n_items == 1 or bounds.most < 2:
        return np.zeros(n_items, int)
    least_size = _asked_of_each(least_size, sizes)
    tree = build_tree(units, sizes)
    clusters = cut_at_distance(tree, n_items, threshold)
    n_large = int((np.bincount(clusters, sizes) >= least_size).sum())
    wanted = bounds.exact
    if n_large < bounds.least:
        wanted = bounds.least
    elif n_large > bounds.most:
        wanted = bounds.most
    if wanted is not None and n_large != wanted:
        clusters = _cut_at_number(tree, sizes, wanted, threshold, least_size)
    _, firsts, clusters = np.unique(
        _small_to_large(units, sizes, clusters, least_size), return_index=True, return_inverse=True
    )
    return firsts.argsort().argsort()[clusters]


def find_even_clusters(
    units: np.ndarray, sizes: np.ndarray, bounds: Bounds, threshold: float, least_size: int, repeats: float = 1.0
) -> np.ndarray:
    """Return the speaker of each item, (N,) from 0 up in the order of first items, where each has many of them.

    They are as many as can be, within the bounds, so that the centroids of no two, of unit length, are nearer than
    `threshold`, and none has fewer than `least_size` vectors. `units` (N, D) are means of `sizes` (N,) unit vectors,
    `repeats` of which are of the same speech.
    """
    n_items = len(units)
    least = min(bounds.least, n_items)
    most = min(bounds.most, n_items, max(least, MOST_SPEAKERS))
    found = np.zeros(n_items, int)
    if most < 2:
        return found
    least_size = _asked_of_each(least_size, sizes)
    tree = build_tree(units, sizes, is_ward=True)
    for number in range(max(2, least), most + 1):
        cut = joined(tree, n_items, np.arange(n_items - 1) < n_items - number)
        clusters = _settled(units, sizes, cut)
        is_even = np.bincount(clusters, sizes).min() >= least_size
        if number == least or (is_even and _least_distance(units, sizes / repeats, clusters) >= threshold):
            found = clusters
    _, firsts, clusters = np.unique(found, return_index=True, return_inverse=True)
    return firsts.argsort().argsort()[clusters]


def _asked_of_each(least_size: int, sizes: np.ndarray) -> int:
    """Of a short recording no speaker has many vectors; a tenth of all is as many as may be asked for."""
    return min(least_size, max(1, round(0.1 * int(sizes.sum()))))


def _settled(units: np.ndarray, sizes: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Move each item to the nearest mean, (N,), until none moves."""
    for _ in range(MOST_ROUNDS):
        moved = np.unique(cosines(units, means_of(units, sizes, clusters)).argmax(1), return_inverse=True)[1]
        if np.array_equal(moved, clusters):
            break
        clusters = moved
    return clusters


def _least_distance(units: np.ndarray, amounts: np.ndarray, clusters: np.ndarray) -> float:
    """The least distance of two clusters' centroids of unit length, less what chance adds; of one from none infinite.

    Centroids of little speech of one speaker are apart by chance, too: the square by `CHANCE` of each one's vector.
    `amounts` (N,) are the vectors of different speech in each item.
    """
    table = squared_distances(unit(means_of(units, amounts, clusters)))
    chance = CHANCE / np.bincount(clusters, amounts)
    table -= (chance[:, None] + chance).astype(np.float32)
    np.fill_diagonal(table, np.inf)
    return max(0.0, float(table.min())) ** 0.5


def _cut_at_number(tree: Tree, sizes: np.ndarray, wanted: int, threshold: float, least_size: int) -> np.ndarray:
    """Cut where `wanted` large clusters are left, as near to the threshold as can be; else as near to that number."""
    n_large = large_after_steps(tree, sizes, least_size)
    n_steps = len(tree.first)
    best, nearest = n_steps, abs(1 - wanted)
    for step in np.argsort(np.abs(tree.distance - threshold), kind="stable").tolist():
        if tree.size[step] < least_size:
            continue  # no large cluster came of it
        if abs(int(n_large[step]) - wanted) < nearest:
            best, nearest = step, abs(int(n_large[step]) - wanted)
        if n_large[step] == wanted:
            best = step
            break
    return joined(tree, len(sizes), np.arange(n_steps) <= best)


def _small_to_large(units: np.ndarray, sizes: np.ndarray, clusters: np.ndarray, least_size: int) -> np.ndarray:
    counts = np.bincount(clusters, sizes)
    large, small = np.flatnonzero(counts >= least_size), np.flatnonzero(counts < least_size)
    if not large.size:
        return np.zeros_like(clusters)
    if not small.size:
        return clusters
    means = means_of(units, sizes, clusters)
    near = cosines(means[small], means[large]).argmax(1)
    moved = np.arange(len(counts))
    moved[small] = large[near]
    return np.unique(moved[clusters], return_inverse=True)[1]


def means_of(vectors: np.ndarray, sizes: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return the mean of each cluster, (K, D) float64, of means (N, D) of `sizes` vectors."""
    sums = np.zeros((int(clusters.max()) + 1, vectors.shape[1]))
    np.add.at(sums, clusters, vectors * sizes[:, None].astype(np.float64))
    return sums / np.bincount(clusters, sizes)[:, None]


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cosine of the angle between each of `one` (N, D) and each of `other` (K, D), (N, K)."""
    return unit(one) @ unit(other).T


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (N, D) with length one, in float64; one of length zero stays."""
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    return wide / np.where(lengths > 0, lengths, 1.0)


class Voices:
    """Collects vectors of voices while windows pass; each keeps the number of the item that it is in."""

    def __init__(self, most: int = MOST_VECTORS) -> None:
        self.most = most
        self.owners = np.empty(0, np.int32)  # the item of each vector that was ever added
        self._raw: list[np.ndarray] = []  # sums of vectors of each item
        self._units: list[np.ndarray] = []  # sums of them with length one
        self._sizes: list[int] = []
        self._added: list[int] = []

    def add(self, vector: np.ndarray) -> int:
        """Take a vector (D,) and return its number; where there are too many, the nearest are summed first."""
        if len(self._sizes) >= self.most:
            self._sum_nearest()
        self._added.append(len(self._sizes))
        self._raw.append(vector.astype(np.float32))
        self._units.append(unit(vector[None])[0].astype(np.float32))
        self._sizes.append(1)
        return len(self.owners) + len(self._added) - 1

    def items(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return means of vectors (N, D), means of unit vectors (N, D), and how many they are of (N,)."""
        sizes = np.array(self._sizes, int)
        shape = len(sizes), len(self._raw[0]) if self._raw else 0
        raw = np.array(self._raw, np.float32).reshape(shape)
        units = np.array(self._units, np.float32).reshape(shape)
        return raw / sizes[:, None], units / sizes[:, None], sizes

    def item_of(self) -> np.ndarray:
        """Return the item that each vector is in, by the vector's number."""
        self.owners = np.concatenate([self.owners, np.array(self._added, np.int32)])
        self._added = []
        return self.owners

    def _sum_nearest(self) -> None:
        _, means, sizes = self.items()
        owners = self.item_of()
        tree = build_tree(means, sizes, len(sizes) - self.most // 2)
        clusters = joined(tree, len(sizes), np.ones(len(tree.first), bool))
        n_left = int(clusters.max()) + 1
        for name in ("_raw", "_units"):
            sums = np.zeros((n_left, means.shape[1]), np.float32)
            np.add.at(sums, clusters, np.array(getattr(self, name), np.float32))
            setattr(self, name, list(sums))
        self._sizes = np.bincount(clusters, sizes).astype(int).tolist()
        self.owners = clusters[owners].astype(np.int32)
