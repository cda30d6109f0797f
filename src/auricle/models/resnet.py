"""ResNet: convolutions whose result is added to what went in.

Paper: "Deep Residual Learning for Image Recognition" (arXiv 1512.03385), in the version that halves the resolution
in the 3 by 3 convolution.

Dimension key: B batch, C channels, Y and X rows and columns, D width of a stage, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.labels import LabelsConfig
from auricle.models.layers import activation

HARMLESS = frozenset("_out_features _out_indices initializer_range out_features out_indices stage_names".split())
REDUCTION = 4  # times that the middle of a bottleneck is narrower than its ends


@dataclass(frozen=True)
class ResNetConfig(LabelsConfig):
    """What config.json says of the network."""

    num_channels: int = 3
    embedding_size: int = 64
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    layer_type: Literal["basic", "bottleneck"] = "bottleneck"
    hidden_act: str = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False

    def __post_init__(self) -> None:
        activation(self.hidden_act)
        if len(self.hidden_sizes) != len(self.depths):
            raise ConfigError(f"hidden_sizes names {len(self.hidden_sizes)} stages, and depths {len(self.depths)}")


class Convolution(nn.Module):
    """A convolution and a norm, whose numbers are those of training."""

    def __init__(self, before: int, after: int, side: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, side, stride=stride, padding=side // 2, bias=False)
        self.normalization = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        return self.normalization(self.convolution(x))


class Embeddings(nn.Module):
    """Pixels at a quarter of their resolution."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.embedder = Convolution(config.num_channels, config.embedding_size, 7, stride=2)
        self.pooler = nn.MaxPool2d(3, stride=2, padding=1)
        self.activation = activation(config.hidden_act)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.pooler(self.activation(self.embedder(pixels)))  # (B, D, Y, X)


class Layer(nn.Module):
    """Two convolutions, or three through a bottleneck, beside the way straight ahead."""

    def __init__(self, config: ResNetConfig, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        changes = before != after or stride != 1
        self.shortcut = Convolution(before, after, 1, stride) if changes else nn.Identity()
        if config.layer_type == "basic":
            parts = [Convolution(before, after, stride=stride), Convolution(after, after)]
        else:
            inner = after // REDUCTION
            first, second = (stride, 1) if config.downsample_in_bottleneck else (1, stride)
            parts = [
                Convolution(before, inner, 1, first),
                Convolution(inner, inner, stride=second),
                Convolution(inner, after, 1),
            ]
        self.layer = nn.ModuleList(parts)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        added = x
        for number, part in enumerate(self.layer):
            # Between them it is this one, whatever hidden_act says.
            added = part(F.relu(added) if number else added)
        return self.activation(added + self.shortcut(x))


class Stage(nn.Module):
    """Layers of one width, of which the first may halve the resolution."""

    def __init__(self, config: ResNetConfig, number: int) -> None:
        super().__init__()
        width = config.hidden_sizes[number]
        before = config.hidden_sizes[number - 1] if number else config.embedding_size
        stride = 2 if number or config.downsample_in_first_stage else 1
        first = Layer(config, before, width, stride)
        self.layers = nn.ModuleList([first, *(Layer(config, width, width) for _ in range(config.depths[number] - 1))])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Stages(nn.Module):
    """All stages."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Stage(config, number) for number in range(len(config.depths)))

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


class Encoder(nn.Module):
    """Pixels to what the last stage sees at each place."""

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.embedder = Embeddings(config)
        self.encoder = Stages(config)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.encoder(self.embedder(pixels))  # (B, D, Y, X)


class ResNet(nn.Module):
    """An encoder of images and a classifier on the mean of what it sees."""

    Config: ClassVar[type[ResNetConfig]] = ResNetConfig
    kind = "image"
    RENAMES: tuple[tuple[str, str], ...] = ((r"^classifier\.1\.", "classifier."),)
    IGNORED_TENSORS: tuple[str, ...] = ()
    HARMLESS = HARMLESS

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.resnet = Encoder(config)
        self.classifier = nn.Linear(config.hidden_sizes[-1], len(config.labels))

    @classmethod
    def tiny(cls, **changes: Any) -> ResNetConfig:
        """A network for tests: two stages."""
        return replace(cls.Config(embedding_size=8, hidden_sizes=(16, 32), depths=(1, 2), num_labels=7), **changes)

    def states(self, pixels: Tensor) -> Tensor:
        """What the encoder makes of pixels (B, C, height, width): (B, D, Y, X)."""
        return self.resnet(pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, L) of pixels (B, C, height, width)."""
        return self.classifier(self.states(pixels).mean([2, 3])).float()
