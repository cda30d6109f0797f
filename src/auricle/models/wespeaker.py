"""WeSpeaker's residual networks: a vector for a voice, near to those of the same person.

Paper: "Wespeaker: A research and production oriented speaker embedding learning toolkit" (arXiv 2210.17016). Log-mel
energies are an image to a residual network; the mean and the deviation over time of what it sees, at the frames where
the speaker talks, are projected to the vector.

Dimension key: B batch, N samples, T frames of the energies, M mels, C channels, Y rows, X columns (an eighth of T),
W frames of the weights, S speakers, D width of the vector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.fbank import Fbank

FULL_SCALE = 1 << 15  # Kaldi hears samples as 16-bit integers
N_HALVINGS = 3  # of time and of frequency
GUARD = 1e-8  # added to sums of weights, of which all may be 0


@dataclass(frozen=True)
class WeSpeakerConfig:
    """What the checkpoint says of the network; defaults as wespeaker-voxceleb-resnet34-LM."""

    sample_rate: int = 16000
    num_channels: Literal[1] = 1
    num_mel_bins: int = 80
    frame_length: float = 25.0  # milliseconds
    frame_shift: float = 10.0
    round_to_power_of_two: Literal[True] = True
    snip_edges: Literal[True] = True
    dither: float = 0.0
    window_type: Literal["hamming"] = "hamming"
    use_energy: Literal[False] = False
    fbank_centering_span: None = None  # the mean that is subtracted is of the whole input
    depths: tuple[int, ...] = (3, 4, 6, 3)
    base_channels: int = 32  # of the first stage; each stage has twice as many as the one before
    embedding_dim: int = 256

    def __post_init__(self) -> None:
        if self.num_mel_bins % (1 << N_HALVINGS) or len(self.depths) != N_HALVINGS + 1:
            raise ConfigError(
                f"num_mel_bins is {self.num_mel_bins} and depths {self.depths}; expected a multiple of "
                f"{1 << N_HALVINGS}, and {N_HALVINGS + 1} stages"
            )
        if self.dither:
            raise ConfigError(f"dither is {self.dither}: noise that is added to what is heard; expected 0")

    @property
    def window_samples(self) -> int:
        """Samples of a frame."""
        return int(self.sample_rate * self.frame_length * 0.001)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return int(self.sample_rate * self.frame_shift * 0.001)


class BasicBlock(nn.Module):
    """Two convolutions beside the way straight ahead."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """An image of energies to what is seen at each place; `seg_1` projects what was pooled of it."""

    def __init__(self, config: WeSpeakerConfig) -> None:
        super().__init__()
        width = config.base_channels
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        widths = [width, *(width << number for number in range(N_HALVINGS + 1))]
        for number, depth in enumerate(config.depths):
            before, after = widths[number], widths[number + 1]
            blocks = [BasicBlock(before, after, 2 if number else 1)]
            blocks += [BasicBlock(after, after, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))
        n_rows = config.num_mel_bins >> N_HALVINGS
        self.seg_1 = nn.Linear(2 * n_rows * widths[-1], config.embedding_dim)

    def stages(self) -> list[nn.Module]:
        """The four stages, from the widest image on."""
        return [self.get_submodule(f"layer{number + 1}") for number in range(N_HALVINGS + 1)]

    def forward(self, fbank: Tensor) -> Tensor:
        """(B, C, Y, X) of energies (B, T, M)."""
        x = F.relu(self.bn1(self.conv1(fbank.transpose(1, 2)[:, None])))  # (B, C, M, T)
        for stage in self.stages():
            x = stage(x)
        return x


def pool(frames: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean and unbiased deviation over time of each speaker, (B, S, 2 C Y).

    `frames` is (B, C Y, X), `weights` (B, S, X); where all weights are 0 the result is 0.

    Source: https://en.wikipedia.org/wiki/Weighted_arithmetic_mean, reliability weights.
    """
    total = weights.sum(2, keepdim=True) + GUARD  # (B, S, 1)
    mean = torch.einsum("bcx,bsx->bsc", frames, weights) / total
    unbiased = total - weights.square().sum(2, keepdim=True) / total + GUARD
    parts = []
    for speaker in range(weights.shape[1]):
        squares = (frames - mean[:, speaker, :, None]).square()  # (B, C Y, X)
        parts.append(torch.einsum("bcx,bx->bc", squares, weights[:, speaker]))
    variance = torch.stack(parts, 1) / unbiased
    # The slope of a root is infinite at 0, and training is to survive a channel that sees nothing.
    is_some = variance > 0
    deviation = variance.where(is_some, 1.0).sqrt() * is_some
    return torch.cat([mean, deviation], 2)


class WeSpeakerResNet(nn.Module):
    """Waveforms to vectors of voices."""

    Config: ClassVar[type[WeSpeakerConfig]] = WeSpeakerConfig
    kind = "embedding"
    RENAMES: tuple[tuple[str, str], ...] = ()
    IGNORED_TENSORS: tuple[str, ...] = (r"^(loss_func|validation_metric)\.", r"^resnet\.projection\.")
    HARMLESS: frozenset[str] = frozenset()

    def __init__(self, config: WeSpeakerConfig) -> None:
        super().__init__()
        self.config = config
        self.fbank = Fbank(config.num_mel_bins, config.sample_rate, config.window_samples, config.hop_samples)
        self.resnet = ResNet(config)

    @classmethod
    def tiny(cls, **changes: Any) -> WeSpeakerConfig:
        """A network for tests: few mels, narrow stages."""
        return replace(
            WeSpeakerConfig(num_mel_bins=16, depths=(1, 2, 1, 1), base_channels=4, embedding_dim=12), **changes
        )

    def energies(self, waveforms: Tensor) -> Tensor:
        """Log-mel energies (B, T, M) of waveforms (B, N), before the mean over time is subtracted."""
        return self.fbank(waveforms * FULL_SCALE)

    def frames(self, energies: Tensor) -> Tensor:
        """What the network sees in energies (B, T, M) less their mean over time: (B, C Y, X)."""
        return self.resnet(energies - energies.mean(1, keepdim=True)).flatten(1, 2)

    def embed(self, frames: Tensor, weights: Tensor) -> Tensor:
        """The vector of each speaker, (B, S, D), whose weights (B, S, W) say when they talk in frames (B, C Y, X)."""
        if weights.shape[2] != frames.shape[2]:
            weights = F.interpolate(weights, frames.shape[2], mode="nearest")
        return self.resnet.seg_1(pool(frames, weights))

    def forward(self, waveforms: Tensor, weights: Tensor | None = None) -> Tensor:
        """The vector (B, D) of each of the waveforms (B, N), heard where `weights` (B, W) are above 0.

        Of no weights all frames count alike.
        """
        frames = self.frames(self.energies(waveforms))
        if weights is None:
            weights = frames.new_ones(len(frames), frames.shape[2])
        return self.embed(frames, weights[:, None])[:, 0]
