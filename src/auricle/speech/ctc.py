"""Recognition of whole recordings with a CTC model: windows, decoding, words, segments.

Memory does not grow with the length of a recording, but for its text: samples are cut from a stream of
blocks, and log-probabilities are decoded at the latest after `PENDING_S`, in a pause.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from auricle.audio.features import FeatureExtractor, Features
from auricle.decoding.ctc import BeamOptions, BeamSearch, Hypothesis, Token, greedy
from auricle.decoding.ngram import open_language_model
from auricle.errors import OptionError
from auricle.results import Character, Segment, Transcript, Warning, Word
from auricle.speech.windows import Window, cut, kept_frames, plan_windows
from auricle.text import Tokenizer

if TYPE_CHECKING:
    from auricle.audio.decode import Audio

PAUSE_S = 0.6  # a silence between words that ends a segment
SEGMENT_S = 30.0  # longer segments are divided at their widest gap
PENDING_S = 60.0  # log-probabilities that may wait for a pause to be decoded in
FUSED_BEAM_WIDTH = 50
SHORTEST_S = 0.025  # what the front ends look at for their first frame; with less there is none


MAX_BEAM_WIDTH = 10_000  # far beyond any use: a mistyped number is not to fill the memory


@dataclass(frozen=True)
class CTCOptions:
    """How to cut and decode; checked when it is made."""

    chunk_length_s: float = 0.0  # length of a window; 0: one pass up to 40 s, else windows of 30 s
    stride_length_s: float | tuple[float, float] | None = None  # overlap on each side; None: a sixth, or 2.5 s
    batch_size: int | None = None  # windows in one forward pass; None: as many as recordings are given
    beam_width: int | None = None  # 1: greedy; None: greedy, or 50 with a language model or hot words
    lm: str | Path | None = None  # ARPA file or KenLM binary of words
    alpha: float = 0.5  # weight of the language model's log-probability
    beta: float = 1.5  # added for each word with a language model
    unknown_penalty: float = -10.0  # added for each word that the language model does not know
    hotwords: tuple[str, ...] = ()  # words or phrases to prefer; case is ignored
    hotword_weight: float = 10.0  # natural log added for each hot word of 7 letters or more; in proportion below

    def __post_init__(self) -> None:
        stride = self.stride_length_s
        sides = tuple(stride) if isinstance(stride, (tuple, list)) else (stride or 0.0,) * 2
        weights = {"alpha": "lm", "beta": "lm", "unknown_penalty": "lm", "hotword_weight": "hotwords"}
        for name in ("chunk_length_s", "stride_length_s", *weights):
            value = getattr(self, name)
            for number in sides if name == "stride_length_s" else (value,):
                if type(number) not in (int, float) or not math.isfinite(number):
                    raise OptionError(f"{name}={value!r}; expected a finite number")
        if len(sides) != 2 or min(self.chunk_length_s, *sides) < 0:
            raise OptionError(
                f"chunk_length_s={self.chunk_length_s!r}, stride_length_s={stride!r}; expected seconds from 0 "
                "on, the stride as one number for both sides or as (left, right)"
            )
        for name, value in (("batch_size", self.batch_size), ("beam_width", self.beam_width)):
            if value is not None and (type(value) is not int or value < 1):
                raise OptionError(f"{name}={value!r}; expected a whole number from 1 on, or None")
        if self.beam_width is not None and self.beam_width > MAX_BEAM_WIDTH:
            raise OptionError(f"beam_width={self.beam_width}; expected at most {MAX_BEAM_WIDTH}")
        if isinstance(self.hotwords, str) or not all(isinstance(word, str) for word in self.hotwords):
            raise OptionError(f"hotwords={self.hotwords!r}; expected a list of strings, such as ['auricle']")
        if self.lm is not None and not (isinstance(self.lm, (str, Path)) and Path(self.lm).is_file()):
            raise OptionError(f"lm={self.lm!r} is no file; expected the path of an ARPA file or a KenLM binary")
        if self.beam_width == 1 and (self.lm is not None or self.hotwords):
            raise OptionError(
                "beam_width=1 is greedy decoding, which uses no lm and no hotwords; leave it out or raise it"
            )
        for name, needed in weights.items():
            value = getattr(self, name)
            if not getattr(self, needed) and value != getattr(type(self), name):
                raise OptionError(f"{name}={value!r} has no effect without {needed}; give {needed}, too")
        # Lists are welcome, but options are compared and kept as keys.
        object.__setattr__(self, "hotwords", tuple(self.hotwords))
        object.__setattr__(self, "stride_length_s", sides if isinstance(stride, list) else stride)


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
        # The last language model and trie: they are slow to read, and most calls use the same.
        self._searches: dict[tuple[object, ...], BeamSearch] = {}

    def transcribe(
        self, audios: Sequence[Audio], options: CTCOptions, progress: Callable[[float], None] | None = None
    ) -> list[Transcript]:
        """Return a transcript for each recording, in order.

        Windows of several recordings share forward passes, `options.batch_size` at a time. `progress` is
        called with the seconds of audio that are done, of all recordings together.

        Raises: AudioError as reading the recordings does; OptionError for strides that do not fit the model, and where
            the model gives no numbers.
        """
        rate = self.features.sample_rate
        plan = plan_windows(options.chunk_length_s, options.stride_length_s, rate, self.samples_per_frame)
        decode = self._decoder(options)
        most = int(PENDING_S * rate / self.samples_per_frame)
        recordings = [_Recording(audio.name, decode, self.tokenizer.blank, most) for audio in audios]
        batch: list[tuple[_Recording, Window]] = []
        done = 0
        for recording, audio in zip(recordings, audios, strict=True):
            for window in cut(audio.blocks(), plan):
                recording.n_samples = window.start + len(window.samples)
                if len(window.samples) >= SHORTEST_S * rate:
                    batch.append((recording, window))
                last = recording is recordings[-1] and window.end_kept is None
                if batch and (last or len(batch) >= (options.batch_size or len(audios))):
                    done += self._recognize(batch)
                    batch = []
                    if progress is not None:
                        progress(done / rate)
        return [self._transcript(recording) for recording in recordings]

    def _recognize(self, batch: list[tuple[_Recording, Window]]) -> int:
        """Run one batch of windows and return how many new samples it has covered."""
        log_probs, lengths = self.engine.ctc(self.features([window.samples for _, window in batch]))
        covered = 0
        for row, (recording, window) in enumerate(batch):
            kept = kept_frames(window, int(lengths[row]))
            if log_probs[row, kept].isnan().any():
                raise OptionError(
                    f"the model gave no numbers for {recording.name}, as half precision does when it overflows; "
                    "load it with dtype='float32'"
                )
            # A copy: a view would keep the whole batch in memory.
            recording.add(log_probs[row, kept].clone(), is_last=window.end_kept is None)
            end = len(window.samples) if window.end_kept is None else window.end_kept * self.samples_per_frame
            covered += end - window.first_kept * self.samples_per_frame
        return covered

    def _transcript(self, recording: _Recording) -> Transcript:
        duration = recording.n_samples / self.features.sample_rate
        frame = self.samples_per_frame / self.features.sample_rate
        text = self.tokenizer.decode([token.id for token in recording.tokens]).strip()
        warnings: tuple[Warning, ...] = ()
        if not recording.n_frames:
            message = f"{duration:.3f} s of sound are less than the model needs to hear anything"
            warnings = (Warning("too_short", message, 0.0, duration),)
        elif not text:
            warnings = (Warning("no_speech", "no speech was recognized", 0.0, duration),)
        segments = make_segments(recording.tokens, self.tokenizer, frame, duration)
        return Transcript(text, segments, duration=duration, warnings=warnings)

    def _decoder(self, options: CTCOptions) -> Callable[[Tensor], Hypothesis]:
        fused = options.lm is not None or bool(options.hotwords)
        beam_width = options.beam_width or (FUSED_BEAM_WIDTH if fused else 1)
        if beam_width == 1:
            return lambda log_probs: greedy(log_probs, self.tokenizer.blank)
        weights = (options.alpha, options.beta, options.unknown_penalty)
        key = (beam_width, options.lm, *weights, options.hotwords, options.hotword_weight)
        # Not looked up again once it is made: another thread may have put its own there.
        search = self._searches.get(key)
        if search is None:
            lm = None if options.lm is None else open_language_model(options.lm)
            beam = BeamOptions(beam_width, lm, *weights, options.hotwords, options.hotword_weight)
            pieces = [self.tokenizer.piece(id) for id in range(self.tokenizer.vocab_size)]
            search = BeamSearch(pieces, self.tokenizer.blank, beam)
            self._searches = {key: search}
        return lambda log_probs: search(log_probs)[0]


@dataclass
class _Recording:
    """Collects one recording's frames and turns them into tokens, a stretch at a time."""

    name: str  # for messages
    decode: Callable[[Tensor], Hypothesis]
    blank: int
    most: int  # frames that may wait
    n_samples: int = 0
    n_frames: int = 0  # decoded
    tokens: list[Token] = field(default_factory=list)
    pending: list[Tensor] = field(default_factory=list)

    def add(self, log_probs: Tensor, is_last: bool) -> None:
        """Take the next frames (T, V); decode up to a pause if too many wait, and everything at the end."""
        self.pending.append(log_probs)
        n_pending = sum(map(len, self.pending))
        if not is_last and n_pending <= self.most:
            return
        waiting = torch.cat(self.pending)  # (T, V)
        end = n_pending if is_last else cut_in_pause(waiting, self.blank)
        for token in self.decode(waiting[:end]).tokens:
            start, stop = token.start + self.n_frames, token.end + self.n_frames
            self.tokens.append(Token(token.id, start, stop, token.probability))
        self.n_frames += end
        self.pending = [] if is_last else [waiting[end:].clone()]


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


