"""The encoders of ViT, DeiT and DINOv2, fast: an image's patches are rows of products, as a recording's frames are.

Dimension key: B images, C channels, T tokens of an image, D width, H heads, K width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from auricle.engines.cpu.linear import Arithmetic
from auricle.engines.cpu.modules_attention import attend
from auricle.engines.cpu.modules_products import ACTIVATIONS, feed_forward_of, joined_product, make_product, product_of
from auricle.models import dinov2, vit


def scaled(linear: nn.Linear, scale: Tensor | None) -> nn.Linear:
    """A linear layer whose outputs are times a number each."""
    if scale is None:
        return linear
    made = nn.Linear(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
    scale = scale.detach()
    made.weight = nn.Parameter(linear.weight.detach() * scale[:, None], requires_grad=False)
    if linear.bias is not None:
        made.bias = nn.Parameter(linear.bias.detach() * scale, requires_grad=False)
    return made


class FastPatches(nn.Module):
    """Stands for `PatchEmbeddings`: a convolution whose windows do not overlap is a product."""

    def __init__(self, projection: nn.Conv2d, arithmetic: Arithmetic, has_channels_last: bool = False) -> None:
        super().__init__()
        self.side: Any = projection.kernel_size
        # A patch is copied in the order in which it lies in memory.
        self.order = (0, 2, 4, 3, 5, 1) if has_channels_last else (0, 2, 4, 1, 3, 5)
        weight = projection.weight.detach()
        weight = weight.permute(0, 2, 3, 1) if has_channels_last else weight
        self.product = make_product(weight.flatten(1), projection.bias, arithmetic)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, C, height, width) to (B, D, Y, X); what is left of a last patch is not seen."""
        tall, wide = self.side
        n_down, n_across = pixels.shape[2] // tall, pixels.shape[3] // wide
        patches = pixels[:, :, : n_down * tall, : n_across * wide].unflatten(3, (n_across, wide))
        patches = patches.unflatten(2, (n_down, tall)).permute(self.order)  # (B, Y, X, what a patch holds)
        return self.product(patches.flatten(3).contiguous()).float().permute(0, 3, 1, 2)


class FastVisionEncoder(nn.Module):
    """Stands for `Encoder` of vit.py and of dinov2.py."""

    def __init__(self, original: Any, config: Any, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.embeddings, self.layernorm = original.embeddings, original.layernorm
        patches = self.embeddings.patch_embeddings
        self.embeddings.patch_embeddings = FastPatches(patches.projection, arithmetic)
        activation = ACTIVATIONS[config.hidden_act]
        self.layers = nn.ModuleList(FastVisionLayer(layer, activation, arithmetic) for layer in original.layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, C, height, width) to (B, T, D)."""
        x = self.embeddings(pixels)  # (B, T, D)
        counts = [x.shape[1]] * len(x)
        rows = x.flatten(0, 1)  # (B T, D)
        for layer in self.layers:
            rows = layer(rows, counts)
        return self.layernorm(rows).view(x.shape)


class FastVisionLayer(nn.Module):
    """Stands for `Layer` of both, over (B T, D); learned scales are in the weights."""

    def __init__(self, layer: vit.Layer | dinov2.Layer, activation: str, arithmetic: Arithmetic) -> None:
        super().__init__()
        attention = layer.attention
        self.n_heads, self.arithmetic = attention.n_heads, arithmetic
        first_scale: nn.Parameter | None = None
        second_scale: nn.Parameter | None = None
        if isinstance(layer, dinov2.Layer):
            self.attention_norm, self.final_norm = layer.norm1, layer.norm2
            first_scale, second_scale = layer.layer_scale1.lambda1, layer.layer_scale2.lambda1
        else:
            self.attention_norm, self.final_norm = layer.layernorm_before, layer.layernorm_after
        self.queries_keys_values = joined_product([attention.q_proj, attention.k_proj, attention.v_proj], arithmetic)
        self.attention_out = product_of(scaled(attention.o_proj, first_scale), arithmetic)
        self.feed_forward = _feed_forward(layer.mlp, activation, arithmetic, second_scale)

    def forward(self, x: Tensor, counts: list[int]) -> Tensor:
        y = attend(self.queries_keys_values(self.attention_norm(x)), counts, self.n_heads, self.arithmetic)
        x = self.attention_out(y, residual=x)
        return self.feed_forward(self.final_norm(x), residual=x)


def _feed_forward(network: Any, activation: str, arithmetic: Arithmetic, scale: Tensor | None) -> Callable[..., Tensor]:
    if not isinstance(network, dinov2.GatedFeedForward):
        return feed_forward_of(network.fc1, scaled(network.fc2, scale), activation, arithmetic)
    first = product_of(network.weights_in, arithmetic)
    second = product_of(scaled(network.weights_out, scale), arithmetic)

    def compute(x: Tensor, residual: Tensor) -> Tensor:
        gate, values = first(x).float().chunk(2, dim=-1)
        return second(torch.nn.functional.silu(gate) * values, residual=residual)

    return compute
