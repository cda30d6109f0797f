"""Gemma 2 and 3 as writers of text: norms around every part, soft limits on scores, and windows in most layers.

Papers: arXiv 2408.00118 (Gemma 2), 2503.19786 (Gemma 3). Against Llama: norms stand before and after each part and
scale by 1 + weight; embeddings grow by the root of the width; scores and logits are bent by tanh (Gemma 2); layers with
a window rotate with a base of their own, queries and keys are normalised (Gemma 3).

Dimension key: as llama.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models import llama
from auricle.models.llama import FULL, SLIDING, FeedForward, Llama, LlamaConfig
from auricle.models.rotary import RopeParameters, angles, frequencies
from auricle.models.text_cache import TextCache


@dataclass(frozen=True)
class LayerRope:
    """How positions rotate in each kind of layer."""

    sliding_attention: RopeParameters
    full_attention: RopeParameters


@dataclass(frozen=True)
class Gemma2Config(LlamaConfig):
    """Gemma 2: every other layer sees a window; scores and logits have soft limits."""

    vocab_size: int = 256000
    hidden_size: int = 2304
    intermediate_size: int = 9216
    num_hidden_layers: int = 26
    num_attention_heads: int = 8
    num_key_value_heads: int | None = 4
    head_dim: int | None = 256
    hidden_activation: str | None = "gelu_pytorch_tanh"
    max_position_embeddings: int = 8192
    tie_word_embeddings: bool = True
    query_pre_attn_scalar: float = 256
    sliding_window: int | None = 4096
    final_logit_softcapping: float | None = 30.0
    attn_logit_softcapping: float | None = 50.0
    cache_implementation: str | None = None
    use_bidirectional_attention: bool | None = None
    PERIOD: ClassVar[int] = 2  # every so many layers, the last one sees all

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.use_bidirectional_attention:
            raise ConfigError("use_bidirectional_attention is true, which reads texts and writes none")

    @property
    def function(self) -> str:
        """The activation of the feed-forward network."""
        return self.hidden_activation or "gelu_pytorch_tanh"

    def kind_of(self, layer: int) -> str:
        """Whether a layer sees a window or all."""
        if self.layer_types is not None:
            return self.layer_types[layer]
        return FULL if (layer + 1) % self.PERIOD == 0 else SLIDING

    def window(self, layer: int) -> int | None:
        """How many tokens a layer sees, itself included; None: all."""
        return self.sliding_window if self.kind_of(layer) == SLIDING else None

    def rotation_of(self, kind: str) -> tuple[float, RopeParameters | None]:
        """Base of the periods in a kind of layer, and how they are scaled."""
        return self.rotation


@dataclass(frozen=True)
class Gemma3Config(Gemma2Config):
    """Gemma 3: five layers with a window and a base of their own for each that sees all; no soft limits."""

    QK_NORM: ClassVar[bool] = True
    PERIOD: ClassVar[int] = 6

    vocab_size: int = 262208
    max_position_embeddings: int = 131072
    rope_theta: float = 1_000_000.0
    rope_local_base_freq: float = 10_000.0
    rope_parameters: LayerRope | None = None  # type: ignore[assignment]
    sliding_window_pattern: int | None = None
    final_logit_softcapping: float | None = None
    attn_logit_softcapping: float | None = None

    def kind_of(self, layer: int) -> str:
        """Whether a layer sees a window or all."""
        if self.layer_types is not None:
            return self.layer_types[layer]
        return FULL if (layer + 1) % (self.sliding_window_pattern or self.PERIOD) == 0 else SLIDING

    def rotation_of(self, kind: str) -> tuple[float, RopeParameters | None]:
        """Base of the periods in a kind of layer, and how they are scaled."""
        if self.rope_parameters is not None:
            given: RopeParameters = getattr(self.rope_parameters, kind)
            return given.rope_theta or self.rope_theta, given.for_length(self.max_position_embeddings)
        return (self.rope_local_base_freq, None) if kind == SLIDING else (self.rope_theta, self.rope_scaling)


class Norm(nn.Module):
    """Scale to a mean square of 1, then by 1 + weight, all in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        normal = x.float()
        normal = normal * (normal.square().mean(-1, keepdim=True) + self.eps).rsqrt()
        return (normal * (1.0 + self.weight.float())).to(x.dtype)


