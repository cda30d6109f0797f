"""The recognizer that an order asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auricle.cli.order import Order
from auricle.cli.startup import quick_imports
from auricle.errors import TaskError

if TYPE_CHECKING:
    from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline


def load(order: Order) -> AutomaticSpeechRecognitionPipeline:
    """Make the pipeline. This is where torch is loaded.

    Raises:
        TaskError: transformers runs the model, which gives neither times nor windows that could be gone on from.
    """
    with quick_imports():
        from auricle.audio.limits import AudioLimits
        from auricle.pipelines import pipeline

        made: Any = pipeline(
            "automatic-speech-recognition",
            # Named, the bundled model does not announce itself.
            "bundled" if order.model is None and order.quiet else order.model,
            limits=AudioLimits(allow_private_urls=order.allow_private_urls),
            **order.model_settings,
        )
        return native(made)


def native(made: Any) -> Any:
    """Return a pipeline that is run by models of this package.

    Raises: TaskError for one that transformers runs.
    """
    if getattr(made, "is_bridged", False):
        raise TaskError(
            f"{made.name!r} is run by transformers, whose results come whole; take a model of a native family "
            f"(docs/models.md), or in Python pipeline({made.task!r}, {made.name!r}), which gives its text"
        )
    return made
