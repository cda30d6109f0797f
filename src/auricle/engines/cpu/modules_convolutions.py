"""The encoders of ConvNeXt and ResNet, fast: channels last in memory, so that what one place has lies together.

A convolution of one place is a product of rows. One of three by three is three convolutions along rows of places, which
the native kernels read where they lie, added up. Norms whose numbers are those of training are in the weights.

Dimension key: B images, Y and X places down and across, C channels, N outputs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.engines.cpu import products
from auricle.engines.cpu.linear import Arithmetic
from auricle.engines.cpu.modules_products import ACTIVATIONS, apply_activation, feed_forward_of, make_product
from auricle.engines.cpu.modules_vision import FastPatches, scaled
from auricle.models import convnext, resnet

# The native kernels take images whose channels are a multiple of this: others would be mostly padding.
CHANNEL_STEP = 16


class FastConvolution(nn.Module):
    """Stands for resnet.py's `Convolution`, over (B, Y, X, C)."""

    def __init__(self, original: resnet.Convolution, arithmetic: Arithmetic) -> None:
        super().__init__()
        norm, convolution = original.normalization, original.convolution
        running_mean, running_var = norm.running_mean, norm.running_var
        assert running_mean is not None, "the norm has the numbers of training"
        assert running_var is not None, "the norm has the numbers of training"
        factor = norm.weight.detach() / (running_var + norm.eps).sqrt()
        weight = convolution.weight.detach() * factor[:, None, None, None]  # (N, C, side, side)
        bias = norm.bias.detach() - running_mean * factor
        self.side, self.stride = weight.shape[2], int(convolution.stride[0])
        self.product = make_product(weight[:, :, 0, 0], bias, arithmetic) if self.side == 1 else None
        self.rows: list[products.PackedLinear] = []
        if self.side > 1 and arithmetic == "int16" and weight.shape[1] % CHANNEL_STEP == 0:
            parts = [weight[:, :, y] for y in range(self.side)]
            packed = [products.PackedLinear.pack_conv1d(part, None if y else bias) for y, part in enumerate(parts)]
            self.rows = packed
        else:
            self.weight, self.bias = weight.contiguous(memory_format=torch.channels_last), bias

    def forward(self, x: Tensor, activation: str | None = None, residual: Tensor | None = None) -> Tensor:
        """Map (B, Y, X, C) to (B, Y', X', N): residual + activation(convolution), or with both the sum activated."""
        if self.product is not None:
            x = x[:, :: self.stride, :: self.stride] if self.stride > 1 else x
            if residual is None:
                return self.product(x.contiguous(), activation).float()
            return apply_activation(self.product(x.contiguous(), residual=residual).float(), activation)
        y = self._by_rows(x) if self.rows else self._whole(x)
        return apply_activation(y if residual is None else y.add_(residual), activation)

    def _whole(self, x: Tensor) -> Tensor:
        image = x.permute(0, 3, 1, 2)  # channels last in memory
        y = F.conv2d(image, self.weight, self.bias, self.stride, self.side // 2)
        return y.permute(0, 2, 3, 1).contiguous()

    def _by_rows(self, x: Tensor) -> Tensor:
        edge, stride = self.side // 2, self.stride
        n_down = (x.shape[1] + 2 * edge - self.side) // stride + 1
        padded = F.pad(x, (0, 0, edge, edge, edge, edge))
        images = []
        for image in padded:
            y: Tensor | None = None
            for place, packed in enumerate(self.rows):
                lines = image[place : place + (n_down - 1) * stride + 1 : stride]  # (Y', X + 2 edge, C)
                y = products.conv1d_channels_last(lines, packed, self.side, stride, residual=y)
            images.append(y)
        return torch.stack(images)  # type: ignore[arg-type]  # a side has places


class FastResNetEncoder(nn.Module):
    """Stands for `Encoder` of resnet.py."""

    def __init__(self, original: resnet.Encoder, config: Any, arithmetic: Arithmetic) -> None:
        super().__init__()
        first: Any = original.embedder
        self.first, self.pooler = FastConvolution(first.embedder, "float32"), first.pooler
        self.activation = ACTIVATIONS[config.hidden_act]
        stages: Any = original.encoder.stages
        layers = [layer for stage in stages for layer in stage.layers]
        self.layers = nn.ModuleList(FastResNetLayer(layer, self.activation, arithmetic) for layer in layers)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, C, height, width) to (B, D, Y, X)."""
        x = self.first(pixels.permute(0, 2, 3, 1), self.activation).permute(0, 3, 1, 2)
        x = self.pooler(x).permute(0, 2, 3, 1).contiguous()  # (B, Y, X, D)
        for layer in self.layers:
            x = layer(x)
        return x.permute(0, 3, 1, 2)


class FastResNetLayer(nn.Module):
    """Stands for `Layer` of resnet.py, over (B, Y, X, D)."""

    def __init__(self, layer: resnet.Layer, activation: str, arithmetic: Arithmetic) -> None:
        super().__init__()
        parts: Any = layer.layer
        self.parts = nn.ModuleList(FastConvolution(part, arithmetic) for part in parts)
        shortcut = layer.shortcut
        is_straight = not isinstance(shortcut, resnet.Convolution)
        self.shortcut = None if is_straight else FastConvolution(shortcut, arithmetic)  # type: ignore[arg-type]
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        added = x
        for part in self.parts[:-1]:
            added = part(added, "relu")
        straight = x if self.shortcut is None else self.shortcut(x)
        return self.parts[-1](added, self.activation, straight)


class FastConvNextEncoder(nn.Module):
    """Stands for `Encoder` of convnext.py."""

    def __init__(self, original: convnext.Encoder, config: Any, arithmetic: Arithmetic) -> None:
        super().__init__()
        embeddings: Any = original.embeddings
        self.embeddings = embeddings
        embeddings.patch_embeddings = FastPatches(embeddings.patch_embeddings, arithmetic)
        self.layernorm = original.layernorm
        activation = ACTIVATIONS[config.hidden_act]
        parts: list[nn.Module] = []
        for stage in original.encoder.stages:
            shrinks: Any = stage.downsampling_layer
            if len(shrinks):
                parts.append(nn.Sequential(shrinks[0], FastPatches(shrinks[1], arithmetic, has_channels_last=True)))
            layers: Any = stage.layers
            parts += [FastConvNextLayer(layer, activation, arithmetic) for layer in layers]
        self.parts = nn.ModuleList(parts)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, C, height, width) to (B, D, Y, X)."""
        x = self.embeddings(pixels)
        for part in self.parts:
            x = part(x)
        return x


class FastConvNextLayer(nn.Module):
    """Stands for `Layer` of convnext.py, over (B, D, Y, X) whose channels lie last; the scale is in the weights."""

    def __init__(self, layer: convnext.Layer, activation: str, arithmetic: Arithmetic) -> None:
        super().__init__()
        self.weight = layer.dwconv.weight.detach().contiguous(memory_format=torch.channels_last)
        self.bias, self.layernorm = layer.dwconv.bias, layer.layernorm
        second = scaled(layer.pwconv2, layer.layer_scale_parameter)
        self.feed_forward = feed_forward_of(layer.pwconv1, second, activation, arithmetic)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        y = F.conv2d(x, self.weight, self.bias, padding=3, groups=x.shape[1])
        y = self.layernorm(y.permute(0, 2, 3, 1))  # (B, Y, X, D)
        return self.feed_forward(y, residual=x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
