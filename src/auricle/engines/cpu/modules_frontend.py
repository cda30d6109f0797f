"""The convolutional front end of wav2vec2 and its relatives, a stretch of sound at a time.

Whole layers of a recording are written to memory and read again, 98 MB each for 15 s; the system finds new pages for
most of it. A stretch of 16 frames goes through all layers within the processor's caches.

Dimension key: S samples, T frames, C channels, K kernel.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from auricle.engines.cpu import products
from auricle.engines.cpu.linear import Arithmetic
from auricle.engines.cpu.modules_products import (
    ACTIVATIONS,
    Product,
    apply_activation,
    make_convolution,
    make_product,
    normalized,
)
from auricle.models.speech_encoder import ConvLayer, FeatureEncoder, SpeechEncoderConfig

# Frames that come of one pass through the layers: what they make fits into a second cache, and on matrix units, which
# compute as fast as weights come, weights are to be read less often.
STRETCH, STRETCH_ON_MATRIX_UNITS = 16, 64


class FastFeatureEncoder(nn.Module):
    """Stands for `FeatureEncoder`, one recording at a time."""

    def __init__(self, original: FeatureEncoder, config: SpeechEncoderConfig, arithmetic: Arithmetic) -> None:
        super().__init__()
        layers = cast("list[ConvLayer]", list(original.conv_layers))
        self.receptive_field, self.hop = original.receptive_field, math.prod(config.conv_stride)
        self.activation = ACTIVATIONS[config.feat_extract_activation]
        self.first = FirstConvolution(layers[0], arithmetic)
        self.convolutions = [
            make_convolution(layer.conv.weight, layer.conv.bias, layer.stride, arithmetic) for layer in layers[1:]
        ]
        self.norms = nn.ModuleList(layer.layer_norm or nn.Identity() for layer in layers[1:])
        self.width = config.conv_dim[-1]
        # Kernels are prepared for every new shape where oneDNN computes: there the last stretch is a whole one, too.
        self.whole_stretches = arithmetic == "bfloat16"
        on_matrix_units = arithmetic == "int16" and products.on_matrix_units()
        self.stretch = STRETCH_ON_MATRIX_UNITS if on_matrix_units else STRETCH

    def forward(self, samples: Tensor) -> Tensor:
        """Map (S,) to (T, C); T is 0 below the receptive field."""
        n_frames = max(0, (len(samples) - self.receptive_field) // self.hop + 1)
        frames = torch.empty(n_frames, self.width)
        if not n_frames:
            return frames
        first = self.first.for_recording(samples)
        for start in range(0, n_frames, self.stretch):
            if self.whole_stretches:
                start = max(0, min(start, n_frames - self.stretch))
            end = min(start + self.stretch, n_frames)
            x = samples[start * self.hop : (end - 1) * self.hop + self.receptive_field]
            x = self.first(x, first, self.activation)  # (T', C)
            for convolution, norm in zip(self.convolutions, self.norms, strict=True):
                if isinstance(norm, nn.LayerNorm):
                    x = apply_activation(normalized(convolution(x), norm), self.activation)
                else:
                    x = convolution(x, self.activation)
            frames[start:end] = x
        return frames


class FirstConvolution(nn.Module):
    """From samples to channels, normalised.

    The norm of the base form is over time: its mean and variance of each channel follow from the moments of K
    neighbouring samples, a K x K matrix, and become part of the weights. Nothing is computed twice for it.
    """

    def __init__(self, layer: ConvLayer, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.kernel, self.stride, self.arithmetic = layer.kernel, layer.stride, arithmetic
        self.weight = layer.conv.weight.detach()[:, 0]  # (C, K)
        self.bias = None if layer.conv.bias is None else layer.conv.bias.detach()
        self.norm = layer.layer_norm
        self.plain = None if isinstance(self.norm, nn.GroupNorm) else make_product(self.weight, self.bias, arithmetic)

    def for_recording(self, samples: Tensor) -> Product:
        """The product whose result is normalised over the whole recording, where the norm is over time."""
        if self.plain is not None:
            return self.plain
        norm = cast(nn.GroupNorm, self.norm)
        # A bias moves the mean by as much, and vanishes.
        windows = samples.unfold(0, self.kernel, self.stride).double()  # (T', K)
        mean = windows.mean(0)
        moments = windows.T @ windows / len(windows) - mean[:, None] * mean
        weight = self.weight.double()
        variance = ((weight @ moments) * weight).sum(1).clamp(min=0.0)
        factor = norm.weight.double() / (variance + norm.eps).sqrt()  # (C,)
        weight = factor[:, None] * weight
        bias = norm.bias.double() - weight @ mean
        return make_product(weight.float(), bias.float(), self.arithmetic)

    def forward(self, samples: Tensor, product: Product, activation: str) -> Tensor:
        """Map (S,) to (T', C)."""
        windows = samples.unfold(0, self.kernel, self.stride)  # (T', K)
        if isinstance(self.norm, nn.LayerNorm):
            return apply_activation(normalized(product(windows), self.norm), activation)
        return product(windows, activation)
