"""ConvNeXt: a network of convolutions made as Transformers are.

Paper: "A ConvNet for the 2020s" (arXiv 2201.03545).

Dimension key: B batch, C channels, Y and X rows and columns, D width of a stage, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.labels import LabelsConfig
from auricle.models.layers import activation
from auricle.models.vit import Side, pair

HARMLESS = frozenset(
    """
    _out_features _out_indices drop_path_rate image_size initializer_range out_features out_indices stage_names
    """.split()
)
EPS = 1e-6  # of every norm but the last


@dataclass(frozen=True)
class ConvNextConfig(LabelsConfig):
    """What config.json says of the network."""

    num_channels: int = 3
    patch_size: Side = 4
    num_stages: int = 4
    hidden_sizes: tuple[int, ...] | None = None
    depths: tuple[int, ...] | None = None
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    layer_scale_init_value: float = 1e-6  # 0: no scales are learned

    def __post_init__(self) -> None:
        activation(self.hidden_act)
        if not len(self.widths) == len(self.n_layers) == self.num_stages:
            raise ConfigError(
                f"num_stages is {self.num_stages}, and hidden_sizes names {len(self.widths)} stages and depths "
                f"{len(self.n_layers)}"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each stage."""
        return self.hidden_sizes or (96, 192, 384, 768)

    @property
    def n_layers(self) -> tuple[int, ...]:
        """The layers of each stage."""
        return self.depths or (3, 3, 9, 3)


class ChannelNorm(nn.LayerNorm):
    """Normalises what lies along the channels of (B, D, Y, X)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Embeddings(nn.Module):
    """Patches to vectors."""

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__()
        side, width = pair(config.patch_size), config.widths[0]
        self.patch_embeddings = nn.Conv2d(config.num_channels, width, side, stride=side)
        self.layernorm = ChannelNorm(width, eps=EPS)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layernorm(self.patch_embeddings(pixels))  # (B, D, Y, X)


class Layer(nn.Module):
    """A look at each channel's surroundings, then a feed-forward network at each place."""

    def __init__(self, config: ConvNextConfig, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.layernorm = nn.LayerNorm(width, eps=EPS)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)
        self.activation = activation(config.hidden_act)
        has_scale = config.layer_scale_init_value > 0
        self.layer_scale_parameter = nn.Parameter(torch.ones(width)) if has_scale else None

    def forward(self, x: Tensor) -> Tensor:
        added = self.layernorm(self.dwconv(x).permute(0, 2, 3, 1))  # (B, Y, X, D)
        added = self.pwconv2(self.activation(self.pwconv1(added)))
        if self.layer_scale_parameter is not None:
            added = self.layer_scale_parameter * added
        return x + added.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Layers of one width, at half the resolution of the stage before."""

    def __init__(self, config: ConvNextConfig, number: int) -> None:
        super().__init__()
        width, before = config.widths[number], config.widths[max(number - 1, 0)]
        shrinks = [ChannelNorm(before, eps=EPS), nn.Conv2d(before, width, 2, stride=2)] if number else []
        self.downsampling_layer = nn.ModuleList(shrinks)
        self.layers = nn.ModuleList(Layer(config, width) for _ in range(config.n_layers[number]))

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self.downsampling_layer, *self.layers):
            x = layer(x)
        return x


class Stages(nn.Module):
    """All stages."""

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Stage(config, number) for number in range(config.num_stages))

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage(x)
        return x


class Encoder(nn.Module):
    """Pixels to what the last stage sees at each place."""

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Stages(config)
        self.layernorm = nn.LayerNorm(config.widths[-1], eps=config.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.encoder(self.embeddings(pixels))  # (B, D, Y, X)


class ConvNext(nn.Module):
    """An encoder of images and a classifier on the mean of what it sees."""

    Config: ClassVar[type[ConvNextConfig]] = ConvNextConfig
    kind = "image"
    RENAMES: tuple[tuple[str, str], ...] = ()
    IGNORED_TENSORS: tuple[str, ...] = ()
    HARMLESS = HARMLESS

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__()
        self.config = config
        self.convnext = Encoder(config)
        self.classifier = nn.Linear(config.widths[-1], len(config.labels))

    @classmethod
    def tiny(cls, **changes: Any) -> ConvNextConfig:
        """A network for tests: two stages."""
        return replace(cls.Config(num_stages=2, hidden_sizes=(16, 24), depths=(1, 2), num_labels=7), **changes)

    def states(self, pixels: Tensor) -> Tensor:
        """What the encoder makes of pixels (B, C, height, width): (B, D, Y, X)."""
        return self.convnext(pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, L) of pixels (B, C, height, width)."""
        return self.classifier(self.convnext.layernorm(self.states(pixels).mean([2, 3]))).float()
