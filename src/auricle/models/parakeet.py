"""FastConformer with a CTC head, as checkpoints call it: `parakeet_ctc`.

Papers: Conformer (arXiv 2005.08100, section 2), Fast Conformer (arXiv 2305.05084, section 3), relative positions as in
Transformer-XL (arXiv 1901.02860, section 3.3).

Dimension key: B batch, F feature frames, M mel bins, C subsampling channels, T encoder frames, D width, N heads,
H width of a head, V vocabulary.

What differs from the papers' Conformer: the first layers reduce time 8 (or 4, 2) times by a strided convolution
followed by depthwise-separable ones; the depthwise kernel in each block is shorter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.models.layers import activation


@dataclass(frozen=True)
class EncoderConfig:
    """The `encoder_config` part of a checkpoint's config.json."""

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 8
    intermediate_size: int = 4096
    hidden_act: str = "silu"
    attention_bias: bool = True  # also of the feed-forward layers
    convolution_bias: bool = True
    conv_kernel_size: int = 9
    subsampling_factor: int = 8
    subsampling_conv_channels: int = 256
    subsampling_conv_kernel_size: int = 3
    subsampling_conv_stride: int = 2
    num_mel_bins: int = 80
    max_position_embeddings: int = 5000
    scale_input: bool = True  # multiply the subsampled features by sqrt(hidden_size)
    dropout: float = 0.1  # training only, as are the next three
    dropout_positions: float = 0.0
    attention_dropout: float = 0.1
    activation_dropout: float = 0.1

    HARMLESS = frozenset({"layerdrop", "initializer_range", "num_key_value_heads"})


@dataclass(frozen=True)
class ParakeetConfig:
    """A `parakeet_ctc` checkpoint's config.json."""

    vocab_size: int = 1025
    pad_token_id: int = 1024  # the CTC blank
    encoder_config: EncoderConfig = field(default_factory=EncoderConfig)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.attention_bias)
        self.linear2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.attention_bias)
        self.activation = activation(config.hidden_act)
        self.dropout = config.activation_dropout

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.linear1(x))  # (B, T, intermediate)
        return self.linear2(F.dropout(x, self.dropout, self.training))  # (B, T, D)


class RelativeAttention(nn.Module):
    """Self-attention whose scores have a content part and a part that depends on the distance of two frames."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, bias = config.hidden_size, config.attention_bias
        self.n_heads = config.num_attention_heads
        self.head_width = width // self.n_heads
        self.dropout = config.attention_dropout
        self.q_proj = nn.Linear(width, width, bias=bias)
        self.k_proj = nn.Linear(width, width, bias=bias)
        self.v_proj = nn.Linear(width, width, bias=bias)
        self.o_proj = nn.Linear(width, width, bias=bias)
        self.relative_k_proj = nn.Linear(width, width, bias=False)
        self.bias_u = nn.Parameter(torch.zeros(self.n_heads, self.head_width))
        self.bias_v = nn.Parameter(torch.zeros(self.n_heads, self.head_width))

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """`positions` is (2T-1, D), from distance T-1 down to -(T-1); `mask` is (B, 1, 1, T), -inf where padded."""
        B, T, D = x.shape
        heads = (B, T, self.n_heads, self.head_width)
        q = self.q_proj(x).view(heads)  # (B, T, N, H)
        k = self.k_proj(x).view(heads).transpose(1, 2)  # (B, N, T, H)
        v = self.v_proj(x).view(heads).transpose(1, 2)
        # Scaling the queries, T rows, costs less than scaling the scores, T columns each.
        q_content = (q + self.bias_u).transpose(1, 2) * self.head_width**-0.5  # (B, N, T, H)
        q_position = (q + self.bias_v).transpose(1, 2) * self.head_width**-0.5
        distance = self.relative_k_proj(positions).view(2 * T - 1, self.n_heads, self.head_width)
        bias = align_distances(q_position @ distance.permute(1, 2, 0))  # (B, N, T, T)
        if mask is not None:
            bias = bias + mask
        if self.training:
            weights = (q_content @ k.transpose(2, 3) + bias).softmax(-1)
            y = F.dropout(weights, self.dropout) @ v
        else:
            bias = bias.to(q_content.dtype)
            y = F.scaled_dot_product_attention(q_content, k, v, attn_mask=bias, scale=1.0)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, D))


def align_distances(scores: Tensor) -> Tensor:
    """Turn scores by distance, (B, N, T, 2T-1) from T-1 down to -(T-1), into scores by key frame, (B, N, T, T).

    Query i finds key j at column T-1-i+j. In the flattened rows that is T-1 + i(2T-2) + j: a slice and a view, no
    gather.
    Source: the relative shift of arXiv 1901.02860, appendix B.
    """
    T = scores.shape[2]
    if T == 1:
        return scores
    flat = scores.flatten(2)[..., T - 1 : T - 1 + T * (2 * T - 2)]
    return flat.unflatten(2, (T, 2 * T - 2))[..., :T]


class Convolution(nn.Module):
    """Pointwise, gate, depthwise over time, batch norm, activation, pointwise."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width, bias = config.hidden_size, config.convolution_bias
        kernel = config.conv_kernel_size
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=bias)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, padding=(kernel - 1) // 2, groups=width, bias=bias)
        self.norm = nn.BatchNorm1d(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=bias)
        self.activation = activation(config.hidden_act)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """`valid` is (B, T, 1), 0 where padded: a frame beyond the end must not reach one before it."""
        x = F.linear(x, self.pointwise_conv1.weight[..., 0], self.pointwise_conv1.bias)  # (B, T, 2D)
        x = F.glu(x, dim=-1)
        if valid is not None:
            x = x * valid
        x = self.activation(self.norm(self.depthwise_conv(x.transpose(1, 2)))).transpose(1, 2)  # (B, T, D)
        return F.linear(x, self.pointwise_conv2.weight[..., 0], self.pointwise_conv2.bias)