@dataclass(frozen=True)
class _Span:
    """A word and the places of its tokens, `last` included."""

    word: Word
    first: int
    last: int


def make_segments(
    tokens: Sequence[Token], tokenizer: Tokenizer, seconds_per_frame: float, duration: float
) -> tuple[Segment, ...]:
    """Return segments of words that no pause divides; times do not pass `duration`.

    A word's confidence is the mean probability of its tokens, a segment's the mean of its words'. The
    characters of all segments, joined, are the text; a subword's time is divided evenly among its letters.
    """

    times = [
        (min(token.start * seconds_per_frame, duration), min(token.end * seconds_per_frame, duration))
        for token in tokens
    ]
    spans = []
    for places in _words(tokens, tokenizer):
        text = tokenizer.decode([tokens[place].id for place in places]).strip()
        confidence = sum(tokens[place].probability for place in places) / len(places)
        if text:
            word = Word(text, times[places[0]][0], times[places[-1]][1], confidence)
            spans.append(_Span(word, places[0], places[-1]))
    groups = _divided(spans)
    # A segment owns what follows its last word, but nothing is owned before the first word or after the last.
    bounds = [group[0].first for group in groups] + [spans[-1].last + 1] if spans else []
    segments: list[Segment] = []
    for group, (first, end) in zip(groups, pairwise(bounds), strict=True):
        words = tuple(span.word for span in group)
        ids = tuple(token.id for token in tokens[first:end])
        letters = [
            letter
            for place in range(first, end)
            for letter in _letters(tokenizer.piece(tokens[place].id), *times[place])
        ]
        segments.append(
            Segment(
                text=tokenizer.decode(ids).strip(),
                start=words[0].start,
                end=words[-1].end,
                words=words,
                characters=tuple(letters if segments or letters[0].text != " " else letters[1:]),
                confidence=sum(word.confidence for word in words) / len(words),
                tokens=ids,
            )
        )
    return tuple(segments)


