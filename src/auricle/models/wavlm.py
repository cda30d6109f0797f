"""WavLM with a CTC head.

Paper: WavLM (arXiv 2110.13900). It is wav2vec 2.0 (wav2vec2.py) whose attention adds to its
scores a bias learned for the distance of two frames; a gate, computed in each layer from the querying frame,
decides how strongly. Distances fall into buckets: exact when near, logarithmic when far.

Dimension key: B batch, T frames, D width, H heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.speech_encoder import Attention, Encoder, EncoderLayer, SpeechEncoderConfig
from auricle.models.wav2vec2 import ConvAdapterConfig, Wav2Vec2CTC


@dataclass(frozen=True)
class WavLMConfig(ConvAdapterConfig):
    """A `wavlm` checkpoint's config.json."""

    num_buckets: int = 320
    max_bucket_distance: int = 800  # frames; all that is farther shares one bucket on each side

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_buckets < 4 or self.num_buckets % 4 or self.max_bucket_distance <= self.num_buckets // 4:
            raise ConfigError(
                f"num_buckets is {self.num_buckets} and max_bucket_distance {self.max_bucket_distance}; "
                "expected a multiple of 4, and a distance of more than a quarter of it"
            )


def distance_buckets(distances: Tensor, n_buckets: int, max_distance: int) -> Tensor:
    """Map key position minus query position to a bucket; the upper half is for keys that come later.

    Source: T5's relative positions, arXiv 1910.10683, section 2.1, which WavLM takes over.
    """
    n_side = n_buckets // 2
    n_exact = n_side // 2
    away = distances.abs()
    octaves = torch.log(away.clamp(min=1).float() / n_exact) / math.log(max_distance / n_exact)
    far = (n_exact + octaves * (n_side - n_exact)).long().clamp(max=n_side - 1)
    return torch.where(away < n_exact, away, far) + (distances > 0) * n_side


class GatedAttention(Attention):
    """Self-attention with the gated relative position bias."""

    def __init__(self, config: WavLMConfig, is_first: bool) -> None:
        super().__init__(config)
        head_width = config.hidden_size // config.num_attention_heads
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, self.n_heads, 1, 1))
        self.gru_rel_pos_linear = nn.Linear(head_width, 8)
        if is_first:  # one table for all layers; checkpoints keep it here
            self.rel_attn_embed = nn.Embedding(config.num_buckets, self.n_heads)

    def forward(self, states: Tensor, bias: Tensor | None, mask: Tensor | None = None) -> Tensor:
        """`bias` is (1, H, T, T), by distance; `mask` is (B, 1, 1, T), False where padded.

        Source: arXiv 2110.13900, "gated relative position bias": two gates of the query frame scale it.
        """
        x = states.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, D/H)
        gates = self.gru_rel_pos_linear(x).unflatten(-1, (2, 4)).sum(-1).sigmoid()  # (B, H, T, 2)
        update, reset = gates.split(1, dim=-1)  # (B, H, T, 1)
        bias = (update * (reset * self.gru_rel_pos_const - 1.0) + 2.0) * bias  # (B, H, T, T)
        return super().forward(states, bias if mask is None else bias.masked_fill(~mask, -torch.inf))


class WavLMEncoder(Encoder):
    """The Transformer with gated attention."""

    def __init__(self, config: SpeechEncoderConfig) -> None:
        super().__init__(config)
        config = cast(WavLMConfig, config)
        self.n_buckets, self.max_distance = config.num_buckets, config.max_bucket_distance
        for index, layer in enumerate(self.layers):
            cast(EncoderLayer, layer).attention = GatedAttention(config, is_first=index == 0)

    def context(self, n_frames: int, mask: Tensor | None) -> tuple[Tensor | None, ...]:
        """Compute once for all layers the bias by distance, (1, H, T, T), beside which keys to look at."""
        table = cast(nn.Embedding, cast(EncoderLayer, self.layers[0]).attention.rel_attn_embed)
        frames = torch.arange(n_frames, device=table.weight.device)
        # The T * T pairs have only 2T-1 distances: look those up, then lay them out.
        distances = torch.arange(1 - n_frames, n_frames, device=table.weight.device)
        by_distance = table(distance_buckets(distances, self.n_buckets, self.max_distance))  # (2T-1, H)
        bias = by_distance[frames - frames[:, None] + n_frames - 1]  # (T, T, H)
        return (bias.permute(2, 0, 1)[None], *super().context(n_frames, mask))


class WavLMCTC(Wav2Vec2CTC):
    """WavLM with a linear layer from states to the vocabulary."""

    prefix = "wavlm"
    Config = WavLMConfig
    RENAMES = (*Wav2Vec2CTC.RENAMES, (r"^wav2vec2\.", "wavlm."))

    def __init__(self, config: WavLMConfig) -> None:
        super().__init__(config, WavLMEncoder)
