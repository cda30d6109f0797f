"""Autoregressive decoding over any `Step`: greedy, sampling and beam search, with filters on the logits.

Dimension key: `R` prompts, `K` beams or samples of a prompt, `B` = R·K rows of the step, `S` tokens so far
(prompt and generated), `V` vocabulary, `N` candidates of a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from auricle.decoding.filters import Filter, no_repeat_ngram, repetition_penalty
from auricle.errors import OptionError

# The score of a beam that does not exist yet: far below every real one, and finite, so that sums stay
# ordered.
NO_BEAM = -1.0e9


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

    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        """Append (B, S) tokens; (B, n_last, V) float32 logits after the last `n_last` of them."""
        ...

    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        ...


# Beams and samples are rows with keys and values of their own; more than these could only fill the memory.
MAX_ROWS = 256


@dataclass(frozen=True)
class GenerateOptions:
    """How to search. Defaults are greedy; beam search has transformers' meaning, patience is added to it."""

    eos: int  # the token that ends a row
    max_new_tokens: int | None = None  # None: as many as the step has room for
    n_beams: int = 1  # above 1: beam search
    patience: float = 1.0  # finished hypotheses to keep, as a multiple of n_beams
    length_penalty: float = 1.0  # hypotheses are ranked by sum_logprob / n_tokens ** length_penalty
    early_stopping: bool | Literal["never"] = False  # True: stop when enough are finished; else when none can win
    renormalize: bool = False  # beams: probabilities sum to one again after the filters
    temperature: float = 0.0  # 0: the most probable token; above: sample from softmax(logits / temperature)
    top_k: int = 0  # sampling: among the k most probable tokens only; 0: among all
    best_of: int = 1  # sampling: independent samples of each row, of which the best-ranked is kept
    repetition_penalty: float = 1.0  # above 1: tokens that occurred become less probable
    no_repeat_ngram_size: int = 0  # above 0: no n-gram of this size occurs twice

    def __post_init__(self) -> None:
        checks = [
            (self.max_new_tokens is None or self.max_new_tokens >= 1, "max_new_tokens", "1 or more, or None"),
            (1 <= self.n_beams <= MAX_ROWS, "n_beams", f"1 to {MAX_ROWS}"),
            (self.patience > 0, "patience", "a number above 0"),
            (self.early_stopping in (True, False, "never"), "early_stopping", "True, False or 'never'"),
            (self.temperature >= 0 and math.isfinite(self.temperature), "temperature", "0 or more"),
            (self.top_k >= 0, "top_k", "0 (off) or more"),
            (1 <= self.best_of <= MAX_ROWS, "best_of", f"1 to {MAX_ROWS}"),
            (self.repetition_penalty > 0, "repetition_penalty", "a number above 0"),
            (self.no_repeat_ngram_size >= 0, "no_repeat_ngram_size", "0 (off) or more"),
        ]
        for valid, name, expected in checks:
            if not valid:
                raise OptionError(f"{name} is {getattr(self, name)!r}; expected {expected}")
        sampling = self.temperature > 0
        if sampling and self.n_beams > 1:
            raise OptionError(f"n_beams={self.n_beams} searches and temperature={self.temperature} samples; choose one")
        if not sampling and (self.best_of > 1 or self.top_k > 0):
            raise OptionError(
                f"best_of={self.best_of} and top_k={self.top_k} choose among samples, but temperature is 0; "
                "set a temperature above 0, or leave them out"
            )
        if self.n_beams == 1 and self.patience != 1.0:
            raise OptionError(f"patience={self.patience} belongs to beam search; set n_beams above 1")


