"""A pipeline whose recognizer runs elsewhere: parameters are read and results made here, recordings heard there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from auricle.cluster.calls import Listener, Replicas
from auricle.cluster.depot import parcel
from auricle.cluster.journal_copy import JournalCopy
from auricle.cluster.tickets import RemoteTicket
from auricle.cluster.wire import Description, Sound, Work
from auricle.errors import AuricleError
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
from auricle.pipelines.dialects import CTC, SEQ2SEQ, WHISPER
from auricle.results import Segment, Transcript
from auricle.speech.scheduling import at_once


class RemoteRecognizer:
    """Transcribes moments of live streams at any replica; how a stream is cut into them is decided here."""

    def __init__(self, replicas: Replicas, joint: str) -> None:
        self.replicas, self.joint = replicas, joint
        self.scheduler: Any = at_once  # the ticket, once the pipeline was `scheduled`

    def heard(self, entry: dict[str, Any]) -> Sequence[Segment]:
        """Return the segments that an entry of a journal says; replicas tell them themselves."""
        return ()

    def transcribe(
        self, audios: Sequence[Any], options: Any, progress: Any = None, journals: Any = None
    ) -> list[Transcript]:
        """Return one transcript for each recording, in order; they must fit into memory."""
        ticket = self.scheduler if isinstance(self.scheduler, RemoteTicket) else RemoteTicket()
        sounds = [Sound(audio.read(), audio.sample_rate, options) for audio in audios]
        return [self.replicas.hear(sound, ticket) for sound in sounds]


class RemotePipeline(AutomaticSpeechRecognitionPipeline):
    """The pipeline of a model that has replicas."""

    def __init__(self, replicas: Replicas, described: Description) -> None:
        dialects = {one.model: one for one in (CTC, SEQ2SEQ, WHISPER)}
        super().__init__(
            RemoteRecognizer(replicas, described.joint),
            dialects[described.dialect],
            sample_rate=described.sample_rate,
            name=described.name,
            device=described.device,
            identity=described.identity,
        )
        self._replicas = replicas

    def prepare(self, request: Any) -> None:
        """Leave what tells speakers apart to the replica that hears the recording."""

    def transcripts(
        self,
        sources: Any,
        *,
        batch_size: int | None = None,
        on_error: str | None = None,
        progress: Callable[[float], None] | None = None,
        resume: str | PathLike[str] | Sequence[str | PathLike[str] | None] | None = None,
        told: Callable[[tuple[Segment, ...]], None] | None = None,
        **parameters: Any,
    ) -> Iterator[Transcript | AuricleError]:
        """Give the transcript of the one recording whose path `sources` is, as the parent does; `resume`: a file."""
        self.read_call(parameters, batch_size, on_error)
        assert isinstance(sources, str), "the server has one file"
        assert isinstance(resume, str | PathLike | None), "and one journal"
        path, kept = Path(sources), None if resume is None else Path(resume)
        return iter([self._transcript(path, kept, parameters, told, progress)])

    def _transcript(
        self,
        path: Path,
        kept: Path | None,
        parameters: dict[str, Any],
        told: Callable[[tuple[Segment, ...]], None] | None,
        progress: Callable[[float], None] | None,
    ) -> Transcript:
        ticket = self.recognizer.scheduler
        assert isinstance(ticket, RemoteTicket), "the pipeline was scheduled with a ticket of this cluster"
        journal = JournalCopy(kept)
        recording = parcel(path)

        def work(done: bytes) -> Work:
            return Work(recording, parameters, self.limits, done, ticket.background)

        try:
            return self._replicas.transcribe(work, Listener(journal, told, progress), ticket)
        finally:
            journal.close()
