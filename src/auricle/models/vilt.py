"""ViLT: a question's words and an image's patches, read together by one Vision Transformer.

Paper: "ViLT: Vision-and-Language Transformer Without Convolution or Region Supervision" (arXiv 2102.03334). Its
layers are those of vit.py; words come first, and places of patches are interpolated bilinearly.

Dimension key: B batch, C channels, S words, Y and X patches down and across, T = S + 1 + Y·X tokens, D width, L
answers.
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
from auricle.models.vit import RENAMES, Layer, PatchEmbeddings, Side, pair

HARMLESS = frozenset(
    """
    attention_probs_dropout_prob hidden_dropout_prob initializer_range num_images pad_token_id tie_word_embeddings
    """.split()
)
TEXT, IMAGE = 0, 1  # the kinds of tokens


@dataclass(frozen=True)
class ViltConfig(LabelsConfig):
    """What config.json says of the network."""

    vocab_size: int = 30522
    type_vocab_size: int = 2
    modality_type_vocab_size: int = 2
    max_position_embeddings: int = 40
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-12
    image_size: Side = 384
    patch_size: Side = 32
    num_channels: int = 3
    qkv_bias: bool = True
    max_image_length: int = -1  # below 0: all patches are seen

    def __post_init__(self) -> None:
        activation(self.hidden_act)
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.max_image_length >= 0:
            raise ConfigError(
                f"max_image_length is {self.max_image_length}, which draws patches by chance; supported is -1, all"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across, of an image as large as in training."""
        (height, width), (tall, wide) = pair(self.image_size), pair(self.patch_size)
        return height // tall, width // wide


class TextEmbeddings(nn.Module):
    """Words as vectors, with their places."""

    def __init__(self, config: ViltConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, words: Tensor) -> Tensor:
        places = self.position_embeddings.weight[: words.shape[1]]
        return self.LayerNorm(self.word_embeddings(words) + self.token_type_embeddings.weight[0] + places)  # (B, S, D)


class Embeddings(nn.Module):
    """Words and patches as vectors in one row."""

    def __init__(self, config: ViltConfig) -> None:
        super().__init__()
        self.grid = config.grid
        n_patches = self.grid[0] * self.grid[1]
        self.text_embeddings = TextEmbeddings(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.patch_embeddings = PatchEmbeddings(config)
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + n_patches, config.hidden_size))
        self.token_type_embeddings = nn.Embedding(config.modality_type_vocab_size, config.hidden_size)

    def forward(self, words: Tensor, pixels: Tensor) -> Tensor:
        kinds = self.token_type_embeddings.weight
        text = self.text_embeddings(words) + kinds[TEXT]
        patches = self.patch_embeddings(pixels)  # (B, D, Y, X)
        places = self._places(patches.shape[2:])
        image = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        return torch.cat([text, image + places + kinds[IMAGE]], dim=1)  # (B, T, D)

    def _places(self, wanted: torch.Size) -> Tensor:
        places = self.position_embeddings
        if tuple(wanted) == self.grid:
            return places
        field = places[:, 1:].unflatten(1, self.grid).permute(0, 3, 1, 2)  # (1, D, Y, X)
        field = F.interpolate(field.float(), size=tuple(wanted), mode="bilinear", align_corners=True).to(places.dtype)
        return torch.cat([places[:, :1], field.flatten(2).transpose(1, 2)], dim=1)


class Pooler(nn.Module):
    """A layer on the first token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        return self.dense(states[:, 0]).tanh()


class Encoder(nn.Module):
    """Words and pixels to states."""

    def __init__(self, config: ViltConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = Pooler(config.hidden_size)

    def forward(self, words: Tensor, lengths: Tensor, pixels: Tensor) -> Tensor:
        x = self.embeddings(words, pixels)
        places = torch.arange(x.shape[1], device=x.device)
        # Pads lie between a question's words and the image.
        seen = (places < lengths[:, None]) | (places >= words.shape[1])  # (B, T)
        for layer in self.layers:
            x = layer(x, seen[:, None, None])
        return self.layernorm(x)  # (B, T, D)


class Vilt(nn.Module):
    """An encoder of questions about images, and a classifier of answers."""

    Config: ClassVar[type[ViltConfig]] = ViltConfig
    kind = "vqa"
    writes = False  # it chooses among answers
    RENAMES = RENAMES
    IGNORED_TENSORS: tuple[str, ...] = (r".*\.position_ids", r".*\.token_type_ids", r"mlm_score\..*")
    HARMLESS = HARMLESS

    def __init__(self, config: ViltConfig) -> None:
        super().__init__()
        self.config = config
        self.max_question = config.max_position_embeddings
        self.vilt = Encoder(config)
        width = config.hidden_size
        self.classifier = nn.Sequential(
            nn.Linear(width, 2 * width), nn.LayerNorm(2 * width), nn.GELU(), nn.Linear(2 * width, len(config.labels))
        )

    @classmethod
    def tiny(cls, **changes: Any) -> ViltConfig:
        """A network for tests: two layers of 32, images of 4 by 4 patches."""
        small = cls.Config(
            vocab_size=120,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=32,
            patch_size=8,
            num_labels=7,
        )
        return replace(small, **changes)

    def states(self, words: Tensor, lengths: Tensor, pixels: Tensor) -> Tensor:
        """What the encoder makes of words (B, S), of which `lengths` (B,) are no pads, and pixels: (B, T, D)."""
        return self.vilt(words, lengths, pixels)

    def forward(self, words: Tensor, lengths: Tensor, pixels: Tensor) -> Tensor:
        """Logits (B, L) of the answers to questions about pixels (B, C, height, width)."""
        return self.classifier(self.vilt.pooler(self.states(words, lengths, pixels))).float()
