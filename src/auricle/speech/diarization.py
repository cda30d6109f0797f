"""Who speaks when: what is asked of a diarization, and what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from auricle.errors import OptionError
from auricle.results import SpeakerTurn, Warning

KNOWN_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class DiarizationOptions:
    """How many speakers there are, who may be among them, and how turns are written; checked when it is made."""

    num_speakers: int | None = None  # exactly so many
    min_speakers: int | None = None  # at least so many
    max_speakers: int | None = None  # at most so many
    known: Mapping[str, Sequence[float]] = field(default_factory=dict)  # name to the embedding of a reference clip
    known_threshold: float = KNOWN_THRESHOLD  # cosine similarity from which a speaker is given a known name
    exclusive: bool = False  # one speaker at a time: where several talk, the most probable one stands
    threshold: float | None = None  # distance from which two clusters are two speakers; None: the model's
    min_duration_off: float | None = None  # seconds; a shorter pause inside a turn is filled; None: the model's
    min_duration_on: float = 0.0  # seconds; a shorter turn is left out
    vad: bool | None = None  # nobody talks where the voice detector hears nobody; None: as the model wants it
    skip_silence: bool = False  # do not look at windows in which the voice detector hears nobody
    batch_size: int | None = None  # windows in one forward pass; changes no result; None: what suits the device

    def __post_init__(self) -> None:
        self._check_counts()
        for name in ("known_threshold", "threshold", "min_duration_off", "min_duration_on"):
            value = getattr(self, name)
            if value is None and name != "known_threshold" and name != "min_duration_on":
                continue
            if type(value) not in (int, float) or not math.isfinite(value):
                raise OptionError(f"{name}={value!r}; expected a finite number")
            if name != "known_threshold" and value < 0:
                raise OptionError(f"{name}={value!r}; expected a number from 0 on")
        if not -1 <= self.known_threshold <= 1:
            raise OptionError(f"known_threshold={self.known_threshold!r}; expected a cosine similarity, from -1 to 1")
        for name in ("exclusive", "skip_silence", "vad"):
            if type(getattr(self, name)) is not bool and not (name == "vad" and self.vad is None):
                raise OptionError(f"{name}={getattr(self, name)!r}; expected True or False")
        if not isinstance(self.known, Mapping) or not all(
            isinstance(name, str) and name.strip() for name in self.known
        ):
            raise OptionError(f"known={self.known!r}; expected a mapping of names to embeddings")

    def _check_counts(self) -> None:
        for name in ("num_speakers", "min_speakers", "max_speakers", "batch_size"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise OptionError(f"{name}={value!r}; expected a whole number from 1 on, or None")
        low, high = self.min_speakers, self.max_speakers
        if low is not None and high is not None and low > high:
            raise OptionError(f"min_speakers={low} is more than max_speakers={high}; exchange them, or give one")
        if self.num_speakers is not None and not (low or 1) <= self.num_speakers <= (high or self.num_speakers):
            raise OptionError(
                f"num_speakers={self.num_speakers} is not between min_speakers={low} and max_speakers={high}; "
                "with num_speakers leave both out"
            )


@dataclass(frozen=True, slots=True)
class Diarization:
    """Who speaks when in one recording: turns by start, then by end, then by speaker; those of two may overlap."""

    turns: tuple[SpeakerTurn, ...]
    speakers: tuple[str, ...]  # in the order of first speech
    duration: float  # seconds of audio that were read
    embeddings: Mapping[str, list[float]] = field(default_factory=dict)  # of each speaker that has one, unit length
    warnings: tuple[Warning, ...] = ()
