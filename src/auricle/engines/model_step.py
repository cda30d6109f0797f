"""What engines share that run a model's own decoder: the step over its cache, and the one without.

Dimension key: `B` rows, `S` tokens, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from auricle.errors import OptionError

CLASSIFIERS = ("image", "audio")  # kinds of models that give logits of labels


def wrong_kind(name: str, kind: str, needed: str) -> OptionError:
    """The error for a call that a model's kind does not have."""
    return OptionError(
        f"{name} is a {kind!r} model and this call needs a {needed!r} one; choose a checkpoint "
        "of that kind, or the call that fits this one"
    )


class CachedStep:
    """A model's own decoder and the cache that it goes on with."""

    def __init__(
        self, model: Any, cache: Any, device: torch.device, logits: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        """Take what the model's `new_cache` gave; `logits` makes them of hidden states, None: as the model does."""
        self._model = model
        self._cache = cache
        self._device = device
        self._logits: Callable[[Tensor], Tensor] = model.logits if logits is None else logits
        self._hidden: Tensor | None = None

    @property
    def n_rows(self) -> int:
        """Rows of the batch."""
        return int(self._cache.n_rows)

    @property
    def length(self) -> int:
        """Tokens each row has seen."""
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


class ModelStep(CachedStep):
    """The decoder of a model that has heard a recording."""

    def __init__(self, model: Any, states: Tensor, lengths: Tensor) -> None:
        super().__init__(model, model.new_cache(states, lengths), states.device)


class RecomputingStep(ModelStep):
    """The model's decoder, without memory: all tokens are read again for every new one."""

    def __init__(self, model: Any, states: Tensor, lengths: Tensor) -> None:
        super().__init__(model, states, lengths)
        self._states, self._lengths = states, lengths
        self._tokens = torch.zeros(len(states), 0, dtype=torch.long, device=states.device)

    @torch.inference_mode()
    def advance(self, tokens: Tensor, n_last: int = 1) -> Tensor:
        """Append (B, S) tokens; (B, n_last, V) float32 logits after the last `n_last` of them."""
        self._tokens = torch.cat([self._tokens, tokens.to(self._device)], 1)
        self._cache = self._model.new_cache(self._states, self._lengths)
        logits = super().advance(self._tokens, n_last)
        self._hidden = self.hidden[:, -tokens.shape[1] :]
        return logits

    @torch.inference_mode()
    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        super().reorder(rows)
        rows = rows.to(self._device)
        self._states, self._lengths, self._tokens = self._states[rows], self._lengths[rows], self._tokens[rows]
