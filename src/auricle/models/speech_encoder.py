"""The speech encoder that wav2vec2, HuBERT and WavLM share: strided convolutions, then a Transformer.

Paper: wav2vec 2.0 (arXiv 2006.11477, section 2).

Dimension key: B batch, S samples, C convolution channels, T frames, D width, H heads, K kernel.

Two forms differ in where they normalise. The base form normalises each channel of the first convolution over
the whole recording, and each layer's output (post-norm). The large form normalises every convolution over its
channels, and each layer's input (pre-norm).

Padding never changes a result: statistics, convolutions and attention see a row's own frames only.
(transformers computes the base form's statistics over the padding too: its batches differ from single rows.)
Dropout and layer drop follow the checkpoint's configuration, in training only. Masks over time (SpecAugment) are
drawn by who trains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import ConfigError, nearest
from auricle.models.layers import ACTIVATIONS


@dataclass(frozen=True)
class SpeechEncoderConfig:
    """What the three families share, in the words of their config.json."""

    vocab_size: int = 32
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5  # of the projection and the encoder; norms of convolutions always use 1e-5
    feat_extract_norm: str = "group"  # "group": the first convolution, over time; "layer": all, over channels
    feat_extract_activation: str = "gelu"
    conv_dim: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128  # the positional convolution's kernel
    num_conv_pos_embedding_groups: int = 16
    do_stable_layer_norm: bool = False  # True: pre-norm
    # In training only, as are the next five.
    hidden_dropout: float = 0.1  # of the encoder's input, and of what attention and feed-forward give
    activation_dropout: float = 0.1
    attention_dropout: float = 0.1
    feat_proj_dropout: float = 0.0
    final_dropout: float = 0.1  # before the head
    layerdrop: float = 0.1  # chance of a layer to be left out

    def __post_init__(self) -> None:
        sizes = (len(self.conv_dim), len(self.conv_stride), len(self.conv_kernel))
        if len(set(sizes)) != 1 or not self.conv_dim or self.num_hidden_layers < 1:
            raise ConfigError(
                f"conv_dim, conv_stride and conv_kernel have {sizes} entries and num_hidden_layers is "
                f"{self.num_hidden_layers}; expected one entry for every convolution, and at least 1 of both"
            )
        if self.feat_extract_norm not in ("group", "layer"):
            raise ConfigError(f"feat_extract_norm is {self.feat_extract_norm!r}; expected 'group' or 'layer'")
        for name in ("hidden_act", "feat_extract_activation"):
            value = getattr(self, name)
            if value not in ACTIVATIONS:
                near = nearest(str(value), ACTIVATIONS)
                raise ConfigError(f"{name} is {value!r}{near}; supported are {', '.join(ACTIVATIONS)}")
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            if self.hidden_size % getattr(self, name):
                raise ConfigError(
                    f"hidden_size is {self.hidden_size} and {name} {getattr(self, name)}; expected the first "
                    "to be a multiple of the second"
                )


def valid_frames(lengths: Tensor, n_frames: int) -> Tensor:
    """Tell frames from padding: (B, T), True where a frame is the row's own.

    A row without frames keeps its first, so that its attention has something to look at; its length stays 0.
    """
    return torch.arange(n_frames, device=lengths.device) < lengths.clamp(min=1)[:, None]  # (B, T)


class ConvLayer(nn.Module):
    """One convolution of the front end: convolve without padding, normalise, activate."""

    def __init__(self, config: SpeechEncoderConfig, index: int) -> None:
        super().__init__()
        width = config.conv_dim[index]
        n_in = config.conv_dim[index - 1] if index else 1
        self.kernel, self.stride = config.conv_kernel[index], config.conv_stride[index]
        self.conv = nn.Conv1d(n_in, width, self.kernel, self.stride, bias=config.conv_bias)
        self.over_time = config.feat_extract_norm == "group"
        self.layer_norm: nn.Module | None = None
        if not self.over_time:
            self.layer_norm = nn.LayerNorm(width)
        elif index == 0:
            self.layer_norm = nn.GroupNorm(width, width)
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def n_frames(self, lengths: Tensor) -> Tensor:
        """Count the frames that come of `lengths` steps; fewer steps than the kernel has give none."""
        return ((lengths - self.kernel).div(self.stride, rounding_mode="floor") + 1).clamp(min=0)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Map (B, C, S) to (B, C, T); `lengths` counts each row's own frames of the result, None: all."""
        x = self.conv(x)  # (B, C, T)
        if self.layer_norm is None:
            return self.activation(x)
        if not self.over_time:
            return self.activation(self.layer_norm(x.transpose(1, 2)).transpose(1, 2))
        if lengths is None:
            return self.activation(self.layer_norm(x))
        # One row at a time: exactly what the row gives alone.
        counts = lengths.clamp(min=2).tolist()  # rows without frames, too: a variance needs two
        rows = [self.layer_norm(row[None, :, :n]) for row, n in zip(x, counts, strict=True)]
        return self.activation(torch.cat([F.pad(row, (0, x.shape[2] - row.shape[2])) for row in rows]))


