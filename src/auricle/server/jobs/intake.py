"""From a request to a queued job: the recording into the job's folder, the rest into its row."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.requests import Request

from auricle.server.access.binding import allowed_url
from auricle.server.bodies import Body, read_body, source_of_inputs
from auricle.server.errors import Refused
from auricle.server.jobs.adapting import Check
from auricle.server.jobs.requests import Asked, asked_in_json, asked_in_text, idempotency_key
from auricle.server.jobs.store import Job, Order, new_id
from auricle.server.jobs.webhooks import check_receiver, read_webhook
from auricle.server.parameters import truth
from auricle.server.recognition import Source
from auricle.server.settings import Settings

if TYPE_CHECKING:
    from auricle.server.jobs.service import Jobs


class Intake:
    """Takes requests for jobs."""

    def __init__(self, jobs: Jobs, settings: Settings, resolve: Callable[[str | None], str], check: Check) -> None:
        """`resolve` returns the served name that a client's name for a model means, or refuses it.

        `check` refuses parameters that are known to be wrong for a model.
        """
        self.jobs = jobs
        self.settings = settings
        self.resolve = resolve
        self.check = check

    async def take(self, request: Request) -> tuple[Job, bool]:
        """Queue what a request asks for; return the job, and whether it is new.

        Raises:
            Refused: the request cannot be understood, or asks for what this server does not do.
            ModelNotFoundError: no such model is served.
        """
        async with AsyncExitStack() as stack:
            body = await stack.enter_async_context(read_body(request, self.settings))
            asked, source = await self._understood(request, body, stack)
            model = self.resolve(asked.model)
            asked = replace(asked, model=model)
            given = [name for name, is_given in _sources(asked, source).items() if is_given]
            if len(given) != 1:
                told = " and ".join(given) or "none"
                raise Refused(400, f"one recording is expected, and {told} came; give a file, a url or an upload")
            order = Order(
                owner=request.state.principal.id,
                model=model,
                parameters=asked.parameters,
                name=_name(asked, source),
                url=asked.url,
                size=None if source is None else source.size,
                sha256=None if source is None else source.sha256,
                use_cache=asked.use_cache,
                webhook=read_webhook(asked.webhook),
                idempotency_key=idempotency_key(request.headers.get("idempotency-key")),
                fingerprint=asked.fingerprint(None if source is None else source.sha256),
            )
            earlier = await self.jobs.repeated(order)  # before an upload is looked for that it has taken already
            if earlier is not None:
                return earlier, False
            self.check(model, asked.parameters)
            await self._check_addresses(order)
            return await self._submit(order, asked, source)

    async def _understood(self, request: Request, body: Body, stack: AsyncExitStack) -> tuple[Asked, Source | None]:
        query = request.query_params.multi_items()
        if body.kind == "json":
            if query:
                told = ", ".join(name for name, _ in query)[:200]
                raise Refused(400, f"the query has {told}; beside JSON, all stands in the body")
            asked = asked_in_json(body.data)
            source = None if body.inputs is None else await source_of_inputs(body, self.settings, stack)
        else:
            fields = [(name, value) for name, values in body.fields.items() for value in values]
            asked, source = asked_in_text([*query, *fields]), body.source
        use_cache = truth("x-use-cache", request.headers.get("x-use-cache"), True)
        return replace(asked, use_cache=use_cache), source

    async def _check_addresses(self, order: Order) -> None:
        if order.url is not None:
            allowed_url(self.settings, order.url)
        if order.webhook is not None and not self.jobs.options.webhooks.allow_private:
            await check_receiver(order.webhook["url"])

    async def _submit(self, order: Order, asked: Asked, source: Source | None) -> tuple[Job, bool]:
        """Put the recording into a new job's folder and queue the job; on failure nothing stays."""
        jobs, job_id = self.jobs, new_id()
        try:
            if asked.upload is not None:
                upload = await asyncio.to_thread(jobs.uploads.get, asked.upload, order.owner)
                if not upload.is_whole:
                    raise Refused(
                        409,
                        f"of the upload {upload.id}, {upload.offset} of {upload.length} bytes are here: finish it",
                        param="upload",
                        code="upload_incomplete",
                    )
                order = replace(order, name=asked.name or _last(upload.metadata.get("filename")), size=upload.length)
                await asyncio.to_thread(jobs.files.take, job_id, jobs.uploads.path(upload.id))
            elif source is not None:
                await asyncio.to_thread(jobs.files.take, job_id, source.path)
            return await jobs.submit(job_id, order, asked.upload)
        except FileNotFoundError:
            raise Refused(404, "the upload is gone; begin a new one", param="upload", code="no_upload") from None
        except BaseException:
            await asyncio.to_thread(jobs.files.remove, job_id)
            raise


def _sources(asked: Asked, source: Source | None) -> dict[str, bool]:
    return {"a file": source is not None, "a url": asked.url is not None, "an upload": asked.upload is not None}


def _name(asked: Asked, source: Source | None) -> str:
    if asked.name:
        return _last(asked.name)
    if asked.url is not None:
        return _last(asked.url.partition("?")[0].partition("#")[0])
    return "the recording" if source is None else source.name


def _last(name: str | None) -> str:
    """Return the last part of what a client calls its file, and not much of it."""
    return (name or "").replace("\\", "/").rstrip("/").rsplit("/", 1)[-1][:100] or "the recording"
