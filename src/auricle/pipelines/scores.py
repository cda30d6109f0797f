"""How logits become labels with scores: the tasks that classify share this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from auricle.errors import OptionError, nearest

FUNCTIONS = ("sigmoid", "softmax", "none")
TOP_K = 5


def read_function(name: Any, default: str) -> str:
    """Check `function_to_apply`, which makes scores of logits; None is the default.

    Raises: OptionError
    """
    if name is None:
        return default
    if not isinstance(name, str) or name.lower() not in FUNCTIONS:
        hint = nearest(str(name), FUNCTIONS)
        raise OptionError(f"function_to_apply is {name!r}{hint or ';'} expected one of {', '.join(FUNCTIONS)}")
    return name.lower()


def read_top_k(value: Any) -> int | None:
    """Check `top_k`; None is all.

    Raises: OptionError
    """
    if value is not None and (type(value) is not int or value < 1):
        raise OptionError(f"top_k is {value!r}; it must be a whole number of 1 or more, or None for all")
    return value


def best_labels(logits: Tensor, labels: Sequence[str], function: str, top_k: int | None) -> list[dict[str, Any]]:
    """Return the best labels with their scores, the best first, of logits (L,)."""
    if function == "softmax":
        scores = logits.softmax(-1)
    else:
        scores = logits.sigmoid() if function == "sigmoid" else logits
    # Of equal ones the first label first, as a stable sort leaves them.
    best = scores.sort(descending=True, stable=True)
    chosen = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))[:top_k]
    return [{"label": labels[label], "score": score} for label, score in chosen]
