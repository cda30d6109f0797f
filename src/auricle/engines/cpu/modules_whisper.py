"""Whisper's encoder, fast.

Dimension key: B windows, M mel bins, F feature frames, T encoder frames, D width, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from auricle.engines.cpu import products
from auricle.engines.cpu.linear import Arithmetic
from auricle.engines.cpu.modules_attention import attend
from auricle.engines.cpu.modules_products import (
    ACTIVATIONS,
    feed_forward_of,
    joined_product,
    make_convolution,
    product_of,
)
from auricle.models.whisper import Encoder, EncoderLayer, WhisperConfig


class FastWhisperEncoder(nn.Module):
    """Stands for `Encoder`."""

    def __init__(self, original: Encoder, config: WhisperConfig, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation_function]
        # What is rounded to bfloat16 here turns single frames of a human recording away from float32's: their least
        # cosine is 0.94 with convolutions in bfloat16, 0.98 with the first layer in it, 0.9995 with neither.
        front = arithmetic if arithmetic != "bfloat16" else "int16" if products.available() else "float32"
        self.conv1 = make_convolution(original.conv1.weight, original.conv1.bias, 1, front)
        self.conv2 = make_convolution(original.conv2.weight, original.conv2.bias, 2, front)
        self.embed_positions, self.layer_norm = original.embed_positions, original.layer_norm
        self.layers = nn.ModuleList(
            FastWhisperLayer(layer, self.activation, arithmetic if place else front)
            for place, layer in enumerate(original.layers)
            if isinstance(layer, EncoderLayer)
        )

    def forward(self, values: Tensor, shares: Tensor | None = None) -> Tensor:
        """Map (B, M, F) to (B, T, D); `shares` (layers + 1,) sums what the first layer takes and what each gives."""
        embedded = [self._embed(window.T) for window in values]
        x = torch.cat(embedded) if len(embedded) > 1 else embedded[0]  # (B T, D)
        counts = [len(x) // len(values)] * len(values)
        summed = None if shares is None else shares[0] * x
        for place, layer in enumerate(self.layers, 1):
            x = layer(x, counts)
            if place == len(self.layers):
                x = self.layer_norm(x)
            if shares is not None and summed is not None:
                summed.add_(shares[place] * x)
        return (x if summed is None else summed).unflatten(0, (len(values), -1))

    def _embed(self, frames: Tensor) -> Tensor:
        """Map (F, M) to (T, D)."""
        x = self.conv1(frames, "gelu", padding=1)  # (F, D)
        x = self.conv2(x, "gelu", padding=1)  # (T, D)
        return x.add_(self.embed_positions.weight)


class FastWhisperLayer(nn.Module):
    """Stands for `EncoderLayer`, over (B T, D)."""

    def __init__(self, layer: EncoderLayer, activation: str, arithmetic: Arithmetic) -> None:
        super().__init__()
        attention = layer.self_attn
        self.n_heads, self.arithmetic = attention.n_heads, arithmetic
        self.attention_norm, self.final_norm = layer.self_attn_layer_norm, layer.final_layer_norm
        self.queries_keys_values = joined_product([attention.q_proj, attention.k_proj, attention.v_proj], arithmetic)
        self.attention_out = product_of(attention.out_proj, arithmetic)
        self.feed_forward = feed_forward_of(layer.fc1, layer.fc2, activation, arithmetic)

    def forward(self, x: Tensor, counts: list[int]) -> Tensor:
        y = attend(self.queries_keys_values(x, norm=self.attention_norm), counts, self.n_heads, self.arithmetic)
        x = self.attention_out(y, residual=x)
        return self.feed_forward(x, residual=x, norm=self.final_norm)
