"""Images that models look at for requests: labels, and answers to questions. The one way to them, and free of HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auricle import __version__
from auricle.errors import ImageError, OptionError
from auricle.server.access.binding import allowed_url
from auricle.server.cache import ResultCache, cache_key
from auricle.server.errors import Refused
from auricle.server.registry import Registry, ServedModel
from auricle.server.revisions import Revisions
from auricle.server.runner import Runner
from auricle.server.scheduling import Ticket
from auricle.server.settings import Settings

CLASSIFICATION, QUESTIONS = "image-classification", "visual-question-answering"
MOST_BEAMS = 16  # of an answer that is written


@dataclass(frozen=True)
class Image:
    """An image as it arrived: on disk or in memory with its digest, or an address."""

    place: Path | bytes | str  # a str is an address, never a path
    sha256: str | None = None  # None: not known before it is fetched

    @classmethod
    def of_bytes(cls, content: bytes) -> Image:
        """Take an image that is in memory."""
        return cls(content, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Seen:
    """What a model said of an image, and how it came to be."""

    result: list[dict[str, Any]]
    model: str
    compute_s: float
    is_cached: bool
    is_kept: bool
    device: str


class Seeing:
    """Looks at images for all routes."""

    def __init__(self, settings: Settings, registry: Registry, runner: Runner, cache: ResultCache | None) -> None:
        self.settings, self.registry, self.runner, self.cache = settings, registry, runner, cache
        self._revisions = Revisions(registry)

    async def see(
        self,
        name: str,
        image: Image,
        question: str | None,
        parameters: Mapping[str, Any],
        *,
        use_cache: bool = True,
        wait: float | None = None,
    ) -> Seen:
        """Return labels of an image, or with a `question` answers to it.

        Raises:
            Refused: the model is of another task (422), still loading (503), or too much waits already (429).
            AuricleError: the image, a parameter or the model cannot be used.
        """
        async with self.registry.use(name, wait) as model:
            task = CLASSIFICATION if question is None else QUESTIONS
            if model.task != task:
                raise Refused(422, f"Model {name} does {model.task}, not {task}", code="wrong_task")
            if isinstance(image.place, str):
                allowed_url(self.settings, image.place)
            request, _, _ = model.pipeline.read_call(_checked(parameters), None, "raise")
            key = await self._key(model, image, question, parameters) if use_cache else None
            kept = None if key is None or self.cache is None else await asyncio.to_thread(self.cache.get, key)
            device = str(model.pipeline.engine.device)
            if kept is not None:
                return Seen(kept["result"], name, kept["compute_s"], True, True, device)
            limits = replace(request.limits, allow_private_urls=self.settings.allow_private_urls)
            ticket = model.batcher.ticket()
            began = time.monotonic()
            result = await self.runner.run(
                lambda: _look(model, image, question, replace(request, limits=limits), ticket), ticket
            )
            seconds = time.monotonic() - began
            if key is not None and self.cache is not None:
                await asyncio.to_thread(self.cache.put, key, {"result": result, "compute_s": seconds})
            return Seen(result, name, seconds, False, key is not None and self.cache is not None, device)

    async def _key(
        self, model: ServedModel, image: Image, question: str | None, parameters: Mapping[str, Any]
    ) -> str | None:
        """Return what a result is kept under, None for an image that is elsewhere and may change."""
        if image.sha256 is None or self.cache is None:
            return None
        engine = model.pipeline.engine
        return cache_key(
            sha256=image.sha256,
            task=model.task,
            model=model.name,
            revision=await self._revisions.of(model),
            engine=f"{type(engine).__qualname__} on {engine.device}",
            dtype=str(engine.dtype),
            options={"parameters": json.loads(json.dumps(parameters)), "question": question},
            version=__version__,
        )


def _look(model: ServedModel, image: Image, question: str | None, request: Any, ticket: Ticket) -> list[dict[str, Any]]:
    """Look at an image, in a thread of the runner; images of other requests are computed with it."""
    ticket.check()
    pipeline = model.pipeline
    place = str(image.place) if isinstance(image.place, Path) else image.place
    item: Any = place if question is None else {"image": place, "question": question}
    try:
        prepared = pipeline.preprocess(item, request)
    except ImageError as error:
        told = str(error).replace(str(place), "the image") if isinstance(image.place, Path) else str(error)
        raise type(error)(told) from error
    # What is computed together does not depend on top_k and the like, but for a model that writes its answer.
    key = (model.task, tuple(prepared.shape)) if question is None else (model.task, request)
    (output,) = ticket(key, [prepared], lambda rows: pipeline.forward(list(rows), request))
    result: list[dict[str, Any]] = pipeline.postprocess(item, output, request)
    return result


def _checked(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuse searches that would fill the memory.

    Raises:
        OptionError: there is one.
    """
    nested = parameters.get("generate_kwargs")
    for given in (parameters, nested if isinstance(nested, Mapping) else {}):
        beams = given.get("num_beams")
        if isinstance(beams, int) and beams > MOST_BEAMS:
            raise OptionError(f"num_beams is {beams}; at most {MOST_BEAMS} are taken over HTTP")
    return parameters


__all__ = ["CLASSIFICATION", "QUESTIONS", "Image", "Seeing", "Seen"]
