"""CTC decoding: from a matrix of per-frame log-probabilities to tokens with their frames.

T frames, V vocabulary entries, S tokens, n beams, k tokens that may follow.

Source: Graves et al. 2006 (the model, best-path decoding, and the states of `align`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auricle.decoding.fusion import Context, Fusion
from auricle.decoding.ngram import LanguageModel
from auricle.errors import OptionError


@dataclass(frozen=True, slots=True)
class Token:
    """One emitted token and the frames that its best path spends on it; `end` is exclusive."""

    id: int
    start: int
    end: int
    probability: float  # mean over its frames, 0 to 1


@dataclass(frozen=True)
class Hypothesis:
    """One reading of the frames; the tokens are collapsed and free of blanks."""

    tokens: tuple[Token, ...]
    score: float  # natural log-probability, with `fusion_score` in it
    fusion_score: float = 0.0  # what language model, word bonus and hot words add


def greedy(log_probs: Tensor, blank: int) -> Hypothesis:
    """Return the best path's tokens: the likeliest entry of each frame, repeats merged, blanks removed.

    `log_probs` is (T, V); the score is the log-probability of that one path.
    """
    best, ids = log_probs.float().max(dim=-1)  # (T,), (T,)
    runs, counts = torch.unique_consecutive(ids, return_counts=True)
    ends = counts.cumsum(0)
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), best.double().exp().cumsum(0)])
    means = (sums[ends] - sums[ends - counts]) / counts
    tokens = tuple(
        Token(id, end - count, end, min(1.0, mean))
        for id, count, end, mean in zip(runs.tolist(), counts.tolist(), ends.tolist(), means.tolist(), strict=True)
        if id != blank
    )
    return Hypothesis(tokens, float(best.sum(dtype=torch.float64)))


def align(
    log_probs: np.ndarray,
    ids: Sequence[int],
    blank: int,
    path_of: Callable[[np.ndarray, Sequence[int], int], np.ndarray | None] | None = None,
) -> tuple[Token, ...]:
    """Return `ids` with the frames of their most likely path through `log_probs` (T, V).

    `path_of` does what `best_path` does, which is taken without it.

    Raises: OptionError if T frames cannot hold the ids.
    """
    path = (path_of or best_path)(log_probs, ids, blank)
    if path is None:
        raise OptionError(f"{len(log_probs)} frames cannot hold {len(ids)} tokens; give a shorter text")
    states = np.arange(1, 2 * len(ids) + 1, 2)
    firsts = np.searchsorted(path, states, side="left").tolist()
    ends = np.searchsorted(path, states, side="right").tolist()
    return tuple(
        Token(id, first, end, float(np.exp(log_probs[first:end, id]).mean()))
        for id, first, end in zip(ids, firsts, ends, strict=True)
    )


def best_path(log_probs: np.ndarray, ids: Sequence[int], blank: int) -> np.ndarray | None:
    """Return the states (T,) of the most likely path of `ids` through `log_probs` (T, V), None if there is none.

    The states are blank, first id, blank, second id ... blank: 2 S + 1 of them. A step stays, goes on by one, or
    jumps over a blank that does not separate equal ids.
    """
    states = np.full(2 * len(ids) + 1, blank)
    states[1::2] = ids
    may_jump = np.zeros(len(states), dtype=bool)
    may_jump[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(len(states), -np.inf)  # (2S+1,)
    scores[0] = 0.0
    steps = np.zeros((len(log_probs), len(states)), dtype=np.uint8)
    reached = np.full((3, len(states)), -np.inf)  # by staying, by one step, by a jump
    for t, frame in enumerate(log_probs):
        reached[0] = scores
        reached[1, 1:] = scores[:-1]
        reached[2, 2:] = np.where(may_jump[2:], scores[:-2], -np.inf)
        steps[t] = reached.argmax(axis=0)
        scores = reached.max(axis=0) + frame[states]
    state = len(states) - 1
    if len(states) > 1 and scores[-2] > scores[-1]:
        state -= 1
    if scores[state] == -np.inf:
        return None
    path = np.empty(len(log_probs), dtype=int)
    for t in range(len(log_probs) - 1, -1, -1):
        path[t] = state
        state -= int(steps[t, state])
    return path


@dataclass(frozen=True)
class BeamOptions:
    """How a beam search prunes, and what it adds to the acoustic score (all in natural logarithms)."""

    beam_width: int = 100  # prefixes kept after each frame
    lm: LanguageModel | None = None
    alpha: float = 0.5  # weight of the language model's log-probability
    beta: float = 1.5  # added for each word, against the model's preference for few words
    unknown_penalty: float = -10.0  # added for each word that the language model does not know
    hotwords: tuple[str, ...] = ()
    hotword_weight: float = 10.0  # added for each hot word of 7 letters or more; for shorter ones in proportion
    min_token_log_prob: float = -7.0  # about 1 in 1000: less likely tokens are not tried in a frame
    max_beam_distance: float = 12.0  # prefixes that are this far below the best are dropped


class BeamSearch:
    """Prefix beam search: sums the paths of each prefix, and may fuse a word language model and hot words.

    Works for characters and subwords alike: words end where a piece holds a space. In a vocabulary without
    spaces each piece is a word to the language model, and hot words count anywhere.

    Source: Hannun et al. 2014, algorithm 1, with blank and non-blank scores in log space.
    """

    def __init__(self, pieces: Sequence[str], blank: int, options: BeamOptions) -> None:
        """Take what each id writes ("" for special tokens) and the blank's id.

        Raises: OptionError for hot words that the pieces cannot write.
        """
        self._blank = blank
        self._options = options
        self._space = pieces.index(" ") if " " in pieces else -2  # no id, nor what an empty prefix ends in
        weights = (options.alpha, options.beta, options.unknown_penalty)
        self._fusion = Fusion(pieces, options.lm, weights, options.hotwords, options.hotword_weight)

    def __call__(self, log_probs: Tensor, n_best: int = 1) -> list[Hypothesis]:
        """Return the best `n_best` readings of (T, V) log-probabilities, best first.

        Frames of the tokens are those of the best path of the reading, not of the sum.
        """
        frames = log_probs.double().numpy()  # (T, V)
        beams = _first_beam(self._fusion.start())
        for frame in frames:
            beams = self._step(beams, frame)
        acoustic = np.logaddexp(beams.blank_scores, beams.token_scores)
        added = np.array([self._fusion.finish(context) for context in beams.contexts])
        order = np.argsort(-(acoustic + added), kind="stable")[:n_best]
        return [
            Hypothesis(
                align(frames, _ids_of(beams.prefixes[i]), self._blank),
                float(acoustic[i] + added[i]),
                float(added[i]),
            )
            for i in order.tolist()
        ]

    def _step(self, beams: _Beams, frame: np.ndarray) -> _Beams:
        """Return the beams after one more frame; n beams and k tokens that may follow."""
        ids = self._likely(frame)  # (k,)
        total = np.logaddexp(beams.blank_scores, beams.token_scores)  # (n,)
        blank_scores = total + frame[self._blank]
        token_scores = beams.token_scores + frame[beams.lasts]
        if not len(ids):
            return replace(beams, blank_scores=blank_scores, token_scores=token_scores)
        # Whatever lies between two spaces without a letter, they are one: the second is part of the first.
        after_space = beams.lasts == self._space
        token_scores = np.where(after_space, total + frame[beams.lasts], token_scores)
        # A repeated id is a new token only after a blank.
        is_repeat = beams.lasts[:, None] == ids
        grown = np.where(is_repeat, beams.blank_scores[:, None], total[:, None]) + frame[ids]  # (n, k)
        grown[np.ix_(after_space, ids == self._space)] = -np.inf
        _merge(beams, ids, grown, token_scores)
        added, grown_added = self._added(beams, ids)
        scores = np.concatenate([np.logaddexp(blank_scores, token_scores) + added, (grown + grown_added).ravel()])
        chosen = self._best(scores)
        stays, grows = chosen < len(total), chosen - len(total)
        parent = np.where(stays, chosen, grows // len(ids))
        id = np.where(stays, beams.lasts[parent], ids[grows % len(ids)])
        grown_scores = np.concatenate([token_scores, grown.ravel()])
        rows = list(zip(stays.tolist(), parent.tolist(), id.tolist(), strict=True))
        return _Beams(
            keys=np.where(stays, beams.keys[parent], _extended(beams.keys[parent], id)),
            parents=np.where(stays, beams.parents[parent], beams.keys[parent]),
            lasts=id,
            blank_scores=np.where(stays, blank_scores[parent], -np.inf),
            token_scores=grown_scores[chosen],
            prefixes=[beams.prefixes[i] if stay else (beams.prefixes[i], c) for stay, i, c in rows],
            contexts=[beams.contexts[i] if stay else self._fusion.extend(beams.contexts[i], c) for stay, i, c in rows],
        )

    def _likely(self, frame: np.ndarray) -> np.ndarray:
        """Return the ids worth trying: all over the bound, and the likeliest entry unless it is blank."""
        ids = np.flatnonzero(frame >= min(self._options.min_token_log_prob, frame.max()))
        return ids[ids != self._blank]

    def _added(self, beams: _Beams, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what fusion adds to the beams (n,) and to their continuations (n, k)."""
        if self._fusion.is_empty:
            return np.zeros(len(beams.contexts)), np.zeros((len(beams.contexts), len(ids)))
        extend, listed = self._fusion.extend, ids.tolist()
        grown = [[extend(context, id).score for id in listed] for context in beams.contexts]
        return np.array([context.score for context in beams.contexts]), np.array(grown)

    def _best(self, scores: np.ndarray) -> np.ndarray:
        """Return the places of the best scores, best first: not too far below the best, and not too many."""
        bound = max(scores.max() - self._options.max_beam_distance, np.finfo(float).min)
        kept = np.flatnonzero(scores >= bound)
        return kept[np.argsort(-scores[kept], kind="stable")[: self._options.beam_width]]


