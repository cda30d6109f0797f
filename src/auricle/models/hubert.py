"""HuBERT with a CTC head.

Paper: HuBERT (arXiv 2106.07447). What recognises is wav2vec 2.0 (wav2vec2.py); two options are its
own: no norm before the projection, and positions by a batch norm and a plain convolution.

Dimension key: B batch, T frames, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from auricle.models.speech_encoder import PositionalConv, SpeechEncoderConfig
from auricle.models.wav2vec2 import Wav2Vec2CTC


@dataclass(frozen=True)
class HubertConfig(SpeechEncoderConfig):
    """A `hubert` checkpoint's config.json."""

    feat_proj_layer_norm: bool = True
    conv_pos_batch_norm: bool = False


class BatchNormPositionalConv(PositionalConv):
    """Positions by a batch norm over the frames and a plain convolution."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__(config)
        width, kernel = config.hidden_size, config.num_conv_pos_embeddings
        groups = config.num_conv_pos_embedding_groups
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        self.batch_norm = nn.BatchNorm1d(width)

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """`mask` is (B, T), False where padded: there the norm looks away and the convolution reads zeros."""
        if mask is None:
            states = self.batch_norm(states.flatten(0, 1)).view(states.shape)
        else:
            frames = self.batch_norm(states[mask])  # (the rows' own frames, D)
            states = torch.zeros_like(states).masked_scatter(mask[..., None], frames)  # (B, T, D)
        return super().forward(states, mask)


class HubertCTC(Wav2Vec2CTC):
    """HuBERT with a linear layer from states to the vocabulary."""

    prefix = "hubert"
    Config = HubertConfig
    RENAMES = (*Wav2Vec2CTC.RENAMES, (r"^wav2vec2\.", "hubert."))
    # Also pretraining only: embeddings of the hidden units, and the projection onto them.
    IGNORED_TENSORS = (*Wav2Vec2CTC.IGNORED_TENSORS, r"^label_embs_concat$", r"^final_proj\.")

    def __init__(self, config: HubertConfig) -> None:
        super().__init__(config)
        if not config.feat_proj_layer_norm:
            self.base.feature_projection.layer_norm = nn.Identity()
        if config.conv_pos_batch_norm:
            self.base.encoder.pos_conv_embed = BatchNormPositionalConv(config)
