"""The step of models that write text: rows that may be read in parts, forked, shortened and joined.

Dimension key: `B` rows, `S` tokens, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class ModelTextStep:
    """A model's own decoder and its memory. Shorter texts of a batch stand behind pads."""

    def __init__(
        self, model: Any, n_pads: Tensor, device: torch.device, logits: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Begin texts after `n_pads` (B,) tokens; `logits` makes them of hidden states, None: as the model does."""
        self._model = model
        self._device = device
        self._logits: Callable[[Tensor], Tensor] = model.logits if logits is None else logits
        self._cache = model.new_cache(n_pads.to(device))
        self._hidden: Tensor | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return int(self._cache.n_rows)

    @property
    def length(self) -> int:
        """Tokens that the longest row has seen, pads included."""
        return int(self._cache.length)

    @property
    def max_length(self) -> int:
        """Tokens a row can see at most."""
        return int(self._model.max_positions)

    @property
    def hidden(self) -> Tensor:
        """(B, S, D) what the model made of the tokens last appended, before its output layer, until `reorder`."""
        assert self._hidden is not None, "read after advance and before reorder"
        return self._hidden

    @torch.inference_mode()
    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        """Append (B, S) tokens; (B, n_last, V) float32 logits after the last `n_last` of them."""
        self._hidden = self._model.hidden_states(tokens.to(self._device), self._cache)
        return self._logits(self._hidden[:, -n_last:])

    @torch.inference_mode()
    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        self._hidden = None
        self._cache.reorder(rows.to(self._device))

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
