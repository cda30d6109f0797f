"""One round of Whisper: windows of sound and what precedes them in, text and what to think of it out.

Dimension key: `R` rows (windows of a round), `S` tokens, `T` encoder frames, `V` vocabulary, `H` heads.

Source: openai/whisper decoding.py (prompt, rules, no-speech probability), timing.py (attention for word
times).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.decoding import filters
from auricle.decoding.alignment import token_onsets
from auricle.decoding.generate import Step, generate
from auricle.errors import OptionError
from auricle.speech.whisper_options import WhisperOptions
from auricle.speech.whisper_tokens import WhisperTokenizer, WhisperTokens, non_speech_tokens
from auricle.speech.whisper_windows import (
    Decoded,
    best_attempt,
    compression_ratio,
    needs_fallback,
    previous_prompt,
    seed_of,
)

SECONDS_PER_STEP = 0.02  # what one timestamp token counts: two feature frames, one encoder frame


class Engine(Protocol):
    """What this needs of an engine."""

    @property
    def model(self) -> Any:
        """The network, for its cross-attention."""
        ...

    def encode(self, features: Features) -> tuple[Tensor, Tensor]:
        """Encoder states (R, T, D) and their lengths (R,)."""
        ...

    def decoder(self, states: Tensor, lengths: Tensor) -> Step:
        """Start decoding, one row for each of `encode`."""
        ...


class WindowDecoder:
    """Decodes batches of encoded windows with one checkpoint; keeps nothing between calls."""

    def __init__(self, engine: Engine, tokenizer: WhisperTokenizer, tokens: WhisperTokens, max_positions: int) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.max_positions = max_positions

    def languages(self, states: Tensor, lengths: Tensor) -> list[dict[str, float]]:
        """The probability of each language the checkpoint knows, for every window."""
        step = self.engine.decoder(states, lengths)
        logits = step.advance(torch.full((len(states), 1), self.tokens.start))[:, -1]  # (R, V)
        rows = logits[:, list(self.tokens.languages.values())].softmax(-1).tolist()
        return [dict(zip(self.tokens.languages, row, strict=True)) for row in rows]

    def start(self, language: str | None, task: str) -> list[int]:
        """The start token and, for a multilingual checkpoint, the language and the task."""
        if not self.tokens.multilingual:
            return [self.tokens.start]
        assert language is not None, "languages are detected before prompts are made"
        return [self.tokens.start, self.tokens.languages[language], self.tokens.tasks[task]]

    def prompt(
        self, history: Sequence[int], start: Sequence[int], prefix: Sequence[int], without_timestamps: bool
    ) -> list[int]:
        """Everything a window is told before it is decoded."""
        before = previous_prompt(history, self.tokens.previous, self.max_positions)
        mode = [self.tokens.no_timestamps] if without_timestamps else []
        # Text follows an opening timestamp, so that a prefix looks like text that was chosen.
        opening = [self.tokens.timestamp_begin] if prefix and not without_timestamps else []
        return [*before, *start, *mode, *opening, *prefix]

    def prefix(self, text: str | None) -> list[int]:
        """The tokens of a prefix.

        Raises:
            OptionError: if it takes more than half of the decoder's positions.
        """
        ids = self.tokenizer.encode(" " + text.strip()) if text and text.strip() else []
        most = self.max_positions // 2 - 1
        if len(ids) > most:
            raise OptionError(f"the prefix has {len(ids)} tokens and may have {most}; shorten it")
        return ids

    def decode(
        self,
        states: Tensor,
        lengths: Tensor,
        prompts: Sequence[Sequence[int]],
        starts: Sequence[int],
        options: WhisperOptions,
    ) -> list[Decoded]:
        """Decode windows whose prompts are equally long, at rising temperature until each looks right.

        `starts` says where each window begins, in samples: with the seed, it decides what is drawn.
        """
        attempts: list[list[Decoded]] = [[] for _ in starts]
        rows = list(range(len(starts)))
        for number, temperature in enumerate(options.temperatures):
            found = self._attempt(
                self.engine.decoder(states[rows], lengths[rows]),
                [prompts[row] for row in rows],
                [seed_of(options.seed, starts[row], number) for row in rows],
                temperature,
                options,
            )
            for row, decoded in zip(rows, found, strict=True):
                attempts[row].append(decoded)
            rows = [row for row in rows if needs_fallback(attempts[row][-1], options)]
            if not rows:
                break
        chosen = [tries[-1] for tries in attempts]
        for row in rows:
            chosen[row] = replace(best_attempt(attempts[row], options), trusted=False)
        return chosen

    def onsets(
        self,
        text: Sequence[int],
        start: Sequence[int],
        states: Tensor,
        n_frames: int,
        heads: Sequence[tuple[int, int]],
    ) -> np.ndarray:
        """The encoder frame at which each text token of one window begins, and at which the last one ends.

        A pass of its own over the finished text: whatever search, prompt or batch it came from, its times
        are the same. Only the first `n_frames` of the window are looked at.
        """
        sequence = torch.tensor([[*start, self.tokens.no_timestamps, *text]], device=states.device)  # (1, S)
        lengths = torch.tensor([n_frames], device=states.device)
        with torch.inference_mode():
            attend = self.engine.model.cross_attention
            weights = attend(sequence, states, lengths, list(heads))  # (1, H, S, T)
        # The row of a token looks for the next one: those of <|notimestamps|> and of all text tokens are
        # wanted.
        return token_onsets(weights[0, :, len(start) :, :n_frames].cpu().numpy())

    def _attempt(
        self,
        step: Step,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        temperature: float,
        options: WhisperOptions,
    ) -> list[Decoded]:
        prompt = torch.tensor(prompts)  # (R, S)
        start = list(prompts[0]).index(self.tokens.start)
        logits = step.advance(prompt, prompt.shape[1] - start)  # (R, S - start, V)
        no_speech = logits[:, 0].softmax(-1)[:, self.tokens.no_speech].tolist()
        found = generate(
            step,
            prompt,
            options.search(self.tokens.eos, temperature),
            self._rules(prompts[0], start, options),
            logits=logits[:, -1],
            generators=[torch.Generator().manual_seed(seed) for seed in seeds],
        )
        ratios = [compression_ratio(self.tokenizer.decode(one.tokens)) for one in found]
        return [
            Decoded(one, temperature, one.avg_logprob, ratio, silence)
            for one, ratio, silence in zip(found, ratios, no_speech, strict=True)
        ]

    def _rules(self, prompt: Sequence[int], start: int, options: WhisperOptions) -> list[filters.Filter]:
        tokens, wanted = self.tokens, options.suppress_tokens
        listed = tokens.suppressed if wanted is None else tuple(id for id in wanted if id >= 0)
        if wanted is not None and -1 in wanted:
            listed += non_speech_tokens(self.tokenizer)
        rules = [filters.suppress(sorted({*listed, *tokens.control, tokens.no_timestamps}))]
        if options.suppress_blank:
            rules.insert(0, filters.suppress(tokens.blank, only_at=len(prompt)))
        if options.without_timestamps:
            return rules
        latest = options.max_initial_timestamp
        steps = None if latest is None else round(latest / SECONDS_PER_STEP)
        # The opening timestamp before a prefix counts as chosen.
        opened = [at for at in range(start, len(prompt)) if prompt[at] >= tokens.timestamp_begin]
        begin = opened[0] if opened else len(prompt)
        rules.append(filters.timestamp_rules(tokens.timestamp_begin, tokens.no_timestamps, tokens.eos, begin, steps))
        return rules
