"""Making models: data, augmentation, the loop, and runs that can be resumed; `finetune` is what most people want."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from auricle.training.finetuning import finetune
    from auricle.training.options import FinetuneOptions

_HOMES = {"FinetuneOptions": "auricle.training.options", "finetune": "auricle.training.finetuning"}

__all__ = ["FinetuneOptions", "finetune"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'auricle.training' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)
