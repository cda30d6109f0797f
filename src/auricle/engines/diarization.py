"""The two networks of a diarization over overlapping chunks; the plain way, which defines what is correct.

Dimension key: N samples of a stretch, B chunks, T frames, P sets of speakers, S speakers, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from auricle.engines import ENGINES
from auricle.errors import OptionError, nearest
from auricle.models.pyannet import PyanNet, PyanNetConfig
from auricle.models.wespeaker import WeSpeakerConfig, WeSpeakerResNet


class DiarizationNetworks(Protocol):
    """Runs both networks over chunks that begin at `starts` in a stretch of samples (N,) on the CPU."""

    segmentation: PyanNetConfig
    embedding: WeSpeakerConfig
    sets: Tensor  # (P, S) which speakers each class holds, on the CPU

    def segment(self, stretch: Tensor, starts: Sequence[int]) -> Tensor:
        """Log-probabilities of sets of speakers, (B, T, P) on the CPU."""
        ...

    def embed(self, stretch: Tensor, starts: Sequence[int], weights: Tensor) -> Tensor:
        """A vector for each speaker of each chunk, (B, S, D) on the CPU; `weights` (B, S, T) say when each talks."""
        ...

    def voice(self, waveform: Tensor, weights: Tensor) -> Tensor:
        """The vector (D,) of the voice in a waveform (N,) of any length, heard where `weights` (T,) are above 0."""
        ...


class ReferenceNetworks:
    """Each chunk is computed by itself, by the models as they are."""

    def __init__(self, segmentation: PyanNet, embedding: WeSpeakerResNet) -> None:
        self.segmenter, self.embedder = segmentation.eval(), embedding.eval()
        self.segmentation, self.embedding = segmentation.config, embedding.config
        self.device = segmentation.classifier.weight.device
        self.sets = segmentation.sets.cpu()

    @torch.inference_mode()
    def segment(self, stretch: Tensor, starts: Sequence[int]) -> Tensor:
        """Log-probabilities of sets of speakers, (B, T, P) on the CPU."""
        return self.segmenter(self._chunks(stretch, starts)).cpu()

    @torch.inference_mode()
    def embed(self, stretch: Tensor, starts: Sequence[int], weights: Tensor) -> Tensor:
        """A vector for each speaker of each chunk, (B, S, D) on the CPU."""
        frames = self.embedder.frames(self.embedder.energies(self._chunks(stretch, starts)))
        return self.embedder.embed(frames, weights.to(self.device)).cpu()

    @torch.inference_mode()
    def voice(self, waveform: Tensor, weights: Tensor) -> Tensor:
        """The vector (D,) of the voice in a waveform (N,)."""
        return self.embedder(waveform[None].to(self.device), weights[None].to(self.device))[0].cpu()

    def _chunks(self, stretch: Tensor, starts: Sequence[int]) -> Tensor:
        n_samples = self.segmentation.chunk_samples
        return torch.stack([stretch[start : start + n_samples] for start in starts]).to(self.device)  # (B, N)


def make_networks(segmentation: PyanNet, embedding: WeSpeakerResNet, name: str = "auto") -> DiarizationNetworks:
    """Return what runs the two networks where they are: "reference", or "cpu"; "auto" is the faster one that fits.

    Raises:
        OptionError: there is no such engine, or it does not run there.
    """
    device = segmentation.classifier.weight.device.type
    if name not in ("auto", *ENGINES):
        raise OptionError(
            f"engine {name!r} does not exist{nearest(name, ENGINES)}; expected 'auto' or one of {', '.join(ENGINES)}"
        )
    if name == "reference" or (name in ("auto", "cuda") and device != "cpu"):
        return ReferenceNetworks(segmentation, embedding)
    if name == "cuda" or device != "cpu":
        raise OptionError(f"engine {name!r} does not run on the device {device!r}; take 'auto'")
    from auricle.engines.cpu.diarization import FastNetworks

    return FastNetworks(segmentation, embedding)
