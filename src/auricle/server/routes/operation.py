"""For whoever runs the server: is it alive, is it ready, what does it count, and which models are in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from auricle.server.errors import Refused

if TYPE_CHECKING:
    from auricle.server.model_cards import ModelCard
    from auricle.server.services import Services

# The word of /ready, and after how many seconds to ask again.
_AGAIN_S: Mapping[str, int] = {"draining": 30, "failed": 30, "loading": 2, "full": 2}
_UNCACHED = {"cache-control": "no-store"}


def router(services: Services) -> APIRouter:
    """Return the routes of operation; those below /admin take the scope to manage."""
    routes = APIRouter(tags=["Operation"])
    _add_probes(routes, services)
    _add_models(routes, services)
    return routes


def readiness(services: Services) -> str:
    """Return "ready", or why no more work should be sent here: "draining", "failed", "loading" or "full"."""
    settings, registry = services.settings, services.registry
    if services.draining.is_set():
        return "draining"
    if settings.preload:
        # Loaded once is enough: a model that made room for another is loaded again when it is asked for.
        named = list(settings.served)[: settings.max_loaded]
        wanted = [name for name in named if name not in services.metrics.loaded_once]
        if any(registry.state(name) == "failed" for name in wanted):
            return "failed"
        if wanted:
            return "loading"
    return "full" if services.runner.is_full else "ready"


def _add_probes(routes: APIRouter, services: Services) -> None:
    @routes.get("/health")
    async def health() -> Response:
        """Says Ok for as long as the server answers at all."""
        return PlainTextResponse("Ok", headers=_UNCACHED)

    @routes.get("/ready")
    async def ready() -> Response:
        """Says whether work may be sent here: 503 while models are loaded first, at the end, and when it is full."""
        state = readiness(services)
        if state == "ready":
            return JSONResponse({"status": state}, headers=_UNCACHED)
        return JSONResponse({"status": state}, 503, {**_UNCACHED, "retry-after": str(_AGAIN_S[state])})

    @routes.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Tells what the server counts, in the formats of Prometheus and OpenMetrics."""
        accept = request.headers.get("accept", "")
        text, content_type = await asyncio.to_thread(services.metrics.written, accept)
        return Response(text, headers={"content-type": content_type, **_UNCACHED})

    for path, answer in (("/health", health), ("/ready", ready)):
        routes.head(path, include_in_schema=False)(answer)


def _add_models(routes: APIRouter, services: Services) -> None:
    @routes.get("/admin/models")
    async def list_models() -> Response:
        """Lists the models with their states, and of those in memory, who uses them."""
        cards = await asyncio.to_thread(services.registry.catalogue)
        rows = [_row(services, card) for card in cards]
        return JSONResponse({"models": rows, "max_loaded": services.settings.max_loaded})

    @routes.post("/admin/models/{org}/{name}/load")
    async def load_model(org: str, name: str) -> Response:
        """Loads a model, so that the first request does not wait for it; 202 while that takes long."""
        return await _load(services, f"{org}/{name}")

    @routes.post("/admin/models/{name}/load")
    async def load_plain_model(name: str) -> Response:
        """Loads a model whose name has no organisation."""
        return await _load(services, name)

    @routes.post("/admin/models/{org}/{name}/unload")
    async def unload_model(org: str, name: str) -> Response:
        """Lets go of a model as soon as nobody uses it; 409 if that takes long."""
        return await _unload(services, f"{org}/{name}")

    @routes.post("/admin/models/{name}/unload")
    async def unload_plain_model(name: str) -> Response:
        """Lets go of a model whose name has no organisation."""
        return await _unload(services, name)


def _row(services: Services, card: ModelCard) -> dict[str, Any]:
    row: dict[str, Any] = {"id": card.id, "task": card.task, "state": card.state, "default": card.is_default}
    row |= {"size": card.size, "revision": card.revision, "model_type": card.model_type}
    model = next((model for model in services.registry.loaded() if model.name == card.id), None)
    if model is not None:
        unused = 0.0 if model.n_users else time.monotonic() - model.last_used
        row |= {"users": model.n_users, "unused_s": round(unused, 1), "loaded_in_s": round(model.loaded_in, 2)}
    elif card.state == "loading":
        row["estimated_time"] = services.registry.estimated_time(card.id)
    return row


async def _load(services: Services, name: str) -> Response:
    """Load a model; one that takes longer than a request is held goes on being loaded."""
    if services.draining.is_set():
        raise Refused(503, "the server is ending and loads no more models", code="draining")
    resolved = await asyncio.to_thread(services.registry.resolve, name)
    try:
        async with services.registry.use(resolved, services.settings.hold) as model:
            told = {"id": resolved, "state": "ready", "loaded_in_s": round(model.loaded_in, 2)}
    except Refused as error:
        if error.code != "model_loading":
            raise
        return JSONResponse({"id": resolved, "state": "loading", **error.extra}, 202, error.headers)
    return JSONResponse(told)


async def _unload(services: Services, name: str) -> Response:
    """Let go of a model once nobody uses it; wait for that as long as a request is held."""
    resolved = await asyncio.to_thread(services.registry.resolve, name)
    try:
        was_loaded = await services.registry.unload(resolved, max(services.settings.hold, 1.0))
    except TimeoutError:
        told = f"model {resolved} is being used and stays in memory; try again when its requests have ended"
        raise Refused(409, told, code="model_in_use") from None
    return JSONResponse({"id": resolved, "state": services.registry.state(resolved), "unloaded": was_loaded})
