"""Works on jobs: claims one, transcribes it with a journal, and writes down how far it is and what came out."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from typing import Any, Protocol

from auricle.audio.fetch import fetch
from auricle.audio.limits import AudioLimits
from auricle.errors import OptionError
from auricle.server.errors import Refused, as_refused
from auricle.server.jobs.adapting import Adapt
from auricle.server.jobs.changes import Changes, set_within
from auricle.server.jobs.files import JobFiles
from auricle.server.jobs.leases import Beat, Ending, Leases
from auricle.server.jobs.store import CANCELLED, DONE, FAILED, Job, JobStore
from auricle.server.jobs.webhooks import DUE
from auricle.server.recognition import Event, Heard, Recognized, Source
from auricle.server.transcripts import transcript_to_json
from auricle.speech.journal_entries import segment_to_json

logger = logging.getLogger("auricle.server")

WORK = "work"  # the name under which news of waiting jobs are told
BEAT_S = 1.0  # how often a claim is renewed and a cancellation by another process is seen
_GATHER_S = 0.1  # how long segments are gathered before they are written
_POLL_S = 1.0  # how soon a job that another process has queued, or left behind, is seen
_NO_ROOM = frozenset({429, 503})  # the job waits and is tried again
_AGAIN_S = 5.0
_LONGEST_S = 600.0


class Recognizes(Protocol):
    """What a worker needs of `auricle.server.recognition.Recognition`."""

    async def recognize(
        self,
        name: str | None,
        source: Source,
        parameters: Any,
        *,
        use_cache: bool = ...,
        wait: float | None = ...,
        on_event: Callable[[Event], None] | None = ...,
        background: bool = ...,
        journal: Any = ...,
    ) -> Recognized:
        """Transcribe one recording."""
        ...


class Worker:
    """Works on the jobs that this process claims; `run` may run several times at once."""

    def __init__(
        self,
        store: JobStore,
        leases: Leases,
        files: JobFiles,
        recognition: Recognizes,
        changes: Changes,
        limits: AudioLimits,
        adapt: Adapt,
    ) -> None:
        self.store = store
        self.leases = leases
        self.files = files
        self.recognition = recognition
        self.changes = changes
        self.limits = limits
        self.adapt = adapt
        self.left: list[str] = []  # jobs that were stopped with the server: to be released when their threads end
        self._is_stopping = False
        self._runs: dict[str, Run] = {}

    async def run(self) -> None:
        """Work on one job after the other until `stop`."""
        with self.changes.watch(WORK) as news:
            while not self._is_stopping:
                job = await asyncio.to_thread(self.leases.claim, frozenset(self._runs))
                if job is None:
                    await news.wait(_POLL_S)
                    continue
                self.changes.tell(job.id)
                await self._work(job)
                self.changes.tell(job.id)
                self.changes.tell(DUE)

    def cancel(self, job_id: str) -> None:
        """End the work on a job within a window, if it is ours, as its row asks."""
        if job_id in self._runs:
            self._runs[job_id].cancel()

    def stop(self) -> None:
        """Begin nothing more, and end what is worked on within a window."""
        self._is_stopping = True
        for run in self._runs.values():
            run.interrupt()
        self.changes.tell(WORK)

    async def _work(self, job: Job) -> None:
        """Work on a claimed job until it has ended, is somebody else's, or is put back."""
        run = self._runs[job.id] = Run(self, job)
        try:
            await self._settle(run, await run.ending())
        finally:
            del self._runs[job.id]

    async def _settle(self, run: Run, ending: Ending | BaseException | None) -> None:
        """Write down what became of a job."""
        job_id = run.job.id
        if run.is_lost:
            logger.warning("job %s is worked on by another process now; this one has stopped", job_id)
        elif run.is_cancelled:
            await self._finish(job_id, Ending(CANCELLED))
        elif ending is None:
            self.left.append(job_id)
        elif isinstance(ending, Ending):
            await self._finish(job_id, ending)
        elif isinstance(ending, OptionError) and run.had_journal:
            # It was begun with another version or another revision of the model; if not, the same error comes again.
            logger.warning("job %s cannot go on where it was and begins anew: %s", job_id, ending)
            await asyncio.to_thread(self.files.forget_journal, job_id)
            await asyncio.to_thread(self.leases.restart, job_id)
        elif not await self._postponed(job_id, ending):
            refused = as_refused(ending)
            if refused.status >= 500:
                logger.error("job %s failed", job_id, exc_info=ending)
            await self._finish(job_id, Ending(FAILED, error={"message": refused.message, "code": refused.code}))

    async def _postponed(self, job_id: str, error: BaseException) -> bool:
        """Put a job back that found no room."""
        if not isinstance(error, Refused) or error.status not in _NO_ROOM:
            return False
        asked = error.headers.get("retry-after", "")
        delay_s = min(float(asked), _LONGEST_S) if asked.isdecimal() else _AGAIN_S
        return await asyncio.to_thread(self.leases.postpone, job_id, delay_s)

    async def _finish(self, job_id: str, ending: Ending) -> None:
        if await asyncio.to_thread(self.leases.finish, job_id, ending):
            logger.info("job %s is %s", job_id, ending.status)
            await asyncio.to_thread(self.files.forget_recording, job_id)


