"""Sound that is changed at random, and only by what the generator draws."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.errors import OptionError
from auricle.training.disturbance import Disturbance, DisturbanceOptions

RATE = 16000
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


def write(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_generator_alone_decides(tmp_path: Path) -> None:
    write(tmp_path / "noise" / "hiss.wav", np.random.default_rng(0).uniform(-0.5, 0.5, RATE))
    write(tmp_path / "rooms" / "hall.wav", np.exp(-np.arange(2000) / 300) * 0.9)
    options = DisturbanceOptions(noise=tmp_path / "noise", rir=tmp_path / "rooms")
    first, second = Disturbance(options, RATE), Disturbance(options, RATE)
    first(TONE, generator(9))  # what was drawn before does not matter
    for seed in range(6):
        one, speed = first(TONE, generator(seed))
        other, same_speed = second(TONE, generator(seed))
        assert np.array_equal(one, other)
        assert speed == same_speed


def test_every_clip_takes_as_many_draws() -> None:
    after = []
    for options in (DisturbanceOptions(), DisturbanceOptions(speed=0.0, gain_db=0.0)):
        drawn = generator()
        Disturbance(options, RATE)(TONE, drawn)
        after.append(float(torch.rand(1, generator=drawn)))
    assert after[0] == after[1]


def test_the_factor_tells_where_a_moment_went() -> None:
    click = np.zeros(RATE, np.float32)
    click[8000] = 1.0
    for seed in range(5):
        changed, factor = Disturbance(DisturbanceOptions(speed=0.2, gain_db=0.0), RATE)(click, generator(seed))
        assert abs(int(np.abs(changed).argmax()) - 8000 / factor) <= 2
        assert 0.8 <= factor <= 1.2


def test_noise_is_as_loud_as_asked(tmp_path: Path) -> None:
    write(tmp_path / "hiss.wav", np.random.default_rng(0).uniform(-0.5, 0.5, RATE))
    options = DisturbanceOptions(
        noise=tmp_path, speed=0.0, gain_db=0.0, noise_chance=1.0, least_ratio_db=10.0, most_ratio_db=10.0
    )
    changed, _ = Disturbance(options, RATE)(TONE, generator())
    ratio = 10 * np.log10(np.mean(TONE**2) / np.mean((changed - TONE) ** 2))
    assert ratio == pytest.approx(10.0, abs=0.1)


def test_nothing_is_louder_than_full_scale() -> None:
    loud = TONE * 3
    changed, _ = Disturbance(DisturbanceOptions(gain_db=20.0), RATE)(loud, generator(3))
    assert float(np.abs(changed).max()) <= 1.0


def test_folders_without_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is no folder"):
        Disturbance(DisturbanceOptions(noise=tmp_path / "none"), RATE)
    with pytest.raises(OptionError, match="no recordings of room"):
        Disturbance(DisturbanceOptions(rir=tmp_path), RATE)
