"""Jobs: recordings that take longer than a connection should last."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from auricle.errors import AuricleError
from auricle.server.access.principal import MANAGE
from auricle.server.errors import Refused
from auricle.server.jobs.adapting import checking
from auricle.server.jobs.events import END, tell
from auricle.server.jobs.intake import Intake
from auricle.server.jobs.results import Made, write_result
from auricle.server.jobs.store import DONE, STATUSES, Job
from auricle.server.jobs.views import cursor_of, job_view, read_cursor

if TYPE_CHECKING:
    from auricle.server.jobs import Jobs
    from auricle.server.services import Services

_MOST_LISTED = 100
_LATER_S = "5"  # when to look again whether a job is done
_STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
_FILE = {"type": "string", "format": "binary"}
_TEXT = {"type": "string"}
_ASKED: dict[str, Any] = {
    "model": _TEXT,
    "parameters": {"type": "object", "description": "as for a call of the pipeline"},
    "webhook": {
        "description": "told when the job ends: an address, or url, secret (whsec_…) and events",
        "oneOf": [_TEXT, {"type": "object"}],
    },
    "name": _TEXT,
}
_BODIES = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _FILE, **_ASKED}}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"url": _TEXT, "upload": _TEXT, "inputs": _TEXT, **_ASKED},
                    "additionalProperties": False,
                }
            },
            "application/octet-stream": {"schema": _FILE},
        },
    }
}


def router(services: Services) -> APIRouter:
    """Return the routes of jobs."""
    routes = APIRouter(prefix="/jobs", tags=["jobs"])
    _add_intake(routes, services)
    _add_views(routes, services.jobs)
    _add_events(routes, services)
    _add_results(routes, services)
    _add_ends(routes, services.jobs)
    return routes


def _add_intake(routes: APIRouter, services: Services) -> None:
    registry = services.registry
    intake = Intake(services.jobs, services.settings, registry.resolve, checking(registry))

    @routes.post("", status_code=202, openapi_extra=_BODIES)
    async def create(request: Request) -> Response:
        """Queues a recording: a form with a file, raw bytes with parameters in the query, or JSON with a url or upload.

        The same Idempotency-Key gives the same job.
        """
        job, is_new = await intake.take(request)
        view = await _view(services.jobs, job, _root(request))
        if job.order.webhook is not None:
            view["webhook"]["secret"] = job.order.webhook["secret"]  # shown here alone
        headers = {"location": view["links"]["self"], "retry-after": _LATER_S}
        return JSONResponse(view, 202, headers if is_new else {**headers, "idempotent-replayed": "true"})


def _add_views(routes: APIRouter, jobs: Jobs) -> None:
    @routes.get("")
    async def list_jobs(
        request: Request,
        status: str | None = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 20,
        cursor: str | None = None,
    ) -> Response:
        """Lists jobs, the newest first: one's own, or all with the scope to manage."""
        statuses = [one for one in (status or "").split(",") if one]
        for one in statuses:
            if one not in STATUSES:
                raise Refused(400, f"status {one[:40]!r} is none of {', '.join(STATUSES)}", param="status")
        principal = request.state.principal
        owner = None if MANAGE in principal.scopes else principal.id
        before = read_cursor(cursor)
        found = await asyncio.to_thread(jobs.store.page, owner, statuses, before, limit + 1)
        page = found[:limit]
        views = [await _view(jobs, job, _root(request)) for job in page]
        return JSONResponse({"jobs": views, "next": cursor_of(page[-1]) if len(found) > limit else None})

    @routes.get("/{job_id}")
    async def get_job(request: Request, job_id: str) -> Response:
        """Tells how far a job is, and how its webhook went."""
        job = await _own(jobs, request, job_id)
        deliveries = await asyncio.to_thread(jobs.deliveries.of_job, job.id)
        position = await asyncio.to_thread(jobs.store.position, job)
        return JSONResponse(job_view(job, _root(request), position, deliveries))


