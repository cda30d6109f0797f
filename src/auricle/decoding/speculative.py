"""Greedy decoding with drafts.

A step that also has a cheaper, coarser way writes several tokens, and reads them once more in its own arithmetic, all
together. What it would have written itself is kept, so that the text is its own.

Source: Leviathan et al. 2022, "Fast Inference from Transformers via Speculative Decoding", section 2, of which this is
the case of temperature 0.

Dimension key: `R` rows, `S` tokens so far, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from auricle.decoding.grammar import Grammar, Written
from auricle.decoding.options import GenerateOptions
from auricle.decoding.rows import Generated, Step, finish


class DraftingStep(Step, Protocol):
    """A step whose rows may have different lengths, and which can draft."""

    def draft(
        self,
        rows: Sequence[int],
        last: Sequence[int],
        written: Sequence[Written],
        room: Sequence[int],
        grammar: Grammar,
    ) -> list[list[int]]:
        """What probably follows each row's last token, which the step has not seen; at most `room` tokens."""
        ...

    def check(
        self,
        rows: Sequence[int],
        tokens: Sequence[Sequence[int]],
        written: Sequence[Sequence[Written]],
        grammar: Grammar,
    ) -> list[list[tuple[int, float]]]:
        """Append tokens to rows; what is chosen after each of them, and its log-probability after the grammar."""
        ...

    def choose(self, logits: Tensor, written: Sequence[Written], grammar: Grammar) -> list[tuple[int, float]]:
        """What is chosen by logits (R, V), and its log-probability after the grammar."""
        ...

    def forget(self, row: int, length: int) -> None:
        """Keep the first tokens of a row only."""
        ...


@dataclass
class _Row:
    """One row's text so far; the step has seen all of it but the last token."""

    number: int
    n_seen: int  # tokens that the step keeps
    written: Written
    limit: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def add(self, token: int, logprob: float, grammar: Grammar) -> None:
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.written = grammar.after(self.written, token)

    def is_done(self, eos: int) -> bool:
        return self.tokens[-1] == eos or len(self.tokens) >= self.limit


def is_plain(options: GenerateOptions) -> bool:
    """Whether a search is greedy, with no rules but a grammar's."""
    plain = GenerateOptions(
        eos=options.eos,
        max_new_tokens=options.max_new_tokens,
        max_length=options.max_length,
        length_penalty=options.length_penalty,
        renormalize=options.renormalize,
        early_stopping=options.early_stopping,
        do_sample=options.do_sample,
        temperature=options.temperature,
    )
    return options == plain and options.sampling_temperature == 0


def speculate(
    step: DraftingStep,
    prompt: Tensor,
    logits: Tensor,
    options: GenerateOptions,
    grammar: Grammar,
    allowed: Sequence[int],
) -> list[Generated]:
    """Continue each row of an (R, S) prompt, of which the step has seen all and given (R, V) logits."""
    rows = [
        _Row(number, prompt.shape[1], grammar.written(told), limit)
        for number, (told, limit) in enumerate(zip(prompt.tolist(), allowed, strict=True))
    ]
    for row, chosen in zip(rows, step.choose(logits, [row.written for row in rows], grammar), strict=True):
        row.add(*chosen, grammar)
    active = [row for row in rows if not row.is_done(options.eos)]
    while active:
        _advance(step, active, grammar)
        active = [row for row in active if not row.is_done(options.eos)]
    return [finish(row.tokens, row.logprobs, (options.eos,), options.length_penalty) for row in rows]


def _advance(step: DraftingStep, rows: Sequence[_Row], grammar: Grammar) -> None:
    """Draft, check, and keep what is right: at least one token more for every row."""
    numbers = [row.number for row in rows]
    drafts = step.draft(
        numbers,
        [row.tokens[-1] for row in rows],
        [row.written for row in rows],
        [row.limit - len(row.tokens) - 1 for row in rows],  # a check gives one token of its own
        grammar,
    )
    read = [[row.tokens[-1], *draft] for row, draft in zip(rows, drafts, strict=True)]
    written: list[list[Written]] = []
    for row, draft in zip(rows, drafts, strict=True):
        along = [row.written]
        for token in draft:
            along.append(grammar.after(along[-1], token))
        written.append(along)
    for row, tokens, chosen in zip(rows, read, step.check(numbers, read, written, grammar), strict=True):
        for n_read, (token, logprob) in enumerate(chosen, start=1):
            row.add(token, logprob, grammar)
            if row.is_done(grammar.eos) or n_read == len(tokens) or token != tokens[n_read]:
                break
        row.n_seen += n_read
        step.forget(row.number, row.n_seen)
