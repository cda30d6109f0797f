"""The routes of Hugging Face's Inference API and of its inference containers: a recording in, JSON out.

Include this router after those with routes below /models/…/v1: here a model's name takes the rest of the path.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from auricle.server.bodies import Body, read_body
from auricle.server.cache import is_cacheable
from auricle.server.errors import Refused
from auricle.server.hf_calls import Call, choice, named_model, options_of, read_call
from auricle.server.hf_images import answer_image, read_image_call
from auricle.server.hf_others import AUDIO, answer_other, fits
from auricle.server.hf_replies import reply
from auricle.server.hf_schemas import REQUEST, RESPONSES
from auricle.server.hf_texts import answer_text, read_text_call
from auricle.server.parameters import adapted
from auricle.server.presence import while_present
from auricle.server.seeing import CLASSIFICATION, QUESTIONS
from auricle.server.url_inputs import Fetcher

if TYPE_CHECKING:
    from auricle.server.recognition import Recognized
    from auricle.server.registry import ServedModel
    from auricle.server.services import Services

TASK, TEXTS = "automatic-speech-recognition", "text-generation"
# What the Inference API said of models, for each state that one can have here.
_STATES = {"ready": "Loaded", "loading": "Loadable", "absent": "Loadable", "failed": "Error"}


def router(services: Services) -> APIRouter:
    """Return the routes that recognize, and those that say how a model is."""
    routes = APIRouter(tags=["Hugging Face"])
    _add_named(routes, services)
    _add_default(routes, services)
    _add_states(routes, services)
    return routes


class Answering:
    """From a request to its reply, the same for every route."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._fetcher = Fetcher(services.settings)

    async def __call__(self, request: Request, name: str | None, task: str | None = None) -> Response:
        """Recognize what a request holds with the model of a served name; None: the one that it names, or the default.

        Raises:
            Refused, AuricleError: as the statuses of the API tell.
        """
        # Errors carry it, too; what stands around the application may have made it already.
        request.scope.setdefault("state", {}).setdefault("request_id", uuid.uuid4().hex)
        settings, registry = self._services.settings, self._services.registry
        served = None if name is None else registry.resolve(name.strip("/"))  # before a body is sent in vain
        async with AsyncExitStack() as stack:
            body = await stack.enter_async_context(read_body(request, settings))
            served = registry.resolve(named_model(body), lenient=True) if served is None else served
            does = await while_present(request, self._task(request, body, served))
            if await asyncio.to_thread(registry.is_bridged, served) or does == AUDIO:
                if task is not None and not fits(does, task):
                    raise _wrong_task(served, str(does), task)
                working = answer_other(request, body, self._services, self._fetcher, served, stack)
                response = await while_present(request, working)
            elif does in (TEXTS, CLASSIFICATION, QUESTIONS):
                if task not in (None, does):
                    raise _wrong_task(served, does, task)
                response = await self._other(request, body, served, does, stack)
            else:
                call = await while_present(request, read_call(request, body, settings, self._fetcher, stack))
                response = await while_present(request, self._recognized(served, call, task))
        response.headers["x-request-id"] = request.scope["state"]["request_id"]
        return response

    async def _task(self, request: Request, body: Body, name: str) -> str | None:
        """Return what a model does; one that must be loaded to know is waited for as the request says."""
        options = options_of(body.data) if body.kind == "json" and isinstance(body.data, dict) else {}
        waits = choice(request, options, "wait_for_model", False)
        return await self._services.registry.task_of(name, None if waits else self._services.settings.hold)

    async def _other(self, request: Request, body: Body, name: str, task: str, stack: AsyncExitStack) -> Response:
        """Answer with a model that writes or sees."""
        services = self._services
        if task == TEXTS:
            return await answer_text(request, services, name, read_text_call(request, body))
        reading = read_image_call(request, body, services.settings, stack, asks=task == QUESTIONS)
        return await answer_image(request, services, name, await while_present(request, reading))

    async def _recognized(self, name: str, call: Call, task: str | None) -> Response:
        services = self._services
        wait = None if call.waits else services.settings.hold
        async with services.registry.use(name, wait) as model:
            _check_task(model, task)
            chosen = adapted(call.parameters, model.pipeline.dialect, _room(model))
            found: Recognized = await services.recognition.recognize(
                name, call.source, chosen.parameters, use_cache=call.use_cache, wait=wait
            )
        is_kept = call.use_cache and services.cache is not None and is_cacheable(chosen.parameters)
        cache = "hit" if found.is_cached else "miss" if is_kept else "bypass"
        return reply(found, (*call.notes, *chosen.notes), cache)


def _check_task(model: ServedModel, asked: str | None) -> None:
    if model.task != TASK or asked not in (None, TASK):
        raise _wrong_task(model.name, model.task, TASK if asked is None else asked)


