"""Recordings in, text out: the task "automatic-speech-recognition"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from auricle.audio.decode import Audio, open_audio
from auricle.audio.limits import AudioLimits
from auricle.engines import make_engine
from auricle.errors import AudioError, AuricleError, OptionError, TaskError
from auricle.loading import Loaded, load
from auricle.pipelines.base import ModelSettings, Pipeline, rows
from auricle.pipelines.inputs import extra_keys, recording_of
from auricle.pipelines.speech_parameters import Dialect, Request, read_speech_parameters
from auricle.results import Character, Segment, Transcript, Warning, Word


class Recognizer(Protocol):
    """What turns recordings into transcripts, whatever the model."""

    def transcribe(
        self, audios: Any, options: Any, progress: Callable[[float], None] | None = None
    ) -> list[Transcript]:
        """Return one transcript for each recording, in order."""
        ...


class AutomaticSpeechRecognitionPipeline(Pipeline):
    """Transcribe recordings of any length.

    An input is a path, a URL, "-" for stdin, bytes, a file object, an array or tensor at the model's sample
    rate, or a dictionary: ``{"array" or "raw", "sampling_rate"}``, ``{"path"}``, ``{"bytes"}``, or a row of a
    dataset with one of these as its "audio". Other keys of a dictionary come back, each value in a list of
    one; where one has the name of a key of the result ("text", "chunks"), the result's own stands.

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
        limits: AudioLimits | None = None,
        batch_size: int = 1,
        on_error: str = "raise",
        **defaults: Any,
    ) -> None:
        self.recognizer = recognizer
        self.dialect = dialect
        self.sample_rate = sample_rate
        self.name = name
        self.device = device
        if not isinstance(limits, AudioLimits | None):
            raise OptionError(f"limits is {limits!r}; it must be an AudioLimits, or None for the default ones")
        self.limits = limits or AudioLimits()
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
        for name in ("recognizer", "dialect", "sample_rate", "name"):
            if name in parameters:
                raise OptionError(f"{name}={parameters[name]!r} is refused: the model decides it; leave it out")
        loaded = load(
            model,
            device=settings.device,
            dtype=settings.dtype,
            revision=settings.revision,
            token=settings.token,
            target_lang=target_lang,
        )
        recognizer, dialect = _recognizer(loaded, settings.device)
        return cls(
            recognizer,
            dialect,
            sample_rate=loaded.features.sample_rate,
            name=loaded.name,
            device=settings.device,
            **parameters,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self.dialect.model} on {self.device}>"

    def transcripts(
        self,
        sources: Iterable[Any],
        *,
        batch_size: int | None = None,
        on_error: str | None = None,
        progress: Callable[[float], None] | None = None,
        **parameters: Any,
    ) -> Iterator[Transcript | AuricleError]:
        """Give the transcript of each source, in order and as it is asked for.

        `progress` is called with the seconds of audio that are done, of all sources together.

        Raises:
            OptionError: at once, when a parameter has an unknown name, a wrong value or a conflict.
        """
        request, batch_size, on_error = self.read_call(parameters, batch_size, on_error)
        if progress is not None:
            request = replace(request, progress=_Meter(progress))
        return (output for _, output in self.outputs(rows(sources), request, batch_size, on_error))

    def read_parameters(self, parameters: Mapping[str, Any], batch_size: int) -> Request:
        """Check the call parameters against what this recognizer understands."""
        return read_speech_parameters(parameters, self.dialect, batch_size)

    def preprocess(self, item: Any, request: Request) -> Audio:
        """Open the recording; its samples are read while it is transcribed."""
        source = recording_of(item) if isinstance(item, Mapping) else item
        return open_audio(source, self.sample_rate, limits=self.limits)

    def forward(self, batch: list[Audio], request: Request) -> list[Transcript | AuricleError]:
        """Transcribe opened recordings; one that breaks off gives its error, and the others their text."""
        guarded = [_Guarded(audio) for audio in batch]
        found = self.recognizer.transcribe(guarded, request.options, request.progress)
        if isinstance(request.progress, _Meter):
            request.progress.add(sum(transcript.duration or 0.0 for transcript in found))
        return [
            one.error or (_with_warnings(one.audio, text) if one.audio.warnings else text)
            for one, text in zip(guarded, found, strict=True)
        ]

    def postprocess(self, item: Any, output: Transcript, request: Request) -> dict[str, Any]:
        """Return {"text"}, "chunks" where times or languages were asked for, and the caller's own keys."""
        result: dict[str, Any] = {"text": output.text}
        if request.times is not None or request.language:
            result["chunks"] = [chunk for segment in output.segments for chunk in self._chunks(segment, request)]
        if isinstance(item, Mapping):
            result |= {key: value for key, value in extra_keys(item).items() if key not in result}
        return result

    def _chunks(self, segment: Segment, request: Request) -> list[dict[str, Any]]:
        """Return a segment, or its words or characters, in the Hub's format."""
        language = {"language": self.dialect.languages.get(segment.language or "", segment.language)}
        before = language if request.language else {}
        if request.times is None:
            return [{**before, "text": segment.text}]
        parts: dict[str, tuple[Segment | Word | Character, ...]] = {
            "segment": (segment,),
            "word": segment.words,
            "char": segment.characters,
        }
        return [{**before, "text": part.text, "timestamp": (part.start, part.end)} for part in parts[request.times]]


