"""Recordings of any length with encoder-decoders that write plain text: Moonshine.

Such a model writes no times and hears one stretch of sound at a time, so that a long recording is divided by
where voice is, or cut where it is quiet; a segment is a stretch. All recordings of a call advance together, one
stretch each at a time.

Source: Jeffries et al. 2024, "Moonshine" (arXiv 2410.15608): inputs of up to 30 s in training; the limit of
6.5 tokens per second of sound, against endless repetition, is that of the model's authors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.decoding.generate import Generated, GenerateOptions, Step, generate
from auricle.decoding.sampling import seeded
from auricle.errors import ConfigError, OptionError
from auricle.results import Segment, Transcript, Warning
from auricle.speech.journal import Journal
from auricle.speech.journal_entries import segment_from_json, segment_to_json, warning_from_json, warning_to_json
from auricle.speech.scheduling import Scheduler, at_once
from auricle.speech.stretches import (
    AUTOMATIC_S,
    Gap,
    Stretch,
    longer_than,
    quiet_stretches,
    skipped,
    stretches,
    voice_regions,
)
from auricle.speech.voice import WEAK_VOICE, Region, VoiceOptions
from auricle.speech.whisper_windows import compression_ratio, seed_of

LONGEST_S = 30.0  # what the models were trained on
SHORTEST_S = 0.1  # what is left after the last cut, if no longer, holds no word
NO_REPEAT = 3  # a stretch that repeats itself is decoded again without any three tokens twice

# Mean log-probabilities of tokens. The lower is OpenAI's logprob_threshold for Whisper; the other is not measured yet.
DOUBTFUL = -1.0  # a segment with less is told
INVENTED = -0.5  # less, where no voice was detected, is not believed


@dataclass(frozen=True)
class Seq2SeqOptions:
    """Options of a transcription."""

    return_timestamps: Literal[False, "segment"] = False  # segments, one per stretch, are always there
    vad: bool | None = None  # decode only where voice is; None: above 30 s; False: everything
    vad_threshold: float = 0.5  # probability of voice from which on a region begins
    min_silence_s: float = 0.4  # a shorter pause ends no region of voice
    speech_pad_s: float = 0.2  # heard before and after a region of voice
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
        for name, given in (("vad_threshold", 0.5), ("min_silence_s", 0.4), ("speech_pad_s", 0.2)):
            if self.vad is False and getattr(self, name) != given:
                raise OptionError(f"{name}={getattr(self, name)!r} has no effect with vad=False; leave one of them out")
        # These check the rest.
        self.voice(LONGEST_S)
        self.search(0)

    def voice(self, longest_s: float) -> VoiceOptions | None:
        """How voice is found; None where everything is decoded, whether voice is in it or not."""
        if self.vad is False:
            return None
        return VoiceOptions(
            threshold=self.vad_threshold,
            min_silence_s=self.min_silence_s,
            pad_s=self.speech_pad_s,
            longest_s=longest_s,
        )

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

    parts: Iterator[Stretch | Gap]
    voice: VoiceOptions | None  # for the guard of short recordings; None: the parts know where voice is, or nobody does
    detected: bool  # whether the parts were divided by voice
    journal: Journal | None = None
    known: dict[int, dict[str, Any]] = field(default_factory=dict)  # the journal's entries, by where they begin
    stretch: Stretch = field(default_factory=lambda: Stretch(np.zeros(0, dtype=np.float32), 0, ()))
    end: int = 0  # samples that were read
    gaps: list[Gap] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    warnings: list[Warning] = field(default_factory=list)

    def open_stretch(self, sample_rate: int) -> bool:
        """Take what is decoded next; False at the recording's end."""
        for part in self.parts:
            self.end = part.end
            if isinstance(part, Gap):
                self.gaps.append(part)
            elif part.start in self.known:
                entry = self.known[part.start]
                self.segments += [segment_from_json(one) for one in entry["segments"]]
                self.warnings += [warning_from_json(one) for one in entry["warnings"]]
            elif len(part.samples) > (SHORTEST_S * sample_rate if part.start else 0):
                self.stretch = part
                return True
        return False

    def regions(self, sample_rate: int) -> tuple[Region, ...] | None:
        """Where voice is in the open stretch; None where nobody looked."""
        if self.voice is not None:
            return voice_regions(self.stretch.samples, sample_rate, self.voice)
        return self.stretch.regions if self.detected else None

    def close_stretch(self, segments: list[Segment], warnings: list[Warning]) -> None:
        """Add what the open stretch came to."""
        self.segments += segments
        self.warnings += warnings
        if self.journal is not None:
            found = [segment_to_json(one) for one in segments]
            told = [warning_to_json(one) for one in warnings]
            self.journal.append({"start": self.stretch.start, "segments": found, "warnings": told})


