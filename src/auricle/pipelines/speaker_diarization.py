"""Recordings in, who speaks when out: the task "speaker-diarization"."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from auricle.audio.decode import open_audio
from auricle.audio.limits import AudioLimits
from auricle.engines.diarization import make_networks
from auricle.errors import AuricleError, OptionError, TaskError
from auricle.loading_diarization import load_diarization
from auricle.pipelines.base import Many, ModelSettings, Pipeline, arrangement, rows
from auricle.pipelines.inputs import extra_keys, recording_of
from auricle.pipelines.provenance import ModelIdentity
from auricle.pipelines.recordings import GuardedAudio, Meter, Opened
from auricle.pipelines.speakers import is_vector
from auricle.results import Warning
from auricle.speech.diarization import Diarization, DiarizationOptions
from auricle.speech.diarizer import Diarizer

logger = logging.getLogger("auricle")
OPTIONS = tuple(field.name for field in fields(DiarizationOptions) if field.name not in ("known", "batch_size"))


@dataclass(frozen=True)
class Request:
    """One call's wishes."""

    options: DiarizationOptions
    return_embeddings: bool = False
    meter: Meter | None = None


class SpeakerDiarizationPipeline(Pipeline):
    """Tell who speaks when in recordings of any length; turns of several speakers may overlap.

    An input is whatever the task "automatic-speech-recognition" takes; channels are mixed. Call parameters:
    `num_speakers`, or `min_speakers` and `max_speakers`; `known_speakers`, a mapping of names to recordings of one
    voice each (or to vectors that `voice` gave), with `known_threshold`, the cosine similarity from which a speaker is
    given a known name; `exclusive`, for one speaker at a time; `min_duration_off` and `min_duration_on` in seconds;
    `threshold`, the distance above which two voices are two speakers; `vad`, for turns only where the voice detector
    hears somebody (the bundled model's default); `skip_silence`; `return_embeddings`.
    `batch_size` is how many windows are computed together, and changes no result.

    Example:
        >>> who = pipeline("speaker-diarization")
        >>> who("meeting.wav", known_speakers={"Ann": "ann.wav"})
        {'turns': [{'speaker': 'Ann', 'start': 0.42, 'end': 3.1, 'confidence': 0.93}, ...],
         'speakers': ['Ann', 'SPEAKER_00'], 'duration': 61.3}
    """

    task: ClassVar[str] = "speaker-diarization"
    parameters: ClassVar[tuple[str, ...]] = (*OPTIONS, "known_speakers", "return_embeddings")

    def __init__(
        self,
        diarizer: Diarizer,
        *,
        name: str = "",
        device: str = "cpu",
        limits: AudioLimits | None = None,
        batch_size: int | None = None,
        on_error: str = "raise",
        **defaults: Any,
    ) -> None:
        self.diarizer = diarizer
        self.sample_rate = diarizer.sample_rate
        self.name, self.device = name, device
        self.identity = ModelIdentity(name, device=device)
        if not isinstance(limits, AudioLimits | None):
            raise OptionError(f"limits is {limits!r}; it must be an AudioLimits, or None for the default ones")
        self.limits = limits or AudioLimits()
        super().__init__(batch_size=batch_size, on_error=on_error, **defaults)

    @classmethod
    def load(cls, model: str | Path | None, settings: ModelSettings, **parameters: Any) -> Self:
        """Load a diarization: "bundled-diarization", a folder with config.yaml, or one of the Hub."""
        if model is None:
            raise TaskError(f"the task {cls.task!r} needs a model; name one")
        for name in ("diarizer", "name"):
            if name in parameters:
                raise OptionError(f"{name}={parameters[name]!r} is refused: the model decides it; leave it out")
        if str(settings.dtype).removeprefix("torch.") not in ("auto", "float32"):
            raise OptionError(f"dtype {settings.dtype!r} is not one that diarization runs in; take 'auto' or float32")
        loaded = load_diarization(model, device=settings.device, revision=settings.revision, token=settings.token)
        networks = make_networks(loaded.segmentation, loaded.embedding, settings.engine)
        made = cls(Diarizer(networks, loaded.config), name=loaded.name, device=settings.device, **parameters)
        made.identity = ModelIdentity(loaded.name, loaded.revision, loaded.folder, device=settings.device)
        return made

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} on {self.device}>"

    def voice(self, source: Any) -> list[float]:
        """Return the vector of the one voice in a recording, which `known_speakers` takes in the recording's place.

        Raises:
            AudioError: the recording cannot be read, or nobody speaks in it.
        """
        with open_audio(recording_of(source), self.sample_rate, limits=self.limits) as audio:
            return self.diarizer.voice(audio)

    def diarizations(
        self,
        sources: Any,
        *,
        batch_size: int | None = None,
        on_error: str | None = None,
        progress: Callable[[float], None] | None = None,
        **parameters: Any,
    ) -> Iterator[Diarization | AuricleError]:
        """Give the diarization of each source, or of the one there is, in order and as it is asked for.

        `progress` is called with the seconds of audio that are done, of all sources together.

        Raises:
            OptionError: at once, when a parameter has an unknown name, a wrong value or a conflict.
        """
        request, n_items, on_error = self.read_call(parameters, batch_size, on_error)
        request = replace(request, meter=None if progress is None else Meter(progress))
        items = [sources] if arrangement(sources) is Many.ONE else rows(sources)
        return (output for _, output in self.outputs(items, request, n_items, on_error))

    def read_call(
        self, parameters: Mapping[str, Any], batch_size: int | None, on_error: str | None
    ) -> tuple[Request, int, str]:
        """Check everything a call was given; recordings go one by one, since windows of one fill a batch."""
        request, _, on_error = super().read_call(parameters, batch_size, on_error)
        return request, 1, on_error

    def read_parameters(self, parameters: Mapping[str, Any], batch_size: int | None) -> Request:
        """Check the call parameters, and hear the clips of known speakers."""
        given = super().read_parameters(parameters, batch_size)
        return_embeddings = given.pop("return_embeddings", False)
        if type(return_embeddings) is not bool:
            raise OptionError(f"return_embeddings={return_embeddings!r}; expected True or False")
        known = given.pop("known_speakers", None) or {}
        if not isinstance(known, Mapping) or not all(isinstance(name, str) and name.strip() for name in known):
            raise OptionError(f"known_speakers={known!r}; expected names with recordings, such as {{'Ann': 'ann.wav'}}")
        options = DiarizationOptions(**given, batch_size=batch_size)
        vectors = {name: source if is_vector(source) else self.voice(source) for name, source in known.items()}
        return Request(replace(options, known=vectors), return_embeddings)

    def preprocess(self, item: Any, request: Request) -> Opened:
        """Open the recording; its samples are read while it is heard."""
        source = recording_of(item) if isinstance(item, Mapping) else item
        return Opened([GuardedAudio(open_audio(source, self.sample_rate, limits=self.limits))])

    def forward(self, batch: list[Opened], request: Request) -> list[Diarization | AuricleError]:
        """Diarize opened recordings; one that breaks off gives its error."""
        found: list[Diarization | AuricleError] = []
        for opened in batch:
            audio = opened.rows[0]
            if request.meter is not None:
                request.meter.begin([opened])
            result = self.diarizer.diarize(audio, request.options, request.meter)
            if request.meter is not None:
                request.meter.end(result.duration)
            if audio.error is not None:
                found.append(audio.error)
                continue
            heard = [Warning("recording", message) for message in audio.audio.warnings]
            found.append(replace(result, warnings=(*heard, *result.warnings)) if heard else result)
        return found

    def postprocess(self, item: Any, output: Diarization, request: Request) -> dict[str, Any]:
        """Return {"turns", "speakers", "duration"} and the caller's own keys; tell in the log what is doubtful."""
        for warning in output.warnings:
            logger.warning("%s: %s", warning.kind, warning.message)
        result = as_dict(output, request.return_embeddings)
        if isinstance(item, Mapping):
            result |= {key: value for key, value in extra_keys(item).items() if key not in result}
        return result


def as_dict(found: Diarization, with_embeddings: bool = False) -> dict[str, Any]:
    """Return a diarization as plain values, times in seconds."""
    result: dict[str, Any] = {
        "turns": [asdict(turn) for turn in found.turns],
        "speakers": list(found.speakers),
        "duration": found.duration,
    }
    if with_embeddings:
        result["embeddings"] = {name: list(vector) for name, vector in found.embeddings.items()}
    return result
