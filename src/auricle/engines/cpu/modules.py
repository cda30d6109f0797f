"""Replaces the modules of a loaded model by fast ones that compute the same.

Each family's file says what is fast there; what no file knows stays as it is.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from auricle.engines.cpu.linear import Arithmetic
from auricle.engines.cpu.modules_convolutions import FastConvNextEncoder, FastResNetEncoder
from auricle.engines.cpu.modules_moonshine import replace_moonshine_encoder
from auricle.engines.cpu.modules_parakeet import FastConformer
from auricle.engines.cpu.modules_vision import FastVisionEncoder
from auricle.engines.cpu.modules_wav2vec2 import FastSpeechEncoder
from auricle.engines.cpu.modules_whisper import FastWhisperEncoder
from auricle.models.convnext import ConvNext
from auricle.models.deit import DeiT
from auricle.models.dinov2 import Dinov2
from auricle.models.moonshine import Moonshine
from auricle.models.parakeet import ParakeetCTC
from auricle.models.resnet import ResNet
from auricle.models.vit import ViT
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.models.whisper import Encoder, Whisper
from auricle.models.whisper_classifier import WhisperClassifier

__all__ = ["accelerate"]


def accelerate(model: nn.Module, arithmetic: Arithmetic) -> nn.Module:
    """Replace a float32 model's encoder by one whose products are in `arithmetic`; decoders stay as they are.

    The model is consumed: weights that no part needs any more are freed. Only for recognition, not for training.
    """
    if isinstance(model, Wav2Vec2CTC):
        model.add_module(model.prefix, FastSpeechEncoder(model.base, model.config, arithmetic))
    elif isinstance(model, ParakeetCTC):
        model.add_module("encoder", FastConformer(model.encoder, arithmetic))
    elif isinstance(model, Whisper):
        model.model.add_module("encoder", FastWhisperEncoder(model.model.encoder, model.config, arithmetic))
    elif isinstance(model, WhisperClassifier):
        model.encoder = FastWhisperEncoder(cast(Encoder, model.encoder), model.config, arithmetic)
    elif getattr(model, "kind", None) == "image":
        _accelerate_image(model, arithmetic)
    elif isinstance(model, Moonshine):
        replace_moonshine_encoder(model.model.encoder, arithmetic)
    return model


def _accelerate_image(model: nn.Module, arithmetic: Arithmetic) -> None:
    """Replace the encoder of a model that classifies images."""
    config: Any = model.config
    if isinstance(model, ViT):
        model.add_module("vit", FastVisionEncoder(model.vit, config, arithmetic))
    elif isinstance(model, DeiT):
        model.add_module("deit", FastVisionEncoder(model.deit, config, arithmetic))
    elif isinstance(model, Dinov2):
        model.add_module("dinov2", FastVisionEncoder(model.dinov2, config, arithmetic))
    elif isinstance(model, ConvNext):
        model.add_module("convnext", FastConvNextEncoder(model.convnext, config, arithmetic))
    elif isinstance(model, ResNet):
        model.add_module("resnet", FastResNetEncoder(model.resnet, config, arithmetic))
