"""Tiny recordings, written where a test wants them."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Sound = Callable[..., Path]


@pytest.fixture
def sound(tmp_path: Path) -> Sound:
    """Write a recording whose samples count up, at 16 kHz, at a path within the test's folder."""

    def write(name: str, seconds: float = 0.01) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((np.arange(round(16000 * seconds)) % 30000).astype("<i2").tobytes())
        return path

    return write
