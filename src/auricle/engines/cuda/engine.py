"""The engine itself: a model moved to its arithmetic, and the steps that decode with it.

Dimension key: `B` recordings, `T` frames, `S` tokens, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from auricle.audio.features import Features
from auricle.engines.cuda.arena import Arenas
from auricle.engines.cuda.arithmetic import Arithmetic, fastest_dtype
from auricle.engines.cuda.families import family_of
from auricle.engines.cuda.graphs import Graphs
from auricle.engines.cuda.step import CachedStep, Decoder
from auricle.engines.model_step import CLASSIFIERS, ModelStep, RecomputingStep, wrong_kind
from auricle.engines.text_step import ModelTextStep


class CudaEngine:
    """Runs a model in half-precision products, or exactly in float32; on any device, though made for NVIDIA's.

    A `dtype` of None is the fastest for the device. `in_fixed_shapes` chooses how single tokens are read: in shapes
    that never change, as graphs need, or as the model's own decoder is written. None: in fixed shapes where there
    are graphs.
    """

    def __init__(
        self, model: nn.Module, device: torch.device, dtype: torch.dtype | None, in_fixed_shapes: bool | None = None
    ) -> None:
        self.device = device
        self.dtype = fastest_dtype(device) if dtype is None else dtype
        self.arithmetic = str(self.dtype).removeprefix("torch.")
        self._name = type(model).__name__
        self._arithmetic = Arithmetic(device, self.dtype)
        # `Any`: families share a protocol of names, and nn.Module types every attribute as Tensor or Module.
        self.model: Any = self._arithmetic.adopt(model)
        self._decoder = self._shared(model, device.type == "cuda" if in_fixed_shapes is None else in_fixed_shapes)

    @torch.inference_mode()
    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B, T, V) float32 log-probabilities and (B,) valid frames, both on the CPU.

        Raises:
            OptionError: if the model is no CTC model.
        """
        if self.model.kind != "ctc":
            raise wrong_kind(self._name, self.model.kind, "ctc")
        values = features.values.to(self.device, torch.float32)
        logits, lengths = self.model(values, features.lengths.to(self.device))  # (B, T, V)
        return logits.float().log_softmax(-1).cpu(), lengths.cpu()

    @torch.inference_mode()
    def classify(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L) float32 logits of what classifies: pixels, or features with the length of each row; on the CPU.

        Raises:
            OptionError: if the model is no classifier.
        """
        if self.model.kind not in CLASSIFIERS:
            raise wrong_kind(self._name, self.model.kind, "image")
        given = (values.to(self.device, torch.float32), *(() if lengths is None else (lengths.to(self.device),)))
        return self.model(*given).float().cpu()

    @torch.inference_mode()
    def encode(self, features: Features) -> tuple[Tensor, Tensor]:
        """Encoder states (B, T, D) and (B,) valid frames, on the engine's device."""
        values = features.values.to(self.device, torch.float32)
        states, lengths = self.model.encode(values, features.lengths.to(self.device))
        # Only products read them: rounded now, they take half the memory and nothing changes.
        return states.to(self.dtype), lengths

    @torch.inference_mode()
    def decoder(self, states: Tensor, lengths: Tensor, use_cache: bool = True) -> CachedStep | ModelStep:
        """Start decoding what `encode` gave, one row for each of its rows.

        Without `use_cache` every token is computed from the recording and all tokens before it: slow, and the same.

        Raises:
            OptionError: if the model has no decoder.
        """
        if self.model.kind != "seq2seq":
            raise wrong_kind(self._name, self.model.kind, "seq2seq")
        if not use_cache:
            return RecomputingStep(self.model, states, lengths)
        if self._decoder is None:
            return ModelStep(self.model, states, lengths)
        return CachedStep(self._decoder, states, lengths)

    @torch.inference_mode()
    def text(self, n_pads: Tensor) -> ModelTextStep:
        """Begin texts, one row for each of `n_pads` (B,), after so many pads.

        Raises:
            OptionError: if the model writes no text.
        """
        if self.model.kind != "causal":
            raise wrong_kind(self._name, self.model.kind, "causal")
        return ModelTextStep(self.model, n_pads, self.device, self._text_logits)

    def _text_logits(self, hidden: Tensor) -> Tensor:
        """What follows, by hidden states (B, S, D): float32 (B, S, V)."""
        logits = self._arithmetic.product(hidden, self.model.lm_head.weight)
        limit = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if limit is None else limit * torch.tanh(logits / limit)

    def _shared(self, model: nn.Module, in_fixed_shapes: bool) -> Decoder | None:
        """What the steps share; None for a family whose single tokens have no fixed shapes."""
        family = family_of(model)
        if family is None:
            return None
        layout = family.layout(model)
        arenas = Arenas(layout, self.device, self.dtype)
        return Decoder(self.model, family, layout, self._arithmetic, arenas, Graphs(self.device), in_fixed_shapes)
