"""Everything about jobs in one object: made with the app, started and stopped with its lifespan."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from auricle.audio.limits import AudioLimits
from auricle.server.errors import Refused
from auricle.server.jobs.adapting import Adapt, adapting
from auricle.server.jobs.changes import Changes
from auricle.server.jobs.database import Database
from auricle.server.jobs.deliveries import DeliveryStore
from auricle.server.jobs.files import JobFiles
from auricle.server.jobs.leases import Holder, Leases
from auricle.server.jobs.store import Job, JobStore, Order
from auricle.server.jobs.uploads import Uploads
from auricle.server.jobs.views import job_view, timestamp
from auricle.server.jobs.webhooks import DUE, Sender, WebhookOptions
from auricle.server.jobs.worker import WORK, Recognizes, Worker
from auricle.server.settings import Settings

logger = logging.getLogger("auricle.server")

SWEEP_S = 60.0  # between two looks for what may be removed
_RESTART_S = 5.0  # before a task that failed is begun again
_STRAY_S = 86400.0  # how long a folder without a row may be one that is being filled
DAY_S = 86400.0

Drained = Callable[[float], Awaitable[bool]]  # given the seconds that it may take


@dataclass(frozen=True)
class JobOptions:
    """How jobs are worked on and kept."""

    folder: Path  # the server's data folder
    max_jobs: int = 1  # in work at once
    max_bytes: int = 4 * 2**30  # of a recording
    kept_s: float = 7 * DAY_S  # after a job has ended
    uploads_kept_s: float = DAY_S  # after an upload's last piece
    lease_s: float = 30.0  # after which a process that does not renew its claim has lost it
    shutdown_s: float = 30.0  # for the windows that are in work when the server ends
    allow_private_urls: bool = False
    webhooks: WebhookOptions = field(default_factory=WebhookOptions)

    def limits(self) -> AudioLimits:
        """Return what may be fetched."""
        return AudioLimits(max_bytes=self.max_bytes, allow_private_urls=self.allow_private_urls)


def options_of(settings: Settings) -> JobOptions:
    """Return what the server's settings say of jobs."""
    return JobOptions(
        folder=settings.data_dir,
        max_jobs=settings.max_jobs,
        max_bytes=settings.max_body_bytes,
        kept_s=settings.jobs_kept,
        uploads_kept_s=settings.uploads_kept,
        shutdown_s=settings.shutdown,
        allow_private_urls=settings.allow_private_urls,
        webhooks=WebhookOptions(
            max_tries=settings.webhook_tries,
            first_delay_s=settings.webhook_delay,
            allow_private=settings.allow_private_urls,
        ),
    )


