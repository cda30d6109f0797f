"""Manifests of recordings whose lengths and first samples tell them apart."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., Path]:
    """Write recordings of 160 to 1600 samples, and their manifest; the samples of each are its number."""

    def write(n_rows: int, broken: tuple[int, ...] = ()) -> Path:
        rows = []
        for number in range(n_rows):
            path = tmp_path / "data" / f"{number:03}.wav"
            path.parent.mkdir(exist_ok=True)
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, 16000, 0, "NONE", ""))
                file.writeframes(np.full(160 * (1 + number * 7 % 10), number).astype("<i2").tobytes())
            if number in broken:
                path.write_bytes(b"this is no recording")
            rows.append({"path": path.name, "id": f"row-{number}", "text": f"reference {number}"})
        manifest = tmp_path / "data" / "manifest.jsonl"
        manifest.write_text("\n".join(json.dumps(row) for row in rows))
        return manifest

    return write
