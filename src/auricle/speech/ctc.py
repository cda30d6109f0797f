"""Recognition of whole recordings with a CTC model: windows, decoding, words, segments.

A long recording is divided by where voice is, into parts that are decoded alone; where that is not wanted, into
overlapping windows whose frames are one part. Memory does not grow with the length of a recording, but for its
text: samples are cut from a stream of blocks, and log-probabilities are decoded at the latest after
`PENDING_S`, in a pause.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from auricle.audio.features import FeatureExtractor, Features
from auricle.decoding.ctc import BeamOptions, BeamSearch, Hypothesis, Token, greedy
from auricle.decoding.language_models import open_language_model
from auricle.engines.reference import ReferenceEngine
from auricle.errors import OptionError
from auricle.loading_punctuation import load_punctuation
from auricle.results import Segment, Transcript
from auricle.speech.ctc_options import CTCOptions
from auricle.speech.ctc_search import native_search
from auricle.speech.ctc_segments import Part, make_segments, space_of, transcript_of, without_invented
from auricle.speech.journal import Journal
from auricle.speech.punctuation import Punctuator, check_unwritten
from auricle.speech.scheduling import Scheduler, at_once
from auricle.speech.stretches import AUTOMATIC_S, Gap, longer_than, voice_regions
from auricle.speech.voice import Region
from auricle.speech.windows import SHORTEST_S, WHOLE_S, Window, WindowPlan, cut, cut_by_voice, kept_frames, plan_windows
from auricle.text import Tokenizer

if TYPE_CHECKING:
    from auricle.audio.decode import Audio

__all__ = ["CTCEngine", "CTCOptions", "CTCRecognizer", "cut_in_pause", "make_segments"]

PENDING_S = 60.0  # log-probabilities that may wait for a pause to be decoded in
FUSED_BEAM_WIDTH = 50
# Windows that are read before those of like length are put together: so many batches, and no more than so many windows.
AHEAD, AHEAD_WINDOWS = 4, 64
# A batch's shortest window is at most this part shorter than its longest, or a second: the rest would be padding.
LARGEST_PADDING = 0.25


class CTCEngine(Protocol):
    """What the recogniser needs of an engine."""

    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return float32 log-probabilities (B, T, V) on the CPU and the frames of each row (B,)."""
        ...