def _wrong_task(name: str, does: str, wanted: str) -> Refused:
    return Refused(422, f"Model {name} does {does}, not {wanted[:100]}; ask a model of that task", code="wrong_task")


def _room(model: ServedModel) -> int | None:
    """Return how many tokens a window of Whisper holds."""
    decoder = getattr(getattr(model.pipeline, "recognizer", None), "decoder", None)
    return getattr(decoder, "max_positions", None)


def _add_named(routes: APIRouter, services: Services) -> None:
    answer = Answering(services)
    documented: dict[str, Any] = {"openapi_extra": REQUEST, "responses": RESPONSES}

    @routes.post("/hf-inference/models/{model_id:path}/pipeline/{task}", **documented)
    async def of_router_and_task(request: Request, model_id: str, task: str) -> Response:
        """Recognize a recording, as the Hub's router forwards it with a task."""
        return await answer(request, model_id, task)

    @routes.post("/hf-inference/models/{model_id:path}", **documented)
    async def of_router(request: Request, model_id: str) -> Response:
        """Recognize a recording, as the Hub's router forwards it."""
        return await answer(request, model_id)

    @routes.post("/pipeline/{task}/{model_id:path}", **documented)
    async def of_task(request: Request, task: str, model_id: str) -> Response:
        """Recognize a recording; 422 if the model does another task than the one in the path."""
        return await answer(request, model_id, task)

    @routes.post("/models/{model_id:path}", **documented)
    async def of_model(request: Request, model_id: str) -> Response:
        """Recognize a recording with a model: raw bytes, JSON with base64 `inputs`, or a form with a `file`.

        Parameters may also stand in the query, for clients that send nothing but bytes.
        """
        return await answer(request, model_id)


def _add_default(routes: APIRouter, services: Services) -> None:
    answer = Answering(services)
    documented: dict[str, Any] = {"openapi_extra": REQUEST, "responses": RESPONSES}

    @routes.post("/", **documented)
    async def at_root(request: Request) -> Response:
        """Recognize a recording with the default model, as inference containers do."""
        return await answer(request, None)

    @routes.post("/predict", **documented)
    async def predict(request: Request) -> Response:
        """Recognize a recording with the default model."""
        return await answer(request, None)

    @routes.head("/", include_in_schema=False)
    async def head() -> Response:
        return PlainTextResponse("Ok")

    @routes.get("/info")
    async def info() -> Response:
        """Say what the default model is."""
        return await _info(services, services.registry.default)


def _add_states(routes: APIRouter, services: Services) -> None:
    registry = services.registry

    @routes.get("/models/{model_id:path}/health")
    async def health(model_id: str) -> Response:
        """Say Ok if the model is in memory or can be loaded, 503 after loading has failed."""
        return _health(registry.state(registry.resolve(model_id)), model_id)

    @routes.get("/models/{model_id:path}/info")
    async def info(model_id: str) -> Response:
        """Say what the model is, where it computes, and whether it is in memory."""
        return await _info(services, registry.resolve(model_id))

    @routes.get("/status/{model_id:path}")
    async def status(model_id: str) -> Response:
        """Say whether a model is loaded, as huggingface_hub's `get_model_status` asks."""
        name = registry.resolve(model_id)
        state = registry.state(name)
        told = {"loaded": state == "ready", "state": _STATES[state], "compute_type": _compute(services, name)}
        return JSONResponse({**told, "framework": "auricle"})

    @routes.head("/models/{model_id:path}", include_in_schema=False)
    async def head(model_id: str) -> Response:
        registry.resolve(model_id)
        return Response()


def _health(state: str, model_id: str) -> Response:
    if state == "failed":
        raise Refused(
            503, f"Model {model_id[:200]} could not be loaded; a request to it tells why", code="model_failed"
        )
    return PlainTextResponse("Ok")


async def _info(services: Services, name: str) -> Response:
    """Answer with the keys that text-generation-inference has at /info, and ours beside them."""
    card = await asyncio.to_thread(services.registry.card, name)
    loaded = next((one for one in services.registry.loaded() if one.name == name), None)
    identity = None if loaded is None else getattr(loaded.pipeline, "identity", None)
    from auricle import __version__

    return JSONResponse(
        {
            "model_id": name,
            "model_sha": card.revision,
            "model_dtype": getattr(identity, "dtype", None),
            "model_device_type": _compute(services, name),
            "model_pipeline_tag": card.task,
            "max_concurrent_requests": services.settings.max_active,
            "version": __version__,
            "state": card.state,
            "languages": list(card.languages),
        }
    )


def _compute(services: Services, name: str) -> str:
    """Return "cpu" or "gpu": where a model in memory computes, or what the settings say."""
    loaded = next((one for one in services.registry.loaded() if one.name == name), None)
    device = services.settings.device if loaded is None else str(getattr(loaded.pipeline, "device", "cpu"))
    return "cpu" if device.startswith(("cpu", "auto")) else "gpu"
