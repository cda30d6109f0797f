"""The plain engine: the model's own functions as they are written. Every other engine is compared with it.

Dimension key: `B` recordings, `T` frames, `S` tokens, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from auricle.audio.features import Features
from auricle.errors import OptionError


class ReferenceEngine:
    """Runs a model without gradients, dropout or any change of its arithmetic."""

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        # `Any`: families share a protocol of names, and nn.Module types every attribute as Tensor or Module.
        self.model: Any = model.to(device=device, dtype=dtype).eval()
        self.device = device
        self.dtype = dtype

    @torch.inference_mode()
    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B, T, V) float32 log-probabilities and (B,) valid frames, both on the CPU.

        Raises:
            OptionError: if the model is no CTC model.
        """
        if self.model.kind != "ctc":
            raise wrong_kind(self.model, "ctc")
        values = features.values.to(self.device, self.dtype)
        logits, lengths = self.model(values, features.lengths.to(self.device))  # (B, T, V)
        return logits.float().log_softmax(-1).cpu(), lengths.cpu()

    @torch.inference_mode()
    def encode(self, features: Features) -> tuple[Tensor, Tensor]:
        """Encoder states (B, T, D) and (B,) valid frames, on the engine's device."""
        values = features.values.to(self.device, self.dtype)
        states, lengths = self.model.encode(values, features.lengths.to(self.device))
        return states, lengths

    @torch.inference_mode()
    def decoder(self, states: Tensor, lengths: Tensor, use_cache: bool = True) -> ReferenceStep:
        """Start decoding what `encode` gave, one row for each of its rows.

        Without `use_cache` every token is computed from the recording and all tokens before it: slow, and the same.

        Raises:
            OptionError: if the model has no decoder.
        """
        if self.model.kind != "seq2seq":
            raise wrong_kind(self.model, "seq2seq")
        return (ReferenceStep if use_cache else RecomputingStep)(self.model, states, lengths)


def wrong_kind(model: Any, needed: str) -> OptionError:
    """The error for a call that a model's kind does not have."""
    return OptionError(
        f"{type(model).__name__} is a {model.kind!r} model and this call needs a {needed!r} one; choose a checkpoint "
        "of that kind, or the call that fits this one"
    )


class ReferenceStep:
    """The model's decoder and its cache."""

    def __init__(self, model: Any, states: Tensor, lengths: Tensor) -> None:
        self._model = model
        self._cache = model.new_cache(states, lengths)
        self._device = states.device
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
        logits: Tensor = self._model.logits(self._hidden[:, -n_last:])
        return logits

    @torch.inference_mode()
    def reorder(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated or left out."""
        self._hidden = None
        self._cache.reorder(rows.to(self._device))


class RecomputingStep(ReferenceStep):
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
