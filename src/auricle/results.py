"""What recognition returns inside the library: frozen values, times in float seconds from the recording's start.

Pipelines turn these into the plain dictionaries of the Hub's format; nothing below them does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from auricle.errors import OptionError, nearest


@dataclass(frozen=True, slots=True)
class Character:
    """One written character and where it is heard; `end` >= `start`."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Word:
    """One word; for Whisper the text keeps its leading space and merged punctuation."""

    text: str
    start: float
    end: float
    confidence: float  # 0 to 1, the mean probability of the word's tokens
    speaker: str | None = None  # who said it, where speakers were told apart


@dataclass(frozen=True, slots=True)
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
    language_probability: float | None = None  # of that language where this segment was heard
    channel: int | None = None  # from 0, where the channels of a recording were transcribed apart
    tokens: tuple[int, ...] = ()
    temperature: float | None = None
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None
    speaker: str | None = None  # who said it, where speakers were told apart: then a segment has one at most


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """A stretch in which one speaker talks; turns of several may overlap."""

    speaker: str  # a known speaker's name, or "SPEAKER_00" and so on, in the order of first speech
    start: float
    end: float
    confidence: float | None = None  # 0 to 1, see auricle.speech.diarization


WARNING_KINDS = {
    "skipped": "no voice was detected here, so nothing was decoded",
    "no_speech": "it was decoded and judged to be no speech; its text, if any, was dropped",
    "unheard": "voice was detected here, and the decoder wrote no text for it",
    "hallucination": "text that nobody seems to have said was dropped",
    "repetition": "the text repeats itself, whatever was tried",
    "doubtful": "the decoder finds its own text improbable",
    "clipped": "the samples are cut off at full scale, as an overloaded microphone does",
    "language": "the language changes, or is uncertain",
    "unaligned": "words whose times are interpolated, since they could not be found in the sound",
    "too_short": "less sound than the model needs",
    "truncated": "the text was cut at a limit of the model",
    "speakers": "more or fewer speakers were found than were asked for",
    "recording": "the file is damaged or not what it says",
}


@dataclass(frozen=True, slots=True)
class Warning:
    """Something about the transcript that its reader should know, with its span in seconds where it has one."""

    kind: str  # one of WARNING_KINDS
    message: str
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in WARNING_KINDS:
            known = ", ".join(WARNING_KINDS)
            raise OptionError(f"warning kind {self.kind!r} is none of {known}{nearest(self.kind, WARNING_KINDS)}")


@dataclass(frozen=True)
class Provenance:
    """What made a transcript, so that it can be made again."""

    model: str  # a Hub name, a folder's name, or "bundled"
    revision: str | None  # the commit of a Hub model; of a folder, a digest of its files
    engine: str  # "reference"
    device: str
    dtype: str
    auricle_version: str
    torch_version: str
    options: Mapping[str, Any]  # every option of the recognizer with its value
    audio_sha256: str | None  # of the source's bytes; of float32 samples, where the source was samples


@dataclass(frozen=True)
class Transcript:
    """The text of one recording. `text` never depends on which times were asked for."""

    text: str
    segments: tuple[Segment, ...] = ()
    language: str | None = None
    language_probability: float | None = None
    duration: float | None = None  # seconds of audio that were read
    warnings: tuple[Warning, ...] = ()
    language_probabilities: Mapping[str, float] = field(default_factory=dict)  # of all, where they were detected
    provenance: Provenance | None = None
    turns: tuple[SpeakerTurn, ...] = ()  # who speaks when, by start, where speakers were told apart

    @property
    def words(self) -> tuple[Word, ...]:
        """All words of all segments, in order."""
        return tuple(word for segment in self.segments for word in segment.words)
