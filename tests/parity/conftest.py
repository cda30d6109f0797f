"""The trained weights that several tests of this folder read from beside the repository."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.audio.decode import load_audio
from auricle.audio.whisper_mel import WhisperFeatures
from auricle.models.whisper import Encoder, WhisperConfig

ROOT = Path(__file__).parents[2]
# Toys of other tests, importable here by their names.
for toy in ("whisper_toy", "whisper_rows"):
    if toy not in sys.modules:
        spec = importlib.util.spec_from_file_location(toy, ROOT / "tests" / "unit" / "training" / f"{toy}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[toy] = module
        spec.loader.exec_module(module)
WEIGHTS = ROOT.parent / "shared" / "weights" / "whisper-base-encoder"


@pytest.fixture
def trained_config() -> WhisperConfig:
    """whisper-base with one decoder layer: nobody has trained that one."""
    return WhisperConfig(
        d_model=512,
        encoder_layers=6,
        encoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_layers=1,
        decoder_attention_heads=8,
        decoder_ffn_dim=2048,
    )


@pytest.fixture
def trained_encoder(trained_config: WhisperConfig) -> Encoder:
    """The encoder of whisper-base in float32."""
    if not WEIGHTS.is_dir():
        pytest.skip("the trained encoder is not beside the repository (shared/weights)")
    encoder = Encoder(trained_config).eval()
    files = {name: WEIGHTS / f"{name.replace('.', '_')}_fp16.npy" for name in encoder.state_dict()}
    encoder.load_state_dict({name: torch.from_numpy(np.load(file)).float() for name, file in files.items()})
    return encoder


@pytest.fixture
def human_mel() -> Tensor:
    """A window (1, 80, 3000) of log-mel frames whose first 11 s somebody speaks."""
    return WhisperFeatures()([load_audio(ROOT / "samples" / "jfk.flac")]).values
