"""Texts that are written side by side, each in its own way; any may begin or stop between two tokens.

What a row writes depends on its own prompt, options and generator only, whoever its neighbours are.

Dimension key: `B` rows, `S` tokens, `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from auricle.decoding.filters import Filter
from auricle.decoding.generate import own_filters
from auricle.decoding.options import GenerateOptions
from auricle.decoding.rows import Step
from auricle.decoding.sampling import draw_one, warpers
from auricle.errors import OptionError

NOTHING_LEFT = (
    "the parameters together leave no token that may follow (suppress_tokens, bad_words_ids, logit_bias, "
    "no_repeat_ngram_size, min_new_tokens, response_format); loosen one of them"
)


class TextStep(Step, Protocol):
    """A step whose rows may be longer and shorter, and come and go."""

    def keep(self, length: int) -> None:
        """Keep the first `length` tokens of every row, and forget the rest; only where no row has pads."""
        ...

    def fork(self, rows: Tensor) -> Any:
        """A step of its own that begins with copies of these rows."""
        ...

    def join(self, other: Any) -> None:
        """Take the rows of another step behind the own ones; the other one is not used any more."""
        ...


@dataclass(frozen=True)
class Choice:
    """A token that was chosen, with natural-log probabilities of temperature 1 after the filters, if asked for."""

    token: int
    logprob: float | None = None
    best: tuple[tuple[int, float], ...] = ()  # the most probable tokens, best first


def choices_of(tokens: Sequence[int], logits: Tensor, n_best: int) -> list[Choice]:
    """Return S tokens with their probabilities by (S, V) logits, and with the `n_best` most probable ones at each."""
    log_probs = logits.log_softmax(-1)
    values, ids = (found.tolist() for found in log_probs.topk(min(n_best, log_probs.shape[-1])))
    own = log_probs.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()  # (S,)
    return [
        Choice(token, logprob, tuple(zip(best, beside, strict=True)))
        for token, logprob, best, beside in zip(tokens, own, ids, values, strict=True)
    ]


class Row:
    """One text: its prompt, how to go on with it, and what it came to."""

    def __init__(
        self,
        prompt: Sequence[int],
        options: GenerateOptions,
        *,
        generator: torch.Generator | None = None,
        filters: Sequence[Filter] = (),
        n_best: int | None = None,
    ) -> None:
        """Take a prompt of at least one token; `n_best` asks for log-probabilities, of so many tokens besides.

        Raises:
            OptionError: for a search that follows several texts at once, and for a draw without a generator.
        """
        if options.n_beams > 1 or options.penalty_alpha > 0 or options.best_of > 1:
            raise OptionError("beams, contrastive search and best_of follow several texts for one; call generate()")
        if options.sampling_temperature > 0 and generator is None:
            raise OptionError(f"temperature={options.sampling_temperature} samples; pass a generator")
        assert prompt, "a text begins with a token"
        self.tokens = list(prompt)
        self.n_prompt = len(self.tokens)
        self.options = options
        self.ends = frozenset((options.eos, *options.more_ends))
        self.generator = generator if options.sampling_temperature > 0 else None
        self.filters = [*own_filters(options, self.n_prompt), *filters]
        self.n_best = n_best
        self.error: Exception | None = None  # of a rule of its own, after which nothing more is written
        self._warp = warpers(options) if self.generator is not None else []

    @property
    def is_plain(self) -> bool:
        """Whether the most probable token is taken, with no rule and no report."""
        return self.generator is None and not self.filters and self.n_best is None

    def ends_with(self, token: int) -> bool:
        """Whether a token ends the text by itself."""
        return token in self.ends

    def choose(self, logits: Tensor) -> Choice:
        """Choose the next token by (V,) logits, and write it."""
        if self.filters:
            tokens = torch.tensor([self.tokens], device=logits.device)  # (1, S)
            for keep in self.filters:
                logits = keep(tokens, logits[None])[0]
            if not bool(logits.max() > -math.inf):
                raise OptionError(NOTHING_LEFT)
        if self.generator is None:
            token = int(logits.argmax())
        else:
            token = draw_one(logits, self._warp, self.options.top_k, self.generator)
        return self.write(token, logits)

    def write(self, token: int, logits: Tensor) -> Choice:
        """Write a token that was chosen by (V,) logits."""
        self.tokens.append(token)
        if self.n_best is None:
            return Choice(token)
        return choices_of([token], logits[None], self.n_best)[0]


def n_shared(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the tokens that two texts begin with alike."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((n for n, (one, other) in pairs if one != other), min(len(first), len(second)))


class Running:
    """The rows that write now."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._step: TextStep | None = None  # has seen all of the rows but their last tokens
        self._new: list[tuple[list[Row], TextStep, Tensor]] = []  # with the logits (B, V) of their first tokens

    def add(self, rows: Sequence[Row], step: TextStep, logits: Tensor) -> None:
        """Let rows write whose prompts a step has seen, and that (B, V) logits go on from."""
        self._new.append((list(rows), step, logits))

    def advance(self) -> list[tuple[Row, Choice]]:
        """Write one token in every row."""
        written: list[tuple[Row, Choice]] = []
        if self._step is not None:
            logits = self._step.advance(torch.tensor([[row.tokens[-1]] for row in self.rows]))[:, -1]  # (B, V)
            written += _choose(self.rows, logits)
        for rows, step, logits in self._new:
            written += _choose(rows, logits)
            if self._step is None:
                self._step = step
            else:
                self._step.join(step)
            self.rows += rows
        self._new = []
        return written

    def remove(self, rows: Sequence[Row], taken: Sequence[Row] = ()) -> list[TextStep]:
        """Let rows go; of those that are `taken`, their memories, which have seen all of the tokens but the last."""
        assert self._step is not None, "rows are there once advance was called"
        assert not self._new, "rows leave between a call of advance and one of add"
        gone = {id(row) for row in rows}
        places = {id(row): place for place, row in enumerate(self.rows)}
        left = [place for place, row in enumerate(self.rows) if id(row) not in gone]
        if len(taken) == len(self.rows) == 1:
            memories = [self._step]
        else:
            memories = [self._step.fork(torch.tensor([places[id(row)]])) for row in taken]
        if not left:
            self._step = None
        elif len(left) < len(self.rows):
            self._step.reorder(torch.tensor(left))
        self.rows = [self.rows[place] for place in left]
        return memories

    def clear(self) -> None:
        """Let all rows go."""
        self.rows, self._step, self._new = [], None, []


