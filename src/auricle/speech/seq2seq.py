"""Recordings of any length with encoder-decoders that write plain text: Moonshine.

Such a model writes no times and hears one stretch of sound at a time, so that a long recording is cut where
it is quiet; a segment is a stretch. All recordings of a call advance together, one stretch each at a time.

Source: Jeffries et al. 2024, "Moonshine" (arXiv 2410.15608): inputs of up to 30 s in training; the limit of
6.5 tokens per second of sound, against endless repetition, is that of the model's authors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.decoding.generate import Generated, GenerateOptions, Step, generate
from auricle.errors import ConfigError, OptionError
from auricle.results import Segment, Transcript, Warning
from auricle.speech.rolling import RollingSamples
from auricle.speech.whisper_windows import compression_ratio, seed_of

LONGEST_S = 30.0  # what the models were trained on
SHORTEST_S = 0.1  # what is left after the last cut, if no longer, holds no word
PAUSE_S = 0.2  # the stretch of quiet that a cut looks for
STEP_S = 0.02  # how finely it looks
NO_REPEAT = 3  # a stretch that repeats itself is decoded again without any three tokens twice


@dataclass(frozen=True)
class Seq2SeqOptions:
    """Options of a transcription."""

    return_timestamps: Literal[False, "segment"] = False  # segments, one per stretch, are always there
    chunk_length_s: float = 0.0  # longest stretch; 0: 30 s, or what the decoder has room for
    tokens_per_second: float = 6.5  # at most, of sound; more for scripts with several tokens a letter
    compression_ratio_threshold: float | None = 2.4  # zlib shrinks repetitions more than this; None: off

    # How each stretch is searched, see GenerateOptions.
    max_new_tokens: int | None = None  # at most; None: what fits
    min_new_tokens: int | None = None
    max_length: int | None = None  # these two count the token that begins a text
    min_length: int | None = None
    n_beams: int = 1
    n_beam_groups: int = 1  # above 1: diverse beam search
    diversity_penalty: float | None = None  # between groups; None: 0.5
    patience: float = 1.0  # finished hypotheses to keep, as a multiple of n_beams
    length_penalty: float = 1.0  # hypotheses are ranked by sum_logprob / n_tokens ** length_penalty
    early_stopping: bool | Literal["never"] = False  # True: stop when enough hypotheses are finished
    do_sample: bool | None = None  # None: if the temperature is above 0
    temperature: float | None = None  # above 0: sample; None: 1 with do_sample, else 0
    top_k: int = 0  # sample among the k most probable tokens only; 0: all
    top_p: float = 1.0
    typical_p: float = 1.0
    epsilon_cutoff: float = 0.0
    eta_cutoff: float = 0.0
    best_of: int = 1  # samples, of which the most probable is kept
    seed: int = 0  # the same seed draws the same samples for the same stretch
    penalty_alpha: float = 0.0  # above 0: contrastive search among the top_k tokens
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    use_cache: bool = True  # False: every token is computed from all before it; slow, and the same

    def __post_init__(self) -> None:
        if self.return_timestamps not in (False, "segment"):
            raise OptionError(
                f"return_timestamps={self.return_timestamps!r}: this model writes text without times; expected False "
                "or 'segment', or use a CTC model or Whisper"
            )
        chunk, ratio = self.chunk_length_s, self.compression_ratio_threshold
        if not (chunk == 0 or 1.0 <= chunk <= LONGEST_S):
            raise OptionError(f"chunk_length_s={chunk}; expected 1 to {LONGEST_S:g} seconds, or 0 for the default")
        if not 0 < self.tokens_per_second < math.inf:
            raise OptionError(f"tokens_per_second={self.tokens_per_second}; expected a number above 0")
        if ratio is not None and not ratio >= 0:
            raise OptionError(f"compression_ratio_threshold={ratio}; expected 0 or more, or None to switch it off")
        self.search(0)  # its options check the rest

    def search(self, eos: int) -> GenerateOptions:
        """How to generate."""
        return GenerateOptions(
            eos=eos,
            max_new_tokens=self.max_new_tokens,
            min_new_tokens=self.min_new_tokens,
            max_length=self.max_length,
            min_length=self.min_length,
            n_beams=self.n_beams,
            n_beam_groups=self.n_beam_groups,
            diversity_penalty=self.diversity_penalty,
            patience=self.patience,
            length_penalty=self.length_penalty,
            early_stopping=self.early_stopping,
            do_sample=self.do_sample,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            typical_p=self.typical_p,
            epsilon_cutoff=self.epsilon_cutoff,
            eta_cutoff=self.eta_cutoff,
            best_of=self.best_of,
            penalty_alpha=self.penalty_alpha,
            repetition_penalty=self.repetition_penalty,
            no_repeat_ngram_size=self.no_repeat_ngram_size,
        )


class Recording(Protocol):
    """What this needs of a recording."""

    def blocks(self) -> Iterable[np.ndarray]:
        """Mono float32 samples at the model's rate, in order."""
        ...


