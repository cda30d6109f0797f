"""What recognition returns inside the library: frozen values, times in float seconds from the recording's start.

Pipelines turn these into the plain dictionaries of the Hub's format; nothing below them does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Character:
    """One written character and where it is heard; `end` >= `start`."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Word:
    """One word; for Whisper the text keeps its leading space and merged punctuation."""

    text: str
    start: float
    end: float
    confidence: float  # 0 to 1, the mean probability of the word's tokens


@dataclass(frozen=True)
class Segment:
    """A stretch of speech with the decoder's own view of its quality.

    `end` is None only where a decoder gave no end and the recording's end is unknown.
    """

    text: str
    start: float
    end: float | None
    words: tuple[Word, ...] = ()
    characters: tuple[Character, ...] = ()
    confidence: float | None = None
    language: str | None = None  # code such as "en"
    tokens: tuple[int, ...] = ()
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None


@dataclass(frozen=True)
class Warning:
    """Something about the transcript that its reader should know, with its span in seconds where it has one."""

    kind: str  # one word such as "truncated", "silence", "clipped"
    message: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Transcript:
    """The text of one recording. `text` never depends on which times were asked for."""

    text: str
    segments: tuple[Segment, ...] = ()
    language: str | None = None
    language_probability: float | None = None
    duration: float | None = None  # seconds of audio that were read
    warnings: tuple[Warning, ...] = ()

    @property
    def words(self) -> tuple[Word, ...]:
        """All words of all segments, in order."""
        return tuple(word for segment in self.segments for word in segment.words)