def _choose(rows: Sequence[Row], logits: Tensor) -> list[tuple[Row, Choice]]:
    if all(row.is_plain for row in rows):
        return [(row, row.write(token, logits)) for row, token in zip(rows, logits.argmax(-1).tolist(), strict=True)]
    return [(row, _chosen(row, one)) for row, one in zip(rows, logits, strict=True)]


def _chosen(row: Row, logits: Tensor) -> Choice:
    try:
        return row.choose(logits)
    except Exception as error:
        # Whatever a row's own rules do is no affair of its neighbours; it keeps in step with them and then goes.
        row.error = error
        row.tokens.append(int(logits.argmax()))
        return Choice(row.tokens[-1])


def read_prompts(begin: Callable[[Tensor], TextStep], prompts: Sequence[Sequence[int]]) -> tuple[TextStep, Tensor]:
    """Read prompts at once: the step, one row for each, and the logits (B, V) behind them. Equal ones are read once."""
    distinct = list(dict.fromkeys(map(tuple, prompts)))
    longest = max(map(len, distinct))
    n_pads = torch.tensor([longest - len(one) for one in distinct])
    step = begin(n_pads)
    # What stands for a pad is not seen by any token of a text.
    tokens = torch.tensor([[0] * (longest - len(one)) + list(one) for one in distinct])
    logits = step.advance(tokens)[:, -1]  # (distinct, V)
    if len(distinct) < len(prompts):
        place = {one: number for number, one in enumerate(distinct)}
        rows = torch.tensor([place[tuple(one)] for one in prompts])
        step.reorder(rows)
        logits = logits[rows.to(logits.device)]
    return step, logits