def _words(tokens: Sequence[Token], tokenizer: Tokenizer) -> list[list[int]]:
    """Return the places of each word's tokens; spaces in pieces divide, special tokens belong to none."""
    words: list[list[int]] = [[]]
    for place, token in enumerate(tokens):
        piece = tokenizer.piece(token.id)
        if piece.startswith(" ") and words[-1]:
            words.append([])
        if piece.strip():
            words[-1].append(place)
        if piece.endswith(" ") and words[-1]:
            words.append([])
    return [word for word in words if word]


def _divided(spans: list[_Span]) -> list[list[_Span]]:
    """Group words at pauses, then divide what is too long at its widest gap."""
    groups: list[list[_Span]] = []
    for span in spans:
        if groups and span.word.start - groups[-1][-1].word.end < PAUSE_S:
            groups[-1].append(span)
        else:
            groups.append([span])
    divided = []
    while groups:
        group = groups.pop(0)
        if group[-1].word.end - group[0].word.start <= SEGMENT_S or len(group) == 1:
            divided.append(group)
            continue
        gaps = [after.word.start - before.word.end for before, after in pairwise(group)]
        widest = gaps.index(max(gaps)) + 1
        groups[:0] = [group[:widest], group[widest:]]
    return divided


def _letters(piece: str, start: float, end: float) -> list[Character]:
    """Return the letters of a piece, each with an equal share of its time; a leading space takes none."""
    if len(piece) > 1 and piece.startswith(" "):
        return [Character(" ", start, start), *_letters(piece[1:], start, end)]
    share = (end - start) / max(1, len(piece))
    return [Character(letter, start + place * share, start + (place + 1) * share) for place, letter in enumerate(piece)]
