"""GPT-2: learned positions, norms with biases, one product for queries, keys and values.

Paper: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners". Weights of its linear layers are
stored the other way round, inputs first.

Dimension key: as llama.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.layers import activation
from auricle.models.text_cache import TextCache


@dataclass(frozen=True)
class GPT2Config:
    """What config.json says of the network; defaults as the family's (gpt2, 124 million)."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None  # None: four times n_embd
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        activation(self.activation_function)
        if self.n_embd % self.n_head:
            raise ConfigError(f"n_embd {self.n_embd} must be a multiple of n_head {self.n_head}")


class Product(nn.Module):
    """A linear layer with its weight as the files have it, (inputs, outputs)."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_inputs, n_outputs))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.T, self.bias)


class Attention(nn.Module):
    """Attention to the tokens before."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads = config.n_head
        self.c_attn = Product(config.n_embd, 3 * config.n_embd)
        self.c_proj = Product(config.n_embd, config.n_embd)
        self.scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= layer + 1

    def forward(self, x: Tensor, cache: TextCache, mask: Tensor | None) -> Tensor:
        queries, keys, values = (
            part.unflatten(2, (self.n_heads, -1)).transpose(1, 2) for part in self.c_attn(x).chunk(3, 2)
        )  # (B, H, S, K)
        keys, values = cache.extend(self.layer, keys, values)
        y = F.scaled_dot_product_attention(queries, keys, values, mask, scale=self.scale)
        return self.c_proj(y.transpose(1, 2).flatten(2))  # (B, S, D)


class FeedForward(nn.Module):
    """A network of two layers."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.c_fc = Product(config.n_embd, inner)
        self.c_proj = Product(inner, config.n_embd)
        self.activation = activation(config.activation_function)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.activation(self.c_fc(x)))


class Layer(nn.Module):
    """Attention and a feed-forward network, each normalised before and added after."""

    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, cache: TextCache, mask: Tensor | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), cache, mask)
        return x + self.mlp(self.ln_2(x))


class Decoder(nn.Module):
    """Tokens to states."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.h = nn.ModuleList(Layer(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)

    def forward(self, tokens: Tensor, cache: TextCache) -> Tensor:
        """Append tokens (B, S); states (B, S, D)."""
        n_new = tokens.shape[1]
        x = self.wte(tokens) + self.wpe(cache.positions(n_new, tokens.device))  # (B, S, D)
        mask = cache.mask(n_new, None, x.device)
        for layer in self.h:
            x = layer(x, cache, mask)
        cache.advance(n_new)
        return self.ln_f(x)


class GPT2(nn.Module):
    """A decoder of text and its output layer."""

    Config: ClassVar[type[GPT2Config]] = GPT2Config
    kind = "causal"
    RENAMES = ((r"^(wte|wpe|h|ln_f)\.", r"transformer.\1."),)  # files of the bare model lack the prefix
    IGNORED_TENSORS: tuple[str, ...] = (r".*\.attn\.(bias|masked_bias)",)
    HARMLESS = frozenset(
        """
        attn_pdrop embd_pdrop initializer_range n_ctx reorder_and_upcast_attn resid_pdrop summary_activation
        summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
        """.split()
    )

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.max_positions = config.n_positions
        self.transformer = Decoder(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.transformer.wte.weight

    @classmethod
    def tiny(cls, **changes: Any) -> GPT2Config:
        """A network for tests: two layers of 32."""
        small = GPT2Config(vocab_size=120, n_positions=64, n_embd=32, n_layer=2, n_head=4)
        return replace(small, **changes)

    def new_cache(self, n_pads: Tensor) -> TextCache:
        """Begin texts, each after so many pads (B,)."""
        return TextCache(n_pads)

    def hidden_states(self, tokens: Tensor, cache: TextCache) -> Tensor:
        """Append tokens (B, S); what the decoder makes of each (B, S, D), of which `logits` are made."""
        return self.transformer(tokens, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        """What follows, by hidden states (B, S, D): float32 logits (B, S, V)."""
        return self.lm_head(hidden).float()

    def forward(self, tokens: Tensor, n_pads: Tensor | None = None) -> Tensor:
        """Logits (B, S, V): what follows each token of `tokens` (B, S), of texts that begin after `n_pads` (B,)."""
        pads = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device) if n_pads is None else n_pads
        return self.logits(self.hidden_states(tokens, self.new_cache(pads)))
