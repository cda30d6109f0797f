"""The plain engine: the model's own functions as they are written. Every other engine is compared with it.

Dimension key: `B` recordings, `T` frames, `S` tokens, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from auricle.audio.features import Features
from auricle.engines.model_step import CLASSIFIERS, ModelStep, RecomputingStep, wrong_kind
from auricle.engines.text_step import ModelTextStep


class ReferenceEngine:
    """Runs a model without gradients, dropout or any change of its arithmetic."""

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        # `Any`: families share a protocol of names, and nn.Module types every attribute as Tensor or Module.
        self.model: Any = model.to(device=device, dtype=dtype).eval()
        self.device = device
        self.dtype = dtype
        self.arithmetic = str(dtype).removeprefix("torch.")

    @torch.inference_mode()
    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B, T, V) float32 log-probabilities and (B,) valid frames, both on the CPU.

        Raises:
            OptionError: if the model is no CTC model.
        """
        if self.model.kind != "ctc":
            raise wrong_kind(type(self.model).__name__, self.model.kind, "ctc")
        values = features.values.to(self.device, self.dtype)
        logits, lengths = self.model(values, features.lengths.to(self.device))  # (B, T, V)
        return logits.float().log_softmax(-1).cpu(), lengths.cpu()

    @torch.inference_mode()
    def classify(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L) float32 logits of what classifies: pixels, or features with the length of each row; on the CPU.

        Raises:
            OptionError: if the model is no classifier.
        """
        if self.model.kind not in CLASSIFIERS:
            raise wrong_kind(type(self.model).__name__, self.model.kind, "image")
        given = (values.to(self.device, self.dtype), *(() if lengths is None else (lengths.to(self.device),)))
        return self.model(*given).float().cpu()

    @torch.inference_mode()
    def encode(self, features: Features) -> tuple[Tensor, Tensor]:
        """Encoder states (B, T, D) and (B,) valid frames, on the engine's device."""
        values = features.values.to(self.device, self.dtype)
        states, lengths = self.model.encode(values, features.lengths.to(self.device))
        return states, lengths

    @torch.inference_mode()
    def decoder(self, states: Tensor, lengths: Tensor, use_cache: bool = True) -> ModelStep:
        """Start decoding what `encode` gave, one row for each of its rows.

        Without `use_cache` every token is computed from the recording and all tokens before it: slow, and the same.

        Raises:
            OptionError: if the model has no decoder.
        """
        if self.model.kind != "seq2seq":
            raise wrong_kind(type(self.model).__name__, self.model.kind, "seq2seq")
        return (ModelStep if use_cache else RecomputingStep)(self.model, states, lengths)

    @torch.inference_mode()
    def text(self, n_pads: Tensor) -> ModelTextStep:
        """Begin texts, one row for each of `n_pads` (B,), after so many pads.

        Raises:
            OptionError: if the model writes no text.
        """
        if self.model.kind != "causal":
            raise wrong_kind(type(self.model).__name__, self.model.kind, "causal")
        return ModelTextStep(self.model, n_pads, self.device)
