"""Llama and its relatives that write text: one token after the other, from the tokens before.

Papers: Llama 2 (arXiv 2307.09288), Llama 3 (arXiv 2407.21783), Qwen2 and 2.5 (arXiv 2407.10671, 2412.15115), Qwen3
(arXiv 2505.09388), Mistral (arXiv 2310.06825). SmolLM3 leaves positions out of every fourth layer (arXiv 2501.18795).
They differ in numbers and in three switches: biases of queries, keys and values (Qwen2), norms of queries and keys
(Qwen3), layers without positions (SmolLM3).

Dimension key: B batch, S new tokens, P tokens held, D width, H heads, G heads of keys and values, K width of a head,
V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.layers import activation
from auricle.models.rotary import ELSEWHERE, RopeParameters, angles, frequencies, rotate
from auricle.models.text_cache import TextCache

SLIDING, FULL = "sliding_attention", "full_attention"
HARMLESS = frozenset(
    """
    attention_dropout hidden_dropout initializer_range max_window_layers no_rope_layer_interval pretraining_tp
    use_mlp_bias _sliding_window_pattern
    """.split()
)


@dataclass(frozen=True)
class LlamaConfig:
    """What config.json says of the network; defaults are those of files that leave a key out."""

    QKV_BIAS: ClassVar[bool | None] = None  # None: as attention_bias
    QK_NORM: ClassVar[bool] = False

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None  # None: as many as attention heads
    head_dim: int | None = None  # None: hidden_size divided by the heads
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    rope_scaling: RopeParameters | None = None
    rope_parameters: RopeParameters | None = None  # stands above the two before it
    attention_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    sliding_window: int | None = None  # tokens that are seen, itself included; None: all
    use_sliding_window: bool | None = None  # False: sliding_window is only a number
    layer_types: tuple[str, ...] | None = None  # FULL or SLIDING of each layer
    no_rope_layers: tuple[int, ...] | None = None  # 0 for layers without positions

    def __post_init__(self) -> None:
        activation(self.hidden_act)
        if self.num_attention_heads % self.n_groups:
            raise ConfigError(
                f"num_attention_heads {self.num_attention_heads} must be a multiple of num_key_value_heads "
                f"{self.n_groups}"
            )
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads {self.num_attention_heads}"
            )
        if self.layer_types is not None and len(self.layer_types) != self.num_hidden_layers:
            raise ConfigError(f"layer_types names {len(self.layer_types)} layers of {self.num_hidden_layers}")
        strange = sorted(set(self.layer_types or ()) - {FULL, SLIDING})
        if strange:
            raise ConfigError(f"layer_types has {strange[0]!r}; native are {FULL!r} and {SLIDING!r}; {ELSEWHERE}")

    @property
    def n_groups(self) -> int:
        """Heads of keys and values."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        """Numbers of a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def rotation(self) -> tuple[float, RopeParameters | None]:
        """Base of the periods, and how they are scaled."""
        scaling = self.rope_parameters or self.rope_scaling
        if scaling is None:
            return self.rope_theta, None
        theta = self.rope_theta if self.rope_parameters is None else scaling.rope_theta or self.rope_theta
        return theta, scaling.for_length(self.max_position_embeddings)

    @property
    def max_positions(self) -> int:
        """Tokens of a text at most: those of training, or as many times more as YaRN stretches them."""
        scaling = self.rotation[1]
        if scaling is None or scaling.kind != "yarn":
            return self.max_position_embeddings
        return max(self.max_position_embeddings, int((scaling.original_max_position_embeddings or 0) * scaling.factor))

    def kind_of(self, layer: int) -> str:
        """Whether a layer sees a window or all, where a file does not name each layer's kind."""
        return SLIDING

    def window(self, layer: int) -> int | None:
        """How many tokens a layer sees, itself included; None: all."""
        if self.use_sliding_window is False or self.sliding_window is None:
            return None
        kind = self.kind_of(layer) if self.layer_types is None else self.layer_types[layer]
        return self.sliding_window if kind == SLIDING else None

    def has_positions(self, layer: int) -> bool:
        """Whether queries and keys of a layer rotate."""
        return self.no_rope_layers is None or bool(self.no_rope_layers[layer])


@dataclass(frozen=True)
class Qwen2Config(LlamaConfig):
    """Qwen2 and 2.5: queries, keys and values have biases."""

    QKV_BIAS: ClassVar[bool | None] = True

    vocab_size: int = 151936
    max_position_embeddings: int = 32768
    use_sliding_window: bool | None = False
    sliding_window: int | None = 4096
    max_window_layers: int = 28  # where there are windows, so many first layers see all

    def kind_of(self, layer: int) -> str:
        """Whether a layer sees a window or all, where a file does not name each layer's kind."""
        return FULL if layer < self.max_window_layers else SLIDING


@dataclass(frozen=True)
class Qwen3Config(Qwen2Config):
    """Qwen3: queries and keys are normalised before they rotate, and need no biases."""

    QKV_BIAS: ClassVar[bool | None] = None
    QK_NORM: ClassVar[bool] = True

    head_dim: int | None = 128


@dataclass(frozen=True)
class MistralConfig(LlamaConfig):
    """Mistral: a window of tokens is seen."""

    intermediate_size: int = 14336
    num_key_value_heads: int | None = 8
    max_position_embeddings: int = 131072
    sliding_window: int | None = 4096


