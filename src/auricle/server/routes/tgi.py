"""The routes of text-generation-inference: one prompt in; one text, or its tokens as they are written, out."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from auricle.server.bodies import read_body
from auricle.server.hf_calls import named_model
from auricle.server.hf_schemas import RESPONSES, TEXT_REQUEST
from auricle.server.hf_texts import answer_text, read_text_call

if TYPE_CHECKING:
    from auricle.server.services import Services


def router(services: Services) -> APIRouter:
    """Return the routes for the default model, and those below each model's own path."""
    routes = APIRouter(tags=["Hugging Face"])
    documented: dict[str, Any] = {"openapi_extra": TEXT_REQUEST, "responses": RESPONSES}

    async def answer(request: Request, name: str | None, streams: bool) -> Response:
        served = None if name is None else services.registry.resolve(name)
        async with AsyncExitStack() as stack:
            body = await stack.enter_async_context(read_body(request, services.settings))
            served = services.registry.resolve(named_model(body), lenient=True) if served is None else served
            call = read_text_call(request, body, is_tgi=True, streams=streams)
            return await answer_text(request, services, served, call, is_single=True)
        raise AssertionError("a call is answered or raises")

    @routes.post("/generate", **documented)
    async def generate(request: Request) -> Response:
        """Writes a prompt on with the default model, or the one that the body names."""
        return await answer(request, None, False)

    @routes.post("/generate_stream", **documented)
    async def generate_stream(request: Request) -> Response:
        """Writes a prompt on, token by token."""
        return await answer(request, None, True)

    @routes.post("/models/{model_id:path}/generate", **documented)
    async def generate_with(request: Request, model_id: str) -> Response:
        """Writes a prompt on with the model of the path."""
        return await answer(request, model_id, False)

    @routes.post("/models/{model_id:path}/generate_stream", **documented)
    async def generate_stream_with(request: Request, model_id: str) -> Response:
        """Writes a prompt on with the model of the path, token by token."""
        return await answer(request, model_id, True)

    return routes
