"""What every search works on: the rows of a step, and what a row comes to.

Dimension key: `R` prompts, `K` rows of a prompt, `B` = R·K rows of the step, `S` tokens so far (prompt and generated),
`D` width, `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from auricle.decoding.filters import Filter


class Step(Protocol):
    """A decoder over a batch of rows that remembers the tokens it has seen."""

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        ...

    @property
    def length(self) -> int:
        """Tokens each row has seen."""
        ...

    @property
    def max_length(self) -> int:
        """Tokens a row can see at most."""
        ...

    @property
    def hidden(self) -> Tensor:
        """(B, S, D) what the model made of the tokens last appended, before its output layer, until `reorder`."""
        ...

    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        """Append (B, S) tokens; (B, n_last, V) float32 logits after the last `n_last` of them."""
        ...

    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        ...


@dataclass(frozen=True)
class Generated:
    """What one row came to: its new tokens, without the end token, and how probable they were.

    `logprobs` has one natural-log probability per token, then that of the end token if the row `ended` by
    itself; they are those of temperature 1 after the filters. `score` is what hypotheses were ranked by, and `others`
    are those that beams finished beside this one, the best first.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    ended: bool
    others: tuple[Generated, ...] = field(default=(), compare=False)

    @property
    def sum_logprob(self) -> float:
        """The sum over all tokens, the end token included."""
        return math.fsum(self.logprobs)

    @property
    def avg_logprob(self) -> float:
        """The mean over all tokens, the end token included."""
        return self.sum_logprob / max(len(self.logprobs), 1)


def repeat_rows(step: Step, prompt: Tensor, logits: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Give every prompt (R, S) with its logits (R, V) `times` rows, side by side, in the step, too."""
    if times == 1:
        return prompt, logits
    rows = torch.arange(len(prompt), device=logits.device).repeat_interleave(times)  # (B,)
    step.reorder(rows)
    return prompt[rows], logits[rows]


def filtered(filters: Sequence[Filter], tokens: Tensor, logits: Tensor) -> Tensor:
    """Apply all filters, in order."""
    for keep in filters:
        logits = keep(tokens, logits)
    return logits


def finish(row: Sequence[int], logprobs: Sequence[float], ends: Sequence[int], length_penalty: float) -> Generated:
    """Cut a row of generated tokens at the first that ends it, and rank it by its own probability."""
    length = len(row)
    for end in ends:
        length = row.index(end, 0, length) if end in row[:length] else length
    ended = length < len(row)
    kept = tuple(logprobs[: length + ended])
    score = math.fsum(kept) / max(len(kept), 1) ** length_penalty
    return Generated(tuple(row[:length]), kept, score, ended)
