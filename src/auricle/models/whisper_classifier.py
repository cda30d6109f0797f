"""Whisper's encoder that says what a recording is, such as its language.

Whisper: whisper.py. The head is that of speech_classifiers.py; as the encoder hears the whole window, silence after the
recording included, the mean is over the whole window.

Dimension key: B windows, M mel bins, F feature frames, T encoder frames, D width, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from auricle.errors import ConfigError
from auricle.models.labels import LabelsConfig
from auricle.models.whisper import Encoder, Whisper, WhisperConfig


@dataclass(frozen=True)
class WhisperClassifierConfig(LabelsConfig, WhisperConfig):
    """What config.json says of the network."""

    classifier_proj_size: int = 256
    use_weighted_layer_sum: bool = False


class WhisperClassifier(nn.Module):
    """The encoder of Whisper and a classifier."""

    kind = "audio"
    Config: ClassVar[type[WhisperClassifierConfig]] = WhisperClassifierConfig
    HARMLESS = Whisper.HARMLESS
    RENAMES: tuple[tuple[str, str], ...] = ((r"^model\.encoder\.", "encoder."),)
    IGNORED_TENSORS: tuple[str, ...] = ()
    min_samples = 1

    def __init__(self, config: WhisperClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: nn.Module = Encoder(config)
        if config.use_weighted_layer_sum:
            self.layer_weights = nn.Parameter(torch.ones(config.encoder_layers + 1) / (config.encoder_layers + 1))
        self.projector = nn.Linear(config.d_model, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, len(config.labels))

    @classmethod
    def tiny(cls, **changes: Any) -> WhisperClassifierConfig:
        """A network for tests, as that of Whisper, with 7 labels."""
        small = Whisper.tiny()
        sizes = {field.name: getattr(small, field.name) for field in fields(small)}
        return cls.Config(**{**sizes, "num_labels": 7, "classifier_proj_size": 24, **changes})

    def encode(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map log-mel windows (B, M, F) to the states (B, T, D) that are averaged; `lengths` is carried along."""
        config = self.config
        if values.shape[1:] != (config.num_mel_bins, 2 * config.max_source_positions):
            raise ConfigError(
                f"the encoder takes windows of {config.num_mel_bins} mel bins and {2 * config.max_source_positions} "
                f"frames, and was given {values.shape[1]} and {values.shape[2]}; feature_size and chunk_length of "
                "preprocessor_config.json must fit num_mel_bins and max_source_positions of config.json"
            )
        shares = self.layer_weights.softmax(-1) if config.use_weighted_layer_sum else None
        return self.encoder(values, shares), (lengths + 1) // 2

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Logits (B, L) of log-mel windows (B, M, F)."""
        states, _ = self.encode(values, lengths)
        return self.classifier(self.projector(states.mean(1))).float()
