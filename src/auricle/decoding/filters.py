"""Rules that take tokens out of the running, or make them less probable, before the next one is chosen.

Each function returns a filter: (B, S) tokens so far and (B, V) logits in, new (B, V) logits out, no state
kept. `begin` is the number of prompt tokens, so that a rule about what is generated can leave the prompt
out. The rules only mask or depend on differences of logits, so that they may be given log-probabilities
too; the repetition penalty alone depends on where zero is.

Dimension key: `B` rows, `S` tokens so far (prompt and generated), `V` vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from auricle.text.tokenizer import N_TIMESTAMPS

# (B, S) tokens so far and (B, V) logits in, new (B, V) logits out.
Filter = Callable[[Tensor, Tensor], Tensor]


def suppress(ids: Sequence[int], only_at: int | None = None) -> Filter:
    """Never choose these tokens, or not as the token at one place; ids outside the vocabulary never are.

    At the place `begin` these are Whisper's blank and end of text, so that no window stays empty.
    """

    def apply(tokens: Tensor, logits: Tensor) -> Tensor:
        if only_at is not None and tokens.shape[1] != only_at:
            return logits
        places = [id for id in ids if 0 <= id < logits.shape[1]]
        return logits.index_fill(1, torch.tensor(places, dtype=torch.long, device=logits.device), -math.inf)

    return apply


def suppress_until(id: int, length: int) -> Filter:
    """Never choose this token before a row has `length` tokens, prompt included: with the end token, a minimum."""

    def apply(tokens: Tensor, logits: Tensor) -> Tensor:
        if tokens.shape[1] >= length:
            return logits
        return logits.index_fill(1, torch.tensor([id], device=logits.device), -math.inf)

    return apply


def repetition_penalty(penalty: float) -> Filter:
    """Divide positive logits of tokens that occurred, prompt included, and multiply negative ones.

    Source: Keskar et al. 2019, "CTRL", section 4.1; the sign rule is transformers'.
    """

    def apply(tokens: Tensor, logits: Tensor) -> Tensor:
        seen = logits.gather(1, tokens)  # (B, S)
        return logits.scatter(1, tokens, torch.where(seen < 0, seen * penalty, seen / penalty))

    return apply


def no_repeat_ngram(size: int) -> Filter:
    """Forbid each token that would complete an n-gram that occurred, prompt included.

    Source: Paulus et al. 2017, "A Deep Reinforced Model for Abstractive Summarization", section 2.5.
    """

    def apply(tokens: Tensor, logits: Tensor) -> Tensor:
        S = tokens.shape[1]
        if size > S:
            return logits
        ngrams = tokens.unfold(1, size, 1)  # (B, S - size + 1, size)
        tail = tokens[:, S - size + 1 :]  # (B, size - 1)
        repeats = (ngrams[:, :, :-1] == tail[:, None]).all(-1)  # (B, S - size + 1)
        rows, places = repeats.nonzero(as_tuple=True)
        banned = torch.zeros_like(logits, dtype=torch.bool)
        banned[rows, ngrams[rows, places, -1]] = True
        return logits.masked_fill(banned, -math.inf)

    return apply


def occurrence_penalties(presence: float, frequency: float, begin: int) -> Filter:
    """Take `presence` from the logits of generated tokens, and `frequency` for each time that they were.

    The prompt, which has `begin` tokens, does not count. Source: OpenAI's API reference, "presence_penalty".
    """

    def apply(tokens: Tensor, logits: Tensor) -> Tensor:
        generated = tokens[:, begin:]  # (B, n)
        ones = torch.ones_like(generated, dtype=logits.dtype)
        times = torch.zeros_like(logits).scatter_add(1, generated, ones)  # (B, V)
        return logits - frequency * times - presence * (times > 0)

    return apply


def bias_tokens(biases: Sequence[tuple[int, float]]) -> Filter:
    """Add a number to the logits of tokens; ids outside the vocabulary are left out."""

    def apply(tokens: Tensor, logits: Tensor) -> Tensor:
        known = [(id, bias) for id, bias in biases if 0 <= id < logits.shape[1]]
        places = torch.tensor([id for id, _ in known], dtype=torch.long, device=logits.device)
        added = torch.tensor([bias for _, bias in known], dtype=logits.dtype, device=logits.device)
        return logits.index_add(1, places, added.expand(len(logits), -1))

    return apply


def forbid_sequences(sequences: Sequence[Sequence[int]]) -> Filter:
    """Forbid each token that would complete one of these sequences, the prompt included."""

    def apply(tokens: Tensor, logits: Tensor) -> Tensor:
        banned = torch.zeros_like(logits, dtype=torch.bool)
        for *before, last in sequences:
            if last < logits.shape[1] and len(before) <= tokens.shape[1]:
                tail = tokens[:, tokens.shape[1] - len(before) :]
                banned[:, last] |= (tail == torch.tensor(before, dtype=tokens.dtype, device=tokens.device)).all(1)
        return logits.masked_fill(banned, -math.inf)

    return apply


def timestamp_rules(
    timestamp_begin: int,
    no_timestamps: int,
    eos: int,
    begin: int,
    max_initial: int | None,
) -> Filter:
    """Whisper's grammar of timestamps: a window begins with one, they come in pairs and never go back.

    `max_initial` is the largest first timestamp, in steps of 20 ms; None for any. After the other rules, if
    all timestamps together are more probable than every single text token, text is ruled out: how sure the
    model is that a timestamp comes here is spread over many of them. Special tokens from `eos` up to the
    timestamps are not text: after a lone closing timestamp they stay possible. Tokens that a checkpoint added
    behind the last timestamp are text; transformers takes them for timestamps later than all others.

    Source: openai/whisper decoding.py, ApplyTimestampRules; Radford et al. 2022, section 4.5.
    """

    def apply(tokens: Tensor, logits: Tensor) -> Tensor:
        logits = logits.clone()
        text, stamps = logits[:, :timestamp_begin], logits[:, timestamp_begin : timestamp_begin + N_TIMESTAMPS]
        added = logits[:, timestamp_begin + N_TIMESTAMPS :]  # like the others a view of the copy
        text[:, no_timestamps] = -math.inf
        generated = tokens[:, begin:] - timestamp_begin  # (B, n) timestamps in steps, text below zero
        if generated.shape[1]:
            generated = generated.masked_fill(generated >= N_TIMESTAMPS, -1)
            _keep_order(generated, (text[:, :eos], added), stamps)
        else:
            text.fill_(-math.inf)
            added.fill_(-math.inf)
            if max_initial is not None:
                stamps[:, max_initial + 1 :] = -math.inf
        # Both sides lack the same normalisation, so that logits may be compared.
        best = torch.stack([words.amax(-1) for words in (text, added) if words.shape[1]]).amax(0)  # (B,)
        forced = stamps.logsumexp(-1) > best  # (B,)
        for words in (text, added):
            words.masked_fill_(forced[:, None], -math.inf)
        return logits

    return apply


def _keep_order(generated: Tensor, words: Sequence[Tensor], stamps: Tensor) -> None:
    """Rule out, in place, words and timestamps that may not follow what each row has generated."""
    steps = torch.arange(stamps.shape[1], device=stamps.device)
    is_timestamp = generated >= 0  # (B, n)
    last = is_timestamp[:, -1]  # (B,)
    before = is_timestamp[:, -2] if generated.shape[1] > 1 else torch.ones_like(last)
    opened, closed = last & before, last & ~before
    places = torch.arange(1, generated.shape[1] + 1, device=generated.device) * is_timestamp  # (B, n)
    place = places.amax(1, keepdim=True)  # (B, 1) of the newest timestamp, one-based
    newest = generated.gather(1, (place - 1).clamp(min=0)).masked_fill(place == 0, -1)  # (B, 1)
    # A lone timestamp closes a segment, and the next may open at the same time; else time goes on.
    lowest = torch.where(closed[:, None], newest, newest + 1)  # (B, 1)
    stamps.masked_fill_(opened[:, None] | (steps < lowest), -math.inf)
    for some in words:
        some.masked_fill_(closed[:, None], -math.inf)
