"""The speech encoder of wav2vec2, HuBERT and WavLM, fast: no padding, few passes over memory.

Recordings lie one after the other (modules_rows.py): a batch costs what its recordings cost alone, and gives the same.

Dimension key: S samples, T frames of a recording, C channels, D width, H heads, K width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.engines.cpu.linear import Arithmetic
from auricle.engines.cpu.modules_attention import attend
from auricle.engines.cpu.modules_frontend import FastFeatureEncoder
from auricle.engines.cpu.modules_positions import FastPositionalConv
from auricle.engines.cpu.modules_products import ACTIVATIONS, feed_forward_of, joined_product, product_of
from auricle.engines.cpu.modules_rows import join, offsets, separate
from auricle.models.speech_encoder import Attention, EncoderLayer, SpeechEncoder, SpeechEncoderConfig
from auricle.models.wavlm import GatedAttention, WavLMEncoder, distance_buckets


class FastSpeechEncoder(nn.Module):
    """Stands for `SpeechEncoder`."""

    def __init__(self, base: SpeechEncoder, config: SpeechEncoderConfig, arithmetic: Arithmetic) -> None:
        super().__init__()
        encoder, projection = base.encoder, base.feature_projection
        self.width, self.pre_norm = config.hidden_size, config.do_stable_layer_norm
        self.front_end = FastFeatureEncoder(base.feature_extractor, config, arithmetic)
        self.projection_norm, self.projection = projection.layer_norm, product_of(projection.projection, arithmetic)
        self.positions = FastPositionalConv(encoder.pos_conv_embed, config)
        self.layer_norm = encoder.layer_norm
        self.distances = DistanceBias(encoder) if isinstance(encoder, WavLMEncoder) else None
        layers = cast("list[EncoderLayer]", list(encoder.layers))
        self.layers = nn.ModuleList(FastEncoderLayer(layer, config, arithmetic) for layer in layers)
        self.adapter = base.adapter

    def forward(self, values: Tensor, lengths: Tensor, shares: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, S) samples to (B, T, D) states and (B,) frame counts; T is at least 1, a count may be 0.

        `shares` (layers + 1,) sums the states of all layers; None: those of the last.
        """
        rows = [self.front_end(row[:n]) for row, n in zip(values, lengths.tolist(), strict=True)]
        counts = [len(row) for row in rows]
        x = self.projection(self.projection_norm(join(rows, rows[0].shape[1]))).float()  # (sum of T, D)
        del rows
        x = self.positions(x, counts).add_(x)
        if not self.pre_norm:
            x = self.layer_norm(x)
        biases = None if self.distances is None else [self.distances(count) for count in counts]
        summed = None if shares is None else shares[0] * x
        for place, layer in enumerate(self.layers, 1):
            x = layer(x, counts, biases)
            if self.pre_norm and place == len(self.layers):
                x = self.layer_norm(x)
            if shares is not None and summed is not None:
                summed.add_(shares[place] * x)
        x = separate(x if summed is None else summed, counts)  # (B, T, D)
        frames = torch.tensor(counts, device=lengths.device)
        return (x, frames) if self.adapter is None else self.adapter(x, frames)


class FastEncoderLayer(nn.Module):
    """Stands for `EncoderLayer`, over (sum of T, D)."""

    def __init__(self, layer: EncoderLayer, config: SpeechEncoderConfig, arithmetic: Arithmetic) -> None:
        super().__init__()
        attention, feed_forward = cast(Attention, layer.attention), layer.feed_forward
        self.pre_norm, self.n_heads, self.arithmetic = layer.pre_norm, attention.n_heads, arithmetic
        self.gates = Gates(attention) if isinstance(attention, GatedAttention) else None
        projections = [attention.q_proj, attention.k_proj, attention.v_proj]
        self.queries_keys_values = joined_product(projections, arithmetic)
        self.attention_out = product_of(attention.out_proj, arithmetic)
        first, second = feed_forward.intermediate_dense, feed_forward.output_dense
        self.feed_forward = feed_forward_of(first, second, ACTIVATIONS[config.hidden_act], arithmetic)
        self.layer_norm, self.final_layer_norm = layer.layer_norm, layer.final_layer_norm
        adapter: Any = layer.adapter_layer
        self.adapter_norm = None if adapter is None else adapter.norm
        self.adapter = [] if adapter is None else [product_of(adapter.linear_1, arithmetic)]
        self.adapter += [] if adapter is None else [product_of(adapter.linear_2, arithmetic)]

    def forward(self, x: Tensor, counts: Sequence[int], biases: Sequence[Tensor] | None) -> Tensor:
        y = self.layer_norm(x) if self.pre_norm else x
        if biases is not None and self.gates is not None:
            biases = self.gates(y, counts, biases)
        y = attend(self.queries_keys_values(y), counts, self.n_heads, self.arithmetic, biases)
        x = self.attention_out(y, residual=x)
        if not self.pre_norm:
            x = self.layer_norm(x)
            return self.final_layer_norm(self.feed_forward(x, residual=x))
        x = self.feed_forward(x, residual=x, norm=self.final_layer_norm)
        if self.adapter_norm is not None:
            first, second = self.adapter
            x = second(first(self.adapter_norm(x), "relu"), residual=x)
        return x


class DistanceBias(nn.Module):
    """WavLM's bias by distance, which all layers share."""

    def __init__(self, encoder: WavLMEncoder) -> None:
        super().__init__()
        self.table = cast(nn.Embedding, cast(EncoderLayer, encoder.layers[0]).attention.rel_attn_embed)
        self.n_buckets, self.max_distance = encoder.n_buckets, encoder.max_distance

    def forward(self, n_frames: int) -> Tensor:
        """(1, H, T, T); a recording without frames is treated as one of a frame."""
        n_frames = max(1, n_frames)
        frames, distances = torch.arange(n_frames), torch.arange(1 - n_frames, n_frames)
        values = self.table(distance_buckets(distances, self.n_buckets, self.max_distance)).T.contiguous()  # (H, 2T-1)
        return values[:, frames - frames[:, None] + n_frames - 1][None]


class Gates(nn.Module):
    """How strongly each frame of a layer listens to the bias by distance."""

    def __init__(self, attention: GatedAttention) -> None:
        super().__init__()
        self.n_heads = attention.n_heads
        linear = attention.gru_rel_pos_linear
        # The original adds four outputs each: the weights can be added instead.
        self.weight = linear.weight.detach().unflatten(0, (2, 4)).sum(1)  # (2, K)
        self.bias = linear.bias.detach().unflatten(0, (2, 4)).sum(1)
        self.constant = attention.gru_rel_pos_const.detach()[0]  # (H, 1, 1)

    def forward(self, x: Tensor, counts: Sequence[int], biases: Sequence[Tensor]) -> list[Tensor]:
        """Each recording's (1, H, T, T)."""
        gates = F.linear(x.unflatten(-1, (self.n_heads, -1)), self.weight, self.bias).sigmoid()  # (sum of T, H, 2)
        update, reset = gates.transpose(0, 1).split(1, dim=-1)  # (H, sum of T, 1)
        strength = update * (reset * self.constant - 1.0) + 2.0
        return [strength[None, :, place] * bias for place, bias in zip(offsets(counts), biases, strict=True)]
