"""Calls of the replicas of one model, again where a replica died with a call."""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from ray import exceptions as lost
from ray.serve.exceptions import DeploymentUnavailableError, ReplicaUnavailableError

from auricle.cluster.journal_copy import JournalCopy
from auricle.cluster.tickets import RemoteTicket
from auricle.cluster.wire import Ended, Kept, Listened, ReplicaError, Said, Sound, Told, Work
from auricle.results import Segment, Transcript
from auricle.server.errors import Refused

logger = logging.getLogger("auricle.cluster")

T = TypeVar("T")

# What a call raises because of where it ran, and not of what it did.
LOST = (
    lost.RayActorError,
    lost.WorkerCrashedError,
    lost.NodeDiedError,
    lost.ObjectLostError,
    lost.OutOfMemoryError,
    lost.RpcError,
    lost.TaskCancelledError,
    concurrent.futures.CancelledError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)
# Before another try: the first at once; the others when a machine's death has become known.
PAUSES_S = (0.0, 0.5, 2.0, 5.0)
RETRY_AFTER_S = 10


class Listener:
    """What a caller is told of one recording, whichever replicas hear it: everything once, in order."""

    def __init__(
        self,
        journal: JournalCopy,
        told: Callable[[tuple[Segment, ...]], None] | None,
        progress: Callable[[float], None] | None,
    ) -> None:
        self.journal = journal
        self._told, self._progress = told, progress
        self._n_told = 0  # segments
        self._n_again = 0  # of them that the replica of now has told, too
        self._seconds = 0.0

    def begin(self) -> bytes:
        """Return what a replica needs to go on; what it tells of that is known already."""
        self._n_again = 0
        return self.journal.content()

    def __call__(self, one: Told) -> None:
        match one:
            case Kept():
                self.journal.add(one)
            case Said(segments):
                self._say(segments)
            case Listened(seconds) if self._progress is not None and seconds > self._seconds:
                self._seconds = seconds
                self._progress(seconds)

    def _say(self, segments: tuple[Segment, ...]) -> None:
        new = segments[max(0, self._n_told - self._n_again) :]
        self._n_again += len(segments)
        self._n_told = max(self._n_told, self._n_again)
        if new and self._told is not None:
            self._told(new)


class Replicas:
    """All replicas of one model; Ray chooses one for each call, the less busy of two."""

    def __init__(self, handle: Any, name: str, on_batch: Callable[[str, int], None] | None) -> None:
        self.name = name
        self._on_batch = on_batch
        self._transcribe = handle.options(stream=True).transcribe
        self._hear = handle.hear

    def transcribe(self, work: Callable[[bytes], Work], listener: Listener, ticket: RemoteTicket) -> Transcript:
        """Transcribe a recording; `work` makes what is sent of the journal so far.

        Raises:
            Cancelled: the ticket was cancelled. Refused: replicas died with it again and again.
            AuricleError: the recording or a parameter cannot be used.
        """

        def once() -> Transcript:
            with ticket.calling(lambda: self._transcribe.remote(work(listener.begin()))) as response:
                for news in response:
                    for one in news:
                        ticket.check()
                        if isinstance(one, Ended):
                            return self._outcome(one)
                        listener(one)
            raise ReplicaError(f"a replica of {self.name} went away without a word")

        return self._persist(once, ticket)

    def hear(self, sound: Sound, ticket: RemoteTicket) -> Transcript:
        """Transcribe a moment of a live stream; raises as `transcribe` does."""

        def once() -> Transcript:
            with ticket.calling(lambda: self._hear.remote(sound)) as response:
                return self._outcome(response.result())

        return self._persist(once, ticket)

    def _persist(self, once: Callable[[], T], ticket: RemoteTicket) -> T:
        for pause in PAUSES_S:
            try:
                return once()
            except LOST as error:
                ticket.check()
                logger.warning("a replica of %s was lost with a request (%s)", self.name, type(error).__name__)
                ticket.pause(pause)
        raise Refused(
            503,
            f"{len(PAUSES_S)} replicas of {self.name} were lost with this request; try again later, or cut the "
            "recording into parts",
            code="replicas_lost",
            headers={"retry-after": str(RETRY_AFTER_S)},
        )

    def _outcome(self, ended: Ended) -> Transcript:
        if self._on_batch is not None:
            for n_rows in ended.batches:
                self._on_batch(self.name, n_rows)
        if isinstance(ended.outcome, Exception):
            raise ended.outcome
        return ended.outcome