def _add_events(routes: APIRouter, services: Services) -> None:
    jobs = services.jobs

    @routes.get("/{job_id}/events")
    async def events(request: Request, job_id: str) -> Response:
        """Tells news as they come: progress, segment, and done, failed or cancelled at the end.

        Last-Event-ID goes on behind the segment of that number.
        """
        job = await _own(jobs, request, job_id)
        last = request.headers.get("last-event-id", "")
        if last == END and job.is_ended:
            return Response(status_code=204)  # a browser then comes no more
        n_told = int(last) if last.isdecimal() and len(last) < 16 else 0
        stream = tell(jobs, job.id, n_told, _root(request), services.draining.is_set)
        return StreamingResponse(stream, headers=_STREAM_HEADERS, media_type="text/event-stream")


def _add_results(routes: APIRouter, services: Services) -> None:
    jobs = services.jobs

    @routes.get("/{job_id}/result")
    async def result(
        request: Request,
        job_id: str,
        format: str = "json",
        unit: Literal["none", "word", "segment", "char"] = "none",
        word_cues: bool = False,
        paragraphs: bool = False,
    ) -> Response:
        """Gives the transcript of a job that is done: json (all), verbose_json, pipeline, txt, srt, vtt, tsv, …"""
        job = await _own(jobs, request, job_id)
        if not job.is_ended:
            message = f"the job is {job.status}; its result is there once it is done: follow /jobs/{job.id}/events"
            raise Refused(409, message, code="job_not_done", headers={"retry-after": _LATER_S})
        value = await asyncio.to_thread(jobs.store.result, job.id) if job.status == DONE else None
        if value is None:
            why = (job.error or {}).get("message", "it has no result")
            raise Refused(409, f"the job is {job.status}: {why}", code=f"job_{job.status}")
        choices = {"unit": unit, "word_cues": word_cues, "paragraphs": paragraphs}
        languages = await asyncio.to_thread(_languages, services, job.order.model)
        about = Made(job.order.name, job.order.model, languages)
        written = await asyncio.to_thread(write_result, value, format, about, choices)
        return Response(written.content.encode("utf-8", "replace"), media_type=written.media_type)


def _languages(services: Services, model: str) -> tuple[str, ...]:
    """Return the codes that a model's card names; none if it is served no more."""
    with suppress(AuricleError):
        return tuple(services.registry.card(model).languages)
    return ()


def _add_ends(routes: APIRouter, jobs: Jobs) -> None:
    @routes.post("/{job_id}/cancel", status_code=202)
    async def cancel(request: Request, job_id: str) -> Response:
        """Cancels a job: one that waits at once, one that is worked on within a window; an ended one stays as it is."""
        job = await _own(jobs, request, job_id)
        return await _cancelled(jobs, request, job)

    @routes.delete("/{job_id}")
    async def delete(request: Request, job_id: str) -> Response:
        """Removes an ended job with its result; cancels one that has not ended, which a second call then removes."""
        job = await _own(jobs, request, job_id)
        if await jobs.remove(job.id):
            return Response(status_code=204)
        return await _cancelled(jobs, request, job)


async def _cancelled(jobs: Jobs, request: Request, job: Job) -> Response:
    now = await jobs.cancel(job.id) or job
    return JSONResponse(await _view(jobs, now, _root(request)), 200 if now.is_ended else 202)


async def _own(jobs: Jobs, request: Request, job_id: str) -> Job:
    """Return a job that this client may see.

    Raises:
        Refused: 404, there is none; others' jobs are not told apart from none.
    """
    job = await asyncio.to_thread(jobs.store.get, job_id)
    principal = request.state.principal
    if job is None or (job.order.owner != principal.id and MANAGE not in principal.scopes):
        raise Refused(404, f"there is no job {job_id[:64]!r}; it may have been removed", code="no_job")
    return job


async def _view(jobs: Jobs, job: Job, root: str) -> dict[str, Any]:
    return job_view(job, root, await asyncio.to_thread(jobs.store.position, job))


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", "")).rstrip("/")
