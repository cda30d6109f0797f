"""Moonshine: short commands from the waveform itself; its work grows with the recording, not with a window.

Paper: arXiv 2410.15608. Against Whisper: three strided convolutions hear the samples, positions
are rotations of queries and keys, norms have no bias, the decoder's feed-forward network is gated.

Dimension key: B batch, N samples, C channels, T encoder frames (41.67 a second), S tokens, D width, H heads,
G heads of keys and values, K width of a head, R rotated part of K, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.layers import Cache, activation, causal_mask

# (kernel, stride) of the three convolutions, in samples of 16 kHz: 384 samples a frame.
CONVOLUTIONS = ((127, 64), (7, 3), (3, 2))
# What the first frame hears, 56 ms.
FIRST_FRAME_SAMPLES = 895


@dataclass(frozen=True)
class RopeParameters:
    """How positions rotate, as newer files write it."""

    rope_theta: float = 10_000.0
    rope_type: Literal["default"] = "default"
    partial_rotary_factor: float | None = None


@dataclass(frozen=True)
class MoonshineConfig:
    """What config.json says of the network; defaults as the family's (moonshine-tiny)."""

    vocab_size: int = 32768
    hidden_size: int = 288
    intermediate_size: int = 1152
    encoder_num_hidden_layers: int = 6
    encoder_num_attention_heads: int = 8
    encoder_num_key_value_heads: int | None = None  # None: as many as attention heads
    encoder_hidden_act: str = "gelu"
    decoder_num_hidden_layers: int = 6
    decoder_num_attention_heads: int = 8
    decoder_num_key_value_heads: int | None = None
    decoder_hidden_act: str = "silu"
    attention_bias: bool = False
    max_position_embeddings: int = 512  # tokens
    rope_theta: float = 10_000.0
    partial_rotary_factor: float = 0.9  # this much of a head's width is rotated
    rope_scaling: None = None
    rope_parameters: RopeParameters | None = None  # stands above the three before it
    tie_word_embeddings: bool = True
    decoder_start_token_id: int = 1
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        activation(self.encoder_hidden_act)
        activation(self.decoder_hidden_act)
        for part in ("encoder", "decoder"):
            n_heads, n_groups = self.heads(part)
            if self.hidden_size % n_heads or n_heads % n_groups:
                raise ConfigError(
                    f"{part}_num_attention_heads {n_heads} must divide hidden_size {self.hidden_size} "
                    f"and be a multiple of {part}_num_key_value_heads {n_groups}"
                )

    def heads(self, part: str) -> tuple[int, int]:
        """Heads of the queries and of the keys and values, of the "encoder" or the "decoder"."""
        n_heads = getattr(self, f"{part}_num_attention_heads")
        return n_heads, getattr(self, f"{part}_num_key_value_heads") or n_heads

    @property
    def rotation(self) -> tuple[float, float]:
        """Base of the periods, and rotated part of a head's width."""
        if self.rope_parameters is None:
            return self.rope_theta, self.partial_rotary_factor
        given = self.rope_parameters.partial_rotary_factor
        return self.rope_parameters.rope_theta, self.partial_rotary_factor if given is None else given