@dataclass(frozen=True)
class SmolLM3Config(LlamaConfig):
    """SmolLM3: every fourth layer has no positions."""

    vocab_size: int = 128256
    hidden_size: int = 2048
    num_hidden_layers: int = 36
    num_attention_heads: int = 16
    num_key_value_heads: int | None = 4
    max_position_embeddings: int = 32768
    rope_theta: float = 2_000_000.0
    tie_word_embeddings: bool = True
    use_sliding_window: bool | None = False
    no_rope_layer_interval: int = 4

    def has_positions(self, layer: int) -> bool:
        """Whether queries and keys of a layer rotate."""
        if self.no_rope_layers is not None:
            return bool(self.no_rope_layers[layer])
        return (layer + 1) % self.no_rope_layer_interval != 0

    def kind_of(self, layer: int) -> str:
        """Whether a layer sees a window or all, where a file does not name each layer's kind."""
        return FULL if self.has_positions(layer) else SLIDING


class RMSNorm(nn.Module):
    """Scale to a mean square of 1, computed in float32. Source: arXiv 1910.07467."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        normal = x.float()
        normal = normal * (normal.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return self.weight * normal.to(x.dtype)


class Attention(nn.Module):
    """Attention to the tokens before, whose keys and values are shared by groups of heads."""

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_width = config.head_width
        self.has_positions = config.has_positions(layer)
        bias = config.attention_bias if config.QKV_BIAS is None else config.QKV_BIAS
        width, inner = config.hidden_size, config.num_attention_heads * config.head_width
        self.q_proj = nn.Linear(width, inner, bias=bias)
        self.k_proj = nn.Linear(width, config.n_groups * config.head_width, bias=bias)
        self.v_proj = nn.Linear(width, config.n_groups * config.head_width, bias=bias)
        self.o_proj = nn.Linear(inner, width, bias=config.attention_bias)
        if config.QK_NORM:
            self.q_norm = RMSNorm(config.head_width, config.rms_norm_eps)
            self.k_norm = RMSNorm(config.head_width, config.rms_norm_eps)
        self.normalizes = config.QK_NORM

    def forward(self, x: Tensor, cache: TextCache, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        queries, keys, values = (self._split(part(x)) for part in (self.q_proj, self.k_proj, self.v_proj))
        if self.normalizes:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        if self.has_positions:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        keys, values = cache.extend(self.layer, keys, values)  # (B, G, P + S, K)
        return self.o_proj(self.attend(queries, keys, values, mask).transpose(1, 2).flatten(2))  # (B, S, D)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """What the queries (B, H, S, K) find, (B, H, S, K)."""
        return F.scaled_dot_product_attention(queries, keys, values, mask, enable_gqa=queries.shape[1] != keys.shape[1])

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (-1, self.head_width)).transpose(1, 2)  # (B, H or G, S, K)


class FeedForward(nn.Module):
    """A gated network of two layers. Source: arXiv 2002.05202."""

    def __init__(self, config: LlamaConfig, function: str) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)
        self.activation = activation(function)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))  # (B, S, D)


class Layer(nn.Module):
    """Attention and a feed-forward network, each normalised before and added after."""

    def __init__(self, config: LlamaConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = FeedForward(config, config.hidden_act)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, cache: TextCache, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cache, rotation, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Tokens to states."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, tokens: Tensor, cache: TextCache) -> Tensor:
        """Append tokens (B, S); states (B, S, D)."""
        x = self.embed_tokens(tokens)  # (B, S, D)
        n_new, windows = tokens.shape[1], {self.config.window(layer) for layer in range(len(self.layers))}
        masks = {window: cache.mask(n_new, window, x.device) for window in windows}
        turns = frequencies(self.config.head_width, *self.config.rotation, x.device)
        rotation = angles(cache.positions(n_new, x.device), turns)
        for number, layer in enumerate(self.layers):
            x = layer(x, cache, rotation, masks[self.config.window(number)])
        cache.advance(n_new)
        return self.norm(x)


class Llama(nn.Module):
    """A decoder of text and its output layer."""

    Config: ClassVar[type[LlamaConfig]] = LlamaConfig
    kind = "causal"
    RENAMES: tuple[tuple[str, str], ...] = ()
    IGNORED_TENSORS: tuple[str, ...] = (r".*\.rotary_emb\.inv_freq",)
    HARMLESS = HARMLESS

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.max_positions = config.max_positions
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @classmethod
    def tiny(cls, **changes: Any) -> LlamaConfig:
        """A network for tests: two layers of 32, heads in groups."""
        small = cls.Config(
            vocab_size=120,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
        )
        return replace(small, **changes)

    def new_cache(self, n_pads: Tensor) -> TextCache:
        """Begin texts, each after so many pads (B,)."""
        return TextCache(n_pads)

    def hidden_states(self, tokens: Tensor, cache: TextCache) -> Tensor:
        """Append tokens (B, S); what the decoder makes of each (B, S, D), of which `logits` are made."""
        return self.model(tokens, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        """What follows, by hidden states (B, S, D): float32 logits (B, S, V)."""
        return self.lm_head(hidden).float()

    def forward(self, tokens: Tensor, n_pads: Tensor | None = None) -> Tensor:
        """Logits (B, S, V): what follows each token of `tokens` (B, S), of texts that begin after `n_pads` (B,)."""
        pads = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device) if n_pads is None else n_pads
        return self.logits(self.hidden_states(tokens, self.new_cache(pads)))


class Qwen2(Llama):
    """Llama with biases of queries, keys and values."""

    Config = Qwen2Config


class Qwen3(Llama):
    """Llama with norms of queries and keys."""

    Config = Qwen3Config


class Mistral(Llama):
    """Llama with a window of attention."""

    Config = MistralConfig


class SmolLM3(Llama):
    """Llama with layers that know no positions."""

    Config = SmolLM3Config