class Run:
    """The work on one job, from its claim to its end."""

    def __init__(self, worker: Worker, job: Job) -> None:
        self.job = job
        self.is_lost = False  # the claim is another process's now
        self.is_cancelled = False
        self.had_journal = False  # finished windows of an interrupted run
        self._is_over = False
        self._worker = worker
        self._done, self._duration = job.done, job.duration
        self._pending: list[dict[str, Any]] = []  # segments that are not in the database yet
        self._told: set[tuple[Any, ...]] = set()  # what is told of an interrupted run's windows is there already
        self._news = asyncio.Event()
        self._task: asyncio.Task[Ending] | None = None

    def cancel(self) -> None:
        """End the work, and the job with it."""
        self.is_cancelled = True
        self.interrupt()

    def interrupt(self) -> None:
        """End the work."""
        if self._task is not None:
            self._task.cancel()

    async def ending(self) -> Ending | BaseException | None:
        """Do the work; return how it ended, the error that it ended with, or None where it was interrupted."""
        self._task = asyncio.create_task(self._transcribe())
        keeper = asyncio.create_task(self._keep())
        try:
            await asyncio.wait((self._task,))
        finally:
            self._task.cancel()
            # Not cancelled: what it is writing would be written again below.
            self._is_over = True
            self._news.set()
            await asyncio.wait((keeper,))
        if self._task.cancelled():
            return None
        if not self.is_lost:
            await self._write()
        return self._task.exception() or self._task.result()

    async def _transcribe(self) -> Ending:
        worker, job = self._worker, self.job
        known = await asyncio.to_thread(worker.store.segments, job.id, 0, -1)
        self._told = {_identity(segment) for segment in known}
        await asyncio.to_thread(worker.files.fence, job.id)
        self.had_journal = worker.files.n_kept(job.id) > 0
        source = await asyncio.to_thread(self._source)
        chosen = await worker.adapt(job.order.model, job.order.parameters)
        found = await worker.recognition.recognize(
            job.order.model,
            source,
            chosen.parameters,
            use_cache=job.order.use_cache,
            on_event=self._hear,
            background=True,
            journal=worker.files.journal(job.id),
        )
        transcript = found.transcript
        self._done, self._duration = transcript.duration or self._done, transcript.duration or self._duration
        if not self._told:  # it came from the cache, which tells nothing
            self._hear(Heard(transcript.segments))
        return Ending(
            DONE,
            outcome={
                "model": found.model,
                "revision": None if transcript.provenance is None else transcript.provenance.revision,
                "language": transcript.language,
                "compute_s": round(found.compute_s, 3),
                "is_cached": found.is_cached,
                "notes": [note.message for note in chosen.notes],
            },
            result={"transcript": transcript_to_json(transcript), "pipeline": found.result},
        )

    def _source(self) -> Source:
        """Return the recording, fetched first where it is an address; blocks."""
        files, job = self._worker.files, self.job
        path = files.recording(job.id)
        size, sha256 = job.order.size, job.order.sha256
        if not path.exists():
            if job.order.url is None:
                raise Refused(410, "the recording of this job is gone; send it again", code="recording_gone")
            with fetch(job.order.url, self._worker.limits) as file:
                size, sha256 = files.save(job.id, file)
        elif size is None or sha256 is None:
            size, sha256 = files.measure(job.id)
        if (size, sha256) != (job.order.size, job.order.sha256):
            self._worker.store.set_recording(job.id, size, sha256)
        return Source(path=path, sha256=sha256, size=size, name=job.order.name)

    def _hear(self, event: Event) -> None:
        if not isinstance(event, Heard):
            self._done, self._duration = event.done, event.duration
            return
        for segment in map(segment_to_json, event.segments):
            if _identity(segment) not in self._told:
                self._told.add(_identity(segment))
                self._pending.append(segment)
        self._news.set()

    async def _keep(self) -> None:
        """Renew the claim, write what is new, and look whether the job is to be cancelled."""
        while not self._is_over:
            await set_within(self._news, BEAT_S)
            await asyncio.sleep(_GATHER_S)
            self._news.clear()
            try:
                beat = await self._write()
            except sqlite3.Error as error:  # the next one may succeed, or the claim runs out
                logger.warning("the progress of job %s cannot be written: %s", self.job.id, error)
                continue
            if not beat.is_held:
                self.is_lost = True
                self.interrupt()
            elif beat.is_cancelling and not self._is_over:
                self.cancel()

    async def _write(self) -> Beat:
        new = list(self._pending)
        beat = await asyncio.to_thread(self._worker.leases.beat, self.job.id, self._done, self._duration, new)
        del self._pending[: len(new)]
        self._worker.changes.tell(self.job.id)
        return beat


def _identity(segment: dict[str, Any]) -> tuple[Any, ...]:
    return segment["channel"], segment["start"], segment["end"], segment["text"]