@dataclass(frozen=True)
class Generated:
    """What one row came to: its new tokens, without the end token, and how probable they were.

    `logprobs` has one natural-log probability per token, then that of the end token if the row `ended` by
    itself; they are those of temperature 1 after the filters. `score` is what hypotheses were ranked by.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float
    ended: bool

    @property
    def sum_logprob(self) -> float:
        """The sum over all tokens, the end token included."""
        return math.fsum(self.logprobs)

    @property
    def avg_logprob(self) -> float:
        """The mean over all tokens, the end token included."""
        return self.sum_logprob / max(len(self.logprobs), 1)


@torch.inference_mode()
def generate(
    step: Step,
    prompt: Tensor,
    options: GenerateOptions,
    filters: Sequence[Filter] = (),
    *,
    logits: Tensor | None = None,
    generators: Sequence[torch.Generator] | None = None,
    limits: Sequence[int] | None = None,
) -> list[Generated]:
    """Continue each row of an (R, S) prompt until its end token or its limit.

    `step` has R rows. It has seen nothing yet, or, if `logits` (R, V) is given, exactly the prompt.
    Sampling needs one CPU generator per row, so that a row draws the same numbers whatever its neighbours
    do. `limits` gives each row its own number of new tokens, at most that of the options. The option's own
    penalties come before `filters`.

    Raises:
        OptionError: if the prompt leaves no room, or a sampling temperature comes without generators.
    """
    room = step.max_length - prompt.shape[1]
    if room < 1:
        raise OptionError(
            f"the prompt has {prompt.shape[1]} tokens and the model takes {step.max_length} with those it "
            "generates; shorten the prompt"
        )
    if options.temperature > 0 and generators is None:
        raise OptionError(f"temperature={options.temperature} samples; pass one generator per row")
    most = min(room, options.max_new_tokens or room)
    allowed = [min(limit, most) for limit in limits] if limits is not None else [most] * len(prompt)
    if logits is None:
        logits = step.advance(prompt)[:, -1]  # (R, V)
    prompt = prompt.to(logits.device)
    steps = [*_penalties(options), *filters]
    if options.n_beams > 1:
        return _beam_search(step, prompt, logits, options, steps, allowed)
    return _sample(step, prompt, logits, options, steps, allowed, generators)


def _penalties(options: GenerateOptions) -> list[Filter]:
    found: list[Filter] = []
    if options.repetition_penalty != 1.0:
        found.append(repetition_penalty(options.repetition_penalty))
    if options.no_repeat_ngram_size > 0:
        found.append(no_repeat_ngram(options.no_repeat_ngram_size))
    return found


def _sample(
    step: Step,
    prompt: Tensor,
    logits: Tensor,
    options: GenerateOptions,
    filters: Sequence[Filter],
    allowed: Sequence[int],
    generators: Sequence[torch.Generator] | None,
) -> list[Generated]:
    """One token at a time for every row: the most probable, or a drawn one."""
    K = options.best_of
    tokens, logits = _repeat(step, prompt, logits, K)  # (B, S), (B, V)
    limits = torch.tensor(allowed, device=logits.device).repeat_interleave(K)  # (B,)
    done = torch.zeros(len(tokens), dtype=torch.bool, device=logits.device)
    history: list[Tensor] = []
    while True:
        for keep in filters:
            logits = keep(tokens, logits)
        chosen = _draw(logits, options, generators) if generators and options.temperature > 0 else logits.argmax(-1)
        chosen = chosen.masked_fill(done, options.eos)  # (B,)
        history.append(logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0])
        tokens = torch.cat([tokens, chosen[:, None]], 1)  # (B, S + 1)
        done |= (chosen == options.eos) | (len(history) >= limits)
        if bool(done.all()):
            break
        logits = step.advance(chosen[:, None])[:, -1]  # (B, V)
    rows = tokens[:, prompt.shape[1] :].tolist()
    logprobs = torch.stack(history, 1).tolist()
    found = [
        _finish(row[:limit], values, options)
        for row, values, limit in zip(rows, logprobs, limits.tolist(), strict=True)
    ]
    return [max(found[at : at + K], key=lambda one: one.score) for at in range(0, len(found), K)]


def _repeat(step: Step, prompt: Tensor, logits: Tensor, times: int) -> tuple[Tensor, Tensor]:
    """Give every prompt `times` rows, side by side."""
    if times == 1:
        return prompt, logits
    rows = torch.arange(len(prompt), device=logits.device).repeat_interleave(times)  # (B,)
    step.reorder(rows)
    return prompt[rows], logits[rows]


def _draw(logits: Tensor, options: GenerateOptions, generators: Sequence[torch.Generator]) -> Tensor:
    """Draw one token per row by inverting the cumulative distribution at one uniform number."""
    device = logits.device
    logits = logits.cpu() if device.type == "mps" else logits  # which has no float64
    if options.top_k > 0:
        worst_kept = logits.topk(min(options.top_k, logits.shape[1])).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < worst_kept, -math.inf)
    uniform = [torch.rand(options.best_of, generator=one, dtype=torch.float64) for one in generators]
    # Probabilities below float32's precision would round away in a float32 sum over a large vocabulary.
    distribution = (logits.double() / options.temperature).softmax(-1).cumsum(-1)  # (B, V)
    targets = torch.cat(uniform)[:, None].to(logits.device) * distribution[:, -1:]  # (B, 1)
    return torch.searchsorted(distribution, targets, right=True)[:, 0].clamp_(max=logits.shape[1] - 1).to(device)


def _finish(row: Sequence[int], logprobs: Sequence[float], options: GenerateOptions) -> Generated:
    """Cut a row of generated tokens at its end token."""
    ended = options.eos in row
    length = row.index(options.eos) if ended else len(row)
    kept = tuple(logprobs[: length + ended])
    score = math.fsum(kept) / max(len(kept), 1) ** options.length_penalty
    return Generated(tuple(row[:length]), kept, score, ended)


@dataclass
class _Finished:
    """The best finished hypotheses of one prompt, and whether a running one could still enter."""

    size: int
    best: list[Generated] = field(default_factory=list)  # best first
    open: bool = True

    def add(self, hypothesis: Generated) -> None:
        self.best.append(hypothesis)
        self.best.sort(key=lambda one: -one.score)
        del self.best[self.size :]

    def update(self, best_running: float, n_new: int, limit: int, options: GenerateOptions) -> None:
        """Close if enough are finished (early stopping), or if the best running one could not win."""
        full = len(self.best) == self.size
        length = limit if options.early_stopping == "never" and options.length_penalty > 0 else n_new
        hopeless = full and best_running / length**options.length_penalty <= self.best[-1].score
        if n_new >= limit or hopeless or (full and options.early_stopping is True):
            self.open = False


def _beam_search(
    step: Step,
    prompt: Tensor,
    logits: Tensor,
    options: GenerateOptions,
    filters: Sequence[Filter],
    allowed: Sequence[int],
) -> list[Generated]:
    """Keep the K best running rows of every prompt, and the best finished ones, until no running one can win.

    Of the 2·K best continuations, those among the first K that end become finished hypotheses; the K best
    that do not end run on. Source: transformers generation/utils.py, `_beam_search` (the 2·K rule and the
    stopping rule).
    """
    R, K = len(prompt), options.n_beams
    tokens, logits = _repeat(step, prompt, logits, K)  # (B, S), (B, V)
    scores = torch.full((R, K), NO_BEAM, device=logits.device)
    scores[:, 0] = 0.0
    logprobs = torch.zeros(len(tokens), 0, device=logits.device)  # (B, S - prompt)
    limits = torch.tensor(allowed, device=logits.device)[:, None]  # (R, 1)
    offsets = torch.arange(R, device=logits.device)[:, None] * K  # (R, 1)
    finished = [_Finished(max(1, round(K * options.patience))) for _ in allowed]
    while True:
        log_probs = logits.log_softmax(-1)  # (B, V)
        for keep in filters:
            log_probs = keep(tokens, log_probs)
        if options.renormalize:
            log_probs = log_probs.log_softmax(-1)
        V = log_probs.shape[1]
        totals = (log_probs.view(R, K, V) + scores[:, :, None]).view(R, K * V)
        top, places = totals.topk(2 * K)  # (R, N)
        ids = places % V
        rows = places // V + offsets  # (R, N) rows of the step
        gained = log_probs[rows.flatten(), ids.flatten()].view(R, -1)  # (R, N)
        ends = (ids == options.eos) | (logprobs.shape[1] + 1 >= limits)  # (R, N)
        _collect(finished, ends[:, :K], rows, ids, gained, tokens[:, prompt.shape[1] :], logprobs, options)

        scores, best = (top + ends * NO_BEAM).topk(K)  # (R, K)
        rows = rows.gather(1, best).flatten()  # (B,)
        chosen = ids.gather(1, best).flatten()
        tokens = torch.cat([tokens[rows], chosen[:, None]], 1)
        logprobs = torch.cat([logprobs[rows], gained.gather(1, best).flatten()[:, None]], 1)
        for pool, running, limit in zip(finished, scores[:, 0].tolist(), allowed, strict=True):
            pool.update(running, logprobs.shape[1], limit, options)
        if not any(pool.open for pool in finished):
            return [pool.best[0] for pool in finished]
        step.reorder(rows)
        logits = step.advance(chosen[:, None])[:, -1]


def _collect(
    finished: list[_Finished],
    ends: Tensor,
    rows: Tensor,
    ids: Tensor,
    gained: Tensor,
    tokens: Tensor,
    logprobs: Tensor,
    options: GenerateOptions,
) -> None:
    """Put candidates that end into their prompt's finished hypotheses."""
    for prompt, candidate in ends.nonzero().tolist():
        if not finished[prompt].open:
            continue
        row = rows[prompt, candidate]
        history = [*tokens[row].tolist(), int(ids[prompt, candidate])]
        values = [*logprobs[row].tolist(), float(gained[prompt, candidate])]
        finished[prompt].add(_finish(history, values, options))