class CTCRecognizer:
    """Transcribes recordings; the text and all times come from one decoding."""

    def __init__(
        self, engine: CTCEngine, features: FeatureExtractor, tokenizer: Tokenizer, samples_per_frame: int
    ) -> None:
        self.engine = engine
        self.features = features
        self.tokenizer = tokenizer
        self.samples_per_frame = samples_per_frame
        self.scheduler: Scheduler = at_once
        # The last language model and trie: they are slow to read, and most calls use the same.
        self._searches: dict[tuple[object, ...], Callable[[Tensor], list[Hypothesis]]] = {}

    def transcribe(
        self,
        audios: Sequence[Audio],
        options: CTCOptions,
        progress: Callable[[float], None] | None = None,
        journals: Sequence[Journal | None] | None = None,
    ) -> list[Transcript]:
        """Return a transcript for each recording, in order.

        Windows of several recordings share forward passes, up to `options.batch_size` at a time and only those of
        like length. `progress` is called with the seconds of audio that are done, of all recordings together. What
        a recording's journal has is not decoded again.

        Raises: AudioError as reading the recordings does; OptionError for strides that do not fit the model, and where
            the model gives no numbers, or writes what it is to be given.
        """
        rate = self.features.sample_rate
        plan = plan_windows(
            0.0 if options.vad else options.chunk_length_s,
            options.stride_length_s,
            rate,
            self.samples_per_frame,
            # Some encoders have positions for so long only.
            min(WHOLE_S, getattr(self.features, "longest_s", WHOLE_S)),
        )
        if options.punctuate:
            check_unwritten(self.tokenizer)
        decode = self._decoder(options)
        most = int(PENDING_S * rate / self.samples_per_frame)
        size = options.batch_size or len(audios)
        recordings = [
            _Recording(audio, decode, self.tokenizer.blank, most, self.samples_per_frame, journal)
            for audio, journal in zip(audios, journals or [None] * len(audios), strict=True)
        ]
        n_ahead = 1 if size == 1 else max(size, min(AHEAD * size, AHEAD_WINDOWS))
        units = (_Unit(one, window) for one in recordings for window in one.windows(options, plan, rate))
        while waiting := list(itertools.islice(units, n_ahead)):
            for _ in self._recognize(waiting, size):
                if progress is not None:
                    progress(sum(one.done for one in recordings) / rate)
        if progress is not None and recordings:
            progress(sum(one.n_samples for one in recordings) / rate)
        return [self._transcript(recording, options) for recording in recordings]

    @property
    def joint(self) -> str:
        """What stands between the texts of segments in a transcript's text."""
        return space_of(self.tokenizer)

    def heard(self, entry: dict[str, Any]) -> tuple[Segment, ...]:
        """Return the segments that a journal's entry says.

        They are told while a recording is heard. Of one that was not divided by voice, what its transcript then
        drops as invented is among them.
        """
        tokens = [Token(*token) for token in entry["tokens"]]
        if entry.get("regions") is not None:
            regions = [Region(*region) for region in entry["regions"]]
            tokens, _ = without_invented(tokens, self.tokenizer, self.features.sample_rate, regions)
        return make_segments(tokens, self.tokenizer, self.features.sample_rate, math.inf)

    def _recognize(self, units: list[_Unit], size: int) -> Iterator[None]:
        """Run some windows, those of like length together; yield after each forward pass.

        Frames are handed on at once, except where earlier ones of their part are still to come.
        """
        rate, n_done = self.features.sample_rate, 0
        samples = [unit.window.samples for unit in units]
        batches = [[0]] if len(units) == 1 else group_by_length(list(map(len, samples)), size, rate)
        for batch in batches:
            waveforms = [samples[place] for place in batch]
            # Rows of one key are equally long up to a fifth.
            key = "ctc", int(4 * math.log2(max(map(len, waveforms))))
            for place, log_probs in zip(batch, self.scheduler(key, waveforms, self._log_probs), strict=True):
                unit = units[place]
                kept = kept_frames(unit.window, len(log_probs))
                if log_probs[kept].isnan().any():
                    raise OptionError(
                        f"the model gave no numbers for {unit.recording.audio.name}, as half precision does when it "
                        "overflows; load it with dtype='float32'"
                    )
                # A copy: a view would keep the whole batch in memory.
                unit.log_probs = log_probs[kept].clone()
            unfinished = set()
            for unit in units[n_done:]:
                part = (id(unit.recording), unit.window.origin)
                if unit.log_probs is not None and part not in unfinished:
                    unit.recording.add(unit.log_probs, unit.window)
                    unit.log_probs, unit.is_handed_on = None, True
                elif not unit.is_handed_on:
                    unfinished.add(part)
            while n_done < len(units) and units[n_done].is_handed_on:
                recording, window = units[n_done].recording, units[n_done].window
                n_kept = None if window.end_kept is None else window.end_kept * self.samples_per_frame
                recording.done = window.start + (len(window.samples) if n_kept is None else n_kept)
                n_done += 1
            yield

    def _log_probs(self, waveforms: Sequence[np.ndarray]) -> list[Tensor]:
        """Return float32 log-probabilities (T, V) of each window's own frames."""
        features = self.features(waveforms).in_few_shapes(self.features.sample_rate)
        log_probs, lengths = self.engine.ctc(features)
        return [row[: int(length)] for row, length in zip(log_probs, lengths, strict=True)]

    def _transcript(self, recording: _Recording, options: CTCOptions) -> Transcript:
        rate = self.features.sample_rate
        if recording.whole is not None and any(part.tokens for part in recording.parts.values()):
            # The guard of short recordings: asked only where there is text.
            (part,) = recording.parts.values()
            part.regions = voice_regions(recording.whole, rate, options.voice) if options.voice else None
        parts = [recording.parts[origin] for origin in sorted(recording.parts)]
        transcript = transcript_of(parts, recording.gaps, self.tokenizer, rate, recording.n_samples)
        return _punctuator()(transcript) if options.punctuate else transcript

    def _decoder(self, options: CTCOptions) -> Callable[[Tensor], Hypothesis]:
        lm_path = options.search_lm
        fused = lm_path is not None or bool(options.hotwords)
        beam_width = options.beam_width or (FUSED_BEAM_WIDTH if fused else 1)
        if beam_width == 1:
            return lambda log_probs: greedy(log_probs, self.tokenizer.blank)
        key = (beam_width, lm_path, *options.weights, options.hotwords, options.hotword_weight)
        # Not looked up again once it is made: another thread may have put its own there.
        search = self._searches.get(key)
        if search is None:
            lm = None if lm_path is None else open_language_model(lm_path)
            beam = BeamOptions(beam_width, lm, *options.weights, options.hotwords, options.hotword_weight)
            pieces = [self.tokenizer.piece(id) for id in range(self.tokenizer.vocab_size)]
            is_plain = isinstance(self.engine, ReferenceEngine)
            search = (None if is_plain else native_search(pieces, self.tokenizer.blank, beam)) or BeamSearch(
                pieces, self.tokenizer.blank, beam
            )
            self._searches = {key: search}
        return lambda log_probs: search(log_probs)[0]


@cache
def _punctuator() -> Punctuator:
    return Punctuator(*load_punctuation())


@dataclass
class _Unit:
    """A window of a recording, and what the model made of it."""

    recording: _Recording
    window: Window
    log_probs: Tensor | None = None  # (T, V) of the frames to keep, until they are handed on
    is_handed_on: bool = False


