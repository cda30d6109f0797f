"""Parakeet's encoder, fast: no padding, few small operations, what depends on weights alone computed once.

Recordings lie one after the other (modules_rows.py): a batch costs what its recordings cost alone, and gives the same.

Dimension key: F feature frames, M mel bins, C subsampling channels, T frames of a recording, D width, N heads, H width
of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from auricle.engines.cpu import products
from auricle.engines.cpu.linear import Arithmetic
from auricle.engines.cpu.modules_attention import attend_one
from auricle.engines.cpu.modules_conformer import convolve_channels, convolve_features, gated_convolution
from auricle.engines.cpu.modules_products import ACTIVATIONS, feed_forward_of, joined_product, make_product, product_of
from auricle.engines.cpu.modules_rows import join, offsets, separate
from auricle.models.parakeet import (
    ConformerBlock,
    Convolution,
    Encoder,
    RelativeAttention,
    Subsampling,
    align_distances,
    sinusoids,
)

KEPT_FRAMES = 1024  # projections of distances are kept up to this length, 40 s at 25 frames a second


class FastConformer(nn.Module):
    """Stands for `Encoder`."""

    def __init__(self, original: Encoder, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.config, width = original.config, original.config.hidden_size
        fits = self.config.subsampling_conv_kernel_size == 3 and self.config.subsampling_conv_stride == 2
        self.subsampling = (FastSubsampling if fits else PlainSubsampling)(original, arithmetic)
        blocks = cast("list[ConformerBlock]", list(original.layers))
        activation = ACTIVATIONS[self.config.hidden_act]
        self.layers = nn.ModuleList(FastBlock(block, activation, width, arithmetic) for block in blocks)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, F, M) and (B,) feature frames to (B, T, D) and (B,) frames; T is at least 1."""
        rows = [self.subsampling(row[:n]) for row, n in zip(features, lengths.tolist(), strict=True)]
        counts = [len(row) for row in rows]
        x = join(rows, self.config.hidden_size)  # (sum of T, D)
        for layer in self.layers:
            x = layer(x, counts)
        return separate(x, counts), torch.tensor(counts, device=lengths.device)


