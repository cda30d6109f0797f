"""The step of models that write text: rows that may be read in parts, forked, shortened and joined.

Dimension key: `B` rows, `S` tokens, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from auricle.engines.model_step import CachedStep


class ModelTextStep(CachedStep):
    """A model's own decoder and its memory. Shorter texts of a batch stand behind pads."""

    def __init__(
        self, model: Any, n_pads: Tensor, device: torch.device, logits: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Begin texts after `n_pads` (B,) tokens; `logits` makes them of hidden states, None: as the model does."""
        super().__init__(model, model.new_cache(n_pads.to(device)), device, logits)

    def keep(self, length: int) -> None:
        """Keep the first `length` tokens of every row, and forget the rest; only where no row has pads."""
        self._hidden = None
        self._cache.keep(length)

    @torch.inference_mode()
    def fork(self, rows: Tensor) -> ModelTextStep:
        """A step of its own that begins with copies of these rows."""
        copy = ModelTextStep(self._model, torch.zeros(len(rows), dtype=torch.long), self._device, self._logits)
        copy._cache = self._cache.fork(rows.to(self._device))
        return copy

    @torch.inference_mode()
    def join(self, other: ModelTextStep) -> None:
        """Take the rows of another step of this model behind the own ones; the other one is not used any more."""
        self._hidden = None
        self._cache.join(other._cache)
