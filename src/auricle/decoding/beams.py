"""Beam search, plain, diverse in groups, or with drawn candidates.

Dimension key: `R` prompts, `G` groups, `K` beams of a group, `B` = G·R·K rows of the step (first all those of the
first group), `S` tokens so far (prompt and generated), `V` vocabulary, `N` = 2·K candidates of a prompt and group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from auricle.decoding.filters import Filter
from auricle.decoding.options import DIVERSITY_PENALTY, GenerateOptions
from auricle.decoding.rows import Generated, Step, filtered, finish
from auricle.decoding.sampling import gumbel_noise, warpers

# The score of a beam that does not exist yet: far below every real one, and finite, so that sums stay
# ordered.
NO_BEAM = -1.0e9


def beam_search(
    step: Step,
    prompt: Tensor,
    logits: Tensor,
    options: GenerateOptions,
    filters: Sequence[Filter],
    allowed: Sequence[int],
    generators: Sequence[torch.Generator] | None,
) -> list[Generated]:
    """Keep the K best running rows of every prompt and group, and the best finished ones, until none can win.

    Groups take turns at every token: to each, a token is less probable by the diversity penalty for every beam of
    an earlier group that has just chosen it. What a group loses that way stays in its scores.

    Source: transformers generation/utils.py, `_beam_search` (the 2·K rule and the stopping rule); Vijayakumar et al.
    2016, "Diverse Beam Search" (arXiv 1610.02424), algorithm 1, with the Hamming diversity of section 4.
    """
    R, G, K = len(prompt), options.n_beam_groups, options.n_beams // options.n_beam_groups
    rows = torch.arange(R, device=logits.device).repeat_interleave(K)  # (R·K,)
    search = _Search(options, filters, torch.tensor(allowed, device=logits.device), prompt.shape[1], generators)
    groups = [_Group.start(prompt[rows], R, max(1, round(K * options.patience))) for _ in range(G)]
    step.reorder(rows.repeat(G))
    logits = logits[rows].repeat(G, 1)  # (B, V)
    while True:
        moves: list[Tensor] = []  # of each group, the rows of it that go on
        times_chosen = logits.new_zeros(R, logits.shape[1]) if G > 1 else None  # by earlier groups
        for group, log_probs in zip(groups, logits.log_softmax(-1).split(R * K), strict=True):
            is_open = [pool.open for pool in group.finished]
            moves.append(search.extend(group, log_probs, times_chosen if moves else None))
            if times_chosen is not None:
                counts = torch.tensor(is_open, device=logits.device)[:, None].expand(R, K)
                times_chosen.scatter_add_(1, group.tokens[:, -1].view(R, K), counts.to(times_chosen))
        if not any(pool.open for group in groups for pool in group.finished):
            return [_best_of([one for group in groups for one in group.finished[at].best]) for at in range(R)]
        step.reorder(torch.cat([rows + number * R * K for number, rows in enumerate(moves)]))
        logits = step.advance(torch.cat([group.tokens[:, -1:] for group in groups]))[:, -1]


def _best_of(finished: list[Generated]) -> Generated:
    """The best of the hypotheses of all groups, with the others beside it."""
    best, *others = sorted(finished, key=lambda one: -one.score)
    return replace(best, others=tuple(others))


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


@dataclass
class _Group:
    """The beams of every prompt that compete with each other."""

    tokens: Tensor  # (R·K, S)
    logprobs: Tensor  # (R·K, new tokens), those of temperature 1 after the filters
    scores: Tensor  # (R, K) what the running beams are ranked by, best first
    finished: list[_Finished]  # of each prompt

    @classmethod
    def start(cls, tokens: Tensor, n_prompts: int, size: int) -> _Group:
        scores = torch.full((n_prompts, len(tokens) // n_prompts), NO_BEAM, device=tokens.device)
        scores[:, 0] = 0.0
        pools = [_Finished(size) for _ in range(n_prompts)]
        return cls(tokens, torch.zeros(len(tokens), 0, device=tokens.device), scores, pools)


class _Search:
    """What does not change while a search runs."""

    def __init__(
        self,
        options: GenerateOptions,
        filters: Sequence[Filter],
        limits: Tensor,
        n_prompt: int,
        generators: Sequence[torch.Generator] | None,
    ) -> None:
        self.options = options
        self.ends = (options.eos, *options.more_ends)
        self.filters = filters
        self.limits = limits  # (R,) new tokens
        self.n_prompt = n_prompt
        penalty = options.diversity_penalty
        self.diversity_penalty = DIVERSITY_PENALTY if penalty is None else penalty
        self.generators = generators if options.sampling_temperature > 0 else None
        self.warpers = warpers(options, keep=2) if self.generators else []

    def extend(self, group: _Group, log_probs: Tensor, times_chosen: Tensor | None) -> Tensor:
        """Give every beam its next token, by (R·K, V) log-probabilities; the rows of the group that go on (R·K,).

        Of the 2·K best continuations, those among the first K that end become finished hypotheses; the K best
        that do not end run on. With generators the continuations are drawn without replacement.
        """
        R, K = group.scores.shape
        V = log_probs.shape[1]
        log_probs, ranked = self._ranked(group.tokens, log_probs, times_chosen)  # (R·K, V)
        totals = (ranked.view(R, K, V) + group.scores[:, :, None]).view(R, K * V)
        drawn = totals + gumbel_noise(K * V, self.generators, totals.device) if self.generators else totals
        places = drawn.topk(2 * K).indices  # (R, N)
        top, ids = totals.gather(1, places), places % V
        rows = places // V + torch.arange(R, device=ids.device)[:, None] * K  # (R, N)
        gained = log_probs[rows.flatten(), ids.flatten()].view(R, -1)  # (R, N)
        n_new = group.logprobs.shape[1] + 1
        ends = torch.isin(ids, torch.tensor(self.ends, device=ids.device))  # (R, N)
        self._collect(group, (ends | (n_new >= self.limits[:, None]))[:, :K], rows, ids, gained, top)

        group.scores, best = (top + ends * NO_BEAM).topk(K)  # (R, K)
        rows, chosen, values = (one.gather(1, best).flatten() for one in (rows, ids, gained))  # (R·K,)
        group.tokens = torch.cat([group.tokens[rows], chosen[:, None]], 1)
        group.logprobs = torch.cat([group.logprobs[rows], values[:, None]], 1)
        for pool, running, limit in zip(group.finished, group.scores[:, 0].tolist(), self.limits.tolist(), strict=True):
            pool.update(running, n_new, limit, self.options)
        return rows

    def _ranked(self, tokens: Tensor, log_probs: Tensor, times_chosen: Tensor | None) -> tuple[Tensor, Tensor]:
        """The log-probabilities after the filters, and what continuations are ranked by."""
        kept = filtered(self.filters, tokens, log_probs)
        ranked = kept
        if times_chosen is not None:
            lost = self.diversity_penalty * times_chosen.repeat_interleave(len(tokens) // len(times_chosen), 0)
            ranked = filtered(self.filters, tokens, log_probs - lost)  # before the filters, as transformers had it
        for warp in self.warpers:
            ranked = warp(ranked)
        if self.options.renormalize:
            return kept.log_softmax(-1), ranked.log_softmax(-1)
        return kept, ranked

    def _collect(self, group: _Group, ends: Tensor, rows: Tensor, ids: Tensor, gained: Tensor, top: Tensor) -> None:
        """Put candidates that end into their prompt's finished hypotheses."""
        length_penalty = self.options.length_penalty
        for prompt, candidate in ends.nonzero().tolist():
            if not group.finished[prompt].open:
                continue
            row = rows[prompt, candidate]
            history = [*group.tokens[row, self.n_prompt :].tolist(), int(ids[prompt, candidate])]
            values = [*group.logprobs[row].tolist(), float(gained[prompt, candidate])]
            score = float(top[prompt, candidate]) / len(values) ** length_penalty
            group.finished[prompt].add(replace(finish(history, values, self.ends, length_penalty), score=score))