@dataclass
class _Beams:
    """The prefixes after a frame, best first; a prefix is a chain of pairs (shorter prefix, id)."""

    keys: np.ndarray  # (n,) uint64, a hash of the prefix
    parents: np.ndarray  # (n,) uint64, of the prefix without its last id
    lasts: np.ndarray  # (n,) last id, -1 where the prefix is empty
    blank_scores: np.ndarray  # (n,) log-probability of all paths that end in blank
    token_scores: np.ndarray  # (n,) ... of all that end in the last id
    prefixes: list[Any]
    contexts: list[Context]


def _first_beam(context: Context) -> _Beams:
    zero, never = np.zeros(1), np.full(1, -np.inf)
    empty, none = np.ones(1, dtype=np.uint64), np.zeros(1, dtype=np.uint64)
    return _Beams(empty, none, np.full(1, -1), zero, never, [()], [context])


def _merge(beams: _Beams, ids: np.ndarray, grown: np.ndarray, token_scores: np.ndarray) -> None:
    """Move the score of every continuation that is itself one of the beams to that beam, in place."""
    # By search in the sorted keys: a table of all pairs would need gigabytes for wide beams.
    order = np.argsort(beams.keys)
    places = np.searchsorted(beams.keys, beams.parents, sorter=order)
    parents = order[np.minimum(places, len(order) - 1)]
    children = np.flatnonzero(beams.keys[parents] == beams.parents)
    parents = parents[children]
    column = np.searchsorted(ids, beams.lasts[children])
    column[column == len(ids)] = 0
    tried = ids[column] == beams.lasts[children]
    children, parents, column = children[tried], parents[tried], column[tried]
    token_scores[children] = np.logaddexp(token_scores[children], grown[parents, column])
    grown[parents, column] = -np.inf


def _extended(keys: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return the keys of prefixes with one more id: 64 bits mixed so that different prefixes differ.

    Source: the finaliser of splitmix64 (Steele et al. 2014).
    """
    mixed = keys * np.uint64(0x9E3779B97F4A7C15) + (ids + 1).astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _ids_of(prefix: Any) -> list[int]:
    ids = []
    while prefix:
        prefix, id = prefix
        ids.append(id)
    return ids[::-1]
