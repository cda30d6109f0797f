"""Vision Transformer: an image cut into square patches, read by a Transformer like words.

Paper: "An Image is Worth 16x16 Words" (arXiv 2010.11929). Relatives: deit.py, dinov2.py, vilt.py.

Dimension key: B batch, C channels, Y and X patches down and across, N = Y·X patches, T = N and the tokens before them,
D width, H heads, K width of a head, L labels.
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

HARMLESS = frozenset(
    """
    attention_probs_dropout_prob encoder_stride hidden_dropout_prob initializer_range pooler_act pooler_output_size
    """.split()
)
# The Hub's names of tensors to those here, which are transformers 5's in memory.
RENAMES: tuple[tuple[str, str], ...] = (
    (r"\.encoder\.layer\.", ".layers."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(\.layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
Side = int | tuple[int, int]  # of a square, or height and width


def pair(side: Side) -> tuple[int, int]:
    """Height and width."""
    return (side, side) if isinstance(side, int) else side


@dataclass(frozen=True)
class ViTConfig(LabelsConfig):
    """What config.json says of the network."""

    N_FIRST: ClassVar[int] = 1  # tokens before the patches

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    image_size: Side = 224
    patch_size: Side = 16
    num_channels: int = 3
    qkv_bias: bool = True

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


class PatchEmbeddings(nn.Module):
    """Patches to vectors."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        side = pair(config.patch_size)
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, side, stride=side)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.projection(pixels)  # (B, D, Y, X)


class Embeddings(nn.Module):
    """Patches as vectors, behind a learned token, with their places."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.grid = config.grid
        n_patches = self.grid[0] * self.grid[1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.patch_embeddings = PatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, config.N_FIRST + n_patches, config.hidden_size))

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embeddings(pixels)  # (B, D, Y, X)
        first = [token.expand(len(patches), -1, -1) for token in self.first()]
        tokens = torch.cat([*first, patches.flatten(2).transpose(1, 2)], dim=1)  # (B, T, D)
        return tokens + resized_places(self.position_embeddings, self.grid, patches.shape[2:])

    def first(self) -> list[Tensor]:
        """The tokens (1, 1, D) before the patches."""
        return [self.cls_token]


def resized_places(places: Tensor, grid: tuple[int, int], wanted: torch.Size) -> Tensor:
    """Embeddings of places (1, T, D) of a grid, interpolated for an image with another number of patches."""
    if tuple(wanted) == grid:
        return places
    n_first = places.shape[1] - grid[0] * grid[1]
    field = places[:, n_first:].unflatten(1, grid).permute(0, 3, 1, 2)  # (1, D, Y, X)
    # In float32: bicubic weights in half precision shift what is learned.
    field = F.interpolate(field.float(), size=tuple(wanted), mode="bicubic", align_corners=False).to(places.dtype)
    return torch.cat([places[:, :n_first], field.flatten(2).transpose(1, 2)], dim=1)


class Attention(nn.Module):
    """Every token looks at all."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.n_heads = config.num_attention_heads
        width = config.hidden_size
        self.q_proj = nn.Linear(width, width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(width, width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(width, width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        queries, keys, values = (
            part(x).unflatten(2, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, K)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        found = F.scaled_dot_product_attention(queries, keys, values, mask)
        return self.o_proj(found.transpose(1, 2).flatten(2))  # (B, T, D)


class FeedForward(nn.Module):
    """Two layers and what lies between them."""

    def __init__(self, width: int, inner: int, function: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.activation = activation(function)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class Layer(nn.Module):
    """Attention and a feed-forward network, each normalised before and added after."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.mlp = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.layernorm_before(x), mask)
        return x + self.mlp(self.layernorm_after(x))


class Encoder(nn.Module):
    """Pixels to states."""

    def __init__(self, config: ViTConfig, embeddings: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.embeddings(pixels)
        for layer in self.layers:
            x = layer(x)
        return self.layernorm(x)  # (B, T, D)


class ViT(nn.Module):
    """An encoder of images and a classifier on its first token."""

    Config: ClassVar[type[ViTConfig]] = ViTConfig
    kind = "image"
    RENAMES = RENAMES
    # What only pre-training needs.
    IGNORED_TENSORS: tuple[str, ...] = (r"vit\.pooler\..*", r".*\.mask_token")
    HARMLESS = HARMLESS

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = Encoder(config, Embeddings(config))
        self.classifier = nn.Linear(config.hidden_size, len(config.labels))

    @classmethod
    def tiny(cls, **changes: Any) -> ViTConfig:
        """A network for tests: two layers of 32, images of 4 by 4 patches."""
        small = cls.Config(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=32,
            patch_size=8,
            num_labels=7,
        )
        return replace(small, **changes)

    def states(self, pixels: Tensor) -> Tensor:
        """What the encoder makes of pixels (B, C, height, width): (B, T, D)."""
        return self.vit(pixels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, L) of pixels (B, C, height, width)."""
        return self.classifier(self.states(pixels)[:, 0]).float()