class Attention(llama.Attention):
    """Attention with a scale of its own and, in Gemma 2, scores that stay within soft limits."""

    def __init__(self, config: Gemma2Config, layer: int) -> None:
        super().__init__(config, layer)
        self.scale = config.query_pre_attn_scalar**-0.5
        self.limit = config.attn_logit_softcapping
        if config.QK_NORM:
            self.q_norm = Norm(config.head_width, config.rms_norm_eps)  # type: ignore[assignment]
            self.k_norm = Norm(config.head_width, config.rms_norm_eps)  # type: ignore[assignment]

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """What the queries (B, H, S, K) find, (B, H, S, K)."""
        if self.limit is None:
            return F.scaled_dot_product_attention(queries, keys, values, mask, scale=self.scale, enable_gqa=True)
        times = queries.shape[1] // keys.shape[1]
        keys, values = keys.repeat_interleave(times, 1), values.repeat_interleave(times, 1)
        scores = queries @ keys.transpose(2, 3) * self.scale  # (B, H, S, P + S)
        scores = self.limit * torch.tanh(scores / self.limit)
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return scores.float().softmax(-1).to(values.dtype) @ values


class Layer(nn.Module):
    """Attention and a feed-forward network, each normalised before and after, then added."""

    def __init__(self, config: Gemma2Config, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = FeedForward(config, config.function)
        width, eps = config.hidden_size, config.rms_norm_eps
        self.input_layernorm, self.post_attention_layernorm = Norm(width, eps), Norm(width, eps)
        self.pre_feedforward_layernorm, self.post_feedforward_layernorm = Norm(width, eps), Norm(width, eps)

    def forward(self, x: Tensor, cache: TextCache, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        y = self.self_attn(self.input_layernorm(x), cache, rotation, mask)
        x = x + self.post_attention_layernorm(y)
        return x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x)))


class Decoder(nn.Module):
    """Tokens to states."""

    def __init__(self, config: Gemma2Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)

    def forward(self, tokens: Tensor, cache: TextCache) -> Tensor:
        """Append tokens (B, S); states (B, S, D)."""
        config, n_new = self.config, tokens.shape[1]
        x = self.embed_tokens(tokens)  # (B, S, D)
        # In the type of the weights, which rounds the root.
        x = x * torch.tensor(config.hidden_size**0.5, dtype=x.dtype, device=x.device)
        positions = cache.positions(n_new, x.device)
        kinds = [config.kind_of(layer) for layer in range(len(self.layers))]
        given = {
            kind: angles(positions, frequencies(config.head_width, *config.rotation_of(kind), x.device))
            for kind in set(kinds)
        }
        windows = {SLIDING: config.sliding_window, FULL: None}
        masks = {kind: cache.mask(n_new, windows[kind], x.device) for kind in set(kinds)}
        for kind, layer in zip(kinds, self.layers, strict=True):
            x = layer(x, cache, given[kind], masks[kind])
        cache.advance(n_new)
        return self.norm(x)


class Gemma2(Llama):
    """A decoder of text and its output layer, whose logits have a soft limit."""

    Config: ClassVar[type[LlamaConfig]] = Gemma2Config
    config: Gemma2Config
    HARMLESS = llama.HARMLESS | {"hidden_act"}

    def __init__(self, config: Gemma2Config) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.max_positions = config.max_position_embeddings
        self.model = Decoder(config)  # type: ignore[assignment]
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    @classmethod
    def tiny(cls, **changes: Any) -> LlamaConfig:
        """A network for tests: seven layers of 32, a window of 6 tokens."""
        small = super().tiny(num_hidden_layers=7, sliding_window=6, query_pre_attn_scalar=16.0)
        return replace(small, **changes)

    def logits(self, hidden: Tensor) -> Tensor:
        """What follows, by hidden states (B, S, D): float32 logits (B, S, V)."""
        logits = self.lm_head(hidden)
        limit = self.config.final_logit_softcapping
        if limit is not None:
            logits = limit * torch.tanh(logits / limit)
        return logits.float()


class Gemma3(Gemma2):
    """Gemma 3's decoder of text, also where it is a part of the model that sees."""

    Config = Gemma3Config
    RENAMES = ((r"^(?:model\.)?language_model\.(?:model\.)?(?=embed_tokens|layers|norm)", "model."),)
    IGNORED_TENSORS = (*Llama.IGNORED_TENSORS, r"^(model\.)?(vision_tower|multi_modal_projector)\.")
