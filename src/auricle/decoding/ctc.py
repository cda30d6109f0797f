"""CTC decoding: from a matrix of per-frame log-probabilities to tokens with their frames.

T frames, V vocabulary entries, S tokens.

Source: Graves et al. 2006 (the model and best-path decoding).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
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
    score: float  # natural log-probability, plus what language model and hot words add


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
        for id, count, end, mean in zip(
            runs.tolist(), counts.tolist(), ends.tolist(), means.tolist(), strict=True
        )
        if id != blank
    )
    return Hypothesis(tokens, float(best.sum(dtype=torch.float64)))
