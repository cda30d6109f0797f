"""What goes between the server and the replicas of its models; every value here is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auricle.audio.limits import AudioLimits
from auricle.results import Segment, Transcript

if TYPE_CHECKING:
    import numpy as np

    from auricle.pipelines.provenance import ModelIdentity


class ReplicaError(Exception):
    """Something unforeseen went wrong in a replica; the message is its traceback, for the log."""


@dataclass(frozen=True)
class Description:
    """What the server must know of a model that it does not have."""

    dialect: str  # `Dialect.model` of the parameters that it understands
    sample_rate: int
    name: str
    device: str
    identity: ModelIdentity
    joint: str  # what stands between the texts of segments in a transcript's text
    version: str  # of auricle, where the replica runs


@dataclass(frozen=True)
class Parcel:
    """A recording on the server's disk; short ones travel with the request, others are read from there in pieces."""

    path: str
    size: int  # bytes
    content: bytes | None


@dataclass(frozen=True)
class Work:
    """A recording to transcribe."""

    recording: Parcel
    parameters: Mapping[str, Any]  # of a call of the pipeline
    limits: AudioLimits
    journal: bytes  # what is done of it already; empty: nothing
    background: bool


@dataclass(frozen=True)
class Sound:
    """A moment of a live stream to transcribe."""

    samples: np.ndarray  # mono float32
    sample_rate: int
    options: Any  # of the recognizer


@dataclass(frozen=True)
class Said:
    """Segments that are final."""

    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Listened:
    """How much of the recording is done."""

    seconds: float


@dataclass(frozen=True)
class Kept:
    """Lines that the journal has grown by."""

    at: int  # bytes before them
    lines: bytes


@dataclass(frozen=True)
class Ended:
    """The result: always the last that is told."""

    outcome: Transcript | Exception
    batches: tuple[int, ...]  # the sizes of those that the replica computed since it last told them


Told = Said | Listened | Kept | Ended
