"""The decoded parts of a recording, joined to its transcript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from auricle.decoding.ctc import Token
from auricle.results import Character, Segment, Transcript, Warning
from auricle.speech.ctc_segments import doubts, make_segments, without_invented
from auricle.speech.stretches import Gap, skipped
from auricle.speech.voice import Region
from auricle.text import Tokenizer


@dataclass
class Part:
    """What was decoded without a gap: a stretch of voice, or a whole recording."""

    tokens: list[Token] = field(default_factory=list)  # in absolute samples
    n_frames: int = 0  # decoded so far
    closed: bool = False  # whether that is all of them
    regions: tuple[Region, ...] | None = None  # where voice was detected; None where nobody looked


def transcript_of(
    parts: Sequence[Part], gaps: Sequence[Gap], tokenizer: Tokenizer, sample_rate: int, n_samples: int
) -> Transcript:
    """Join parts, in order, and tell what was skipped, dropped or doubtful."""
    duration = n_samples / sample_rate
    space = _space(parts, tokenizer)
    texts: list[str] = []
    segments: list[Segment] = []
    warnings = list(skipped(gaps, sample_rate))
    for part in parts:
        tokens = part.tokens
        dropped: list[tuple[Token, ...]] = []
        if part.regions is not None:
            tokens, dropped = without_invented(part.tokens, tokenizer, sample_rate, part.regions)
        for run in dropped:
            text = tokenizer.decode([token.id for token in run]).strip()
            message = f"{text!r} was dropped: no voice was detected, and the decoder is unsure of it"
            kind = "hallucination" if part.regions else "no_speech"
            warnings.append(Warning(kind, message, run[0].start / sample_rate, run[-1].end / sample_rate))
        made = make_segments(tokens, tokenizer, sample_rate, duration)
        if made:
            texts.append(tokenizer.decode([token.id for token in tokens]).strip())
            segments += _after_space(made, space) if segments else made
    text = space.join(texts)
    warnings += doubts(segments)
    if not gaps and not any(part.n_frames for part in parts):
        message = f"{duration:.3f} s of sound are less than the model needs to hear anything"
        warnings = [Warning("too_short", message, 0.0, duration)]
    elif not text and not any(one.kind == "no_speech" for one in warnings):
        warnings.append(Warning("no_speech", "no speech was recognized", 0.0, duration))
    warnings.sort(key=lambda one: one.start or 0.0)
    return Transcript(text, tuple(segments), duration=duration, warnings=tuple(warnings))


def _space(parts: Sequence[Part], tokenizer: Tokenizer) -> str:
    """What stands between parts: a space, unless the model never writes one, as for Chinese."""
    spaced = len(parts) > 1 and any(" " in tokenizer.piece(id) for id in range(tokenizer.vocab_size))
    return " " if spaced else ""


def _after_space(made: Sequence[Segment], space: str) -> list[Segment]:
    """Let the first segment begin with the space before it, so that all characters, joined, are the text."""
    start = made[0].start
    letters = [Character(space, start, start)] if space else []
    return [replace(made[0], characters=(*letters, *made[0].characters)), *made[1:]]
