"""What the CPU engine's arithmetics make of a trained encoder and a human recording.

Random weights have no outlier channels, which are what makes low precision fail: this needs the trained ones.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.features import Features
from auricle.engines import make_engine
from auricle.models.whisper import Encoder, Whisper, WhisperConfig

# Relative error of the last states and smallest cosine of a frame. float32 sums in another order; more than the others'
# bounds costs words: 8-bit integers, with one scale a row, have 0.052 and 0.763.
BOUNDS = {"float32": (1e-5, 0.999999), "bfloat16": (0.015, 0.985), "auto": (0.015, 0.985)}
SOUND = 550  # frames


@pytest.mark.parametrize("dtype", BOUNDS)
def test_states_of_a_trained_encoder_stay_near_float32(
    dtype: str, trained_config: WhisperConfig, trained_encoder: Encoder, human_mel: Tensor
) -> None:
    model = Whisper(trained_config)
    model.model.encoder = copy.deepcopy(trained_encoder)
    with torch.inference_mode():
        expected = trained_encoder(human_mel)[0, :SOUND]
    states, lengths = make_engine(model, name="cpu", dtype=dtype).encode(Features(human_mel, torch.tensor([1100])))
    found = states[0, :SOUND]
    most, least = BOUNDS[dtype]
    assert lengths.tolist() == [SOUND]
    assert float((found - expected).norm() / expected.norm()) <= most
    assert float(F.cosine_similarity(found, expected, dim=1).min()) >= least