class Jobs:
    """The jobs of one server process; several processes may share a data folder."""

    def __init__(
        self,
        options: JobOptions,
        recognition: Recognizes,
        drained: Drained,
        adapt: Adapt,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is opened or begun before `start`.

        `drained` waits until no thread hears a recording any more; `adapt` reads parameters for a model.
        """
        self.options = options
        self.changes = Changes()
        self._drained = drained
        self._database = Database(options.folder / "jobs.sqlite3", clock)
        self.store = JobStore(self._database)
        self.files = JobFiles(options.folder / "jobs")
        self.uploads = Uploads(self._database, options.folder / "uploads", options.max_bytes, options.uploads_kept_s)
        self.deliveries = DeliveryStore(self._database)
        self._holder = Holder(options.folder / "holders")
        self.leases = Leases(self._database, self._holder, options.lease_s, self.files.n_kept, self._announce)
        self.sender = Sender(self.deliveries, options.webhooks, self.changes)
        self.worker = Worker(self.store, self.leases, self.files, recognition, self.changes, options.limits(), adapt)
        self._workers: list[asyncio.Task[None]] = []
        self._others: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Open the files of jobs, or make them; blocks.

        Raises:
            OptionError: they cannot be used.
        """
        self._database.open()
        for folder in (self.files.folder, self.uploads.folder):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._holder.open()

    async def start(self) -> None:
        """Begin to work: what an earlier process has left behind comes first.

        Raises:
            OptionError: the files of jobs cannot be used.
        """
        await asyncio.to_thread(self.open)
        self._workers = [_forever("worker", self.worker.run) for _ in range(self.options.max_jobs)]
        self._others = [_forever("webhooks", self.sender.run), _forever("sweep", self._sweep_for_ever)]

    async def stop(self) -> None:
        """End after the windows that are in work; their jobs are gone on with by the next process."""
        self.worker.stop()
        if self._workers:
            await asyncio.wait(self._workers)
        for task in self._others:
            task.cancel()
        if self._others:
            await asyncio.wait(self._others)
        if self.worker.left:
            await self._drained(self.options.shutdown_s)
        for job_id in self.worker.left:
            await asyncio.to_thread(self.leases.release, job_id)
        await asyncio.to_thread(self._holder.close)
        await asyncio.to_thread(self._database.close)

    async def submit(self, job_id: str, order: Order, upload: str | None = None) -> tuple[Job, bool]:
        """Queue a job whose files lie in its folder; return it, and whether it is new.

        With an idempotency key that this owner has used, the files are removed and the job of then is returned.

        Raises:
            Refused: 422, the key was used for something else.
        """
        earlier = await self.repeated(order)
        if earlier is None:
            try:
                job = await asyncio.to_thread(self.store.add, job_id, order, upload)
            except sqlite3.IntegrityError:  # two requests with one key at the same time
                earlier = await self.repeated(order)
                if earlier is None:
                    raise
        if earlier is not None:
            await asyncio.to_thread(self.files.remove, job_id)
            return earlier, False
        if upload is not None:
            await asyncio.to_thread(self.uploads.remove, upload)
        self.changes.tell(WORK)
        return job, True

    async def repeated(self, order: Order) -> Job | None:
        """Return the job that was made with the same idempotency key.

        Raises:
            Refused: 422, for something else.
        """
        if order.idempotency_key is None:
            return None
        job = await asyncio.to_thread(self.store.of_key, order.owner, order.idempotency_key)
        if job is not None and job.order.fingerprint != order.fingerprint:
            raise Refused(
                422,
                f"the Idempotency-Key {order.idempotency_key[:64]!r} was used for another request ({job.id}); "
                "give each request its own",
                code="idempotency_key_reused",
            )
        return job

    async def cancel(self, job_id: str) -> Job | None:
        """Cancel a job, wherever it is worked on; an ended one stays as it is."""
        job = await asyncio.to_thread(self.leases.cancel, job_id)
        self.worker.cancel(job_id)
        if job is not None and job.is_ended:
            await asyncio.to_thread(self.files.forget_recording, job_id)
        self.changes.tell(job_id)
        self.changes.tell(DUE)
        return job

    async def remove(self, job_id: str) -> bool:
        """Remove an ended job with its result and its files."""
        is_removed = await asyncio.to_thread(self.store.remove, job_id)
        if is_removed:
            await asyncio.to_thread(self.files.remove, job_id)
            self.changes.tell(job_id)
        return is_removed

    def sweep(self) -> None:
        """Remove what was kept long enough; blocks."""
        now = self._database.clock()
        for job_id in self.store.ended_before(now - self.options.kept_s):
            if self.store.remove(job_id):
                self.files.remove(job_id)
        for job_id in self.files.strays(self.store.ids(), now - _STRAY_S):
            self.files.remove(job_id)
        self.uploads.sweep()
        self._holder.sweep()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.to_thread(self.sweep)
            await asyncio.sleep(SWEEP_S)

    def _announce(self, file: sqlite3.Connection, job: Job) -> None:
        """Queue the webhook of an ending, together with the ending itself."""
        event = f"job.{job.status}"
        if job.order.webhook is not None and event in job.order.webhook["events"]:
            payload = {"type": event, "timestamp": timestamp(job.finished), "data": job_view(job)}
            self.deliveries.add(file, job.id, event, payload)


def _forever(name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Run a task that is to go on as long as the server does, through whatever error, which is logged."""

    async def run() -> None:
        while True:
            try:
                await work()
                return
            except Exception:
                logger.exception("the jobs' %s failed; it begins again in %g s", name, _RESTART_S)
                await asyncio.sleep(_RESTART_S)

    return asyncio.create_task(run(), name=f"auricle-jobs-{name}")


__all__ = ["JobOptions", "Jobs", "adapting", "options_of"]
