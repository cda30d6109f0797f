"""What differs between the CTC families in training: what is stored of a recording, what is masked, what is computed.

Dimension key: B batch, S samples, F steps stored, D their width, T encoder frames, C channels, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.features import MEL_FRAMES_PER_SECOND
from auricle.audio.parakeet_mel import ParakeetFeatures
from auricle.models.speech_encoder import valid_frames
from auricle.training.augment import mask_spectrum, stretch_and_warp
from auricle.training.objective import Batch

FREEZE = ("feature-encoder", "encoder", "none")
STATE_DROPOUT = 0.1  # of stored states: a single layer on few rows learns them by heart


class Front(Protocol):
    """How one family is trained."""

    longest_s: float  # seconds of a recording that can be learned

    def stored(self, waveform: np.ndarray) -> tuple[Tensor, int]:
        """What is kept of a recording, (F, D) float32, and the encoder frames that it has."""
        ...

    def row(self, stored: Tensor, generator: torch.Generator | None, least: int) -> Tensor:
        """A stored row as the model takes it, changed at random where there is a generator.

        In `least` steps its labels still fit.
        """
        ...

    def masks(self, lengths: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """What is hidden from the model within it."""
        ...

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, T, V) logits and (B,) frames."""
        ...


class FrozenFront:
    """The encoder is frozen: its states are stored, and only the head computes."""

    def __init__(self, model: Any, features: Any, augments: bool) -> None:
        self.model, self.features, self.augments = model, features, augments
        self.longest_s = getattr(features, "longest_s", math.inf)

    def stored(self, waveform: np.ndarray) -> tuple[Tensor, int]:
        """The encoder's states, (T, D)."""
        values, device = self.features([waveform]), device_of(self.model)
        with torch.no_grad():
            states, frames = self.model.encode(values.values.to(device), values.lengths.to(device))
        return states[0, : int(frames[0])].cpu().clone(), int(frames[0])

    def row(self, stored: Tensor, generator: torch.Generator | None, least: int) -> Tensor:
        """States are not changed."""
        return stored

    def masks(self, lengths: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Nothing is hidden."""
        return {}

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """One layer; in training a tenth of its input is hidden."""
        x = F.dropout(batch.features, STATE_DROPOUT, self.augments and self.model.training)
        return self.model.head(x), batch.lengths


class SpeechFront:
    """wav2vec2, HuBERT, WavLM: waveforms, or with a frozen feature encoder what its convolutions give."""

    longest_s = math.inf

    def __init__(self, model: Any, features: Any, config: Mapping[str, Any], freezes_convolutions: bool) -> None:
        self.model, self.features, self.config, self.frozen = model, features, config, freezes_convolutions

    def stored(self, waveform: np.ndarray) -> tuple[Tensor, int]:
        """(S, 1) samples, or (T, C) of the convolutions."""
        values, device = self.features([waveform]), device_of(self.model)
        if not self.frozen:
            lengths = values.lengths
            for layer in self.model.base.feature_extractor.conv_layers:
                lengths = layer.n_frames(lengths)
            return values.values[0, :, None], self._adapted(int(lengths[0]))
        with torch.no_grad():
            samples, lengths = values.values.to(device), values.lengths.to(device)
            convolved, lengths, _ = self.model.base.feature_extractor(samples, lengths)
        return convolved[0, : int(lengths[0])].cpu().clone(), self._adapted(int(lengths[0]))

    def row(self, stored: Tensor, generator: torch.Generator | None, least: int) -> Tensor:
        """The sound itself is not changed."""
        return stored

    def masks(self, lengths: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """`time` (B, T) and `channels` (B, D), True where hidden, as config.json says.

        Source: wav2vec 2.0 (arXiv 2006.11477, section 4.2), SpecAugment (arXiv 1904.08779).
        """
        said = self.config
        if not said.get("apply_spec_augment", True):
            return {}
        frames = lengths
        if not self.frozen:
            for layer in self.model.base.feature_extractor.conv_layers:
                frames = layer.n_frames(frames)
        found = {}
        chance, span = float(said.get("mask_time_prob", 0.05)), int(said.get("mask_time_length", 10))
        if chance > 0:
            least = int(said.get("mask_time_min_masks", 2))
            found["time"] = draw_spans(frames.tolist(), int(frames.max()), chance, span, least, generator)
        chance, span = float(said.get("mask_feature_prob", 0.0)), int(said.get("mask_feature_length", 10))
        if chance > 0:
            width, least = self.model.config.hidden_size, int(said.get("mask_feature_min_masks", 0))
            found["channels"] = draw_spans([width] * len(lengths), width, chance, span, least, generator)
        return found

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Convolve where that is not done, hide, encode."""
        base = self.model.base
        if self.frozen:
            x, lengths = batch.features, batch.lengths
            mask = valid_frames(lengths, x.shape[1]) if bool((lengths < x.shape[1]).any()) else None
        else:
            x, lengths, mask = base.feature_extractor(batch.features[..., 0], batch.lengths)
        x = base.feature_projection(x)  # (B, T, D)
        if "time" in batch.extra:
            x = torch.where(batch.extra["time"][..., None], base.masked_spec_embed.to(x.dtype), x)
        if "channels" in batch.extra:
            x = x.masked_fill(batch.extra["channels"][:, None], 0.0)
        x = base.encoder(x, mask)
        if base.adapter is not None:
            x, lengths = base.adapter(x, lengths)
        return self.model.head(x), lengths

    def _adapted(self, n_frames: int) -> int:
        if self.model.base.adapter is None:
            return n_frames
        lengths = torch.tensor([n_frames])
        for layer in self.model.base.adapter.layers:
            lengths = ((lengths + 2 - layer.kernel).div(layer.stride, rounding_mode="floor") + 1).clamp(min=0)
        return int(lengths[0])


class ParakeetFront:
    """Parakeet: log-mel energies, stored before they are normalised, so that stretching can come first."""

    longest_s = math.inf

    def __init__(self, model: Any, features: ParakeetFeatures, augments: bool) -> None:
        self.model, self.features, self.augments = model, features, augments

    def stored(self, waveform: np.ndarray) -> tuple[Tensor, int]:
        """(F, M) energies."""
        energies = self.features.log_mel(torch.from_numpy(np.ascontiguousarray(waveform)))
        frames = self.model.encoder.subsampling.output_lengths(torch.tensor([len(energies)]))
        return energies, int(frames[0]) if len(energies) else 0

    def row(self, stored: Tensor, generator: torch.Generator | None, least: int) -> Tensor:
        """Normalised; in training stretched up to 12 % in time and pitch before, and masked after."""
        if generator is None or not self.augments:
            return self.features.normalize(stored)
        x = stretch_and_warp(stored, round(1.12 * len(stored)), generator)
        return mask_spectrum(self.features.normalize(x if len(x) >= least else stored), generator)

    def masks(self, lengths: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The features are masked already."""
        return {}

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The model itself."""
        logits, frames = self.model(batch.features, batch.lengths)
        return logits, frames


class WhisperFront:
    """A Whisper encoder: log-mel frames of the recording and of the silence after it."""

    def __init__(self, model: Any, features: Any, augments: bool) -> None:
        self.model, self.features, self.augments = model, features, augments
        # So that all of the silence is there, and a row's own frames are known by its length.
        self.longest_s = features.longest_s - features.silence_frames / MEL_FRAMES_PER_SECOND

    def stored(self, waveform: np.ndarray) -> tuple[Tensor, int]:
        """(F, M) log-mel frames."""
        values = self.features([waveform])
        return values.values[0].clone(), (int(values.lengths[0]) + 1) // 2

    def row(self, stored: Tensor, generator: torch.Generator | None, least: int) -> Tensor:
        """Masked in training."""
        if generator is None or not self.augments:
            return stored
        n_own = len(stored) - self.features.silence_frames
        return torch.cat([mask_spectrum(stored[:n_own].clone(), generator), stored[n_own:]])

    def masks(self, lengths: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The features are masked already."""
        return {}

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The model itself."""
        logits, frames = self.model(batch.features, batch.lengths - self.features.silence_frames)
        return logits, frames


def open_front(
    family: str, model: nn.Module, features: Any, raw: Mapping[str, Any], freeze: str, augments: bool
) -> Front:
    """How a family is trained with what is frozen."""
    if freeze == "encoder":
        return FrozenFront(model, features, augments)
    if family == "parakeet_ctc":
        return ParakeetFront(model, features, augments)
    if family == "whisper_ctc":
        return WhisperFront(model, features, augments)
    said = raw if augments else {"apply_spec_augment": False}
    return SpeechFront(model, features, said, freeze == "feature-encoder")


def device_of(model: nn.Module) -> torch.device:
    """Where a model is."""
    return next(model.parameters()).device


def draw_spans(
    lengths: list[int], width: int, chance: float, span: int, least: int, generator: torch.Generator
) -> Tensor:
    """Hide spans in rows of these lengths: (B, width) bool, True where hidden.

    A row has `chance` x length / `span` of them, at least `least` and no more than fit; they start at different places
    and may overlap.
    Source: fairseq `data_utils.py`, compute_mask_indices, in the form that transformers gave it.
    """
    hidden = torch.zeros(len(lengths), width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        rounding = float(torch.rand((), generator=generator))
        n_spans = max(int(chance * length / span + rounding), least)
        n_spans = min(n_spans, length // span, max(0, length - span + 1))
        if n_spans <= 0:
            continue
        starts = torch.randperm(length - span + 1, generator=generator)[:n_spans]
        hidden[row, (starts[:, None] + torch.arange(span)).flatten()] = True
    return hidden
