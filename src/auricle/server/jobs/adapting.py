"""Parameters as clients write them, to those of the model that a job is for: known once the model is loaded.

Where the model is in memory already, wrong ones are refused before there is a job.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from auricle.server.errors import Refused
from auricle.server.parameters import Adapted, adapted
from auricle.server.recognition import TASK

if TYPE_CHECKING:
    from auricle.server.registry import Registry, ServedModel

Check = Callable[[str, Mapping[str, Any]], None]
Adapt = Callable[[str, Mapping[str, Any]], Awaitable[Adapted]]


def adapting(registry: Registry) -> Adapt:
    """Return what reads parameters as the Inference API's routes do; it loads the model, as long as that takes."""

    async def adapt(name: str, given: Mapping[str, Any]) -> Adapted:
        async with registry.use(name) as model:
            return _adapted(model, given)

    return adapt


def checking(registry: Registry) -> Check:
    """Return what refuses parameters that a model in memory would refuse; of others nothing is known yet."""

    def check(name: str, given: Mapping[str, Any]) -> None:
        for model in registry.loaded():
            if model.name == name:
                model.pipeline.read_parameters(_adapted(model, given).parameters, None)

    return check


def _adapted(model: ServedModel, given: Mapping[str, Any]) -> Adapted:
    if model.task != TASK:
        raise Refused(422, f"Model {model.name} does {model.task}, not {TASK}", code="wrong_task")
    decoder = getattr(getattr(model.pipeline, "recognizer", None), "decoder", None)
    return adapted(given, model.pipeline.dialect, getattr(decoder, "max_positions", None))
