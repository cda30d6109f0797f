"""Recordings in, text out: the task "automatic-speech-recognition"."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from auricle.audio.decode import open_audio, open_channels
from auricle.audio.limits import AudioLimits
from auricle.checkpoints.language_model import find_language_model
from auricle.engines import make_engine
from auricle.errors import AuricleError, OptionError, TaskError
from auricle.loading import Loaded, load
from auricle.pipelines.base import Many, ModelSettings, Pipeline, arrangement, rows
from auricle.pipelines.feed import SegmentFeed, Told
from auricle.pipelines.inputs import extra_keys, recording_of
from auricle.pipelines.journal import JournalPlaces
from auricle.pipelines.provenance import ModelIdentity, identify, journal_header, provenance
from auricle.pipelines.recordings import GuardedAudio, Meter, Opened
from auricle.pipelines.speakers import SpeakerModels, tell_apart
from auricle.pipelines.speech_parameters import (
    Dialect,
    Request,
    read_speech_parameters,
    with_defaults,
    with_own_search,
)
from auricle.results import Character, Segment, Transcript, Word
from auricle.speech.journal import Journal
from auricle.speech.scheduling import Scheduler

if TYPE_CHECKING:
    from auricle.speech.streaming import StreamUpdate

logger = logging.getLogger("auricle")
# Kinds of warnings that say nothing is wrong with the text.
_USUAL = frozenset({"skipped", "language"})


class Recognizer(Protocol):
    """What turns recordings into transcripts, whatever the model."""

    scheduler: Scheduler

    @property
    def joint(self) -> str:
        """What stands between the texts of segments in a transcript's text."""

    def heard(self, entry: dict[str, Any]) -> Sequence[Segment]:
        """Return the segments that an entry of a journal says."""

    def transcribe(
        self,
        audios: Any,
        options: Any,
        progress: Callable[[float], None] | None = None,
        journals: Sequence[Journal | None] | None = None,
    ) -> list[Transcript]:
        """Return one transcript for each recording, in order.

        What a recording's journal holds is not decoded again; every finished step is added to it.
        """


