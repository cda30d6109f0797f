"""wav2vec2, HuBERT and WavLM that say what a recording is: keywords, speakers, languages, emotions, sounds.

Paper: SUPERB (arXiv 2105.01051), whose heads these are: the states of all layers, each times a learned share, or those
of the last; narrowed, averaged over time, and a linear layer to the labels.

Dimension key: B batch, S samples, T frames, D width, L labels.

The states of a pre-norm encoder's last layer are normalised, as they were in training (transformers 5 leaves it out).
The mean is over a row's own frames: a recording's result is the same alone and in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.hubert import HubertConfig, HubertCTC
from auricle.models.labels import LabelsConfig
from auricle.models.speech_encoder import valid_frames
from auricle.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2CTC
from auricle.models.wavlm import WavLMConfig, WavLMCTC


@dataclass(frozen=True)
class HeadConfig(LabelsConfig):
    """What config.json says of the head."""

    classifier_proj_size: int = 256
    use_weighted_layer_sum: bool = False


@dataclass(frozen=True)
class Wav2Vec2ClassifierConfig(HeadConfig, Wav2Vec2Config):
    """A `wav2vec2` classifier's config.json."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.add_adapter:
            raise ConfigError("add_adapter is true; no classifier follows the convolutions after the encoder")


@dataclass(frozen=True)
class HubertClassifierConfig(HeadConfig, HubertConfig):
    """A `hubert` classifier's config.json."""


@dataclass(frozen=True)
class WavLMClassifierConfig(HeadConfig, WavLMConfig):
    """A `wavlm` classifier's config.json."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.add_adapter:
            raise ConfigError("add_adapter is true; no classifier follows the convolutions after the encoder")


class Head(nn.Module):
    """Turns a family's CTC model into a classifier: mixed in before it, it takes the place of its head."""

    kind = "audio"
    config: Any
    base: Any

    def add_head(self, width: int) -> None:
        """Add what stands after the states (B, T, width)."""
        config = self.config
        if config.use_weighted_layer_sum:
            self.layer_weights = nn.Parameter(torch.ones(config.num_hidden_layers + 1) / (config.num_hidden_layers + 1))
        self.projector = nn.Linear(width, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, len(config.labels))
        # A recording that is shorter gives no frame.
        self.min_samples = self.base.feature_extractor.receptive_field

    def encode(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, S) samples, (B,) of them valid, to the (B, T, D) states that are averaged, and frame counts."""
        shares = self.layer_weights.softmax(-1) if self.config.use_weighted_layer_sum else None
        states, lengths = self.base(values, lengths, shares)
        return states, lengths

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Map (B, S) samples, (B,) of them valid, to (B, L) logits."""
        states, lengths = self.encode(values, lengths)
        own = valid_frames(lengths, states.shape[1])[..., None]  # (B, T, 1)
        # The projector is linear: the mean of what it gives is what it gives of the mean.
        mean = states.masked_fill(~own, 0.0).sum(1) / own.sum(1)  # (B, D)
        return self.classifier(self.projector(mean.to(states.dtype))).float()


class Wav2Vec2Classifier(Head, Wav2Vec2CTC):  # type: ignore[misc]
    """wav2vec 2.0 and a classifier."""

    Config: ClassVar[type[Any]] = Wav2Vec2ClassifierConfig  # type: ignore[misc]


class HubertClassifier(Head, HubertCTC):  # type: ignore[misc]
    """HuBERT and a classifier."""

    Config: ClassVar[type[Any]] = HubertClassifierConfig  # type: ignore[misc]


class WavLMClassifier(Head, WavLMCTC):  # type: ignore[misc]
    """WavLM and a classifier."""

    Config: ClassVar[type[Any]] = WavLMClassifierConfig  # type: ignore[misc]
