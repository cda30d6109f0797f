"""From a CTC model's tokens to words, characters and segments with their times, and to the transcript."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise

from auricle.decoding.ctc import Token
from auricle.results import Character, Segment, Transcript, Warning, Word
from auricle.speech.stretches import Gap, skipped
from auricle.speech.voice import WEAK_VOICE, Region
from auricle.text import Tokenizer

PAUSE_S = 0.6  # a silence between words that ends a segment
SEGMENT_S = 30.0  # longer segments are divided at their widest gap

# Mean probabilities of words. The bundled model, which is unsure of itself, gives where nobody speaks no word more than
# 0.8 (benchmarks/silence.py); at that two of 3,109 words of LibriSpeech test-clean are lost, of isolated digits none
# beyond those that are lost at 0.65.
INVENTED = 0.8  # less, where no voice was detected, is not believed
DOUBTFUL = 0.5  # a segment with less is told


@dataclass(frozen=True)
class _Span:
    """A word and the places of its tokens, `last` included."""

    word: Word
    first: int
    last: int


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
    space = space_of(tokenizer) if len(parts) > 1 else ""
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


def make_segments(
    tokens: Sequence[Token], tokenizer: Tokenizer, units_per_second: float, duration: float
) -> tuple[Segment, ...]:
    """Return segments of words that no pause divides; times do not pass `duration`.

    Tokens begin and end at frames or samples, of which there are `units_per_second`. A word's confidence is the
    mean probability of its tokens, a segment's the mean of its words'. The characters of all segments, joined,
    are the text; a subword's time is divided evenly among its letters.
    """
    times = [(min(one.start / units_per_second, duration), min(one.end / units_per_second, duration)) for one in tokens]
    spans = _spans(tokens, tokenizer, times)
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


def without_invented(
    tokens: Sequence[Token], tokenizer: Tokenizer, sample_rate: int, regions: Iterable[Region]
) -> tuple[list[Token], list[tuple[Token, ...]]]:
    """Return the tokens without words that nobody seems to have said, and those words, a run at a time.

    Tokens and regions are in samples. A run of words wholly outside the regions of voice is dropped if the
    decoder is unsure of it: voice can be missed, and words can be invented, but hardly both at once.
    """
    proven = [region for region in regions if region.peak >= WEAK_VOICE]
    times = [(one.start / sample_rate, one.end / sample_rate) for one in tokens]
    spans = _spans(tokens, tokenizer, times)
    kept, dropped = list(tokens), []

    def heard(span: _Span) -> bool:
        start, end = tokens[span.first].start, tokens[span.last].end
        return any(region.start < end and start < region.end for region in proven)

    for is_heard, group in reversed([(key, list(group)) for key, group in groupby(spans, key=heard)]):
        sure = sum(span.word.confidence for span in group) / len(group)
        if not is_heard and sure < INVENTED:
            first, last = group[0].first, group[-1].last
            dropped.append(tuple(tokens[first : last + 1]))
            following = next((span.first for span in spans if span.first > last), len(tokens))
            del kept[first:following]
    return kept, dropped[::-1]


def doubts(segments: Iterable[Segment]) -> tuple[Warning, ...]:
    """Return a warning for every run of segments that the decoder finds improbable."""
    warnings = []
    for doubtful, group in groupby(segments, key=lambda one: one.confidence is not None and one.confidence < DOUBTFUL):
        run = list(group)
        if doubtful:
            message = f"the decoder is unsure of {' '.join(one.text for one in run)!r}"
            warnings.append(Warning("doubtful", message, run[0].start, run[-1].end))
    return tuple(warnings)


def space_of(tokenizer: Tokenizer) -> str:
    """What stands between parts: a space, unless the model never writes one, as for Chinese."""
    return " " if any(" " in tokenizer.piece(id) for id in range(tokenizer.vocab_size)) else ""


def _after_space(made: Sequence[Segment], space: str) -> list[Segment]:
    """Let the first segment begin with the space before it, so that all characters, joined, are the text."""
    start = made[0].start
    letters = [Character(space, start, start)] if space else []
    return [replace(made[0], characters=(*letters, *made[0].characters)), *made[1:]]


def _spans(tokens: Sequence[Token], tokenizer: Tokenizer, times: Sequence[tuple[float, float]]) -> list[_Span]:
    """Return the words of tokens that lie at `times`, in seconds."""
    spans = []
    for places in _words(tokens, tokenizer):
        text = tokenizer.decode([tokens[place].id for place in places]).strip()
        confidence = sum(tokens[place].probability for place in places) / len(places)
        if text:
            word = Word(text, times[places[0]][0], times[places[-1]][1], confidence)
            spans.append(_Span(word, places[0], places[-1]))
    return spans


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