class FeatureEncoder(nn.Module):
    """The convolutional front end."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList(ConvLayer(config, i) for i in range(len(config.conv_dim)))
        # How many samples the first frame sees: 400 in every published checkpoint.
        self.receptive_field = 1 + sum(
            (kernel - 1) * math.prod(config.conv_stride[:i]) for i, kernel in enumerate(config.conv_kernel)
        )

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Map (B, S) samples to (B, T, C) features, (B,) frame counts and the mask of `valid_frames`.

        The mask is None if nothing is padded. T is at least 1: less than the receptive field is padded to it.
        """
        layers = cast("list[ConvLayer]", list(self.conv_layers))
        values = F.pad(values, (0, max(0, self.receptive_field - values.shape[1])))
        lengths = lengths.to(values.device)
        is_padded = bool((lengths < values.shape[1]).any())
        x = values[:, None].to(layers[0].conv.weight.dtype)  # (B, 1, S)
        for layer in layers:
            lengths = layer.n_frames(lengths)
            x = layer(x, lengths if is_padded else None)  # (B, C, T)
        mask = valid_frames(lengths, x.shape[2]) if is_padded else None
        return x.transpose(1, 2), lengths, mask


class FeatureProjection(nn.Module):
    """From convolution channels to the Transformer's width."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.layer_norm: nn.Module = nn.LayerNorm(config.conv_dim[-1], eps=config.layer_norm_eps)
        self.projection = nn.Linear(config.conv_dim[-1], config.hidden_size)
        self.dropout = config.feat_proj_dropout

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.projection(self.layer_norm(x)), self.dropout, self.training)  # (B, T, D)


class WeightNormConv1d(nn.Module):
    """A grouped convolution whose kernel is stored as a direction and, for each of its K taps, a length.

    The kernel is multiplied out at every call, so that training and saving see what the checkpoint holds.
    Source: weight normalisation, arXiv 1602.07868, equation 2.
    """

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups, self.padding = groups, kernel // 2
        direction = torch.randn(width, width // groups, kernel) * (2 / math.sqrt(kernel * width))
        self.weight_g = nn.Parameter(torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True))
        self.weight_v = nn.Parameter(direction)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        # Float32 for a sum of thousands of squares. vector_norm takes ten times as long over these axes.
        norm = self.weight_v.float().square().sum((0, 1), keepdim=True).sqrt()  # (1, 1, K)
        weight = self.weight_v * (self.weight_g / norm).to(self.weight_v.dtype)  # (D, D / groups, K)
        return F.conv1d(x, weight, self.bias, padding=self.padding, groups=self.groups)


class PositionalConv(nn.Module):
    """Positions as a wide convolution over the frames, to be added to them."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.conv: nn.Module = WeightNormConv1d(
            config.hidden_size, config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups
        )
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """`mask` is (B, T), False where padded: there the convolution reads zeros, as beyond a single row."""
        if mask is not None:
            states = states.masked_fill(~mask[..., None], 0.0)
        # A kernel of even size, padded by half of it on both sides, gives one frame too many.
        x = self.conv(states.transpose(1, 2))[..., : states.shape[1]]  # (B, D, T)
        return self.activation(x).transpose(1, 2)  # (B, T, D)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.n_heads = config.num_attention_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.dropout = config.attention_dropout

    def forward(self, states: Tensor, bias: Tensor | None) -> Tensor:
        """`bias` broadcasts to (B, H, T, T): booleans (True: look here) or numbers added to the scores."""
        heads = (*states.shape[:2], self.n_heads, -1)
        q = self.q_proj(states).view(heads).transpose(1, 2)  # (B, H, T, D/H)
        k = self.k_proj(states).view(heads).transpose(1, 2)
        v = self.v_proj(states).view(heads).transpose(1, 2)
        x = F.scaled_dot_product_attention(q, k, v, bias, self.dropout if self.training else 0.0)
        return self.out_proj(x.transpose(1, 2).reshape(states.shape))  # (B, T, D)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.dropout = config.activation_dropout

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.intermediate_dense(x))  # (B, T, intermediate)
        return self.output_dense(F.dropout(x, self.dropout, self.training))


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each with a residual, normalised before (pre-norm) or after (post-norm)."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.pre_norm = config.do_stable_layer_norm
        self.attention: nn.Module = Attention(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.adapter_layer: nn.Module | None = None  # wav2vec2's language adapter
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: Tensor, *context: Tensor | None) -> Tensor:
        """Map (B, T, D) to the same; `context` is what the attention takes beside the states."""
        if not self.pre_norm:
            x = self.layer_norm(x + self.dropout(self.attention(x, *context)))
            return self.final_layer_norm(x + self.dropout(self.feed_forward(x)))
        x = x + self.dropout(self.attention(self.layer_norm(x), *context))
        x = x + self.dropout(self.feed_forward(self.final_layer_norm(x)))
        return x if self.adapter_layer is None else x + self.adapter_layer(x)


