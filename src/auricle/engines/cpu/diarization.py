"""The networks of a diarization on the CPU, with what overlapping chunks share computed once.

Exact but for rounding: filters and spectra of a stretch are the same in every chunk that covers it, and a norm over a
chunk is a number for each chunk that is put behind the filters. Norms of the residual network are folded into its
convolutions, whose images are laid out with the channels of a place side by side.

Dimension key: N samples, B chunks, F filters, T frames, M mels, C channels, S speakers, D width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.models.pyannet import PyanNet, SincFilters
from auricle.models.wespeaker import BasicBlock, WeSpeakerResNet

# Chunks whose images go through the residual network at a time: few, so that they stay in the processor's caches.
CHUNKS_AT_A_TIME = 2


class FastNetworks:
    """Shares what chunks have in common; see `engines.diarization.DiarizationNetworks`."""

    def __init__(self, segmentation: PyanNet, embedding: WeSpeakerResNet) -> None:
        self.segmenter, self.embedder = segmentation.eval(), embedding.eval()
        self.segmentation, self.embedding = segmentation.config, embedding.config
        self.sets = segmentation.sets
        with torch.inference_mode():
            first = segmentation.sincnet.conv1d[0]
            assert isinstance(first, SincFilters)
            self.filters = first.filters()  # (F, 1, kernel)
            self.filter_sums = self.filters.sum(2)  # (F, 1)
            self.images = _FoldedResNet(embedding)

    @torch.inference_mode()
    def segment(self, stretch: Tensor, starts: Sequence[int]) -> Tensor:
        """Log-probabilities of sets of speakers, (B, T, P)."""
        stride, n_samples = self.segmentation.sincnet.stride, self.segmentation.chunk_samples
        if any(start % stride for start in starts):
            heard = [self._filtered(stretch[start : start + n_samples]) for start in starts]
        else:
            n_heard = (n_samples - self.segmentation.sincnet.kernel_size) // stride + 1
            whole = self._filtered(stretch)
            heard = [whole[:, start // stride : start // stride + n_heard] for start in starts]
        states = [
            self._after_filters(stretch[start : start + n_samples], one)
            for start, one in zip(starts, heard, strict=True)
        ]
        return self.segmenter.classify(torch.cat(states).transpose(1, 2))

    def _filtered(self, samples: Tensor) -> Tensor:
        """What the filters give of samples (N,) that no norm has seen, (F, T)."""
        return F.conv1d(samples[None, None], self.filters, stride=self.segmentation.sincnet.stride)[0]

    def _after_filters(self, chunk: Tensor, heard: Tensor) -> Tensor:
        """What the front end makes of one chunk (N,), whose samples gave `heard` (F, T): (1, C, T)."""
        norm = self.segmenter.sincnet.wav_norm1d
        variance, mean = torch.var_mean(chunk, correction=0)
        scale = norm.weight / (variance + norm.eps).sqrt()  # (1,)
        # The filters are linear: scaled samples give scaled results, and a constant gives each filter's sum.
        shift = (norm.bias - mean * scale) * self.filter_sums  # (F, 1)
        return self.segmenter.sincnet.after_filters((heard * scale + shift)[None])

    @torch.inference_mode()
    def embed(self, stretch: Tensor, starts: Sequence[int], weights: Tensor) -> Tensor:
        """A vector for each speaker of each chunk, (B, S, D)."""
        hop, n_samples = self.embedding.hop_samples, self.segmentation.chunk_samples
        n_frames = self.embedder.fbank.n_frames(n_samples)
        if any(start % hop for start in starts):
            chunks = torch.stack([stretch[start : start + n_samples] for start in starts])
            energies = self.embedder.energies(chunks)
        else:
            whole = self.embedder.energies(stretch[None])[0]  # (T, M)
            energies = torch.stack([whole[start // hop : start // hop + n_frames] for start in starts])
        energies = energies - energies.mean(1, keepdim=True)  # (B, T, M)
        found = []
        for place in range(0, len(starts), CHUNKS_AT_A_TIME):
            some = slice(place, place + CHUNKS_AT_A_TIME)
            found.append(self.embedder.embed(self.images(energies[some]), weights[some]))
        return torch.cat(found)

    @torch.inference_mode()
    def voice(self, waveform: Tensor, weights: Tensor) -> Tensor:
        """The vector (D,) of the voice in a waveform (N,)."""
        return self.embedder(waveform[None], weights[None])[0]


class _FoldedConvolution:
    """A convolution that the norm behind it was folded into."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        scale = norm.weight / (variance + norm.eps).sqrt()
        self.weight = (convolution.weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        self.bias = norm.bias - mean * scale
        self.stride, self.padding = convolution.stride, convolution.padding

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class _FoldedBlock:
    """Two convolutions beside the way straight ahead."""

    def __init__(self, block: BasicBlock) -> None:
        self.first = _FoldedConvolution(block.conv1, block.bn1)
        self.second = _FoldedConvolution(block.conv2, block.bn2)
        self.shortcut = _FoldedConvolution(*block.shortcut) if len(block.shortcut) else None

    def __call__(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x).relu_())
        return y.add_(x if self.shortcut is None else self.shortcut(x)).relu_()


class _FoldedResNet:
    """The residual network of `WeSpeakerResNet`, norms folded."""

    def __init__(self, model: WeSpeakerResNet) -> None:
        self.first = _FoldedConvolution(model.resnet.conv1, model.resnet.bn1)
        self.blocks = [_FoldedBlock(block) for stage in model.resnet.stages() for block in cast(Any, stage)]

    def __call__(self, energies: Tensor) -> Tensor:
        """What is seen in energies (B, T, M) less their mean: (B, C Y, X)."""
        x = energies.transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)  # (B, 1, M, T)
        x = self.first(x).relu_()
        for block in self.blocks:
            x = block(x)
        return x.flatten(1, 2)
