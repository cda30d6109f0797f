"""News of one job as server-sent events; what is told comes from the database, so any process can tell it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Any

from auricle.server.jobs.views import job_view, segment_view

if TYPE_CHECKING:
    from auricle.server.jobs.service import Jobs

END = "end"  # the id of the last event: who comes again with it has heard all
KEEP_ALIVE_S = 15.0
_LOOK_S = 1.0  # how soon what another process does, and the server's end, are seen
_PAGE = 500  # segments that are read at once
_RETRY_MS = 2000  # after which browsers connect again


def sse(event: str, data: Any, event_id: str | None = None) -> str:
    """Return one event as text."""
    named = "" if event_id is None else f"id: {event_id}\n"
    return f"{named}event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


async def tell(jobs: Jobs, job_id: str, n_told: int, root: str, is_ending: Callable[[], bool]) -> AsyncGenerator[str]:
    """Give the segments behind the first `n_told`, the progress, and how the job ends; then end.

    A segment's id is its number. It ends early where the job is removed, and where the server ends: clients come
    again with the last id that they saw.
    """
    yield f"retry: {_RETRY_MS}\n\n"
    told_progress: Any = None
    told_at = time.monotonic()
    with jobs.changes.watch(job_id) as news:
        while not is_ending():
            # The job before its segments: of one that has ended, all are there.
            job = await asyncio.to_thread(jobs.store.get, job_id)
            if job is None:
                return
            segments = await asyncio.to_thread(jobs.store.segments, job_id, n_told, _PAGE)
            for segment in segments:
                n_told += 1
                yield sse("segment", {"number": n_told, **segment_view(segment)}, str(n_told))
            position = await asyncio.to_thread(jobs.store.position, job)
            progress = {"status": job.status, "done": job.done, "duration": job.duration, "position": position}
            if progress != told_progress:
                told_progress = progress
                yield sse("progress", progress)
                told_at = time.monotonic()
            if len(segments) == _PAGE:
                continue
            if job.is_ended:
                yield sse(job.status, job_view(job, root), END)
                return
            if time.monotonic() - told_at > KEEP_ALIVE_S:
                told_at = time.monotonic()
                yield ": keep-alive\n\n"
            await news.wait(_LOOK_S)
