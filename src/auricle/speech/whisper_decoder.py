"""One round of Whisper: windows of sound and what precedes them in, text and what to think of it out.

Dimension key: `R` rows (windows of a round), `S` tokens, `T` encoder frames, `V` vocabulary, `H` heads.

Source: openai/whisper decoding.py (prompt, rules, no-speech probability), timing.py (attention for word
times).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.decoding.alignment import token_onsets
from auricle.decoding.generate import GenerateOptions, Grammar, Step, generate
from auricle.decoding.sampling import seeded
from auricle.errors import OptionError
from auricle.speech.whisper_options import WhisperOptions
from auricle.speech.whisper_tokens import WhisperTokenizer, WhisperTokens, non_speech_tokens
from auricle.speech.whisper_windows import (
    Decoded,
    best_attempt,
    compression_ratio,
    is_repetitive,
    needs_fallback,
    seed_of,
)
from auricle.text.tokenizer import N_TIMESTAMPS

SECONDS_PER_STEP = 0.02  # what one timestamp token counts: two feature frames, one encoder frame
NO_REPEAT = 5  # tokens: a window that only repeated itself is decoded again without any such run twice
MOST_ATTENTION = 2**26  # numbers of cross-attention in memory at once: 256 MB


class Engine(Protocol):
    """What this needs of an engine."""

    @property
    def model(self) -> Any:
        """The network, for its cross-attention."""
        ...

    def encode(self, features: Features) -> tuple[Tensor, Tensor]:
        """Encoder states (R, T, D) and their lengths (R,)."""
        ...

    def decoder(self, states: Tensor, lengths: Tensor, use_cache: bool = True) -> Step:
        """Start decoding, one row for each of `encode`."""
        ...


@dataclass(frozen=True)
class Ask:
    """What the decoder is asked about one window."""

    prompt: list[int]
    start: int  # of the window, in samples: with the seed, it decides what is drawn
    is_voiced: bool = False  # whether voice was detected in it, so that there is something to write


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

    def words(self, name: str, text: str, most: int | None = None) -> list[int]:
        """The tokens of an option's words for the prompt.

        Raises:
            OptionError: if they are more than `most`, or some of them are no words.
        """
        ids = self.tokenizer.encode(" " + text.strip()) if text.strip() else []
        if any(self.tokens.eos <= id < self.tokens.timestamp_begin + N_TIMESTAMPS for id in ids):
            # A start token in the prompt would be taken for the one that the transcript begins with.
            raise OptionError(f"{name}: {text!r} has a special token of Whisper's in it, <|...|>; give plain words")
        if most is not None and len(ids) > most:
            raise OptionError(f"{name}: {len(ids)} tokens were given and {most} fit; give fewer words")
        return ids

    def prompt_tokens(self, ids: Sequence[int]) -> list[int]:
        """The tokens of a prompt that was given as such, without the one that says that it is a prompt.

        Raises:
            OptionError: if some are no text.
        """
        text = list(ids[1:] if ids and ids[0] == self.tokens.previous else ids)
        wrong = next((id for id in text if not 0 <= id < self.tokens.eos), None)
        if wrong is not None:
            raise OptionError(
                f"prompt_ids has {wrong}, which is no text of this checkpoint; make them with its own tokenizer, or "
                "give the text as initial_prompt"
            )
        return text

    def prompt(
        self, before: Sequence[int], start: Sequence[int], prefix: Sequence[int], without_timestamps: bool
    ) -> list[int]:
        """Everything a window is told before it is decoded; `before` are the tokens of earlier text."""
        told = [self.tokens.previous, *before] if before else []
        mode = [self.tokens.no_timestamps] if without_timestamps else []
        # Text follows an opening timestamp, so that a prefix looks like text that was chosen.
        opening = [self.tokens.timestamp_begin] if prefix and not without_timestamps else []
        return [*told, *start, *mode, *opening, *prefix]

    def decode(
        self,
        states: Tensor,
        lengths: Tensor,
        asks: Sequence[Ask],
        options: WhisperOptions,
    ) -> list[Decoded]:
        """Decode windows at rising temperature until each looks right.

        A window that repeats itself at every temperature is decoded once more, told nothing and held to
        repeat nothing.
        """
        found = self._by_length(states, lengths, asks, options)
        rows = [row for row, one in enumerate(found) if not one.trusted and is_repetitive(one, options)]
        if not rows:
            return found
        prompts = [asks[row].prompt for row in rows]
        plain = [
            replace(asks[row], prompt=prompt[prompt.index(self.tokens.start) :])
            for row, prompt in zip(rows, prompts, strict=True)
        ]
        again = self._by_length(states[rows], lengths[rows], plain, options, strict=True)
        for row, decoded in zip(rows, again, strict=True):
            if decoded.trusted:
                found[row] = replace(decoded, loosened=True)
        return found

    def _by_length(
        self, states: Tensor, lengths: Tensor, asks: Sequence[Ask], options: WhisperOptions, strict: bool = False
    ) -> list[Decoded]:
        """Decode together what has prompts of one length and layout, as the rows of one step must."""
        found: dict[int, Decoded] = {}
        layouts = [(len(ask.prompt), ask.prompt.index(self.tokens.start)) for ask in asks]
        for layout in sorted(set(layouts)):
            rows = [row for row, one in enumerate(layouts) if one == layout]
            together = self._fall_back(states[rows], lengths[rows], [asks[row] for row in rows], options, strict)
            found.update(zip(rows, together, strict=True))
        return [found[row] for row in range(len(asks))]

    def _fall_back(
        self, states: Tensor, lengths: Tensor, asks: Sequence[Ask], options: WhisperOptions, strict: bool
    ) -> list[Decoded]:
        """Decode all rows at the first temperature, those that look wrong at the next, and so on."""
        attempts: list[list[Decoded]] = [[] for _ in asks]
        rows = list(range(len(asks)))
        for number, temperature in enumerate((0.0,) if strict else options.temperatures):
            search = options.search(self.tokens.eos, temperature)
            if strict:
                size = min(options.no_repeat_ngram_size or NO_REPEAT, NO_REPEAT)
                search = replace(search, no_repeat_ngram_size=size)
            asked = [asks[row] for row in rows]
            step = self.engine.decoder(states[rows], lengths[rows], use_cache=options.use_cache)
            for row, decoded in zip(rows, self._attempt(step, asked, number, search, options), strict=True):
                attempts[row].append(decoded)
            rows = [row for row in rows if needs_fallback(attempts[row][-1], options, asks[row].is_voiced)]
            if not rows:
                break
        chosen = [tries[-1] for tries in attempts]
        for row in rows:
            chosen[row] = replace(best_attempt(attempts[row], options, asks[row].is_voiced), trusted=False)
        return chosen

    def onsets(
        self,
        texts: Sequence[Sequence[int]],
        starts: Sequence[Sequence[int]],
        states: Tensor,
        n_frames: Sequence[int],
        heads: Sequence[tuple[int, int]],
    ) -> list[np.ndarray]:
        """For each window the encoder frame at which each text token begins, and at which the last one ends.

        A pass of its own over the finished text: whatever search, prompt or batch it came from, its times
        are the same. Only the first `n_frames` of a window are looked at. `starts` are equally long.
        """
        told = [[*start, self.tokens.no_timestamps, *text] for text, start in zip(texts, starts, strict=True)]
        longest = max(len(one) for one in told)
        # As many rows at once as their attention has room for: S · T numbers for each head and row.
        n_rows = max(1, MOST_ATTENTION // (len(heads) * longest * states.shape[1]))
        found: list[np.ndarray] = []
        for first in range(0, len(told), n_rows):
            some = range(first, min(first + n_rows, len(told)))
            # What follows a row's text changes nothing before it.
            padded = [told[row] + [self.tokens.eos] * (longest - len(told[row])) for row in some]
            sequence = torch.tensor(padded, device=states.device)  # (R, S)
            frames = torch.tensor([n_frames[row] for row in some], device=states.device)
            with torch.inference_mode():
                attend = self.engine.model.cross_attention
                weights = attend(sequence, states[some.start : some.stop], frames, list(heads))  # (R, H, S, T)
            for row, heard in zip(some, weights, strict=True):
                # The row of a token looks for the next one: those of <|notimestamps|> and of all text tokens
                # are wanted.
                begin, end = len(starts[row]), len(told[row])
                found.append(token_onsets(heard[:, begin:end, : n_frames[row]].float().cpu().numpy()))
        return found

    def _attempt(
        self,
        step: Step,
        asks: Sequence[Ask],
        number: int,
        search: GenerateOptions,
        options: WhisperOptions,
    ) -> list[Decoded]:
        prompt = torch.tensor([ask.prompt for ask in asks])  # (R, S)
        start = list(asks[0].prompt).index(self.tokens.start)
        logits = step.advance(prompt, prompt.shape[1] - start)  # (R, S - start, V)
        no_speech = logits[:, 0].softmax(-1)[:, self.tokens.no_speech].tolist()
        # The start token is followed by the language: what the window sounds like comes for nothing.
        languages = logits[:, 0, list(self.tokens.languages.values())].softmax(-1).tolist()
        seeds = [seed_of(options.seed, ask.start, number) for ask in asks]
        found = generate(
            step,
            prompt,
            search,
            self._grammar(asks[0].prompt, start, options),
            logits=logits[:, -1],
            generators=[seeded(seed) for seed in seeds] if search.sampling_temperature > 0 else None,
        )
        ratios = [compression_ratio(self.tokenizer.decode(one.tokens)) for one in found]
        temperature = search.sampling_temperature
        return [
            Decoded(one, temperature, one.avg_logprob, ratio, silence, tuple(spoken))
            for one, ratio, silence, spoken in zip(found, ratios, no_speech, languages, strict=True)
        ]

    def _grammar(self, prompt: Sequence[int], start: int, options: WhisperOptions) -> Grammar:
        tokens, wanted = self.tokens, options.suppress_tokens
        listed = tokens.suppressed if wanted is None else tuple(id for id in wanted if id >= 0)
        if wanted is not None and -1 in wanted:
            listed += non_speech_tokens(self.tokenizer)
        plain = Grammar(
            tokens.eos,
            banned=tuple(sorted({*listed, *tokens.control, tokens.no_timestamps})),
            n_prompt=len(prompt),
            blank=tokens.blank if options.suppress_blank else (),
        )
        if options.without_timestamps:
            return plain
        latest = options.max_initial_timestamp
        # The opening timestamp before a prefix counts as chosen.
        times = range(tokens.timestamp_begin, tokens.timestamp_begin + N_TIMESTAMPS)
        opened = [at for at in range(start, len(prompt)) if prompt[at] in times]
        return replace(
            plain,
            timestamp_begin=tokens.timestamp_begin,
            no_timestamps=tokens.no_timestamps,
            begin=opened[0] if opened else len(prompt),
            max_initial=None if latest is None else round(latest / SECONDS_PER_STEP),
        )