@dataclass
class _Recording:
    """Cuts one recording and turns its frames into tokens, a part or a minute at a time."""

    audio: Audio
    decode: Callable[[Tensor], Hypothesis]
    blank: int
    most: int  # frames that may wait
    samples_per_frame: int
    journal: Journal | None = None
    n_samples: int = 0  # read
    done: int = 0  # samples decoded or found without voice
    parts: dict[int, Part] = field(default_factory=dict)  # by the sample where they begin
    gaps: list[Gap] = field(default_factory=list)
    whole: np.ndarray | None = None  # a short recording's samples, for the guard
    pending: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        for entry in self.journal.entries() if self.journal is not None else []:
            part = self.parts.setdefault(entry["origin"], Part())
            part.n_frames, part.closed = entry["n_frames"], entry["closed"]
            part.tokens += [Token(*token) for token in entry["tokens"]]

    def windows(self, options: CTCOptions, plan: WindowPlan, rate: int) -> Iterator[Window]:
        """Give the windows that are still to be decoded."""
        voice, blocks = options.voice, iter(self.audio.blocks())
        is_long = True
        if options.vad is None and voice is not None:
            is_long, blocks = longer_than(blocks, round(AUTOMATIC_S * rate))
        for one in cut_by_voice(blocks, rate, voice) if voice is not None and is_long else cut(blocks, plan):
            if isinstance(one, Gap):
                self.gaps.append(one)
                self.n_samples = one.end
                continue
            self.n_samples = one.start + len(one.samples)
            self.whole = None if is_long else one.samples
            if len(one.samples) < SHORTEST_S * rate:
                continue
            part = self.parts.setdefault(one.origin, Part())
            part.regions = one.regions
            if not part.closed and (one.end_kept is None or self._first(one) + one.end_kept > part.n_frames):
                yield one

    def add(self, log_probs: Tensor, window: Window) -> None:
        """Take a window's frames (T, V); decode up to a pause if too many wait, and everything at a part's end."""
        part, is_last = self.parts[window.origin], window.end_kept is None
        # Where a journal ends amid a window, its first frames are decoded already.
        known = part.n_frames + sum(map(len, self.pending)) - self._first(window) - window.first_kept
        self.pending.append(log_probs[max(0, known) :])
        n_pending = sum(map(len, self.pending))
        if not is_last and n_pending <= self.most:
            return
        waiting = torch.cat(self.pending)  # (T, V)
        end = n_pending if is_last else cut_in_pause(waiting, self.blank)
        tokens = []
        # Models that pad give a last frame that reaches beyond the sound.
        limit = window.start + len(window.samples)
        for token in self.decode(waiting[:end]).tokens if end else ():
            first, stop = part.n_frames + token.start, part.n_frames + token.end
            at, to = (min(limit, window.origin + frame * self.samples_per_frame) for frame in (first, stop))
            tokens.append(Token(token.id, at, to, token.probability))
        part.tokens += tokens
        part.n_frames, part.closed = part.n_frames + end, is_last
        self.pending = [] if is_last else [waiting[end:].clone()]
        if self.journal is not None:
            values = [[token.id, token.start, token.end, token.probability] for token in tokens]
            regions = part.regions and [[one.start, one.end, one.peak] for one in part.regions]
            self.journal.append(
                {
                    "origin": window.origin,
                    "n_frames": part.n_frames,
                    "closed": is_last,
                    "tokens": values,
                    "regions": regions,
                }
            )

    def _first(self, window: Window) -> int:
        """The frame of its part at which a window begins."""
        return (window.start - window.origin) // self.samples_per_frame


def group_by_length(lengths: Sequence[int], size: int, second: int) -> list[list[int]]:
    """Divide windows, by their place, into batches of up to `size` that are nearly equally long, the shortest first.

    `second` is a second in the unit of `lengths`.
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        shortest = lengths[batches[-1][0]] if batches else 0
        is_alike = lengths[place] - shortest <= max(LARGEST_PADDING * lengths[place], second)
        if batches and len(batches[-1]) < size and is_alike:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def cut_in_pause(log_probs: Tensor, blank: int) -> int:
    """Return the frame in the second half of (T, V) where cutting does least harm.

    It is the middle of the longest stretch of blanks; without any, the last change of the likeliest token, so
    that no token is cut in two.
    """
    half = len(log_probs) // 2
    runs, counts = torch.unique_consecutive(log_probs.argmax(dim=-1), return_counts=True)
    ends = counts.cumsum(0)
    starts = torch.clamp(ends - counts, min=half)  # of the part in the second half
    blanks = torch.where(runs == blank, ends - starts, 0)
    longest = int(blanks.argmax())
    if blanks[longest] > 0:
        return int(starts[longest] + blanks[longest] // 2)
    return len(log_probs) - int(counts[-1]) or len(log_probs)
