"""BLIP: a Vision Transformer sees, one BERT reads the question looking at what is seen, another writes the answer.

Paper: "BLIP: Bootstrapping Language-Image Pre-training" (arXiv 2201.12086), figure 5.

Dimension key: B batch, C channels, N = 1 + patches, S words, D width, H heads, K width of a head, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.blip_text import BlipTextConfig, TextDecoder, TextModel
from auricle.models.layers import Cache, activation
from auricle.models.vit import FeedForward, Side, pair, resized_places

# is_decoder is of both halves here: each has the layers that look at something else.
HARMLESS = frozenset(
    """
    attention_dropout attention_probs_dropout_prob dropout hidden_dropout_prob image_text_hidden_size
    initializer_factor initializer_range is_decoder label_smoothing logit_scale_init_value projection_dim
    text_config_dict vision_config_dict
    """.split()
)


@dataclass(frozen=True)
class BlipVisionConfig:
    """What config.json says of what sees."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: Side = 384
    patch_size: Side = 16
    num_channels: int = 3
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5

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


@dataclass(frozen=True)
class BlipConfig:
    """What config.json says of the network."""

    text_config: BlipTextConfig = field(default_factory=BlipTextConfig)
    vision_config: BlipVisionConfig = field(default_factory=BlipVisionConfig)


class VisionEmbeddings(nn.Module):
    """Patches as vectors, behind a learned token, with their places."""

    def __init__(self, config: BlipVisionConfig) -> None:
        super().__init__()
        self.grid = config.grid
        width, side = config.hidden_size, pair(config.patch_size)
        self.class_embedding = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_embedding = nn.Conv2d(config.num_channels, width, side, stride=side)
        self.position_embedding = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], width))

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels)  # (B, D, Y, X)
        first = self.class_embedding.expand(len(patches), -1, -1)
        tokens = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1)  # (B, N, D)
        return tokens + resized_places(self.position_embedding, self.grid, patches.shape[2:])


class VisionAttention(nn.Module):
    """Every patch looks at all."""

    def __init__(self, config: BlipVisionConfig) -> None:
        super().__init__()
        self.n_heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.projection = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.qkv(x).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, N, K)
        found = F.scaled_dot_product_attention(queries, keys, values)
        return self.projection(found.transpose(1, 2).flatten(2))  # (B, N, D)


class VisionLayer(nn.Module):
    """Attention and a feed-forward network, each normalised before and added after."""

    def __init__(self, config: BlipVisionConfig) -> None:
        super().__init__()
        self.self_attn = VisionAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = FeedForward(config.hidden_size, config.intermediate_size, config.hidden_act)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class VisionLayers(nn.Module):
    """All layers."""

    def __init__(self, config: BlipVisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class VisionModel(nn.Module):
    """Pixels to states."""

    def __init__(self, config: BlipVisionConfig) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.encoder = VisionLayers(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.post_layernorm(self.encoder(self.embeddings(pixels)))  # (B, N, D)


class Blip(nn.Module):
    """What sees, what reads and what writes; `read` a question about what was seen, then decode over a `Cache`."""

    Config: ClassVar[type[BlipConfig]] = BlipConfig
    kind = "vqa"
    writes = True
    RENAMES: tuple[tuple[str, str], ...] = ()
    IGNORED_TENSORS: tuple[str, ...] = (r".*\.position_ids", r"text_encoder\.pooler\..*")
    HARMLESS = HARMLESS

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.config = config
        self.max_positions = self.max_question = config.text_config.max_position_embeddings
        # What is seen is as wide as what sees makes it, whatever encoder_hidden_size says.
        text = replace(config.text_config, encoder_hidden_size=config.vision_config.hidden_size)
        self.vision_model = VisionModel(config.vision_config)
        self.text_encoder = TextModel(text)
        # The words of a question are what the answer looks at.
        self.text_decoder = TextDecoder(text)

    @classmethod
    def tiny(cls, **changes: Any) -> BlipConfig:
        """A network for tests: two layers of 32 in each part, images of 4 by 4 patches."""
        shape: dict[str, Any] = {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
        }
        text = BlipTextConfig(**shape, vocab_size=120, max_position_embeddings=48, bos_token_id=1, sep_token_id=2)
        return replace(BlipConfig(text, BlipVisionConfig(**shape, image_size=32, patch_size=8)), **changes)

    def see(self, pixels: Tensor) -> Tensor:
        """What is seen in pixels (B, C, height, width): (B, N, D)."""
        return self.vision_model(pixels)

    def read(self, words: Tensor, lengths: Tensor, seen: Tensor) -> Tensor:
        """States (B, S, D) of questions (B, S), of which `lengths` (B,) are no pads, about what was seen (B, N, D)."""
        cache = self.text_encoder.new_cache(seen, None)
        return self.text_encoder(words, cache, _words(words.shape[1], lengths))

    def new_cache(self, states: Tensor, lengths: Tensor) -> Cache:
        """Begin answers to questions whose states are (B, S, D)."""
        return self.text_decoder.bert.new_cache(states, _words(states.shape[1], lengths))

    def hidden_states(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Append tokens (B, S); what the decoder makes of each (B, S, D), of which `logits` are made."""
        return self.text_decoder.bert.follow(tokens, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        """What follows, by hidden states (B, S, D): float32 logits (B, S, V)."""
        return self.text_decoder.cls.predictions(hidden).float()


def _words(n_words: int, lengths: Tensor) -> Tensor:
    """Which words are no pads, (B, 1, 1, S) bool."""
    return (torch.arange(n_words, device=lengths.device) < lengths[:, None])[:, None, None]
