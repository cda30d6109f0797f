"""OpenAI's text API: chats and completions, whole or as events; the same below each model's own path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from auricle.server.chat_calls import chat, complete
from auricle.server.chat_docs import CHAT, COMPLETION

if TYPE_CHECKING:
    from auricle.server.services import Services


def router(services: Services) -> APIRouter:
    """Return the routes below /v1, and the same below each model's own path."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.post("/v1/chat/completions", **CHAT)
    async def answer(request: Request) -> Response:
        """Answers a chat, whole or piece by piece; also with calls of tools, and with JSON that fits a schema."""
        return await chat(request, services)

    @routes.post("/v1/completions", **COMPLETION)
    async def write(request: Request) -> Response:
        """Writes one prompt or several on, whole or piece by piece."""
        return await complete(request, services)

    @routes.post("/models/{org}/{name}/v1/chat/completions", **CHAT)
    async def answer_with(request: Request, org: str, name: str) -> Response:
        """Answers a chat with the model of the path."""
        return await chat(request, services, f"{org}/{name}")

    @routes.post("/models/{name}/v1/chat/completions", **CHAT)
    async def answer_with_named(request: Request, name: str) -> Response:
        """Answers a chat with the model of the path."""
        return await chat(request, services, name)

    @routes.post("/models/{org}/{name}/v1/completions", **COMPLETION)
    async def write_with(request: Request, org: str, name: str) -> Response:
        """Writes prompts on with the model of the path."""
        return await complete(request, services, f"{org}/{name}")

    @routes.post("/models/{name}/v1/completions", **COMPLETION)
    async def write_with_named(request: Request, name: str) -> Response:
        """Writes prompts on with the model of the path."""
        return await complete(request, services, name)

    return routes
