"""The engine of the CPU: matrix products in the arithmetic that the processor is fastest in, all else in float32.

Arithmetics: 16-bit integers with a scale for each row and block (native kernels: on matrix units where there are any),
bfloat16 for decoders where there are matrix units and no kernels for them, float32 where there is neither, or where it
is asked for. Whisper's decoder has native code of its own, which drafts with 8-bit weights and checks in the arithmetic
above; without native kernels the model's own decoder runs. Models that write text have 8-bit weights (text_decoder.py).
docs/performance.md explains each choice.

Dimension key: `B` recordings, `T` frames, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from auricle.audio.features import Features
from auricle.engines.cpu import whisper_decoder
from auricle.engines.cpu.linear import Arithmetic, best_arithmetic
from auricle.engines.cpu.modules import accelerate
from auricle.engines.cpu.native_library import cpu_flags, kernels
from auricle.engines.cpu.text_decoder import NativeTextStep
from auricle.engines.cpu.text_engine import run_text
from auricle.engines.cpu.workers import Workers, can_share, divided
from auricle.engines.model_step import CLASSIFIERS, ModelStep, RecomputingStep, wrong_kind
from auricle.engines.text_step import ModelTextStep
from auricle.errors import OptionError

__all__ = ["CpuEngine"]


class CpuEngine:
    """Runs a model on the CPU. The model is consumed: its modules are replaced by faster ones."""

    # Families share a protocol of names, and nn.Module types every attribute as Tensor or Module.
    model: Any
    arithmetic: str  # of its matrix products: "float32", "bfloat16", "int16" or "int8"

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
        """Prepare `model`; a dtype of None chooses the arithmetic by the processor.

        Raises:
            OptionError: for another device or an arithmetic that the CPU engine does not have.
        """
        if device.type != "cpu":
            raise OptionError(f"the cpu engine was given the device {device}; take engine='auto'")
        given: Any = model
        self.device = device
        self._text = run_text(given, dtype) if given.kind == "causal" else None
        if self._text is not None:
            self.model, self.arithmetic = self._text.model, self._text.arithmetic
            self.dtype = torch.bfloat16 if self.arithmetic == "bfloat16" else torch.float32
            return
        arithmetics: dict[torch.dtype | None, Arithmetic] = {
            None: best_arithmetic(cpu_flags(), given.kind),
            torch.float32: "float32",
            torch.bfloat16: "bfloat16",
        }
        if dtype not in arithmetics:
            raise OptionError(f"the cpu engine does not compute in {dtype}; expected 'auto', float32 or bfloat16")
        self.arithmetic = arithmetics[dtype]
        self.dtype = torch.bfloat16 if self.arithmetic == "bfloat16" else torch.float32
        model = model.to(device=device, dtype=torch.float32).eval()
        self._workers = Workers()
        self._decoder: whisper_decoder.WhisperDecoder | None = None
        if kernels() is not None and whisper_decoder.can_run(model):
            self._decoder = whisper_decoder.WhisperDecoder(model, self.arithmetic)
        self.model = accelerate(model, self.arithmetic)

    @torch.inference_mode()
    def ctc(self, features: Features) -> tuple[Tensor, Tensor]:
        """(B, T, V) float32 log-probabilities and (B,) valid frames.

        Raises:
            OptionError: if the model is no CTC model.
        """
        if self.model.kind != "ctc":
            raise wrong_kind(type(self.model).__name__, self.model.kind, "ctc")
        values, lengths = features.values.float(), features.lengths
        if self.arithmetic == "int16" and len(values) > 1 and can_share():
            return self._ctc_in_groups(values, lengths)
        logits, lengths = self.model(values, lengths)  # (B, T, V)
        return logits.float().log_softmax(-1), lengths

    def _ctc_in_groups(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As `ctc`, a group of rows on each thread."""

        def compute(rows: list[int]) -> tuple[Tensor, Tensor]:
            logits, counts = self.model(values[rows], lengths[rows])
            return logits.float().log_softmax(-1), counts

        groups = divided(lengths.tolist(), torch.get_num_threads())
        found = self._workers.each(compute, groups)
        most = max(logits.shape[1] for logits, _ in found)
        together = found[0][0].new_zeros(len(values), most, found[0][0].shape[2])  # (B, T, V)
        frames = torch.empty_like(lengths)
        for rows, (log_probs, counts) in zip(groups, found, strict=True):
            together[rows, : log_probs.shape[1]] = log_probs
            frames[rows] = counts
        return together, frames

    @torch.inference_mode()
    def classify(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L) float32 logits of what classifies: pixels, or features with the length of each row.

        Raises:
            OptionError: if the model is no classifier.
        """
        if self.model.kind not in CLASSIFIERS:
            raise wrong_kind(type(self.model).__name__, self.model.kind, "image")

        def compute(rows: Any) -> Tensor:
            given = (values[rows].float(), *(() if lengths is None else (lengths[rows],)))
            logits: Tensor = self.model(*given)
            return logits.float()

        if self.arithmetic != "int16" or len(values) < 2 or not can_share():
            return compute(slice(None))
        # A group of rows on each thread.
        work = [1] * len(values) if lengths is None else lengths.tolist()
        groups = divided(work, torch.get_num_threads())
        found = self._workers.each(compute, groups)
        together = torch.empty(len(values), found[0].shape[1])  # (B, L)
        for rows, logits in zip(groups, found, strict=True):
            together[rows] = logits
        return together

    @torch.inference_mode()
    def encode(self, features: Features) -> tuple[Tensor, Tensor]:
        """Encoder states (B, T, D) float32 and (B,) valid frames."""
        values, lengths = features.values.float(), features.lengths
        if self._decoder is None:
            states, lengths = self.model.encode(values, lengths)
            return states, lengths

        # Whisper's windows are equally long, and one at a time stays in the processor's caches.
        def encode(row: int) -> tuple[Tensor, Tensor]:
            states, length = self.model.encode(values[row : row + 1], lengths[row : row + 1])
            return states, length

        rows = range(len(values))
        share = self.arithmetic == "int16" and len(values) > 1 and can_share()
        windows = self._workers.each(encode, rows) if share else [encode(row) for row in rows]
        return torch.cat([states for states, _ in windows]), torch.cat([length for _, length in windows])

    @torch.inference_mode()
    def decoder(
        self, states: Tensor, lengths: Tensor, use_cache: bool = True
    ) -> whisper_decoder.WhisperStep | ModelStep:
        """Start decoding what `encode` gave, one row for each of its rows.

        Without `use_cache` every token is computed from the recording and all tokens before it: slow, and the same.

        Raises:
            OptionError: if the model has no decoder.
        """
        if self.model.kind != "seq2seq":
            raise wrong_kind(type(self.model).__name__, self.model.kind, "seq2seq")
        if not use_cache:
            return RecomputingStep(self.model, states, lengths)
        if self._decoder is None:
            return ModelStep(self.model, states, lengths)
        return whisper_decoder.WhisperStep(self._decoder, states)

    @torch.inference_mode()
    def text(self, n_pads: Tensor) -> NativeTextStep | ModelTextStep:
        """Begin texts, one row for each of `n_pads` (B,), after so many pads.

        Raises:
            OptionError: if the model writes no text.
        """
        if self._text is None:
            raise wrong_kind(type(self.model).__name__, self.model.kind, "causal")
        return self._text.begin(n_pads)
