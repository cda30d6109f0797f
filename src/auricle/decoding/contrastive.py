"""Contrastive search: probable tokens that do not say again what the text before them says.

Dimension key: `R` prompts, `K` candidates, `S` tokens so far (prompt and generated), `D` width, `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.decoding.filters import Filter
from auricle.decoding.options import GenerateOptions
from auricle.decoding.rows import Generated, Step, filtered, finish


def contrastive_search(
    step: Step,
    prompt: Tensor,
    logits: Tensor,
    options: GenerateOptions,
    filters: Sequence[Filter],
    allowed: Sequence[int],
) -> list[Generated]:
    """Of the top_k tokens take the one with the best (1 - α) · probability - α · likeness, α being penalty_alpha.

    Likeness is the largest cosine between the hidden state of the candidate and those of all tokens before it, those of
    the prompt included. Every candidate is read by the model before one is taken.

    Source: Su et al. 2022, "A Contrastive Framework for Neural Text Generation" (arXiv 2202.06417), equation 5.
    """
    R, K, alpha = len(prompt), min(options.top_k, logits.shape[1]), options.penalty_alpha
    ends = (options.eos, *options.more_ends)
    assert step.hidden.shape[1] == prompt.shape[1], "the prompt was appended at once"
    context = F.normalize(step.hidden.float(), dim=-1)  # (R, S, D)
    limits = torch.tensor(allowed, device=logits.device)  # (R,)
    first = torch.arange(R, device=logits.device) * K  # (R,)
    step.reorder((first // K).repeat_interleave(K))
    done = torch.zeros(R, dtype=torch.bool, device=logits.device)
    tokens, history = prompt, []
    while True:
        log_probs = filtered(filters, tokens, logits).log_softmax(-1)  # (R, V)
        gained, candidates = log_probs.topk(K)  # (R, K)
        logits = step.advance(candidates.view(-1, 1))[:, -1]  # (R·K, V)
        hidden = F.normalize(step.hidden[:, -1].float(), dim=-1)  # (R·K, D)
        likeness = (hidden.view(R, K, -1) @ context.transpose(1, 2)).amax(-1)  # (R, K)
        scores = (1 - alpha) * gained.exp() - alpha * likeness
        best = scores.masked_fill(gained == -math.inf, -math.inf).argmax(-1)  # (R,)
        chosen = candidates.gather(1, best[:, None])[:, 0].masked_fill(done, max(options.eos, 0))  # (R,)
        history.append(gained.gather(1, best[:, None])[:, 0])
        tokens = torch.cat([tokens, chosen[:, None]], 1)  # (R, S + 1)
        done |= torch.isin(chosen, torch.tensor(ends, device=chosen.device)) | (len(history) >= limits)
        if bool(done.all()):
            break
        kept = first + best  # (R,)
        logits, context = logits[kept], torch.cat([context, hidden[kept, None]], 1)
        step.reorder(kept.repeat_interleave(K))
    rows, logprobs = tokens[:, prompt.shape[1] :].tolist(), torch.stack(history, 1).tolist()
    return [
        finish(row[:limit], values, ends, options.length_penalty)
        for row, values, limit in zip(rows, logprobs, allowed, strict=True)
    ]
