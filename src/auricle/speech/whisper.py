"""Recordings of any length with Whisper: windows of 30 s, each from where the text before it ended.

All recordings of a call advance together, one window each at a time, as rows of one batch; what a row comes
to does not depend on the others. Offsets are whole samples, so that times neither drift nor go back.
Windows are decoded with timestamp tokens whether or not times are asked for, and word times come from a
pass of their own over the finished text, so that asking for times never changes it.

Source: openai/whisper transcribe.py; Radford et al. 2022, section 4.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from auricle.audio.features import Features
from auricle.errors import OptionError
from auricle.results import Segment, Transcript, Warning, Word
from auricle.speech.languages import language_code
from auricle.speech.rolling import RollingSamples
from auricle.speech.whisper_decoder import SECONDS_PER_STEP, Engine, WindowDecoder
from auricle.speech.whisper_options import WhisperOptions
from auricle.speech.whisper_tokens import WhisperTokenizer, alignment_heads, read_tokens
from auricle.speech.whisper_windows import Decoded, Piece, is_repetitive, is_silence, split_window
from auricle.speech.whisper_words import fit_words, group_words, time_words

__all__ = ["WhisperOptions", "WhisperRecognizer"]

SHORTEST_REST = 0.1  # seconds: what is left after the last window, if no longer, holds no word


class Recording(Protocol):
    """What this needs of a recording."""

    def blocks(self) -> Iterable[np.ndarray]:
        """Mono float32 samples at the model's rate, in order."""
        ...


class WindowFeatures(Protocol):
    """What this needs of features."""

    sample_rate: int
    window_samples: int

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        """One window each."""
        ...


@dataclass
class _Place:
    """How far one recording has come."""

    samples: RollingSamples
    history: list[int]  # the tokens that the next window is told
    language: str | None
    language_probability: float | None = None
    window: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    segments: list[Segment] = field(default_factory=list)
    warnings: list[Warning] = field(default_factory=list)

    def open_window(self, n_samples: int, shortest: int) -> bool:
        """Take the next window; False at the recording's end."""
        self.window = self.samples.window(n_samples)
        return len(self.window) > (shortest if self.samples.start else 0)

    def warn(self, kind: str, message: str, start: float, end: float) -> None:
        """Add a warning, or let the last one go on if it says the same up to here."""
        last = self.warnings[-1] if self.warnings else None
        if last is not None and (last.kind, last.end) == (kind, start):
            self.warnings[-1] = replace(last, end=end)
        else:
            self.warnings.append(Warning(kind, message, start, end))


