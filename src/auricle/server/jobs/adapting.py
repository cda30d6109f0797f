"""Parameters as clients write them, to those of the model that a job is for: known once the model is loaded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from auricle.server.errors import Refused
from auricle.server.parameters import Adapted, adapted
from auricle.server.recognition import TASK

if TYPE_CHECKING:
    from auricle.server.registry import Registry

Adapt = Callable[[str, Mapping[str, Any]], Awaitable[Adapted]]


def adapting(registry: Registry) -> Adapt:
    """Return what reads parameters as the Inference API's routes do; it loads the model, as long as that takes."""

    async def adapt(name: str, given: Mapping[str, Any]) -> Adapted:
        async with registry.use(name) as model:
            if model.task != TASK:
                raise Refused(422, f"Model {name} does {model.task}, not {TASK}", code="wrong_task")
            decoder = getattr(getattr(model.pipeline, "recognizer", None), "decoder", None)
            return adapted(given, model.pipeline.dialect, getattr(decoder, "max_positions", None))

    return adapt
