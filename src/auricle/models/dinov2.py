"""DINOv2: a Vision Transformer trained without labels, whose frozen states a single layer classifies.

Paper: "DINOv2: Learning Robust Visual Features without Supervision" (arXiv 2304.07193). Differs from vit.py by a
learned scale of what each half of a layer adds, by a gated feed-forward network (the largest one), and by what is
classified: the first token beside the mean of the patches.

Dimension key: B batch, C channels, T tokens, D width, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.labels import LabelsConfig
from auricle.models.layers import activation
from auricle.models.vit import RENAMES, Attention, Embeddings, FeedForward, Side, pair

HARMLESS = frozenset(
    """
    _out_features _out_indices apply_layernorm attention_probs_dropout_prob drop_path_rate hidden_dropout_prob
    initializer_range layerscale_value out_features out_indices reshape_hidden_states stage_names use_mask_token
    """.split()
)


@dataclass(frozen=True)
class Dinov2Config(LabelsConfig):
    """What config.json says of the network."""

    N_FIRST: ClassVar[int] = 1  # tokens before the patches

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    mlp_ratio: int | float = 4
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    image_size: Side = 224
    patch_size: Side = 14
    num_channels: int = 3
    qkv_bias: bool = True
    use_swiglu_ffn: bool = False

    def __post_init__(self) -> None:
        activation(self.hidden_act)
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across, of an image as large as in training."""
        (height, width), (tall, wide) = pair(self.image_size), pair(self.patch_size)
        return height // tall, width // wide


class LayerScale(nn.Module):
    """A learned factor for each number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.lambda1


class GatedFeedForward(nn.Module):
    """A gated network, whose gate and values are one matrix. Source: arXiv 2002.05202."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        # Two thirds, for the gate's share, rounded up to a multiple of 8.
        inner = (int(inner * 2 / 3) + 7) // 8 * 8
        self.weights_in = nn.Linear(width, 2 * inner)
        self.weights_out = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, values = self.weights_in(x).chunk(2, dim=-1)
        return self.weights_out(F.silu(gate) * values)


class Layer(nn.Module):
    """Attention and a feed-forward network, each normalised before, scaled and added after."""

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        width, inner = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = Attention(config)
        self.layer_scale1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = (
            GatedFeedForward(width, inner) if config.use_swiglu_ffn else FeedForward(width, inner, config.hidden_act)
        )
        self.layer_scale2 = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale1(self.attention(self.norm1(x)))
        return x + self.layer_scale2(self.mlp(self.norm2(x)))


class Encoder(nn.Module):
    """Pixels to states."""

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.embeddings(pixels)
        for layer in self.layers:
            x = layer(x)
        return self.layernorm(x)  # (B, T, D)


class Dinov2(nn.Module):
    """An encoder of images and one layer on all that it sees."""

    Config: ClassVar[type[Dinov2Config]] = Dinov2Config
    kind = "image"
    RENAMES = RENAMES
    IGNORED_TENSORS: tuple[str, ...] = (r".*\.mask_token",)
    HARMLESS = HARMLESS

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__()
        self.config = config
        self.dinov2 = Encoder(config)
        self.classifier = nn.Linear(2 * config.hidden_size, len(config.labels))

    @classmethod
    def tiny(cls, **changes: Any) -> Dinov2Config:
        """A network for tests: two layers of 32, trained on images of 6 by 6 patches."""
        small = cls.Config(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            mlp_ratio=2,
            image_size=48,
            patch_size=8,
            num_labels=7,
        )
        return replace(small, **changes)

    def states(self, pixels: Tensor) -> Tensor:
        """What the encoder makes of pixels (B, C, height, width): (B, T, D)."""
        return self.dinov2(pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, L) of pixels (B, C, height, width)."""
        states = self.states(pixels)
        seen = torch.cat([states[:, 0], states[:, 1:].mean(1)], dim=1)  # (B, 2·D)
        return self.classifier(seen).float()