class WhisperRecognizer:
    """Transcribes recordings of any length with one Whisper checkpoint."""

    def __init__(
        self,
        engine: Engine,
        features: WindowFeatures,
        tokenizer: WhisperTokenizer,
        config: Any,
        generation: dict[str, Any],
    ) -> None:
        """Take the parts of a loaded checkpoint; `generation` is generation_config.json as it is, or {}.

        Raises:
            ConfigError: if neither it nor the tokenizer has a token that every Whisper needs.
        """
        self.engine = engine
        self.features = features
        self.tokenizer = tokenizer
        self.tokens = read_tokens(generation, tokenizer)
        self.decoder = WindowDecoder(engine, tokenizer, self.tokens, int(config.max_target_positions))
        self.heads = alignment_heads(
            generation, config.decoder_layers, config.decoder_attention_heads, self.tokens.multilingual
        )
        self._step_samples = round(SECONDS_PER_STEP * features.sample_rate)

    def transcribe(
        self,
        audios: Sequence[Recording],
        options: WhisperOptions | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> list[Transcript]:
        """Transcribe all recordings side by side, in the memory of one window each.

        `progress` is told the seconds done of all recordings together.

        Raises:
            OptionError: for a language or a task that the checkpoint does not have, or a prefix that is too
            long. AudioError: as reading a recording raises it.
        """
        options = options or WhisperOptions()
        language, task = self._language_and_task(options)
        prefix = self.decoder.prefix(options.prefix)
        first = options.initial_prompt.strip() if options.initial_prompt else ""
        history = self.tokenizer.encode(" " + first) if first else []
        places = [_Place(RollingSamples(iter(audio.blocks())), list(history), language) for audio in audios]
        shortest = round(SHORTEST_REST * self.features.sample_rate)
        while True:
            active = [one for one in places if one.open_window(self.features.window_samples, shortest)]
            if not active:
                return [self._transcript(place) for place in places]
            self._round(active, task, prefix, options)
            if progress is not None:
                progress(sum(place.samples.start for place in places) / self.features.sample_rate)

    def detect_languages(self, audios: Sequence[Recording]) -> list[dict[str, float]]:
        """The probability of every language the checkpoint knows, from each recording's first window.

        Raises:
            OptionError: if the checkpoint is English-only.
        """
        if not self.tokens.multilingual:
            raise OptionError("this checkpoint is English-only and detects no language; use a multilingual one")
        windows = [RollingSamples(iter(one.blocks())).window(self.features.window_samples) for one in audios]
        return self.decoder.languages(*self.engine.encode(self.features(windows)))

    def _language_and_task(self, options: WhisperOptions) -> tuple[str | None, str]:
        """The language for the prompt, None to detect it, and the task."""
        tokens = self.tokens
        if not tokens.multilingual:
            for name in ("language", "task"):
                if getattr(options, name) is not None:
                    raise OptionError(
                        f"{name}={getattr(options, name)!r}, but this checkpoint is English-only and has no "
                        f"tokens to choose one; leave {name} out, or use a multilingual checkpoint"
                    )
            return "en", "transcribe"
        task = options.task or tokens.task or "transcribe"
        if task not in tokens.tasks:
            raise OptionError(f"task={task!r}: this checkpoint has no token for it; it has {', '.join(tokens.tasks)}")
        if options.language is not None:
            return language_code(options.language, tokens.languages), task
        return tokens.language, task

    def _round(self, places: Sequence[_Place], task: str, prefix: Sequence[int], options: WhisperOptions) -> None:
        """Decode the window that each recording has open, and move each to its next one."""
        states, lengths = self.engine.encode(self.features([place.window for place in places]))
        self._detect(places, states, lengths)
        starts = [self.decoder.start(place.language, task) for place in places]
        prompts = [
            # The prefix begins the recording, so that it is for its first window.
            self.decoder.prompt(place.history, start, [] if place.samples.start else prefix, options.without_timestamps)
            for place, start in zip(places, starts, strict=True)
        ]
        # Rows of one step have prompts of one length.
        for length in sorted({len(prompt) for prompt in prompts}):
            rows = [row for row, prompt in enumerate(prompts) if len(prompt) == length]
            found = self.decoder.decode(
                states[rows],
                lengths[rows],
                [prompts[row] for row in rows],
                [places[row].samples.start for row in rows],
                options,
            )
            for row, decoded in zip(rows, found, strict=True):
                self._accept(places[row], decoded, states[row : row + 1], starts[row], options)

    def _detect(self, places: Sequence[_Place], states: Tensor, lengths: Tensor) -> None:
        """Give recordings without a language the most probable one of their first window."""
        rows = [row for row, place in enumerate(places) if place.language is None]
        if not rows:
            return
        found = self.decoder.languages(states[rows], lengths[rows])
        for row, probabilities in zip(rows, found, strict=True):
            language, probability = max(probabilities.items(), key=lambda item: item[1])
            places[row].language, places[row].language_probability = language, probability

    def _accept(
        self, place: _Place, decoded: Decoded, states: Tensor, start: Sequence[int], options: WhisperOptions
    ) -> None:
        """Add the segments of a decoded window, and let go of the samples they used up."""
        n_samples = len(place.window)
        span = self._seconds(place, 0), self._seconds(place, None)
        if is_silence(decoded, options):
            place.warn("silence", "no speech was found", *span)
            place.samples.skip(n_samples)
            return
        if not decoded.trusted:
            if is_repetitive(decoded, options):
                place.warn("repetition", "the text repeats itself at every temperature", *span)
            else:
                place.warn("doubtful", "the decoder finds its text improbable at every temperature", *span)
        pieces, follow = split_window(decoded.generated.tokens, self.tokens.timestamp_begin)
        n_used = n_samples if follow is None else min(follow * self._step_samples, n_samples)
        segments = [self._segment(place, decoded, piece) for piece in pieces]
        if options.return_timestamps == "word":
            segments = self._with_words(place, decoded, pieces, segments, states, start, n_used, options)
        said = [segment for segment in segments if segment.text.strip()]
        place.segments += said
        place.history += [token for segment in said for token in segment.tokens]
        doubtful = not decoded.trusted or decoded.temperature > options.prompt_reset_on_temperature
        if doubtful or not options.condition_on_previous_text:
            place.history.clear()
        place.samples.skip(n_used)

    def _segment(self, place: _Place, decoded: Decoded, piece: Piece) -> Segment:
        generated = decoded.generated
        probabilities = [math.exp(generated.logprobs[at]) for at in self._spoken(decoded, piece)]
        tokens = generated.tokens[piece.begin : piece.end]
        return Segment(
            text=self.tokenizer.decode(tokens),
            start=self._seconds(place, piece.first),
            end=self._seconds(place, piece.last),
            confidence=float(np.mean(probabilities)) if probabilities else None,
            language=place.language,
            tokens=tokens,
            temperature=decoded.temperature,
            avg_logprob=decoded.avg_logprob,
            compression_ratio=decoded.compression_ratio,
            no_speech_prob=decoded.no_speech_prob,
        )

    def _with_words(
        self,
        place: _Place,
        decoded: Decoded,
        pieces: Sequence[Piece],
        segments: Sequence[Segment],
        states: Tensor,
        start: Sequence[int],
        n_used: int,
        options: WhisperOptions,
    ) -> list[Segment]:
        """The same segments with words, timed within the samples that they used up."""
        spoken = [self._spoken(decoded, piece) for piece in pieces]
        text = [decoded.generated.tokens[at] for places in spoken for at in places]
        if not text:
            return list(segments)
        n_frames = max(1, math.ceil(n_used / self._step_samples))
        frames = self.decoder.onsets(text, start, states, n_frames, self.heads).tolist()
        times = [self._seconds(place, frame) for frame in frames]
        found: list[Segment] = []
        done = 0
        for segment, at in zip(segments, spoken, strict=True):
            ids = [decoded.generated.tokens[one] for one in at]
            marks = options.prepend_punctuations, options.append_punctuations
            grouped = group_words(ids, self.tokenizer.decode, place.language, *marks)
            probabilities = [math.exp(decoded.generated.logprobs[one]) for one in at]
            timed: list[Word] = time_words(grouped, times[done : done + len(ids) + 1], probabilities)
            assert segment.end is not None, "a window's end is always known"
            found.append(replace(segment, words=fit_words(timed, segment.start, segment.end)))
            done += len(ids)
        return found

    def _spoken(self, decoded: Decoded, piece: Piece) -> list[int]:
        """Where the text tokens of a segment are: neither timestamps nor other special tokens."""
        tokens = decoded.generated.tokens
        return [at for at in range(piece.begin, piece.end) if tokens[at] < self.tokens.eos]

    def _seconds(self, place: _Place, steps: int | None) -> float:
        """The time of a step of the open window; None, and what lies behind its samples, is their end."""
        n_samples = len(place.window)
        within = n_samples if steps is None else min(steps * self._step_samples, n_samples)
        return (place.samples.start + within) / self.features.sample_rate

    def _transcript(self, place: _Place) -> Transcript:
        return Transcript(
            text="".join(segment.text for segment in place.segments),
            segments=tuple(place.segments),
            language=place.language,
            language_probability=place.language_probability,
            duration=place.samples.end / self.features.sample_rate,
            warnings=tuple(place.warnings),
        )
