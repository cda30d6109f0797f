"""The whole server as one ASGI application: `create_app(registry, settings)`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from auricle import __version__
from auricle.errors import AuricleError
from auricle.server.access.authorization import Access
from auricle.server.access.rates import RateLimits
from auricle.server.access.tokens import TokenStore
from auricle.server.access.wiring import guard
from auricle.server.bodies import remove_leftovers
from auricle.server.cache import ResultCache
from auricle.server.errors import Refused, error_response
from auricle.server.jobs import Jobs, adapting, options_of
from auricle.server.live_streams import LiveStreams
from auricle.server.metrics import Metrics
from auricle.server.observing import ObserveMiddleware
from auricle.server.recognition import Recognition
from auricle.server.registry import Registry
from auricle.server.routes import (
    hub,
    huggingface,
    jobs,
    live,
    openai_audio,
    openai_text,
    operation,
    pages,
    realtime,
    tgi,
    uploads,
)
from auricle.server.runner import Runner
from auricle.server.seeing import Seeing
from auricle.server.services import Services
from auricle.server.settings import Settings
from auricle.server.writings import Writings

LEFTOVER_S = 86400.0  # bodies this old on disk are of a server that was killed
# The first router with a route that fits answers; the Hub's, which end in a model's whole name, come last.
ROUTERS = (
    operation.router,
    jobs.router,
    uploads.router,
    openai_audio.router,
    openai_text.router,
    realtime.router,
    live.router,
    hub.router,
    tgi.router,
    huggingface.router,
    pages.router,
)

DESCRIPTION = """
Pretrained models on your own machine: the routes of the Inference API, of OpenAI's API, of the Hub, and jobs.
"""


def create_app(registry: Registry, settings: Settings) -> FastAPI:
    """Make the application; its models, caches and workers live as long as its lifespan."""
    services = make_services(registry, settings)
    app = FastAPI(
        title="auricle",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lambda _: _lifespan(services),
        docs_url=None,  # the pages have a reference of their own, which needs nothing from elsewhere
        redoc_url=None,
    )
    app.state.services = services
    for router in ROUTERS:
        app.include_router(router(services))
    for kind in (Refused, AuricleError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)
    guard(app, settings, services.access, services.rates)
    app.add_middleware(ObserveMiddleware, metrics=services.metrics)
    return app


def make_services(registry: Registry, settings: Settings) -> Services:
    """Make what the routes share."""
    runner = Runner(settings.max_active, settings.max_queue)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    cache = None
    if settings.cache_bytes:
        cache = ResultCache(settings.data_dir / "results.sqlite3", settings.cache_bytes, settings.cache_max_age)
    recognition = Recognition(settings, registry, runner, cache)
    writings = Writings(settings, registry, runner, cache)
    metrics = Metrics(registry, runner, cache)
    metrics.watch(registry, recognition)
    writings.on_done = metrics.note_text
    services = Services(
        settings=settings,
        registry=registry,
        runner=runner,
        recognition=recognition,
        writings=writings,
        seeing=Seeing(settings, registry, runner, cache),
        jobs=Jobs(options_of(settings), recognition, runner.drained, adapting(registry)),
        cache=cache,
        access=Access(TokenStore(settings.data_dir), is_required=settings.token_required),
        rates=RateLimits(settings.rate_limit),
        streams=LiveStreams(settings.max_streams, settings.max_duration),
        metrics=metrics,
    )
    metrics.watch_jobs(services.jobs.store.counts)
    metrics.watch_streams(lambda: services.streams.n_active)
    return services


@asynccontextmanager
async def _lifespan(services: Services) -> AsyncIterator[None]:
    settings, registry = services.settings, services.registry
    await asyncio.to_thread(remove_leftovers, settings, LEFTOVER_S, time.time())
    await services.jobs.start()
    tasks = []
    if settings.idle_unload is not None:
        tasks.append(asyncio.create_task(registry.unload_idle()))
    if settings.preload:
        tasks.append(asyncio.create_task(_preload(services)))
    try:
        yield
    finally:
        services.draining.set()
        await services.jobs.stop()
        await services.runner.drained(settings.shutdown)
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        services.runner.close()
        services.streams.close()
        await registry.close()
        if services.cache is not None:
            services.cache.close()


async def _preload(services: Services) -> None:
    """Load the models that were named, as many as may be in memory; what fails is in the log and in /ready."""
    for name in list(services.settings.served)[: services.settings.max_loaded]:
        with suppress(Exception):
            await services.registry.load(name)


async def _answer(request: Request, error: Exception) -> Response:
    """Answer what a route raised in the dialect of the route."""
    if isinstance(error, RequestValidationError):
        told = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        error = Refused(422, told or "the request is invalid", code="invalid_request")
    elif isinstance(error, HTTPException):
        message = f"{request.method} {request.url.path[:200]}: {error.detail}"
        error = Refused(error.status_code, message, headers=error.headers)
    return error_response(request.scope, error)
