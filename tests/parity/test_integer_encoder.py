"""The trained encoder of whisper-base computed through 16-bit integers, against itself in float32.

Random weights have no outlier channels, which are what makes low precision fail: this needs the trained ones.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.engines.cpu import products
from auricle.engines.cpu.products import PackedLinear, attention, conv1d_channels_last, linear
from auricle.models.whisper import Encoder, EncoderLayer

# bfloat16 products alone are 0.010 away.
CLOSE = 0.003

pytestmark = pytest.mark.skipif(not products.available(), reason="built without native kernels for this processor")


def layer_through_integers(layer: EncoderLayer, x: Tensor) -> Tensor:
    own = layer.self_attn
    y = layer.self_attn_layer_norm(x)
    q, k, v = (linear(y, PackedLinear.pack(p.weight, p.bias)) for p in (own.q_proj, own.k_proj, own.v_proj))
    y = attention(q, k, v, own.n_heads)
    x = linear(y, PackedLinear.pack(own.out_proj.weight, own.out_proj.bias), residual=x)
    y = linear(layer.final_layer_norm(x), PackedLinear.pack(layer.fc1.weight, layer.fc1.bias), "gelu")
    return linear(y, PackedLinear.pack(layer.fc2.weight, layer.fc2.bias), residual=x)


def encode_through_integers(encoder: Encoder, values: Tensor) -> Tensor:
    first, second = (PackedLinear.pack_conv1d(conv.weight, conv.bias) for conv in (encoder.conv1, encoder.conv2))
    x = conv1d_channels_last(values.transpose(1, 2), first, kernel=3, padding=1, activation="gelu")
    positions = encoder.embed_positions.weight
    x = conv1d_channels_last(x, second, kernel=3, stride=2, padding=1, activation="gelu", residual=positions)
    for layer in encoder.layers:
        x = layer_through_integers(layer, x)
    return encoder.layer_norm(x)


@torch.inference_mode()
def test_trained_encoder_is_close_to_float32(trained_encoder: Encoder, human_mel: Tensor) -> None:
    ours, exact = encode_through_integers(trained_encoder, human_mel), trained_encoder(human_mel)

    for part in (slice(None), slice(0, 550)):  # all frames, and those of the recording's sound
        error = ((ours[:, part] - exact[:, part]).norm() / exact[:, part].norm()).item()
        cosine = F.cosine_similarity(ours[:, part], exact[:, part], dim=2).min().item()
        assert error < CLOSE, f"relative error {error:.2e}, smallest cosine {cosine:.5f}"
