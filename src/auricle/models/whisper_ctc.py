"""A Whisper encoder with a CTC head: one linear layer from states to characters, in auricle's own format.

The encoder is that of whisper.py (arXiv 2212.04356). What differs: it hears a recording of any length up to its last
position and 3 s of silence after it, not a window of 30 s, and rows of a batch do not see what pads them. Without any
silence the states of a word are far from those that Whisper was trained to have (cosine 0.5 to 0.7 against 30 s; with
3 s 0.9, and 0.99 for a sentence).

The format: config.json is Whisper's, with `architectures` ["WhisperForCTC"], `vocab_size` of the characters and no
decoder layers; tensors are `model.encoder.…` and `lm_head.…`. transformers has no such class: it loads the encoder
(WhisperModel), and auricle loads all of it.

Dimension key: B batch, M mel bins, F feature frames (10 ms), T encoder frames (20 ms), D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import AudioTooLargeError
from auricle.models.whisper import Encoder, EncoderLayer, Whisper, WhisperConfig

ARCHITECTURE = "WhisperForCTC"


@dataclass(frozen=True)
class WhisperCTCConfig(WhisperConfig):
    """Whisper's config.json; what concerns its decoder is kept and not used."""

    decoder_layers: int = 0
    pad_token_id: int | None = 0  # the CTC blank
    silence_frames: int = 300  # of features (10 ms) that are heard after a recording, as far as there are positions
    dropout: float = 0.0  # in training only: before the head, and of what a layer adds


class EncoderOnly(nn.Module):
    """The half of Whisper that hears, under the name that checkpoints give it."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)


class WhisperCTC(nn.Module):
    """Whisper's encoder and one linear layer to the vocabulary."""

    kind = "ctc"
    Config = WhisperCTCConfig
    RENAMES = ((r"^encoder\.", "model.encoder."), (r"^(?=conv[12]\.|embed_positions\.|layer)", "model.encoder."))
    # A whole Whisper has a decoder, too.
    IGNORED_TENSORS: tuple[str, ...] = (r"(^|\.)decoder\.", r"^proj_out\.")
    HARMLESS = Whisper.HARMLESS - {"dropout"}

    def __init__(self, config: WhisperCTCConfig) -> None:
        super().__init__()
        self.config = config
        self.model = EncoderOnly(config)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size)
        self.samples_per_frame = 320  # features step 10 ms at 16 kHz, and the second convolution 2 of them

    @classmethod
    def tiny(cls, **changes: Any) -> WhisperCTCConfig:
        """Two layers of 32 that hear up to 30 s."""
        small = WhisperCTCConfig(
            vocab_size=20,
            d_model=32,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_attention_heads=4,
            decoder_ffn_dim=64,
        )
        return replace(small, **changes)

    def encode(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, F, M) log-mel frames, (B,) of them a row's own, to (B, T, D) states and (B,) frame counts.

        F holds the silence after each row, too, or ends where the positions do.

        Raises:
            AudioTooLargeError: for more frames than there are positions.
        """
        encoder, n_positions = self.model.encoder, self.config.max_source_positions
        frames = (lengths + 1) // 2  # (B,)
        n_frames = (values.shape[1] + 1) // 2  # T
        if int(frames.max()) > n_positions:
            raise AudioTooLargeError(
                f"a recording of {int(frames.max()) / 50:.2f} s was given to an encoder that hears "
                f"{n_positions / 50:g} s; cut it into windows"
            )
        n_frames = min(n_frames, n_positions)
        n_heard = (lengths + self.config.silence_frames).clamp(max=min(values.shape[1], 2 * n_positions))  # (B,)
        own = torch.arange(n_frames, device=values.device) < ((n_heard + 1) // 2).clamp(min=1)[:, None]  # (B, T)
        mels = torch.arange(values.shape[1], device=values.device) < n_heard[:, None]  # (B, F)
        padded = not bool(mels.all())
        # Beyond its end a row reads zeros, as a row alone does.
        x = values.masked_fill(~mels[..., None], 0.0).transpose(1, 2) if padded else values.transpose(1, 2)
        x = F.gelu(encoder.conv1(x.to(encoder.conv1.weight.dtype)))  # (B, D, F)
        x = x * mels[:, None] if padded else x
        x = F.gelu(encoder.conv2(x))[..., :n_frames].transpose(1, 2)  # (B, T, D)
        x = self._drop(x + encoder.embed_positions.weight[:n_frames])
        mask = own[:, None, None] if padded else None  # (B, 1, 1, T)
        for layer in encoder.layers:
            x = self._layer(cast(EncoderLayer, layer), x, mask)
        return encoder.layer_norm(x), frames

    def head(self, states: Tensor) -> Tensor:
        """Map (B, T, D) states to (B, T, V) logits; in training with dropout before."""
        return self.lm_head(self._drop(states))

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, F, M) log-mel frames to (B, T, V) logits and (B,) frame counts."""
        states, frames = self.encode(values, lengths)
        return self.head(states), frames

    def _layer(self, layer: EncoderLayer, x: Tensor, mask: Tensor | None) -> Tensor:
        y = layer.self_attn_layer_norm(x)
        x = x + self._drop(layer.self_attn(y, *layer.self_attn.keys_values(y), mask))
        return x + self._drop(layer.fc2(layer.activation(layer.fc1(layer.final_layer_norm(x)))))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training)