class ConformerBlock(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, each on a residual path; then a norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.feed_forward1 = FeedForward(config)
        self.self_attn = RelativeAttention(config)
        self.conv = Convolution(config)
        self.feed_forward2 = FeedForward(config)
        self.norm_feed_forward1 = nn.LayerNorm(config.hidden_size)
        self.norm_self_att = nn.LayerNorm(config.hidden_size)
        self.norm_conv = nn.LayerNorm(config.hidden_size)
        self.norm_feed_forward2 = nn.LayerNorm(config.hidden_size)
        self.norm_out = nn.LayerNorm(config.hidden_size)
        self.dropout = config.dropout

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None, valid: Tensor | None) -> Tensor:
        x = x + 0.5 * self._drop(self.feed_forward1(self.norm_feed_forward1(x)))
        x = x + self._drop(self.self_attn(self.norm_self_att(x), positions, mask))
        x = x + self._drop(self.conv(self.norm_conv(x), valid))
        x = x + 0.5 * self._drop(self.feed_forward2(self.norm_feed_forward2(x)))
        return self.norm_out(x)  # (B, T, D)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class Subsampling(nn.Module):
    """Strided convolutions over time and mel bins, then one linear layer to the encoder's width."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        channels, kernel = config.subsampling_conv_channels, config.subsampling_conv_kernel_size
        self.stride = config.subsampling_conv_stride
        self.kernel = kernel
        padding = (kernel - 1) // 2
        n_layers = int(math.log2(config.subsampling_factor))
        layers: list[nn.Module] = [nn.Conv2d(1, channels, kernel, self.stride, padding), nn.ReLU()]
        for _ in range(n_layers - 1):
            layers.append(nn.Conv2d(channels, channels, kernel, self.stride, padding, groups=channels))
            layers.append(nn.Conv2d(channels, channels, 1))
            layers.append(nn.ReLU())
        self.layers = nn.ModuleList(layers)
        n_bins = config.num_mel_bins // self.stride**n_layers
        self.linear = nn.Linear(channels * n_bins, config.hidden_size)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Encoder frames for each count of feature frames."""
        for layer in self.layers:
            lengths = self._reduce(lengths, layer)
        return lengths

    def _reduce(self, lengths: Tensor, layer: nn.Module) -> Tensor:
        if not isinstance(layer, nn.Conv2d) or layer.kernel_size == (1, 1):
            return lengths
        return (lengths + 2 * ((self.kernel - 1) // 2) - self.kernel) // self.stride + 1

    def forward(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, F, M) to (B, T, D). Every convolution sees zeros beyond a row's end, as it would alone."""
        x = features.unsqueeze(1)  # (B, 1, F, M)
        for layer in self.layers:
            x = layer(x)
            if lengths is not None and isinstance(layer, nn.Conv2d):
                lengths = self._reduce(lengths, layer)
                x = x * (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[:, None, :, None]
        return self.linear(x.transpose(1, 2).flatten(2))  # (B, T, C * bins) to (B, T, D)


class Encoder(nn.Module):
    """Subsampling and a stack of blocks."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.subsampling = Subsampling(config)
        self.layers = nn.ModuleList(ConformerBlock(config) for _ in range(config.num_hidden_layers))
        self.input_scale = math.sqrt(config.hidden_size) if config.scale_input else 1.0

    def start(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        """The blocks' input (B, T, D), their frame counts, positions, attention mask and valid frames.

        The masks are None when no row is padded.
        """
        padded = bool((lengths < features.shape[1]).any())
        x = self.subsampling(features, lengths if padded else None) * self.input_scale
        x = F.dropout(x, self.config.dropout, self.training)
        frames = self.subsampling.output_lengths(lengths)
        positions = sinusoids(x.shape[1], self.config.hidden_size, x.device).to(x.dtype)
        positions = F.dropout(positions, self.config.dropout_positions, self.training)
        if not padded:
            return x, frames, positions, None, None
        valid = torch.arange(x.shape[1], device=x.device) < frames[:, None]  # (B, T)
        mask = torch.zeros(valid.shape, dtype=x.dtype, device=x.device).masked_fill(~valid, -torch.inf)
        # A row with no valid frame would give softmax nothing but -inf; its output is not read.
        mask[frames == 0] = 0.0
        return x, frames, positions, mask[:, None, None, :], valid[:, :, None].to(x.dtype)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, frames, positions, mask, valid = self.start(features, lengths)
        for layer in self.layers:
            x = layer(x, positions, mask, valid)
        return x, frames


def sinusoids(n_frames: int, width: int, device: torch.device) -> Tensor:
    """Encodings of the distances n_frames-1 down to -(n_frames-1), sine and cosine interleaved, (2T-1, D).

    Source: arXiv 1901.02860, section 3.3.
    """
    distance = torch.arange(n_frames - 1, -n_frames, -1, device=device, dtype=torch.float32)
    rate = 10000.0 ** (-torch.arange(0, width, 2, device=device, dtype=torch.float32) / width)
    angle = distance[:, None] * rate  # (2T-1, D/2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class ParakeetCTC(nn.Module):
    """FastConformer encoder and one linear layer to the vocabulary."""

    kind = "ctc"
    Config = ParakeetConfig
    HARMLESS = frozenset({"ctc_loss_reduction", "ctc_zero_infinity", "initializer_range"})
    RENAMES: tuple[tuple[str, str], ...] = ()
    IGNORED_TENSORS: tuple[str, ...] = ()

    def __init__(self, config: ParakeetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config.encoder_config)
        self.ctc_head = nn.Conv1d(config.encoder_config.hidden_size, config.vocab_size, 1)
        # The features step 10 ms, 160 samples at 16 kHz.
        self.samples_per_frame = 160 * config.encoder_config.subsampling_factor

    @classmethod
    def tiny(cls, **changes: Any) -> ParakeetConfig:
        """A configuration small enough for a test; `changes` go to the encoder's configuration."""
        encoder = EncoderConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            subsampling_conv_channels=8,
        )
        return ParakeetConfig(vocab_size=33, pad_token_id=32, encoder_config=replace(encoder, **changes))

    def encode(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, M) log-mel features to (B, T, D) states and (B,) frame counts."""
        return self.encoder(values, lengths)

    def head(self, states: Tensor) -> Tensor:
        """(B, T, D) to (B, T, V) logits."""
        return F.linear(states, self.ctc_head.weight[..., 0], self.ctc_head.bias)

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, M) log-mel features to (B, T, V) logits and (B,) frame counts."""
        states, frames = self.encode(values, lengths)
        return self.head(states), frames