class Engine(Protocol):
    """What this needs of an engine."""

    def encode(self, features: Features) -> tuple[Tensor, Tensor]:
        """Encoder states and their lengths."""
        ...

    def decoder(self, states: Tensor, lengths: Tensor, use_cache: bool = True) -> Step:
        """Start decoding, one row for each of `encode`."""
        ...


class StretchFeatures(Protocol):
    """What this needs of features."""

    sample_rate: int

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        """Stretches of any length."""
        ...


class Decoder(Protocol):
    """What this needs of a tokenizer."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""
        ...


@dataclass
class _Place:
    """How far one recording has come."""

    samples: RollingSamples
    stretch: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    segments: list[Segment] = field(default_factory=list)
    warnings: list[Warning] = field(default_factory=list)

    def open_stretch(self, longest: int, sample_rate: int) -> bool:
        """Take what is decoded next; False at the recording's end."""
        waiting = self.samples.window(longest + 1)
        more = len(waiting) > longest
        self.stretch = waiting[: quietest(waiting, longest, sample_rate)] if more else waiting
        return len(self.stretch) > (SHORTEST_S * sample_rate if self.samples.start else 0)


class Seq2SeqRecognizer:
    """Transcribes recordings of any length with one encoder-decoder."""

    def __init__(
        self,
        engine: Engine,
        features: StretchFeatures,
        tokenizer: Decoder,
        config: Any,
        generation: dict[str, Any],
    ) -> None:
        """Take the parts of a loaded checkpoint; `generation` is generation_config.json, {} where there is none.

        Raises:
            ConfigError: if neither it nor config.json has the token that begins a text and the one that
            ends it.
        """
        self.engine = engine
        self.features = features
        self.tokenizer = tokenizer
        self.start = _token("decoder_start_token_id", generation, config)
        self.eos = _token("eos_token_id", generation, config)
        # The start token counts, too.
        room = int(config.max_position_embeddings)
        self.most_tokens = min(room, int(generation.get("max_length") or room)) - 1

    def transcribe(
        self,
        audios: Sequence[Recording],
        options: Seq2SeqOptions | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> list[Transcript]:
        """Transcribe all recordings side by side, in the memory of one stretch each.

        `progress` is told the seconds done of all recordings together.

        Raises:
            AudioError: as reading a recording raises it.
        """
        options = options or Seq2SeqOptions()
        rate = self.features.sample_rate
        # A stretch with more sound than tokens would lose its end.
        longest_s = min(options.chunk_length_s or LONGEST_S, self.most_tokens / options.tokens_per_second)
        longest = int(longest_s * rate)
        places = [_Place(RollingSamples(iter(audio.blocks()))) for audio in audios]
        while True:
            active = [one for one in places if one.open_stretch(longest, rate)]
            if not active:
                return [self._transcript(place) for place in places]
            self._round(active, options)
            if progress is not None:
                progress(sum(place.samples.start for place in places) / rate)

    def _round(self, places: Sequence[_Place], options: Seq2SeqOptions) -> None:
        """Decode the open stretch of every recording, once more where it repeats itself."""
        states, lengths = self.engine.encode(self.features([place.stretch for place in places]))
        found = self._decode(places, states, lengths, options)
        rows = [row for row, one in enumerate(found) if self._repeats(one, options)]
        repeating = set(rows)
        if rows and not 0 < options.no_repeat_ngram_size <= NO_REPEAT:
            strict = replace(options, no_repeat_ngram_size=NO_REPEAT)
            again = self._decode([places[row] for row in rows], states[rows], lengths[rows], strict)
            for row, one in zip(rows, again, strict=True):
                found[row] = one
        for row, (place, one) in enumerate(zip(places, found, strict=True)):
            self._accept(place, one, row in repeating, options)

    def _decode(
        self, places: Sequence[_Place], states: Tensor, lengths: Tensor, options: Seq2SeqOptions
    ) -> list[Generated]:
        seconds = [len(place.stretch) / self.features.sample_rate for place in places]
        limits = [min(self.most_tokens, math.ceil(one * options.tokens_per_second)) for one in seconds]
        seeds = [seed_of(options.seed, place.samples.start, 0) for place in places]
        return generate(
            self.engine.decoder(states, lengths, options.use_cache),
            torch.full((len(places), 1), self.start),
            options.search(self.eos),
            generators=[torch.Generator().manual_seed(seed) for seed in seeds],
            limits=limits,
        )

    def _repeats(self, found: Generated, options: Seq2SeqOptions) -> bool:
        limit = options.compression_ratio_threshold
        return limit is not None and compression_ratio(self.tokenizer.decode(found.tokens)) > limit

    def _accept(self, place: _Place, found: Generated, repeated: bool, options: Seq2SeqOptions) -> None:
        """Add a stretch as a segment, unless it has no text, and let go of its samples."""
        rate = self.features.sample_rate
        start, end = place.samples.start / rate, (place.samples.start + len(place.stretch)) / rate
        if repeated and self._repeats(found, options):
            place.warnings.append(Warning("repetition", "the text repeats itself", start, end))
        text = self.tokenizer.decode(found.tokens).strip()
        if text:
            probabilities = [math.exp(value) for value in found.logprobs[: len(found.tokens)]]
            place.segments.append(
                Segment(
                    text=text,
                    start=start,
                    end=end,
                    confidence=float(np.mean(probabilities)),
                    tokens=found.tokens,
                    temperature=options.search(self.eos).sampling_temperature,
                    avg_logprob=found.avg_logprob,
                    compression_ratio=compression_ratio(text),
                )
            )
        place.samples.skip(len(place.stretch))

    def _transcript(self, place: _Place) -> Transcript:
        return Transcript(
            text=" ".join(segment.text for segment in place.segments),
            segments=tuple(place.segments),
            duration=place.samples.end / self.features.sample_rate,
            warnings=tuple(place.warnings),
        )


def quietest(samples: np.ndarray, longest: int, sample_rate: int) -> int:
    """Where to cut: the middle of the quietest 0.2 s within the last third of what may be kept."""
    step, n_steps = round(STEP_S * sample_rate), round(PAUSE_S / STEP_S)
    first = longest * 2 // 3
    n_frames = (longest - first) // step
    if n_frames < n_steps:
        return longest
    energy = np.square(samples[first : first + n_frames * step], dtype=np.float64).reshape(-1, step).sum(1)
    pauses = np.convolve(energy, np.ones(n_steps), mode="valid")
    # Of equally quiet pauses the last one, so that stretches stay long.
    at = len(pauses) - 1 - int(pauses[::-1].argmin())
    return first + at * step + n_steps * step // 2


def _token(name: str, generation: dict[str, Any], config: Any) -> int:
    value = generation.get(name, getattr(config, name, None))
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None:
        raise ConfigError(f"neither generation_config.json nor config.json has {name}; add it to one of them")
    return int(value)
