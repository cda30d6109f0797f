"""Transcripts with speakers: what `speakers=` asks for, and who makes it so."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike, fspath
from typing import Any, Protocol

from auricle.audio.decode import open_audio
from auricle.errors import AudioError, AuricleError, OptionError, nearest
from auricle.pipelines.recordings import Opened
from auricle.results import SpeakerTurn, Transcript, Warning
from auricle.speech.diarization import Diarization, DiarizationOptions
from auricle.speech.scheduling import Scheduler
from auricle.speech.speakers import assign_speakers

DEFAULT_MODEL = "bundled-diarization"
_EXPECTED = "True, the number of speakers, or a dictionary of num_speakers, min_speakers, max_speakers, known and model"


@dataclass(frozen=True)
class SpeakersAsked:
    """What a call asks for with `speakers=`."""

    num_speakers: int | None = None  # exactly so many
    min_speakers: int | None = None
    max_speakers: int | None = None
    known: Mapping[str, Any] = field(default_factory=dict)  # name -> a recording of that speaker alone
    model: Any = None  # of the task speaker-diarization; None: the pipeline's own
    voices: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)  # of known ones, once heard

    def counts(self) -> dict[str, int]:
        """Return what is said of the number of speakers, by the names of parameters."""
        said = {name: getattr(self, name) for name in ("num_speakers", "min_speakers", "max_speakers")}
        return {name: value for name, value in said.items() if value is not None}


class Diarizing(Protocol):
    """What is needed of a pipeline of the task speaker-diarization."""

    def diarizations(self, sources: Any, **parameters: Any) -> Any:
        """Give a `Diarization` for each source."""
        ...

    def voice(self, source: Any) -> Any:
        """Return the vector of the one voice in a recording."""
        ...


def read_speakers(value: Any) -> SpeakersAsked | None:
    """Return what a value of `speakers=` asks for; None: nothing.

    Raises:
        OptionError: it is none of the values that there are.
    """
    if value is None or value is False:
        return None
    if value is True:
        return SpeakersAsked()
    if isinstance(value, int):
        asked = SpeakersAsked(num_speakers=value)
    elif isinstance(value, Mapping):
        names = [one.name for one in fields(SpeakersAsked) if one.name != "voices"]
        for name in value:
            if name not in names:
                raise OptionError(f"speakers has {name!r}; it takes {', '.join(names)}{nearest(str(name), names)}")
        given = {name: one for name, one in value.items() if one is not None}
        asked = SpeakersAsked(**given)
    else:
        raise OptionError(f"speakers={value!r}; expected {_EXPECTED}")
    if not isinstance(asked.known, Mapping):
        raise OptionError(f"speakers.known is a {type(asked.known).__name__}; expected names with a recording for each")
    try:
        counts = asked.num_speakers, asked.min_speakers, asked.max_speakers
        DiarizationOptions(*counts, known=dict.fromkeys(asked.known, ()))
    except OptionError as error:
        raise OptionError(f"speakers={_short(value)}: {error}") from None
    return asked


class SpeakerModels:
    """The models that tell speakers apart, each loaded once, when it is first asked for."""

    def __init__(self, default: Any = None, device: str = "cpu") -> None:
        """Take the model of calls that name none: a name, a folder, or what is a pipeline already."""
        self.default: Any = DEFAULT_MODEL if default is None else default
        self._device = device
        self._loaded: dict[str, Diarizing] = {}
        self._lock = threading.Lock()

    def of(self, asked: SpeakersAsked) -> Diarizing:
        """Return the pipeline that a call asks for.

        Raises:
            CheckpointError: it is not there or cannot be read. TaskError: it is of another task.
        """
        model = self.default if asked.model is None else asked.model
        if hasattr(model, "diarizations"):
            found: Diarizing = model
            return found
        with self._lock:
            if str(model) not in self._loaded:
                from auricle.pipelines import pipeline

                loaded: Any = pipeline("speaker-diarization", model, device=self._device)
                self._loaded[str(model)] = loaded
            return self._loaded[str(model)]

    def prepare(self, asked: SpeakersAsked) -> None:
        """Load the model, and hear the known speakers, each once.

        Raises:
            AuricleError: as `of`, or a known speaker's recording cannot be used.
        """
        model = self.of(asked)
        for name, source in asked.known.items():
            if name in asked.voices:
                continue
            try:
                asked.voices[name] = source if is_vector(source) else model.voice(source)
            except AudioError as error:
                raise type(error)(f"the known speaker {name}: {error}") from error

    def scheduled(self, asked: SpeakersAsked, scheduler: Scheduler) -> Diarizing:
        """Return the same, with its batches computed by `scheduler`."""
        one = self.of(asked)
        scheduled: Callable[[Scheduler], Diarizing] | None = getattr(one, "scheduled", None)
        return one if scheduled is None else scheduled(scheduler)

    def told(self, asked: SpeakersAsked) -> dict[str, Any]:
        """Return what decides who speaks, as JSON values: the model, the counts, and digests of what is known."""
        model = self.default if asked.model is None else asked.model
        loaded = model if hasattr(model, "diarizations") else self._loaded.get(str(model))
        identity = getattr(loaded, "identity", None)
        return {
            "model": str(getattr(identity, "name", None) or getattr(loaded, "name", None) or model),
            "revision": getattr(identity, "revision", None),
            **asked.counts(),
            "known": {name: _digest(source) for name, source in asked.known.items()},
        }


def tell_apart(
    opened: Opened,
    transcript: Transcript,
    asked: SpeakersAsked,
    one: Diarizing,
    progress: Callable[[float], None] | None = None,
) -> Transcript | AuricleError:
    """Return a recording's transcript with its speakers, or the error that its second reading met.

    The recording is read once more, in constant memory. Channels that are heard apart are diarized apart: where one
    has a single speaker, that is the channel's name; known speakers keep theirs.
    """
    turns: list[SpeakerTurn] = []
    warnings: list[Warning] = []
    for row, recording in zip(opened.rows, opened.again, strict=True):
        channel = (row.audio.channel or 0) if opened.is_split else None
        parameters: dict[str, Any] = {**asked.counts(), "on_error": "return", "progress": progress}
        if asked.known:
            parameters["known_speakers"] = asked.voices
        (found,) = one.diarizations([recording], **parameters)
        if isinstance(found, AuricleError):
            return found
        own = found.turns if channel is None else _of_channel(found, channel, asked.known)
        transcript = assign_speakers(transcript, own, channel=channel)
        turns += own
        warnings += [warning for warning in found.warnings if warning not in transcript.warnings]
    turns.sort(key=lambda turn: (turn.start, turn.end, turn.speaker))
    return replace(transcript, turns=tuple(turns), warnings=(*transcript.warnings, *warnings))


def _of_channel(found: Diarization, channel: int, known: Mapping[str, Any]) -> tuple[SpeakerTurn, ...]:
    """Name the speakers of a channel, of which each channel has its own."""
    unknown = [name for name in found.speakers if name not in known]
    numbered = {name: f"channel {channel} {name}" for name in unknown} if len(found.speakers) > 1 else {}
    names = numbered or dict.fromkeys(unknown, f"channel {channel}")
    return tuple(replace(turn, speaker=names.get(turn.speaker, turn.speaker)) for turn in found.turns)


def _digest(source: Any) -> str:
    """Return what identifies a recording of a known speaker; an address stands for what is there."""
    if isinstance(source, bytes):
        return f"sha256:{hashlib.sha256(source).hexdigest()}"
    if isinstance(source, str | PathLike) and "://" in fspath(source):
        return fspath(source)
    if is_vector(source):
        return f"sha256:{hashlib.sha256(repr([float(one) for one in source]).encode()).hexdigest()}"
    with open_audio(source) as audio:
        return f"sha256:{audio.sha256()}"


def is_vector(source: Any) -> bool:
    """Say whether a known speaker is given as the numbers of a voice: a recording is no sequence of plain floats."""
    is_sequence = isinstance(source, Sequence) and not isinstance(source, str | bytes | bytearray | memoryview)
    return is_sequence and len(source) > 0 and all(isinstance(value, float | int) for value in source)


def _short(value: Any) -> str:
    """Show a value of `speakers=` without recordings."""
    if isinstance(value, Mapping):
        return repr({name: list(one) if name == "known" else one for name, one in value.items()})
    return repr(value)