class PlainSubsampling(nn.Module):
    """`Subsampling` of one recording, for kernels that no checkpoint has."""

    def __init__(self, original: Encoder, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.original, self.scale = original.subsampling, original.input_scale

    def forward(self, features: Tensor) -> Tensor:
        """Map (F, M) to (T, D)."""
        if not len(features):
            return features.new_zeros(0, self.original.linear.out_features)
        return self.original(features[None], None)[0] * self.scale


class FastSubsampling(nn.Module):
    """Stands for `Subsampling` and the scale after it, one recording at a time."""

    def __init__(self, original: Encoder, arithmetic: Arithmetic) -> None:
        super().__init__()
        subsampling: Subsampling = original.subsampling
        first, *others = (layer for layer in subsampling.layers if isinstance(layer, nn.Conv2d))
        self.first = _taps_first(first)
        self.depthwise = [_taps_first(conv) for conv in others[::2]]
        self.pointwise = [make_product(conv.weight[..., 0, 0], conv.bias, arithmetic) for conv in others[1::2]]
        linear = subsampling.linear
        # The original's columns are (C, bins); here the channels come last.
        weight = linear.weight.detach().unflatten(1, (first.out_channels, -1)).transpose(1, 2).flatten(1)
        scale = original.input_scale
        self.linear = make_product(weight * scale, linear.bias.detach() * scale, arithmetic)
        self.width = linear.out_features

    def forward(self, features: Tensor) -> Tensor:
        """Map (F, M) to (T, D)."""
        if not len(features):
            return features.new_zeros(0, self.width)
        x = convolve_features(features, *self.first)  # (F / 2, M / 2, C)
        for taps, pointwise in zip(self.depthwise, self.pointwise, strict=True):
            x = convolve_channels(x, *taps)
            x = pointwise(x, "relu").float()
        return self.linear(x.flatten(1)).float()


class FastBlock(nn.Module):
    """Stands for `ConformerBlock`, over (sum of T, D); the halves of its feed-forward parts are in their weights."""

    def __init__(self, block: ConformerBlock, activation: str, width: int, arithmetic: Arithmetic) -> None:
        super().__init__()
        first, second = block.feed_forward1, block.feed_forward2
        self.feed_forward1 = feed_forward_of(first.linear1, first.linear2, activation, arithmetic, 0.5)
        self.feed_forward2 = feed_forward_of(second.linear1, second.linear2, activation, arithmetic, 0.5)
        self.attention = FastRelativeAttention(block.self_attn, width, arithmetic)
        self.convolution = FastConvolution(block.conv, activation, arithmetic)
        self.norm1, self.norm2 = block.norm_feed_forward1, block.norm_feed_forward2
        self.norm_attention, self.norm_convolution = block.norm_self_att, block.norm_conv
        self.norm_out = block.norm_out

    def forward(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        x = self.feed_forward1(x, residual=x, norm=self.norm1)
        x = self.attention(x, self.norm_attention, counts)
        x = self.convolution(x, self.norm_convolution, counts)
        x = self.feed_forward2(x, residual=x, norm=self.norm2)
        return self.norm_out(x)


class FastRelativeAttention(nn.Module):
    """Stands for `RelativeAttention`; what it makes of distances is kept for the longest recording so far."""

    def __init__(self, original: RelativeAttention, width: int, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.n_heads, self.head_width = original.n_heads, original.head_width
        self.scale, self.arithmetic = self.head_width**-0.5, arithmetic
        self.queries_keys_values = joined_product([original.q_proj, original.k_proj, original.v_proj], arithmetic)
        self.out = product_of(original.o_proj, arithmetic)
        self.bias_u, self.bias_v = original.bias_u.detach().flatten(), original.bias_v.detach().flatten()
        self.relative = original.relative_k_proj
        self.dtype = torch.bfloat16 if arithmetic == "bfloat16" else torch.float32
        self.is_packed = arithmetic == "int16" and products.attends(width, self.n_heads)
        self._kept: tuple[int, Tensor | products.PackedDistances] | None = None

    def forward(self, x: Tensor, norm: nn.LayerNorm, counts: Sequence[int]) -> Tensor:
        """Map (sum of T, D) to the same plus what attention makes of it normalised."""
        q, k, v = self.queries_keys_values(x, norm=norm).chunk(3, 1)  # (sum of T, D) each
        content, position = q + self.bias_u, q + self.bias_v
        states = torch.zeros(x.shape, dtype=self.dtype)
        for place in offsets(counts):
            if place.stop > place.start:
                states[place] = self._attend(content[place], position[place], k[place], v[place])
        return self.out(states, residual=x)

    def _attend(self, content: Tensor, position: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of one recording, (T, D), scores by content and by distance."""
        n_frames = len(content)
        n_kept, distances = self._distances(n_frames)
        if isinstance(distances, products.PackedDistances):
            query, key, value = content[None], k[None], v[None]
            positions = position[None], distances
            return products.attention(query, key, value, self.n_heads, scale=self.scale, positions=positions)[0]
        content, position = ((one * self.scale).to(self.dtype) for one in (content, position))
        distances = distances[..., n_kept - n_frames : n_kept + n_frames - 1]
        scores = position.unflatten(1, (self.n_heads, -1)).transpose(0, 1) @ distances  # (N, T, 2T-1)
        bias = align_distances(scores[None])  # (1, N, T, T)
        return attend_one(content, k, v, self.n_heads, self.arithmetic, bias, scale=1.0)

    def _distances(self, n_frames: int) -> tuple[int, Tensor | products.PackedDistances]:
        """A number T of frames and what is made of the distances T-1 down to -(T-1): packed, or (N, H, 2T-1)."""
        if self._kept is not None and self._kept[0] >= n_frames:
            return self._kept
        projected = self.relative(sinusoids(n_frames, self.relative.in_features, torch.device("cpu")))  # (2T-1, D)
        made: Tensor | products.PackedDistances
        if self.is_packed:
            made = products.PackedDistances(projected, self.n_heads, self.scale)
        else:
            made = projected.unflatten(1, (self.n_heads, -1)).permute(1, 2, 0).to(self.dtype).contiguous()
        if n_frames <= KEPT_FRAMES:
            self._kept = n_frames, made
        return n_frames, made


class FastConvolution(nn.Module):
    """Stands for `Convolution`; the batch norm is part of the depthwise weights."""

    def __init__(self, original: Convolution, activation: str, arithmetic: Arithmetic) -> None:
        super().__init__()
        first, last, depthwise = original.pointwise_conv1, original.pointwise_conv2, original.depthwise_conv
        self.activation = activation
        self.widen = make_product(first.weight[..., 0], first.bias, arithmetic)
        self.narrow = make_product(last.weight[..., 0], last.bias, arithmetic)
        norm = original.norm
        mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
        factor = (norm.weight / (variance + norm.eps).sqrt()).detach()
        self.weight = (depthwise.weight.detach()[:, 0] * factor[:, None]).T.contiguous()  # (K, D)
        bias = torch.zeros_like(factor) if depthwise.bias is None else depthwise.bias.detach()
        self.bias = ((bias - mean) * factor + norm.bias.detach()).contiguous()

    def forward(self, x: Tensor, norm: nn.LayerNorm, counts: Sequence[int]) -> Tensor:
        """Map (sum of T, D) to the same plus what the convolution makes of it normalised."""
        wide = self.widen(x, norm=norm)  # (sum of T, 2 D)
        y = torch.zeros(len(x), len(self.bias))
        for place in offsets(counts):
            if place.stop > place.start:
                y[place] = gated_convolution(wide[place], self.weight, self.bias, self.activation)
        return self.narrow(y, residual=x)


def _taps_first(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """The weight (C, 1, 3, 3) as (3, 3, C), and the bias."""
    bias = torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
    return conv.weight.detach()[:, 0].permute(1, 2, 0).contiguous(), bias.contiguous()
