"""What one Whisper window came to, and what follows from it: pure functions on tokens and numbers.

Times here are whole steps of 20 ms from the window's start, as the timestamp tokens count them.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from auricle.decoding.generate import Generated
from auricle.speech.whisper_options import LOWEST_RATIO
from auricle.text.tokenizer import N_TIMESTAMPS


class Thresholds(Protocol):
    """The options that decide whether a window is believed."""

    @property
    def compression_ratio_threshold(self) -> float | None:
        """Text that shrinks further repeats itself."""
        ...

    @property
    def logprob_threshold(self) -> float | None:
        """Less probable text is wrong."""
        ...

    @property
    def no_speech_threshold(self) -> float | None:
        """Improbable text above it is silence."""
        ...


@dataclass(frozen=True)
class Decoded:
    """What a window came to at one temperature, with what tells whether to believe it."""

    generated: Generated
    temperature: float
    avg_logprob: float  # per token, the end included
    compression_ratio: float  # how many times smaller zlib makes the text
    no_speech_prob: float
    languages: tuple[float, ...] = ()  # the probability of each language the checkpoint knows, after its history
    trusted: bool = True  # whether it passed the thresholds
    loosened: bool = False  # whether it was decoded again without what came before and without repetitions

    @property
    def is_empty(self) -> bool:
        """Whether there is no text at all."""
        return self.compression_ratio == 0.0


@dataclass(frozen=True)
class Piece:
    """A segment within a window: its tokens, timestamps included, as a range, and its span in steps.

    `last` is None where the decoder gave no end: it ends with the window.
    """

    begin: int
    end: int
    first: int
    last: int | None


def compression_ratio(text: str) -> float:
    """Bytes of UTF-8 over bytes of zlib; 0.0 for no text."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def token_ratio(tokens: Sequence[int]) -> float:
    """Bytes of tokens, two for each or three in vocabularies that need them, over bytes of zlib; 0.0 for none.

    Source: transformers' Whisper.
    """
    width = 2 if max(tokens, default=0) < 1 << 16 else 3
    data = b"".join(token.to_bytes(width, "little") for token in tokens)
    return len(data) / len(zlib.compress(data)) if data else 0.0


def is_repetitive(decoded: Decoded, thresholds: Thresholds) -> bool:
    """Whether the text repeats itself more than speech does."""
    limit = thresholds.compression_ratio_threshold
    if limit is None:
        return False
    if limit < LOWEST_RATIO:
        return token_ratio(decoded.generated.tokens) > limit
    return decoded.compression_ratio > limit


def is_improbable(decoded: Decoded, thresholds: Thresholds) -> bool:
    """Whether the decoder itself hardly believes the text."""
    limit = thresholds.logprob_threshold
    return limit is not None and decoded.avg_logprob < limit


def is_silence(decoded: Decoded, thresholds: Thresholds) -> bool:
    """Whether nobody speaks: the decoder says so, and does not believe its text either.

    Without a logprob threshold the first alone decides.
    """
    limit = thresholds.no_speech_threshold
    if limit is None or decoded.no_speech_prob <= limit:
        return False
    return thresholds.logprob_threshold is None or is_improbable(decoded, thresholds)


def needs_fallback(decoded: Decoded, thresholds: Thresholds, is_voiced: bool = False) -> bool:
    """Whether to try the next temperature. Silence is not improved by trying.

    `is_voiced` is whether voice was detected, so that there must be text.
    Source: openai/whisper transcribe.py, decode_with_fallback.
    """
    suspicious = is_repetitive(decoded, thresholds) or is_improbable(decoded, thresholds)
    suspicious = suspicious or (is_voiced and decoded.is_empty)
    silent = (
        thresholds.logprob_threshold is not None
        and thresholds.no_speech_threshold is not None
        and is_silence(decoded, thresholds)
    )
    return suspicious and not silent


def best_attempt(attempts: Sequence[Decoded], thresholds: Thresholds, is_voiced: bool = False) -> Decoded:
    """Of attempts that all failed, the most probable one, if possible one that does not repeat itself.

    Where voice was detected, one with text.

    OpenAI takes the last one, drawn at the highest temperature, which is the least likely to be what was
    said.
    Source: SYSTRAN/faster-whisper transcribe.py, generate_with_fallback.
    """
    spoken = [one for one in attempts if not (is_voiced and one.is_empty)] or attempts
    varied = [one for one in spoken if not is_repetitive(one, thresholds)]
    return max(varied or spoken, key=lambda one: one.avg_logprob)


def split_window(tokens: Sequence[int], timestamp_begin: int) -> tuple[list[Piece], int | None]:
    """Cut a window's tokens where one segment's closing and the next one's opening timestamp meet.

    The second value is where the next window begins, in steps: at the last closing timestamp, if text
    follows that was not closed, since it may be cut by the window's end and is heard again; None is the
    window's end.
    Source: openai/whisper transcribe.py, transcribe. Where no two timestamps meet OpenAI starts the only
    segment at the window's start and may take its opening timestamp for its end; here it has the times it
    states.
    """
    steps = [token - timestamp_begin for token in tokens]
    steps = [step if 0 <= step < N_TIMESTAMPS else -1 for step in steps]  # -1: text
    stamps = [step >= 0 for step in steps]
    cuts = [at for at in range(1, len(tokens)) if stamps[at - 1] and stamps[at]]
    closed = stamps[-2:] == [False, True]
    if not cuts:
        return [_piece(steps, 0, len(tokens))], None
    if closed:
        cuts.append(len(tokens))
    pieces = [_piece(steps, begin, end) for begin, end in pairwise([0, *cuts])]
    follow = steps[cuts[-1] - 1]
    # A step of nothing would hear the same window for ever.
    return pieces, None if closed or follow <= 0 else follow


def _piece(steps: Sequence[int], begin: int, end: int) -> Piece:
    first = max(steps[begin], 0) if begin < end else 0
    last = steps[end - 1] if end - begin > 1 else -1
    if last < 0:
        inner = [step for step in steps[begin + 1 : end] if step >= 0]
        last = inner[-1] if inner else -1
    return Piece(begin, end, first, last if last > first else None)


def text_before(always: Sequence[int], history: Sequence[int], most: int) -> list[int]:
    """What a window is told of the text before it, `most` tokens.

    `always` are the tokens that every window is told; they stand first, and the last of the history follow.
    """
    kept = list(always[:most])
    n_last = min(most - len(kept), len(history))
    return [*kept, *history[len(history) - n_last :]]


def seed_of(seed: int, start: int, attempt: int) -> int:
    """A seed for one attempt at one window, so that its samples depend on nothing else."""
    digest = hashlib.blake2b(f"{seed} {start} {attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes 63 bits