class AutomaticSpeechRecognitionPipeline(Pipeline):
    """Transcribe recordings of any length.

    An input is a path, a URL, "-" for stdin, bytes, a file object, an array or tensor at the model's sample
    rate, or a dictionary: ``{"array" or "raw", "sampling_rate"}``, ``{"path"}``, ``{"bytes"}``, or a row of a
    dataset with one of these as its "audio". Other keys of a dictionary come back, each value in a list of
    one; where one has the name of a key of the result ("text", "chunks"), the result's own stands.

    `channels` says what is heard of a recording with several: "mix", their mean; "split", each by itself, merged
    into one transcript whose chunks carry their "channel"; or a number from 0, that one alone.

    `speakers` tells who says what: True, the number of speakers, or a dictionary of `num_speakers`, `min_speakers`,
    `max_speakers`, `known` (name -> a recording of that speaker) and `model`. Chunks carry their "speaker" and times;
    the text stays as it is. `diarization_model` is the one for calls that name none.

    Example:
        >>> listen = pipeline("automatic-speech-recognition")
        >>> listen("talk.mp3", return_timestamps="word")
        {'text': 'good morning', 'chunks': [{'text': 'good', 'timestamp': (0.32, 0.56)}, ...]}
    """

    task: ClassVar[str] = "automatic-speech-recognition"

    def __init__(
        self,
        recognizer: Recognizer,
        dialect: Dialect,
        *,
        sample_rate: int = 16000,
        name: str = "",
        device: str = "cpu",
        identity: ModelIdentity | None = None,
        limits: AudioLimits | None = None,
        diarization_model: Any = None,
        batch_size: int | None = None,
        on_error: str = "raise",
        **defaults: Any,
    ) -> None:
        self.recognizer = recognizer
        self.dialect = dialect
        self.sample_rate = sample_rate
        self.name = name
        self.device = device
        self.identity = identity or ModelIdentity(name, device=device)
        if not isinstance(limits, AudioLimits | None):
            raise OptionError(f"limits is {limits!r}; it must be an AudioLimits, or None for the default ones")
        self.limits = limits or AudioLimits()
        self.speaker_models = SpeakerModels(diarization_model, device)
        super().__init__(batch_size=batch_size, on_error=on_error, **defaults)

    @classmethod
    def load(
        cls,
        model: str | Path | None,
        settings: ModelSettings,
        *,
        target_lang: str | None = None,
        **parameters: Any,
    ) -> Self:
        """Load a speech recognizer. `target_lang` chooses the language of an MMS checkpoint."""
        if model is None:
            raise TaskError(f"the task {cls.task!r} needs a model; name one")
        for name in ("recognizer", "dialect", "sample_rate", "name", "identity"):
            if name in parameters:
                raise OptionError(f"{name}={parameters[name]!r} is refused: the model decides it; leave it out")
        loaded = load(
            model,
            revision=settings.revision,
            token=settings.token,
            target_lang=target_lang,
        )
        engine = make_engine(loaded.model, device=settings.device, dtype=settings.dtype, name=settings.engine)
        recognizer, dialect = _recognizer(loaded, engine)
        return cls(
            recognizer,
            dialect,
            sample_rate=loaded.features.sample_rate,
            name=loaded.name,
            device=settings.device,
            identity=identify(loaded, engine, target_lang),
            **parameters,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self.dialect.model} on {self.device}>"

    def transcripts(
        self,
        sources: Any,
        *,
        batch_size: int | None = None,
        on_error: str | None = None,
        progress: Callable[[float], None] | None = None,
        resume: str | PathLike[str] | Sequence[str | PathLike[str] | None] | None = None,
        told: Told | None = None,
        **parameters: Any,
    ) -> Iterator[Transcript | AuricleError]:
        """Give the transcript of each source, or of the one there is, in order and as it is asked for.

        `progress` is called with the seconds of audio that are done, of all sources together. `told` is called with
        segments as they become final, see `auricle.pipelines.feed`.

        `resume` keeps what is finished of each recording on disk, and goes on from what an interrupted call left
        there without decoding it again: a folder, a file ending in .jsonl for one recording, or a list of such
        files (None: without) for several. The files stay; remove them once the transcripts are safe.

        Raises:
            OptionError: at once, when a parameter has an unknown name, a wrong value or a conflict.
        """
        request, batch_size, on_error = self.read_call(parameters, batch_size, on_error)
        request = replace(
            request,
            progress=None if progress is None else Meter(progress),
            places=None if resume is None else JournalPlaces(resume),
            has_provenance=True,
            told=told,
        )
        if request.speakers is not None:
            self.prepare(request)  # what is not there is told before anything is heard
        items = [sources] if arrangement(sources) is Many.ONE else rows(sources)
        return (output for _, output in self.outputs(items, request, batch_size, on_error))

    def scheduled(self, scheduler: Scheduler) -> Self:
        """Return the same pipeline with its batches computed by `scheduler`, which may serve others, too."""
        one = copy.copy(self)
        one.recognizer = copy.copy(self.recognizer)
        one.recognizer.scheduler = scheduler
        return one

    def prepare(self, request: Request) -> None:
        """Load what tells speakers apart, and hear those that are known, if a request asks for speakers.

        Raises:
            CheckpointError: there is no such model. AudioError: nobody is heard in a known speaker's recording.
        """
        if request.speakers is not None:
            self.speaker_models.prepare(request.speakers)

    def joint(self, request: Request) -> str | None:
        """Return what stands between the texts of segments as they are told; None where they are told in any order."""
        options = request.options
        is_parallel = getattr(options, "is_batched", False) or (getattr(options, "batch_size", None) or 1) > 1
        return None if is_parallel or request.channels == "split" else self.recognizer.joint

    def stream(self, source: Any, *, latency: float = 1.0, **parameters: Any) -> Iterator[StreamUpdate]:
        """Give words as a source is heard, final ones as soon as they are; see `auricle.pipelines.streaming.stream`."""
        from auricle.pipelines.streaming import stream

        return stream(self, source, latency=latency, **parameters)

    def merged(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call's parameters, and the constructor's where the call says nothing, nested or not."""
        return with_defaults(parameters, self.defaults)

    def read_parameters(self, parameters: Mapping[str, Any], batch_size: int | None) -> Request:
        """Check the call parameters against what this recognizer understands."""
        return read_speech_parameters(parameters, self.dialect, batch_size)

    def preprocess(self, item: Any, request: Request) -> Opened:
        """Open the recording; its samples are read while it is transcribed."""
        place = request.places.claim() if request.places is not None else None
        source = recording_of(item) if isinstance(item, Mapping) else item
        if request.channels == "split":
            audios = open_channels(source, self.sample_rate, limits=self.limits)
        else:
            channel = request.channels if isinstance(request.channels, int) else None
            audios = [open_audio(source, self.sample_rate, limits=self.limits, channel=channel)]
        opened = Opened([GuardedAudio(audio) for audio in audios], request.channels == "split")
        try:
            if request.speakers is not None:
                self.prepare(request)
                opened.again = [audio.again() for audio in audios]
            if request.has_provenance:
                opened.sha256 = audios[0].sha256()
            if request.places is not None and opened.sha256 is not None:
                header = journal_header(self.identity, request, opened.sha256)
                opened.journal = request.places.open(place, header)
        except BaseException:
            opened.close()
            raise
        return opened

    def length(self, prepared: Opened) -> float:
        """Return the seconds that the recording states; what states none is computed last."""
        return next((row.duration for row in prepared.rows if row.duration is not None), float("inf"))

    def forward(self, batch: list[Opened], request: Request) -> list[Transcript | AuricleError]:
        """Transcribe opened recordings; one that breaks off gives its error, and the others their text."""
        audios = [row for one in batch for row in one.rows]
        kept: dict[str, Any] = (
            {} if request.places is None else {"journals": [row for one in batch for row in one.journals()]}
        )
        # A mark depends on the words behind it: what is punctuated is final when all was heard.
        tells_at_end = request.told is not None and getattr(request.options, "punctuate", False)
        if request.told is not None and not tells_at_end:
            kept = {"journals": [feed for one in batch for feed in self._feeds(one, request.told)]}
        meter = request.progress if isinstance(request.progress, Meter) else None
        if meter is not None:
            meter.begin(batch)
        found = iter(self.recognizer.transcribe(audios, request.options, request.progress, **kept))
        results = [one.result([next(found) for _ in one.rows]) for one in batch]
        if request.speakers is not None:
            results = self._told_apart(batch, results, request, meter)
        texts = [one for one in results if isinstance(one, Transcript)]
        if request.told is not None and tells_at_end:
            for text in texts:
                request.told(text.segments)
        if meter is not None:
            meter.end(sum(text.duration or 0.0 for text in texts))
        if not request.has_provenance:
            return results
        return [
            replace(text, provenance=provenance(self.identity, request, one.sha256, self.speaker_models))
            if isinstance(text, Transcript)
            else text
            for one, text in zip(batch, results, strict=True)
        ]

    def _told_apart(
        self, batch: list[Opened], results: list[Transcript | AuricleError], request: Request, meter: Meter | None
    ) -> list[Transcript | AuricleError]:
        """Give the transcripts of a batch their speakers, one recording after the other."""
        assert request.speakers is not None, "somebody asked"
        one = self.speaker_models.scheduled(request.speakers, self.recognizer.scheduler)
        done = sum(row.audio.duration or 0.0 for opened in batch for row in opened.rows)
        found: list[Transcript | AuricleError] = []
        for opened, text in zip(batch, results, strict=True):
            progress = None if meter is None else partial(_onward, meter, done)
            found.append(
                tell_apart(opened, text, request.speakers, one, progress) if isinstance(text, Transcript) else text
            )
            done += sum(row.audio.duration or 0.0 for row in opened.rows)
        return found

    def _feeds(self, opened: Opened, told: Told) -> list[Any]:
        """Return a journal for each row that tells its segments."""
        return [
            SegmentFeed(journal, self.recognizer.heard, told, (row.audio.channel or 0) if opened.is_split else None)
            for row, journal in zip(opened.rows, opened.journals(), strict=True)
        ]

    def postprocess(self, item: Any, output: Transcript, request: Request) -> dict[str, Any]:
        """Return what `result_of` does, and the caller's own keys; tell in the log what is missing or doubtful."""
        if output.warnings:
            _log(output)
        result = self.result_of(output, request)
        if isinstance(item, Mapping):
            result |= {key: value for key, value in extra_keys(item).items() if key not in result}
        return result

    def result_of(self, transcript: Transcript, request: Request) -> dict[str, Any]:
        """Return {"text"}, and "chunks" where times, languages, channels or speakers were asked for."""
        result: dict[str, Any] = {"text": transcript.text}
        if request.times is not None or request.language or request.channels == "split" or request.speakers:
            result["chunks"] = [chunk for segment in transcript.segments for chunk in self._chunks(segment, request)]
        return result

    def _chunks(self, segment: Segment, request: Request) -> list[dict[str, Any]]:
        """Return a segment, or its words or characters, in the Hub's format."""
        language = {"language": self.dialect.languages.get(segment.language or "", segment.language)}
        channel = {"channel": segment.channel} if request.channels == "split" else {}
        speaker = {"speaker": segment.speaker} if request.speakers is not None else {}
        before = {**channel, **(language if request.language else {}), **speaker}
        if request.times is None and request.speakers is None:
            return [{**before, "text": segment.text}]
        parts: dict[str, tuple[Segment | Word | Character, ...]] = {
            "segment": (segment,),
            "word": segment.words,
            "char": segment.characters,
        }
        chosen = parts[request.times or "segment"]
        return [{**before, "text": part.text, "timestamp": (part.start, part.end)} for part in chosen]


def _onward(meter: Meter, done: float, seconds: float) -> None:
    meter(done + seconds)


def _log(transcript: Transcript) -> None:
    """Tell those who get text alone what is missing or doubtful in it; transcripts() has it as `warnings`."""
    for warning in transcript.warnings:
        level = logging.INFO if warning.kind in _USUAL else logging.WARNING
        if warning.start is None or warning.end is None:
            logger.log(level, "%s: %s", warning.kind, warning.message)
        else:
            logger.log(level, "%s from %.1f to %.1f s: %s", warning.kind, warning.start, warning.end, warning.message)


def _recognizer(loaded: Loaded, engine: Any) -> tuple[Recognizer, Dialect]:
    """Return what transcribes with a loaded model, and the parameters that it understands."""
    from auricle.pipelines.dialects import CTC, SEQ2SEQ, WHISPER

    # What the kind of model decides about its parts is known to loading, not to the types.
    parts: Any = loaded
    if loaded.kind == "ctc":
        from auricle.speech.ctc import CTCRecognizer

        recognizer = CTCRecognizer(engine, parts.features, parts.tokenizer, parts.model.samples_per_frame)
        return recognizer, _with_own_language_model(CTC, loaded.folder)
    if loaded.model_type == "whisper":
        from auricle.speech.whisper import WhisperRecognizer

        whisper = WhisperRecognizer(engine, parts.features, parts.tokenizer, parts.config, parts.generation)
        whisper.tokens.check_size(parts.config.vocab_size)
        return whisper, with_own_search(WHISPER, parts.generation)
    if loaded.kind == "seq2seq":
        from auricle.speech.seq2seq import Seq2SeqRecognizer

        made = Seq2SeqRecognizer(engine, parts.features, parts.tokenizer, parts.config, parts.generation)
        return made, with_own_search(SEQ2SEQ, parts.generation)
    raise TaskError(
        f"{loaded.name!r} is a {loaded.kind!r} model ({loaded.model_type}), which writes no speech down; choose a CTC "
        "model, a Whisper or a Moonshine"
    )


def _with_own_language_model(dialect: Dialect, folder: Path) -> Dialect:
    """Return the dialect with the language model that came with a CTC checkpoint, if one did."""
    own = find_language_model(folder)
    if own is None:
        return dialect
    if own.needs_kenlm and find_spec("kenlm") is None:
        logger.warning(
            "%s is not used: a KenLM binary needs the kenlm package; pip install 'auricle[lm]'", own.path.name
        )
        return dialect
    weights = (own.alpha, own.beta, own.unknown_penalty)
    return replace(dialect, preset={"own_lm": str(own.path), "own_weights": weights})
