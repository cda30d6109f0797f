"""How fast each weight learns, and what decays."""

from __future__ import annotations

import math
from typing import Any

from torch import nn


def rate_at(progress: float, warmup: float, schedule: str) -> float:
    """The share of the peak rate: linear up to the end of the warm-up, then a line or half a cosine down to zero."""
    if progress < warmup:
        return progress / warmup
    left = min(1.0, (progress - warmup) / max(1e-9, 1 - warmup))
    return 1 - left if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * left))


def decayed(parameters: dict[str, nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for the optimizer: matrices, which decay, and vectors, which do not."""
    matrices = [p for p in parameters.values() if p.dim() > 1]
    vectors = [p for p in parameters.values() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
