"""Autoregressive decoding over any `Step`: greedy, sampling, contrastive and beam search, with filters on the logits.

Dimension key: `R` prompts, `K` samples of a prompt, `B` = R·K rows of the step, `S` tokens so far (prompt and
generated), `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from auricle.decoding.beams import beam_search
from auricle.decoding.contrastive import contrastive_search
from auricle.decoding.filters import (
    Filter,
    bias_tokens,
    forbid_sequences,
    no_repeat_ngram,
    occurrence_penalties,
    repetition_penalty,
    suppress_until,
)
from auricle.decoding.grammar import Grammar
from auricle.decoding.options import GenerateOptions
from auricle.decoding.rows import Generated, Step, finish, repeat_rows
from auricle.decoding.sampling import draw, warpers
from auricle.decoding.speculative import DraftingStep, is_plain, speculate
from auricle.errors import OptionError

__all__ = ["GenerateOptions", "Generated", "Grammar", "Step", "generate", "own_filters"]


@torch.inference_mode()
def generate(
    step: Step,
    prompt: Tensor,
    options: GenerateOptions,
    filters: Sequence[Filter] | Grammar = (),
    *,
    logits: Tensor | None = None,
    generators: Sequence[torch.Generator] | None = None,
    limits: Sequence[int] | None = None,
) -> list[Generated]:
    """Continue each row of an (R, S) prompt until its end token or its limit.

    `step` has R rows. It has seen nothing yet, or, if `logits` (R, V) is given, exactly the prompt, at once.
    Sampling needs one CPU generator per row, so that a row draws the same numbers whatever its neighbours
    do. `limits` gives each row its own number of new tokens, at most that of the options. The options' own
    filters come before `filters`, which may be a whole grammar: greedy text is then drafted where the step can.

    Raises:
        OptionError: if the prompt leaves no room in the step or in max_length, sampling comes without generators, or
            there is no token to choose.
    """
    n_prompt = prompt.shape[1]
    room = step.max_length - n_prompt
    if room < 1:
        raise OptionError(
            f"the prompt has {n_prompt} tokens and the model takes {step.max_length} with those it "
            "generates; shorten the prompt"
        )
    if options.sampling_temperature > 0 and generators is None:
        raise OptionError(f"temperature={options.sampling_temperature} samples; pass one generator per row")
    most = options.most_new_tokens(n_prompt, room)
    allowed = [min(limit, most) for limit in limits] if limits is not None else [most] * len(prompt)
    if logits is None:
        logits = step.advance(prompt)[:, -1]  # (R, V)
    prompt = prompt.to(logits.device)
    if isinstance(filters, Grammar):
        # Not by isinstance, which reads properties of the step in the order of a set.
        if hasattr(step, "draft") and is_plain(options):
            return speculate(cast(DraftingStep, step), prompt, logits, options, filters, allowed)
        filters = filters.filters()
    rules = [*own_filters(options, n_prompt), *filters]
    if options.n_beams > 1:
        found = beam_search(step, prompt, logits, options, rules, allowed, generators)
    elif options.penalty_alpha > 0:
        found = contrastive_search(step, prompt, logits, options, rules, allowed)
    else:
        found = _sample(step, prompt, logits, options, rules, allowed, generators)
    if not all(math.isfinite(one.score) for one in found):
        raise OptionError(
            "the options leave no token that may follow, or what the model computes are no numbers; allow more tokens, "
            "or load the model with dtype='float32'"
        )
    return found


def own_filters(options: GenerateOptions, n_prompt: int) -> list[Filter]:
    """Those that the options ask for, in the order of transformers, for a prompt of `n_prompt` tokens."""
    found: list[Filter] = []
    if options.logit_bias:
        found.append(bias_tokens(options.logit_bias))
    if options.repetition_penalty != 1.0:
        found.append(repetition_penalty(options.repetition_penalty))
    if options.no_repeat_ngram_size > 0:
        found.append(no_repeat_ngram(options.no_repeat_ngram_size))
    if options.presence_penalty or options.frequency_penalty:
        found.append(occurrence_penalties(options.presence_penalty, options.frequency_penalty, n_prompt))
    if options.bad_words:
        found.append(forbid_sequences(options.bad_words))
    fewest = options.fewest_new_tokens(n_prompt)
    if fewest > 0:
        found += [suppress_until(end, n_prompt + fewest) for end in (options.eos, *options.more_ends) if end >= 0]
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
    drawing = generators if options.sampling_temperature > 0 else None
    warp = warpers(options) if drawing else []
    tokens, logits = repeat_rows(step, prompt, logits, K)  # (B, S), (B, V)
    limits = torch.tensor(allowed, device=logits.device).repeat_interleave(K)  # (B,)
    ends = (options.eos, *options.more_ends)
    done = torch.zeros(len(tokens), dtype=torch.bool, device=logits.device)
    history: list[Tensor] = []
    while True:
        for keep in filters:
            logits = keep(tokens, logits)
        chosen = draw(logits, warp, K, drawing) if drawing else logits.argmax(-1)
        chosen = chosen.masked_fill(done, max(options.eos, 0))  # (B,)
        history.append(logits.log_softmax(-1).gather(1, chosen[:, None])[:, 0])
        tokens = torch.cat([tokens, chosen[:, None]], 1)  # (B, S + 1)
        done |= torch.isin(chosen, torch.tensor(ends, device=chosen.device)) | (len(history) >= limits)
        if bool(done.all()):
            break
        logits = step.advance(chosen[:, None])[:, -1]  # (B, V)
    rows = tokens[:, prompt.shape[1] :].tolist()
    logprobs = torch.stack(history, 1).tolist()
    found = [
        finish(row[:limit], values, ends, options.length_penalty)
        for row, values, limit in zip(rows, logprobs, limits.tolist(), strict=True)
    ]
    return [max(found[at : at + K], key=lambda one: one.score) for at in range(0, len(found), K)]
