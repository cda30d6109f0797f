"""OpenAI's audio API: transcriptions, translations, and the list of models."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auricle.errors import ModelNotFoundError
from auricle.server.errors import Refused
from auricle.server.openai_calls import answer
from auricle.server.openai_docs import TRANSCRIPTION, TRANSLATION

if TYPE_CHECKING:
    from auricle.server.registry import ModelCard
    from auricle.server.services import Services

OWNER = "auricle"  # of models whose names have no organization


def router(services: Services) -> APIRouter:
    """Return the routes below /v1, and the same below each model's own path."""
    routes = APIRouter(tags=["OpenAI"])
    _add_audio(routes, services)
    _add_models(routes, services)
    _add_paths(routes, services)
    return routes


def _add_audio(routes: APIRouter, services: Services) -> None:
    @routes.post("/v1/audio/transcriptions", **TRANSCRIPTION)
    async def transcribe(request: Request) -> Response:
        """Writes down a recording of any length, as JSON, text, subtitles, or events while it is heard."""
        return await answer(request, services)

    @routes.post("/v1/audio/translations", **TRANSLATION)
    async def translate(request: Request) -> Response:
        """Writes down a recording in English, with a model that can translate."""
        return await answer(request, services, is_translation=True)


def _add_models(routes: APIRouter, services: Services) -> None:
    @routes.get("/v1/models")
    async def list_models() -> JSONResponse:
        """Lists the models that are served."""
        cards = await asyncio.to_thread(services.registry.catalogue)
        rows = await asyncio.to_thread(lambda: [model_object(card) for card in cards])
        return JSONResponse({"object": "list", "data": rows})

    @routes.get("/v1/models/{model_id:path}")
    async def show_model(model_id: str) -> JSONResponse:
        """Tells one model."""
        return JSONResponse(await _model(services, model_id))


def _add_paths(routes: APIRouter, services: Services) -> None:
    """Add the routes that clients come to which were given a model's own address."""

    @routes.post("/models/{org}/{name}/v1/audio/transcriptions", **TRANSCRIPTION)
    async def transcribe_with(request: Request, org: str, name: str) -> Response:
        """Writes down a recording with the model of the path."""
        return await answer(request, services, f"{org}/{name}")

    @routes.post("/models/{name}/v1/audio/transcriptions", **TRANSCRIPTION)
    async def transcribe_with_named(request: Request, name: str) -> Response:
        """Writes down a recording with the model of the path."""
        return await answer(request, services, name)

    @routes.post("/models/{org}/{name}/v1/audio/translations", **TRANSLATION)
    async def translate_with(request: Request, org: str, name: str) -> Response:
        """Writes down a recording in English with the model of the path."""
        return await answer(request, services, f"{org}/{name}", is_translation=True)

    @routes.post("/models/{name}/v1/audio/translations", **TRANSLATION)
    async def translate_with_named(request: Request, name: str) -> Response:
        """Writes down a recording in English with the model of the path."""
        return await answer(request, services, name, is_translation=True)

    @routes.get("/models/{org}/{name}/v1/models")
    async def list_one(org: str, name: str) -> JSONResponse:
        """Lists the model of the path."""
        return JSONResponse({"object": "list", "data": [await _model(services, f"{org}/{name}")]})

    @routes.get("/models/{name}/v1/models")
    async def list_one_named(name: str) -> JSONResponse:
        """Lists the model of the path."""
        return JSONResponse({"object": "list", "data": [await _model(services, name)]})


async def _model(services: Services, name: str) -> dict[str, Any]:
    try:
        card = await asyncio.to_thread(lambda: services.registry.card(services.registry.resolve(name)))
    except ModelNotFoundError as error:
        raise Refused(404, str(error), code="model_not_found", param="model") from None
    return await asyncio.to_thread(model_object, card)


def model_object(card: ModelCard) -> dict[str, Any]:
    """Return a model as OpenAI's API has it; when it was created is when its folder was; blocks."""
    created = int(card.folder.stat().st_mtime) if card.folder is not None and card.folder.exists() else 0
    owner, slash, _ = card.id.partition("/")
    found: dict[str, Any] = {
        "id": card.id,
        "object": "model",
        "created": created,
        "owned_by": owner if slash else OWNER,
        "task": card.task,
        "languages": list(card.languages),
        "state": card.state,
    }
    return found