class _Guarded:
    """A recording that ends where it breaks off and keeps the error: its batch is not to suffer."""

    def __init__(self, audio: Audio) -> None:
        self.audio = audio
        self.sample_rate = audio.sample_rate
        self.duration = audio.duration
        self.name = audio.name
        self.error: AudioError | None = None

    def blocks(self) -> Iterator[np.ndarray]:
        try:
            yield from self.audio.blocks()
        except AudioError as error:
            self.error = error

    def read(self) -> np.ndarray:
        blocks = list(self.blocks())
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


class _Meter:
    """Adds what a batch reports to what the batches before it had."""

    def __init__(self, report: Callable[[float], None]) -> None:
        self.report = report
        self.before = 0.0

    def __call__(self, seconds: float) -> None:
        self.report(self.before + seconds)

    def add(self, seconds: float) -> None:
        self.before += seconds
        self.report(self.before)


def _with_warnings(audio: Audio, transcript: Transcript) -> Transcript:
    """Put what is wrong with the recording itself before what the recognizer found."""
    found = tuple(Warning("recording", message) for message in audio.warnings)
    return replace(transcript, warnings=(*found, *transcript.warnings))


def _recognizer(loaded: Loaded, device: str) -> tuple[Recognizer, Dialect]:
    """Return what transcribes with a loaded model, and the parameters that it understands."""
    from auricle.pipelines.dialects import CTC, SEQ2SEQ, WHISPER

    # In the dtype that loading has chosen.
    engine = make_engine(loaded.model, device=device, dtype=next(loaded.model.parameters()).dtype)
    # What the kind of model decides about its parts is known to loading, not to the types.
    parts: Any = loaded
    if loaded.kind == "ctc":
        from auricle.speech.ctc import CTCRecognizer

        return CTCRecognizer(engine, parts.features, parts.tokenizer, parts.model.samples_per_frame), CTC
    if loaded.model_type == "whisper":
        from auricle.speech.whisper import WhisperRecognizer

        return WhisperRecognizer(engine, parts.features, parts.tokenizer, parts.config, parts.generation), WHISPER
    if loaded.kind == "seq2seq":
        from auricle.speech.seq2seq import Seq2SeqRecognizer

        made = Seq2SeqRecognizer(engine, parts.features, parts.tokenizer, parts.config, parts.generation)
        return made, SEQ2SEQ
    raise TaskError(f"{loaded.name!r} is a {loaded.kind!r} model ({loaded.model_type}), which hears nothing")