class Encoder(nn.Module):
    """Positions, then the Transformer layers."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__()
        self.pre_norm = config.do_stable_layer_norm
        self.pos_conv_embed = PositionalConv(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))
        self.dropout, self.layerdrop = config.hidden_dropout, config.layerdrop

    def context(self, n_frames: int, mask: Tensor | None) -> tuple[Tensor | None, ...]:
        """Compute what the attention of every layer takes beside the states: here, which keys to look at."""
        return (None if mask is None else mask[:, None, None],)  # (B, 1, 1, T)

    def forward(self, states: Tensor, mask: Tensor | None, shares: Tensor | None = None) -> Tensor:
        """Map (B, T, D) to the same; `mask` is (B, T), False where padded, None if nothing is.

        With `shares` (layers + 1,) the result is a sum of what the first layer takes and of what each gives.
        """
        states = states + self.pos_conv_embed(states, mask)
        if not self.pre_norm:
            states = self.layer_norm(states)
        states = F.dropout(states, self.dropout, self.training)
        context = self.context(states.shape[1], mask)
        given = [states]
        for layer in self.layers:
            if not (self.training and self.layerdrop and torch.rand(()) < self.layerdrop):
                states = layer(states, *context)  # (B, T, D)
            if shares is not None:
                given.append(states)
        states = self.layer_norm(states) if self.pre_norm else states
        return states if shares is None else shared([*given[:-1], states], shares)


def shared(states: Sequence[Tensor], shares: Tensor) -> Tensor:
    """Sum states of one shape, each times its share."""
    return sum((share * one for share, one in zip(shares[1:], states[1:], strict=True)), shares[0] * states[0])


class SpeechEncoder(nn.Module):
    """From waveforms to states: everything but the head."""

    def __init__(self, config: SpeechEncoderConfig, encoder: type[Encoder] = Encoder) -> None:
        super().__init__()
        self.feature_extractor = FeatureEncoder(config)
        self.feature_projection = FeatureProjection(config)
        self.encoder = encoder(config)
        self.adapter: nn.Module | None = None  # wav2vec2's and WavLM's convolutions after the encoder

    def forward(self, values: Tensor, lengths: Tensor, shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, S) samples to (B, T, D) states and (B,) frame counts; T is at least 1, a count may be 0.

        `shares` (layers + 1,) sums the states of all layers; None: those of the last.
        """
        features, lengths, mask = self.feature_extractor(values, lengths)  # (B, T, C)
        states = self.encoder(self.feature_projection(features), mask, shares)  # (B, T, D)
        return (states, lengths) if self.adapter is None else self.adapter(states, lengths)
