"""PyanNet: who of up to three speakers talks in each 17 ms of a chunk of ten seconds.

Papers: "End-to-end speaker segmentation for overlap-aware resegmentation" (arXiv 2104.04045); the classes are sets of
speakers, "Powerset multi-class cross entropy loss for neural speaker diarization" (arXiv 2310.13025). The front end is
SincNet (arXiv 1808.00158) with even and odd filters (arXiv 1910.10400).

Dimension key: B batch, N samples, F filters, C channels, T frames, D width of both directions, S speakers, P sets of
speakers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError

LOWEST_HZ = 30.0  # where the lowest filter begins before training


@dataclass(frozen=True)
class SincNetConfig:
    """The front end; the published networks state `stride` and `sample_rate` alone."""

    stride: int = 10  # samples from one output of the filters to the next
    sample_rate: int = 16000
    n_filters: int = 80  # half of them even, half of them odd
    kernel_size: int = 251  # samples
    channels: tuple[int, ...] = (60, 60)  # of the convolutions behind the filters
    conv_kernel_size: int = 5
    pool_size: int = 3  # after every one of them
    min_low_hz: float = 50.0
    min_band_hz: float = 50.0


@dataclass(frozen=True)
class LSTMConfig:
    """The recurrent layers."""

    hidden_size: int = 128  # of one direction
    num_layers: int = 4
    bidirectional: bool = True
    monolithic: bool = True  # how the checkpoint names its layers; nothing else
    dropout: float = 0.0  # between layers, in training
    batch_first: Literal[True] = True


@dataclass(frozen=True)
class LinearConfig:
    """The layers between the recurrent ones and the classifier; `num_layers` may be 0."""

    hidden_size: int = 128
    num_layers: int = 2


@dataclass(frozen=True)
class PyanNetConfig:
    """What the checkpoint says of the network, and of the task it was trained for; defaults as segmentation-3.0."""

    sincnet: SincNetConfig = SincNetConfig()
    lstm: LSTMConfig = LSTMConfig()
    linear: LinearConfig = LinearConfig()
    sample_rate: int = 16000
    num_channels: Literal[1] = 1
    duration: float = 10.0  # seconds of a chunk
    max_speakers_per_chunk: int = 3
    max_speakers_per_frame: int = 2

    def __post_init__(self) -> None:
        if self.sample_rate != self.sincnet.sample_rate:
            raise ConfigError(
                f"sample_rate is {self.sample_rate} and that of sincnet {self.sincnet.sample_rate}; they must be equal"
            )
        if self.sincnet.kernel_size % 2 == 0 or self.sincnet.n_filters % 2 or not self.sincnet.channels:
            raise ConfigError(
                f"sincnet has {self.sincnet.n_filters} filters of {self.sincnet.kernel_size} samples and channels "
                f"{self.sincnet.channels}; expected an even number of filters, an odd length, and channels"
            )
        if not 1 <= self.max_speakers_per_frame <= self.max_speakers_per_chunk <= 8:
            raise ConfigError(
                f"max_speakers_per_frame {self.max_speakers_per_frame} and max_speakers_per_chunk "
                f"{self.max_speakers_per_chunk}; expected 1 or more, the second at least as many, and at most 8"
            )

    @property
    def chunk_samples(self) -> int:
        """Samples of a chunk."""
        return math.floor(self.duration * self.sample_rate)

    @property
    def geometry(self) -> tuple[tuple[int, int], ...]:
        """(kernel, stride) of every step of the front end, from the samples on."""
        pool = (self.sincnet.pool_size, self.sincnet.pool_size)
        later = ((self.sincnet.conv_kernel_size, 1), pool) * len(self.sincnet.channels)
        return ((self.sincnet.kernel_size, self.sincnet.stride), pool, *later)

    def n_frames(self, n_samples: int) -> int:
        """Frames of so many samples."""
        for kernel, stride in self.geometry:
            n_samples = (n_samples - kernel) // stride + 1
        return max(n_samples, 0)

    @property
    def frame_samples(self) -> tuple[int, int]:
        """Samples that a frame hears, and samples from one frame to the next."""
        hears, step = 1, 1
        for kernel, stride in reversed(self.geometry):
            hears = (hears - 1) * stride + kernel
        for _, stride in self.geometry:
            step *= stride
        return hears, step


def powerset(n_speakers: int, most: int) -> Tensor:
    """Return which speakers each class holds, (P, S) of 0 and 1: none, each one, each pair and so on.

    >>> powerset(3, 2).tolist()[4:]
    [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    """
    sets = [chosen for size in range(most + 1) for chosen in combinations(range(n_speakers), size)]
    return torch.tensor([[float(speaker in chosen) for speaker in range(n_speakers)] for chosen in sets])


class SincFilters(nn.Module):
    """Band-pass filters that are told by where each begins and how wide it is, in hertz.

    Source: arXiv 1910.10400, section 2.3: beside each even filter stands the odd one of the same band.
    """

    window: Tensor
    times: Tensor

    def __init__(self, config: SincNetConfig) -> None:
        super().__init__()
        self.config = config
        half = config.kernel_size // 2
        highest = config.sample_rate / 2 - (config.min_low_hz + config.min_band_hz)
        low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (LOWEST_HZ, highest))
        mels = np.linspace(low, high, config.n_filters // 2 + 1, dtype=np.float32)
        edges = (700 * (10 ** (mels / 2595) - 1)).astype(np.float32)
        self.low_hz_ = nn.Parameter(torch.from_numpy(edges[:-1, None]))
        self.band_hz_ = nn.Parameter(torch.from_numpy(np.diff(edges)[:, None]))
        window = np.hamming(config.kernel_size)[:half].astype(np.float32)
        self.register_buffer("window", torch.from_numpy(window), persistent=False)
        times = 2 * math.pi * torch.arange(-half, 0.0)[None] / config.sample_rate
        self.register_buffer("times", times, persistent=False)

    def filters(self) -> Tensor:
        """(F, 1, kernel), the even ones first."""
        low = self.config.min_low_hz + self.low_hz_.abs()
        high = low + self.config.min_band_hz + self.band_hz_.abs()
        high = high.clamp(self.config.min_low_hz, self.config.sample_rate / 2)
        width = high - low  # (F / 2, 1)
        low, high = low @ self.times, high @ self.times
        even = (high.sin() - low.sin()) / (self.times / 2) * self.window
        odd = (low.cos() - high.cos()) / (self.times / 2) * self.window
        even = torch.cat([even, 2 * width, even.flip(1)], 1)
        odd = torch.cat([odd, torch.zeros_like(width), -odd.flip(1)], 1)
        return (torch.cat([even, odd]) / (2 * width).repeat(2, 1))[:, None]

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.filters(), stride=self.config.stride)  # (B, F, T)


class SincNet(nn.Module):
    """Samples to what is heard at each frame; every norm is over the chunk."""

    def __init__(self, config: SincNetConfig) -> None:
        super().__init__()
        widths = (config.n_filters, *config.channels)
        self.pool_size = config.pool_size
        self.wav_norm1d = nn.InstanceNorm1d(1, affine=True)
        self.conv1d = nn.ModuleList(
            [
                SincFilters(config),
                *(nn.Conv1d(before, after, config.conv_kernel_size) for before, after in pairwise(widths)),
            ]
        )
        self.norm1d = nn.ModuleList(nn.InstanceNorm1d(width, affine=True) for width in widths)

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, C, T) of waveforms (B, N)."""
        heard = self.conv1d[0](self.wav_norm1d(waveforms[:, None]))  # (B, F, T)
        return self.after_filters(heard)

    def after_filters(self, heard: Tensor) -> Tensor:
        """(B, C, T) of what the filters give, (B, F, T): this part knows no samples."""
        x = heard.abs()
        for place, norm in enumerate(self.norm1d):
            if place:
                x = self.conv1d[place](x)
            x = F.leaky_relu(norm(F.max_pool1d(x, self.pool_size)))
        return x


class PyanNet(nn.Module):
    """Front end, recurrent layers, linear layers and a classifier of sets of speakers."""

    Config: ClassVar[type[PyanNetConfig]] = PyanNetConfig
    kind = "segmentation"
    RENAMES: tuple[tuple[str, str], ...] = (
        (r"^sincnet\.conv1d\.0\.filterbank\.", "sincnet.conv1d.0."),
        (r"^lstm\.(\d+)\.(\w+?)_l0(_reverse)?$", r"lstm.\2_l\1\3"),  # of a network that is not "monolithic"
    )
    # What is computed from the configuration, and what only training uses.
    IGNORED_TENSORS: tuple[str, ...] = (r"^sincnet\.conv1d\.0\.(window_|n_)$", r"^(loss_func|validation_metric)\.")
    HARMLESS: frozenset[str] = frozenset()
    sets: Tensor  # (P, S) of 0 and 1

    def __init__(self, config: PyanNetConfig) -> None:
        super().__init__()
        self.config = config
        self.sincnet = SincNet(config.sincnet)
        lstm, linear = config.lstm, config.linear
        self.lstm = nn.LSTM(
            config.sincnet.channels[-1],
            lstm.hidden_size,
            lstm.num_layers,
            batch_first=True,
            bidirectional=lstm.bidirectional,
            dropout=lstm.dropout,
        )
        widths = [lstm.hidden_size * (2 if lstm.bidirectional else 1), *(linear.hidden_size,) * linear.num_layers]
        self.linear = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        sets = powerset(config.max_speakers_per_chunk, config.max_speakers_per_frame)
        self.register_buffer("sets", sets, persistent=False)
        self.classifier = nn.Linear(widths[-1], len(sets))

    @classmethod
    def tiny(cls, **changes: Any) -> PyanNetConfig:
        """A network for tests: chunks of two seconds, few filters, two narrow layers."""
        small = PyanNetConfig(
            sincnet=SincNetConfig(n_filters=8, kernel_size=51, channels=(6, 6)),
            lstm=LSTMConfig(hidden_size=8, num_layers=2),
            linear=LinearConfig(hidden_size=8),
            duration=2.0,
        )
        return replace(small, **changes)

    def states(self, waveforms: Tensor) -> Tensor:
        """What the front end hears in waveforms (B, N), (B, T, C)."""
        return self.sincnet(waveforms).transpose(1, 2)

    def classify(self, states: Tensor) -> Tensor:
        """Log-probabilities (B, T, P) of what the front end hears, (B, T, C)."""
        x, _ = self.lstm(states)  # (B, T, D)
        for linear in self.linear:
            x = F.leaky_relu(linear(x))
        return F.log_softmax(self.classifier(x), -1)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Log-probabilities (B, T, P) of sets of speakers in waveforms (B, N); `sets` says who is in each."""
        return self.classify(self.states(waveforms))