class Seq2SeqRecognizer:
    """Transcribes recordings of any length with one encoder-decoder."""

    joint = " "  # what stands between the texts of segments in a transcript's text

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
        self.scheduler: Scheduler = at_once
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
        journals: Sequence[Journal | None] | None = None,
    ) -> list[Transcript]:
        """Transcribe all recordings side by side, in the memory of one stretch each.

        `progress` is told the seconds done of all recordings together. What a recording's journal has is not
        decoded again.

        Raises:
            AudioError: as reading a recording raises it.
        """
        options = options or Seq2SeqOptions()
        rate = self.features.sample_rate
        # A stretch with more sound than tokens would lose its end.
        longest_s = min(options.chunk_length_s or LONGEST_S, self.most_tokens / options.tokens_per_second)
        places = [
            self._open(audio, options, longest_s, journal)
            for audio, journal in zip(audios, journals or [None] * len(audios), strict=True)
        ]
        while True:
            active = [one for one in places if one.open_stretch(rate)]
            if not active:
                return [self._transcript(place) for place in places]
            self._round(active, options)
            if progress is not None:
                progress(sum(place.end for place in places) / rate)

    def heard(self, entry: dict[str, Any]) -> tuple[Segment, ...]:
        """Return the segments that a journal's entry says."""
        return tuple(segment_from_json(one) for one in entry.get("segments", ()))

    def _open(self, audio: Recording, options: Seq2SeqOptions, longest_s: float, journal: Journal | None) -> _Place:
        rate = self.features.sample_rate
        voice, blocks = options.voice(longest_s), iter(audio.blocks())
        by_voice = bool(options.vad)
        if options.vad is None:
            by_voice, blocks = longer_than(blocks, round(AUTOMATIC_S * rate))
        known = {entry["start"]: entry for entry in journal.entries()} if journal is not None else {}
        parts = stretches(blocks, rate, voice) if by_voice else quiet_stretches(blocks, int(longest_s * rate), rate)
        return _Place(parts, None if by_voice else voice, by_voice, journal, known)

    def _round(self, places: Sequence[_Place], options: Seq2SeqOptions) -> None:
        """Decode the open stretch of every recording, once more where it repeats itself."""
        found = self.scheduler(("seq2seq", options), places, lambda rows: self._hear(rows, options))
        for place, (one, repeated) in zip(places, found, strict=True):
            self._accept(place, one, repeated, options)

    def _hear(self, places: Sequence[_Place], options: Seq2SeqOptions) -> list[tuple[Generated, bool]]:
        """Return what each open stretch comes to, and whether that repeated itself at first."""
        features = self.features([place.stretch.samples for place in places])
        states, lengths = self.engine.encode(features.in_few_shapes(self.features.sample_rate))
        found = self._decode(places, states, lengths, options)
        rows = [row for row, one in enumerate(found) if self._repeats(one, options)]
        if rows and not 0 < options.no_repeat_ngram_size <= NO_REPEAT:
            strict = replace(options, no_repeat_ngram_size=NO_REPEAT)
            again = self._decode([places[row] for row in rows], states[rows], lengths[rows], strict)
            for row, one in zip(rows, again, strict=True):
                found[row] = one
        return [(one, row in rows) for row, one in enumerate(found)]

    def _decode(
        self, places: Sequence[_Place], states: Tensor, lengths: Tensor, options: Seq2SeqOptions
    ) -> list[Generated]:
        seconds = [len(place.stretch.samples) / self.features.sample_rate for place in places]
        limits = [min(self.most_tokens, math.ceil(one * options.tokens_per_second)) for one in seconds]
        seeds = [seed_of(options.seed, place.stretch.start, 0) for place in places]
        search = options.search(self.eos)
        return generate(
            self.engine.decoder(states, lengths, options.use_cache),
            torch.full((len(places), 1), self.start),
            search,
            generators=[seeded(seed) for seed in seeds] if search.sampling_temperature > 0 else None,
            limits=limits,
        )

    def _repeats(self, found: Generated, options: Seq2SeqOptions) -> bool:
        limit = options.compression_ratio_threshold
        return limit is not None and compression_ratio(self.tokenizer.decode(found.tokens)) > limit

    def _accept(self, place: _Place, found: Generated, repeated: bool, options: Seq2SeqOptions) -> None:
        """Add a stretch as a segment, unless it has no text or nobody said it."""
        rate = self.features.sample_rate
        start, end = place.stretch.start / rate, place.stretch.end / rate
        text = self.tokenizer.decode(found.tokens).strip()
        if not text:
            return place.close_stretch([], [])
        regions = place.regions(rate) if found.avg_logprob < INVENTED else None
        if regions is not None and not any(region.peak >= WEAK_VOICE for region in regions):
            message = f"{text!r} was dropped: no voice was detected, and the decoder is unsure of it"
            kind = "hallucination" if regions else "no_speech"
            return place.close_stretch([], [Warning(kind, message, start, end)])
        warnings = []
        if not found.ended:
            limit = "max_new_tokens or tokens_per_second"
            message = f"the text was cut off after {len(found.tokens)} tokens; raise {limit} for more"
            warnings.append(Warning("truncated", message, start, end))
        if repeated and self._repeats(found, options):
            warnings.append(Warning("repetition", "the text repeats itself", start, end))
        if found.avg_logprob < DOUBTFUL:
            warnings.append(Warning("doubtful", f"the decoder is unsure of {text!r}", start, end))
        probabilities = [math.exp(value) for value in found.logprobs[: len(found.tokens)]]
        segment = Segment(
            text=text,
            start=start,
            end=end,
            confidence=float(np.mean(probabilities)),
            tokens=found.tokens,
            temperature=options.search(self.eos).sampling_temperature,
            avg_logprob=found.avg_logprob,
            compression_ratio=compression_ratio(text),
        )
        return place.close_stretch([segment], warnings)

    def _transcript(self, place: _Place) -> Transcript:
        duration = place.end / self.features.sample_rate
        warnings = [*skipped(place.gaps, self.features.sample_rate), *place.warnings]
        if not place.segments and not any(one.kind == "no_speech" for one in warnings):
            warnings.append(Warning("no_speech", "no speech was recognized", 0.0, duration))
        return Transcript(
            text=" ".join(segment.text for segment in place.segments),
            segments=tuple(place.segments),
            duration=duration,
            warnings=tuple(sorted(warnings, key=lambda one: one.start or 0.0)),
        )


def _token(name: str, generation: dict[str, Any], config: Any) -> int:
    value = generation.get(name)
    if value is None:  # also where the file says null
        value = getattr(config, name, None)
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None:
        raise ConfigError(f"neither generation_config.json nor config.json has {name}; add it to one of them")
    return int(value)
