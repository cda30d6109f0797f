"""The states that a given text allows, laid out in a row, for `decoding/forced.py` to search.

Dimension key: `M` states, `N` words, `V` vocabulary entries, `A` arc targets, `F` first states.

One word: border, c, -, c, -, c. The border before a word is silence, a space, or whatever the blank covers; `-` is
the blank between two ids. A word that can be said in several ways has them one after the other, a dead state between
them, and arcs that lead past the others. After the last word stands one more border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auricle.errors import OptionError

# One way to say a word: the ids of each of its spoken words, such as "twenty" and "three".
Reading = tuple[tuple[int, ...], ...]

MOST_READINGS = 4  # of one word: as many arcs lead into a border as two bits can tell


@dataclass(frozen=True)
class Graph:
    """What the search looks up, by state."""

    columns: np.ndarray  # (M,) intp, of the frame that the state scores: an id, V for a border, V + 1 for dead
    words: np.ndarray  # (M,) the state's word; N for the last border
    readings: np.ndarray  # (M,) which way to say it
    places: np.ndarray  # (M,) of the id within its reading; -1 for borders, blanks and dead states
    jumps: np.ndarray  # (M,) float32, 0 where the state may be reached over its left neighbour, else -inf
    borders: np.ndarray  # (N + 1,) the state of each border
    firsts: np.ndarray  # (F,) the first states of all readings, ascending
    arc_targets: np.ndarray  # (A,) ascending
    arc_sources: np.ndarray  # (A, 3), the target itself where there is none


def build_graph(words: Sequence[Sequence[Reading]], blank: int, vocab_size: int) -> Graph:
    """Lay out the states of `words`, each given by the ways to say it, the usual one first.

    Raises: OptionError for a word with nothing to say, or with too many ways to say it.
    """
    layout = _Layout(blank, vocab_size)
    for number, readings in enumerate(words):
        if not 1 <= len(readings) <= MOST_READINGS or not all(part for reading in readings for part in reading):
            raise OptionError(
                f"word {number} has {len(readings)} readings; expected 1 to {MOST_READINGS}, with an id in every part"
            )
        layout.add_word(number, readings)
    layout.add_border(len(words))
    return layout.graph()


class _Layout:
    """Collects the states, word by word."""

    def __init__(self, blank: int, vocab_size: int) -> None:
        self.blank, self.border, self.dead = blank, vocab_size, vocab_size + 1
        self.rows: list[tuple[int, int, int, int, bool]] = []  # column, word, reading, place, may be jumped to
        self.borders: list[int] = []
        self.firsts: list[int] = []
        self.arcs: dict[int, list[int]] = {}  # target to sources
        self.ends_in = -1  # the id before the next border; -1 where no jump over it is allowed

    def add_border(self, word: int) -> None:
        self.borders.append(len(self.rows))
        self.rows.append((self.border, word, 0, -1, False))

    def add_word(self, word: int, readings: Sequence[Reading]) -> None:
        self.add_border(word)
        start = self.borders[-1]
        ends = []
        for number, reading in enumerate(readings):
            if number:
                self.rows.append((self.dead, word, number, -1, False))
                self.arcs[len(self.rows)] = [start]
            self.firsts.append(len(self.rows))
            # With several readings a frame of border stands on both sides.
            before = self.ends_in if len(readings) == 1 else -1
            place = 0
            for part in reading:
                for position, id in enumerate(part):
                    if place:
                        self.rows.append((self.blank if position else self.border, word, number, -1, False))
                    self.rows.append((id, word, number, place, before not in (-1, id)))
                    before, place = id, place + 1
            ends.append(len(self.rows) - 1)
        self.ends_in = readings[0][-1][-1] if len(readings) == 1 else -1
        if ends[:-1]:
            self.arcs[len(self.rows)] = ends[:-1]

    def graph(self) -> Graph:
        columns, words, readings, places, may_jump = np.array(self.rows).T
        targets = sorted(self.arcs)
        sources = [[*self.arcs[target], *[target] * 3][:3] for target in targets]
        return Graph(
            columns=columns.astype(np.intp),
            words=words,
            readings=readings,
            places=places,
            jumps=np.where(may_jump, 0.0, -np.inf).astype(np.float32),
            borders=np.array(self.borders),
            firsts=np.array(self.firsts, dtype=int),
            arc_targets=np.array(targets, dtype=int),
            arc_sources=np.array(sources, dtype=int).reshape(-1, 3),
        )
