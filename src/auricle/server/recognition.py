"""The one way from a recording to its text, whatever the route: cache, model, place in the queue, transcript."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auricle import __version__
from auricle.errors import AudioError, AudioTooLargeError, OptionError
from auricle.server.cache import ResultCache, cache_key, is_cacheable
from auricle.server.errors import Refused
from auricle.server.parameters import NOT_FOR_CLIENTS
from auricle.server.registry import Registry, ServedModel, refuse_bridged
from auricle.server.runner import Runner
from auricle.server.scheduling import Ticket
from auricle.server.settings import Settings, named
from auricle.server.speakers import heard
from auricle.server.transcripts import transcript_from_json, transcript_to_json

if TYPE_CHECKING:
    from auricle.results import Segment, Transcript

TASK = "automatic-speech-recognition"
LONG_S = 300.0  # recordings beyond this are long work
LONG_BYTES = 10 << 20  # and those beyond this which do not say how long they are


@dataclass(frozen=True)
class Source:
    """A recording on disk, as it arrived."""

    path: Path
    sha256: str
    size: int  # bytes
    name: str = "the recording"  # in messages


@dataclass(frozen=True)
class Heard:
    """Segments that are final, in order."""

    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Progress:
    """How much of a recording is done."""

    done: float  # seconds
    duration: float | None  # seconds in all, where the recording says


Event = Heard | Progress


@dataclass(frozen=True)
class Recognized:
    """A transcript and how it came to be."""

    transcript: Transcript
    result: dict[str, Any]  # in the Hub's format: "text", and "chunks" where times were asked for
    model: str
    compute_s: float  # seconds, waiting for batches of others included; of a cached one, when it was made
    is_cached: bool
    device: str  # "cpu", "cuda:0"


class Recognition:
    """Transcribes recordings for all routes."""

    def __init__(self, settings: Settings, registry: Registry, runner: Runner, cache: ResultCache | None) -> None:
        self.settings = settings
        self.registry = registry
        self.runner = runner
        self.cache = cache
        self.on_done: Callable[[Recognized], None] | None = None  # told of every transcript

    async def recognize(
        self,
        name: str | None,
        source: Source,
        parameters: Mapping[str, Any],
        *,
        use_cache: bool = True,
        wait: float | None = None,
        on_event: Callable[[Event], None] | None = None,
        background: bool = False,
        journal: Path | None = None,
    ) -> Recognized:
        """Transcribe a recording with the model of a served name, None for the default one.

        `parameters` are those of a call of the pipeline. `wait` is how many seconds the model may take to load, None
        as long as it does. `on_event` is called on the event loop while the recording is heard, not for cached
        transcripts. `background` work yields to other work. A `journal` keeps finished windows, and those that it has
        are not decoded again. Cancelling the caller ends the work within a window.

        Raises:
            Refused: the model is of another task (422), still loading (503), or too much waits already (429).
            AuricleError: the recording, a parameter or the model cannot be used.
        """
        refuse_ours(parameters)
        if "speakers" in parameters:
            parameters = {**parameters, "speakers": heard(parameters["speakers"])}
        async with self.registry.use(self.registry.resolve(name), wait) as model:
            if model.task != TASK:
                raise Refused(422, f"Model {model.name} does {model.task}, not {TASK}", code="wrong_task")
            refuse_bridged(model)
            request, _, _ = model.pipeline.read_call(parameters, None, "raise")
            if request.speakers is not None:
                await asyncio.to_thread(model.pipeline.prepare, request)
            key = self._key(model, source, request, parameters) if self.cache is not None and use_cache else None
            found = None if key is None else await self._cached(key, model, request)
            if found is None:
                ticket = model.batcher.ticket(background)
                tell = self._teller(on_event, ticket)
                with _by_its_name(source):
                    duration = await self._duration(source, model)
                    work = partial(self._work, model, source, parameters, ticket, tell, journal, duration)
                    is_long = background or _is_long(source, duration)
                    transcript, seconds = await self.runner.run(work, ticket, is_long)
                if key is not None and self.cache is not None:
                    kept = {"transcript": transcript_to_json(transcript), "compute_s": seconds}
                    await asyncio.to_thread(self.cache.put, key, kept)
                found = self._recognized(model, request, transcript, seconds, False)
            if self.on_done is not None:
                self.on_done(found)
            return found

    async def _cached(self, key: str, model: ServedModel, request: Any) -> Recognized | None:
        assert self.cache is not None, "there is a key"
        kept = await asyncio.to_thread(self.cache.get, key)
        if kept is None:
            return None
        return self._recognized(model, request, transcript_from_json(kept["transcript"]), kept["compute_s"], True)

    def _key(self, model: ServedModel, source: Source, request: Any, parameters: Mapping[str, Any]) -> str | None:
        """Return what the transcript is kept under; None for samples, which are drawn anew each time."""
        from auricle.pipelines.provenance import options_of

        if not is_cacheable(parameters):
            return None
        identity = model.pipeline.identity
        return cache_key(
            sha256=source.sha256,
            task=TASK,
            model=identity.name,
            revision=identity.revision,
            engine=identity.engine,
            dtype=identity.dtype,
            options=options_of(request, identity, model.pipeline.speaker_models),
            version=__version__,
        )

    def _recognized(
        self, model: ServedModel, request: Any, transcript: Transcript, seconds: float, is_cached: bool
    ) -> Recognized:
        transcript = _as_served(transcript, model.name)
        result = model.pipeline.result_of(transcript, request)
        return Recognized(transcript, result, model.name, seconds, is_cached, str(model.pipeline.device))

    async def _duration(self, source: Source, model: ServedModel) -> float | None:
        """Return the seconds that a recording states, if it does.

        Raises:
            AudioTooLargeError: longer than Settings.max_duration. AudioError: it is none.
        """
        duration = await asyncio.to_thread(_duration, source, model.pipeline)
        most = self.settings.max_duration
        if most is not None and duration is not None and duration > most:
            raise AudioTooLargeError(
                f"{source.name} is {duration:.1f} s long, and this server takes at most {most:g} s; cut it into parts"
            )
        return duration

    def _teller(self, on_event: Callable[[Event], None] | None, ticket: Ticket) -> Callable[[Event], None]:
        """Return what a worker tells its events to, which ends work that is cancelled."""
        loop = asyncio.get_running_loop()

        def tell(event: Event) -> None:
            ticket.check()
            if on_event is not None:
                loop.call_soon_threadsafe(on_event, event)

        return tell

    def _work(
        self,
        model: ServedModel,
        source: Source,
        parameters: Mapping[str, Any],
        ticket: Ticket,
        tell: Callable[[Event], None],
        journal: Path | None,
        duration: float | None,
    ) -> tuple[Transcript, float]:
        """Transcribe, in a thread of the runner."""
        began = time.monotonic()
        ticket.check()
        pipeline = model.pipeline.scheduled(ticket)
        limits = replace(pipeline.limits, max_duration=self.settings.max_duration or pipeline.limits.max_duration)
        pipeline.limits = limits
        tell(Progress(0.0, duration))
        (transcript,) = pipeline.transcripts(
            str(source.path),
            on_error="raise",
            progress=lambda done: tell(Progress(done, duration)),
            told=lambda segments: tell(Heard(segments)),
            resume=journal,
            **parameters,
        )
        return _without_place(transcript, source), time.monotonic() - began


def _without_place(transcript: Transcript, source: Source) -> Transcript:
    """Return a transcript whose warnings do not say where the recording lies; nor its name, for others may get it."""
    if not transcript.warnings:
        return transcript
    place = str(source.path)
    warnings = (replace(one, message=one.message.replace(place, "the recording")) for one in transcript.warnings)
    return replace(transcript, warnings=tuple(warnings))


def _as_served(transcript: Transcript, name: str) -> Transcript:
    """Return a transcript that calls models as clients do: where their folders lie here is no affair of theirs."""
    made_by = transcript.provenance
    if made_by is None:
        return transcript
    options, speakers = made_by.options, made_by.options.get("speakers")
    if isinstance(speakers, Mapping):
        options = {**options, "speakers": {**speakers, "model": named(str(speakers["model"]))[0]}}
    return replace(transcript, provenance=replace(made_by, model=name, options=options))


@contextmanager
def _by_its_name(source: Source) -> Iterator[None]:
    """Let errors call a recording as its sender does: where it lies here is of no use to anybody else."""
    try:
        yield
    except AudioError as error:
        raise type(error)(str(error).replace(str(source.path), source.name)) from error


def refuse_ours(parameters: Mapping[str, Any]) -> None:
    """Refuse what names files of the server, or is its own affair.

    Raises:
        OptionError: one of the parameters is.
    """
    for name, value in parameters.items():
        if name in NOT_FOR_CLIENTS:
            raise OptionError(f"the parameter {name!r} is not taken over HTTP; leave it out")
        if isinstance(value, Mapping) and name != "speakers":
            refuse_ours(value)


def _is_long(source: Source, duration: float | None) -> bool:
    return source.size > LONG_BYTES if duration is None else duration > LONG_S


def _duration(source: Source, pipeline: Any) -> float | None:
    from auricle.audio.decode import open_audio

    with open_audio(str(source.path), pipeline.sample_rate, limits=pipeline.limits) as audio:
        return audio.duration


__all__ = ["Event", "Heard", "Progress", "Recognition", "Recognized", "Source", "refuse_ours"]