def rotations(positions: Tensor, head_width: int, base: float, part: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of each position's angles, two times (S, R); neighbours share an angle.

    Source: arXiv 2104.09864, section 3.4.2.
    """
    rotated = int(head_width * part)
    even = torch.arange(0, rotated, 2, device=positions.device, dtype=torch.float32)
    angles = positions[:, None] * base ** (-even / rotated)  # (S, R / 2)
    angles = angles.repeat_interleave(2, 1)  # (S, R)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair of neighbours in the first R of `x` (B, H, S, K) by its position's angle."""
    cosines, sines = (part.to(x.dtype) for part in rotation)
    head, tail = x.split([cosines.shape[1], x.shape[3] - cosines.shape[1]], 3)
    even, odd = head[..., 0::2], head[..., 1::2]
    turned = torch.stack([-odd, even], -1).flatten(3)  # (B, H, S, R)
    return torch.cat([head * cosines + turned * sines, tail], 3)


class Attention(nn.Module):
    """Attention of several heads, whose keys and values may be shared by groups of them."""

    def __init__(self, config: MoonshineConfig, part: str) -> None:
        super().__init__()
        width = config.hidden_size
        n_heads, n_groups = config.heads(part)
        self.head_width = width // n_heads
        self.grouped = n_groups != n_heads
        self.q_proj = nn.Linear(width, width, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, n_groups * self.head_width, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, n_groups * self.head_width, bias=config.attention_bias)
        self.o_proj = nn.Linear(width, width, bias=False)

    def queries(self, x: Tensor) -> Tensor:
        """What `x` (B, S, D) looks for, (B, H, S, K)."""
        return self._split(self.q_proj(x))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What `x` (B, T, D) offers to be attended to, twice (B, G, T, K)."""
        return self._split(self.k_proj(x)), self._split(self.v_proj(x))

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """What the queries find, (B, S, D); `mask` is True where a key is seen."""
        y = F.scaled_dot_product_attention(queries, keys, values, mask, enable_gqa=self.grouped)
        return self.o_proj(y.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (-1, self.head_width)).transpose(1, 2)  # (B, H or G, T, K)


class FeedForward(nn.Module):
    """Two linear layers; a gated one multiplies the first's two halves."""

    def __init__(self, config: MoonshineConfig, function: str, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        self.activation = activation(function)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size * (2 if gated else 1))
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)  # (B, T, intermediate), or twice that
        if self.gated:
            linear, gate = x.chunk(2, 2)
            return self.fc2(self.activation(gate) * linear)
        return self.fc2(self.activation(x))  # (B, T, D)


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each normalised before and added after."""

    def __init__(self, config: MoonshineConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config, "encoder")
        self.mlp = FeedForward(config, config.encoder_hidden_act, gated=False)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, bias=False)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        y = self.input_layernorm(x)  # (B, T, D)
        keys, values = self.self_attn.keys_values(y)
        queries = rotate(self.self_attn.queries(y), rotation)
        x = x + self.self_attn(queries, rotate(keys, rotation), values, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Encoder(nn.Module):
    """Samples to states, 384 times slower."""

    def __init__(self, config: MoonshineConfig) -> None:
        super().__init__()
        width = config.hidden_size
        (first, stride1), (second, stride2), (third, stride3) = CONVOLUTIONS
        self.config = config
        self.conv1 = nn.Conv1d(1, width, first, stride1, bias=False)
        self.groupnorm = nn.GroupNorm(1, width)
        self.conv2 = nn.Conv1d(width, 2 * width, second, stride2)
        self.conv3 = nn.Conv1d(2 * width, width, third, stride3)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_num_hidden_layers))
        self.layer_norm = nn.LayerNorm(width, bias=False)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) and the samples of each row to (B, T, D) and the frames of each row."""
        x = self.conv1(values[:, None]).tanh()  # (B, C, T')
        lengths = shortened(lengths, *CONVOLUTIONS[0])
        x = self.normalize(x, lengths)
        for convolution, shape in zip((self.conv2, self.conv3), CONVOLUTIONS[1:], strict=True):
            x = F.gelu(convolution(x))
            lengths = shortened(lengths, *shape)
        x = x.transpose(1, 2)  # (B, T, D)
        positions = torch.arange(x.shape[1], device=x.device)
        n_heads, _ = self.config.heads("encoder")
        rotation = rotations(positions, self.config.hidden_size // n_heads, *self.config.rotation)
        mask = heard(lengths, x.shape[1])
        for layer in self.layers:
            x = layer(x, rotation, mask)
        return self.layer_norm(x), lengths

    def normalize(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Move each row of `x` (B, C, T') to mean 0 and variance 1 over its channels and its own frames.

        The norm of a padded row would otherwise depend on how much its neighbours are longer.
        """
        valid = torch.arange(x.shape[2], device=x.device) < lengths[:, None, None]  # (B, 1, T')
        n_values = (lengths * x.shape[1])[:, None, None]
        # In float32 whatever x is: a second of sound sums 70,000 values.
        mean = (x.float() * valid).sum((1, 2), keepdim=True) / n_values
        centred = (x.float() - mean) * valid
        variance = centred.square().sum((1, 2), keepdim=True) / n_values
        normal = (centred * (variance + self.groupnorm.eps).rsqrt()).to(x.dtype)
        return normal * self.groupnorm.weight[:, None] + self.groupnorm.bias[:, None]


class DecoderLayer(nn.Module):
    """Self-attention over the tokens so far, attention to the recording, a gated feed-forward network."""

    def __init__(self, config: MoonshineConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config, "decoder")
        self.encoder_attn = Attention(config, "decoder")
        self.mlp = FeedForward(config, config.decoder_hidden_act, gated=True)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, bias=False)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, bias=False)
        self.final_layernorm = nn.LayerNorm(config.hidden_size, bias=False)

    def forward(
        self, x: Tensor, cache: Cache, index: int, rotation: tuple[Tensor, Tensor], mask: Tensor | None
    ) -> Tensor:
        """`index` is the layer's place in the cache, `rotation` that of the new tokens."""
        y = self.input_layernorm(x)  # (B, S, D)
        keys, values = self.self_attn.keys_values(y)
        queries, keys = rotate(self.self_attn.queries(y), rotation), rotate(keys, rotation)
        x = x + self.self_attn(queries, *cache.extend(index, keys, values), mask)
        queries = self.encoder_attn.queries(self.post_attention_layernorm(x))
        x = x + self.encoder_attn(queries, *cache.cross[index], cache.cross_mask)
        return x + self.mlp(self.final_layernorm(x))


class Decoder(nn.Module):
    """Tokens, and what was heard, to states that predict the next token."""

    layers: Any  # a ModuleList of DecoderLayer, which it does not say to a type checker

    def __init__(self, config: MoonshineConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, bias=False)

    def forward(self, tokens: Tensor, cache: Cache) -> Tensor:
        x = self.embed_tokens(tokens)  # (B, S, D)
        positions = torch.arange(cache.length, cache.length + tokens.shape[1], device=tokens.device)
        n_heads, _ = self.config.heads("decoder")
        rotation = rotations(positions, self.config.hidden_size // n_heads, *self.config.rotation)
        mask = causal_mask(tokens.shape[1], cache.length, tokens.device)
        for index, layer in enumerate(self.layers):
            x = layer(x, cache, index, rotation, mask)
        cache.advance(tokens.shape[1])
        return self.norm(x)  # (B, S, D)


class EncoderDecoder(nn.Module):
    """Both halves, under the name that checkpoints give them."""

    def __init__(self, config: MoonshineConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)


class Moonshine(nn.Module):
    """The whole network; `encode` a recording, then `decode` token by token over a `Cache`."""

    kind = "seq2seq"
    Config = MoonshineConfig
    RENAMES = ((r"^(encoder|decoder)\.", r"model.\1."),)  # files of the bare model lack the prefix
    IGNORED_TENSORS: tuple[str, ...] = ()
    HARMLESS = frozenset(
        {
            # Training only.
            "attention_dropout",
            "initializer_range",
            # Zeros that some kernels want behind each head; they change no sum.
            "pad_head_dim_to_multiple_of",
        }
    )

    def __init__(self, config: MoonshineConfig) -> None:
        super().__init__()
        self.config = config
        self.max_positions = config.max_position_embeddings
        self.model = EncoderDecoder(config)
        self.proj_out = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.proj_out.weight = self.model.decoder.embed_tokens.weight

    @classmethod
    def tiny(cls, **changes: Any) -> MoonshineConfig:
        """A network for tests: two layers of 32."""
        small = MoonshineConfig(
            vocab_size=120,
            hidden_size=32,
            intermediate_size=48,
            encoder_num_hidden_layers=2,
            encoder_num_attention_heads=4,
            decoder_num_hidden_layers=2,
            decoder_num_attention_heads=4,
        )
        return replace(small, **changes)

    def encode(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (B, N) at 16 kHz with their samples (B,) to states (B, T, D) and frames (B,).

        A recording too short for one frame is heard as if silence followed it.
        """
        missing = FIRST_FRAME_SAMPLES - values.shape[1]
        values = F.pad(values, (0, max(missing, 0)))
        states, lengths = self.model.encoder(values, lengths.clamp(min=FIRST_FRAME_SAMPLES))
        return states, lengths

    def new_cache(self, states: Tensor, lengths: Tensor) -> Cache:
        """Start decoding: every layer's keys and values of the recording, and no token yet."""
        cross = [layer.encoder_attn.keys_values(states) for layer in self.model.decoder.layers]
        return Cache(cross, heard(lengths, states.shape[1]))

    def decode(self, tokens: Tensor, cache: Cache, n_last: int = 1) -> Tensor:
        """Append tokens (B, S); float32 logits (B, n_last, V) after the last `n_last` of them."""
        return self.logits(self.hidden_states(tokens, cache)[:, -n_last:])

    def hidden_states(self, tokens: Tensor, cache: Cache) -> Tensor:
        """Append tokens (B, S); what the decoder makes of each (B, S, D), of which `logits` are made."""
        return self.model.decoder(tokens, cache)

    def logits(self, hidden: Tensor) -> Tensor:
        """What follows, by hidden states (B, S, D): float32 logits (B, S, V)."""
        return self.proj_out(hidden).float()

    def forward(self, values: Tensor, lengths: Tensor, tokens: Tensor) -> Tensor:
        """Teacher-forced logits (B, S, V): what follows each token of `tokens` (B, S)."""
        states, lengths = self.encode(values, lengths)
        return self.decode(tokens, self.new_cache(states, lengths), tokens.shape[1])


def shortened(lengths: Tensor, kernel: int, stride: int) -> Tensor:
    """Steps left of `lengths` after a convolution without padding."""
    return (lengths - kernel) // stride + 1


def heard(lengths: Tensor, n_frames: int) -> Tensor | None:
    """Which frames are no padding, (B, 1, 1, T) bool; None where all are."""
    if int(lengths.min()) == n_frames:
        return None
    return torch.arange(n_frames, device=lengths.device) < lengths[:, None, None, None]
