"""auricle: pretrained models, speech recognition first, on your own machine.

The public names are resolved when first used, so that `import auricle` loads neither torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auricle.errors import AuricleError
    from auricle.pipelines import pipeline, register_task
    from auricle.pipelines.align import align
    from auricle.results import Segment, Transcript, Word

__version__ = "0.1.0"

_HOMES = {
    "align": "auricle.pipelines.align",
    "pipeline": "auricle.pipelines",
    "register_task": "auricle.pipelines",
    "AuricleError": "auricle.errors",
    "Segment": "auricle.results",
    "Transcript": "auricle.results",
    "Word": "auricle.results",
}

__all__ = ["AuricleError", "Segment", "Transcript", "Word", "__version__", "align", "pipeline", "register_task"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'auricle' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
