"""The native detector of voices against the plain one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from auricle.audio.decode import load_audio
from auricle.audio.vad import FRAME_SAMPLES, VoiceProbabilities
from auricle.engines.cpu.native_library import ISA_VARIABLE, kernels
from auricle.engines.cpu.voice import FastVoiceProbabilities

ROUNDING = 2e-5
SAMPLE = Path(__file__).parents[3] / "samples" / "jfk.flac"
needs_kernels = pytest.mark.skipif(kernels() is None, reason="the package was built without native kernels")


def recording(n_seconds: float = 20.0) -> np.ndarray:
    """Speech, loud and quiet, and silence: gains rise and fall."""
    speech = np.tile(load_audio(SAMPLE, 16000), 2)[: round(n_seconds * 16000)].copy()
    speech[5 * 16000 : 9 * 16000] *= 0.01
    speech[12 * 16000 : 13 * 16000] = 0.0
    return speech


def heard(kind: type[VoiceProbabilities], samples: np.ndarray, block: int, **options: bool) -> np.ndarray:
    found = kind(**options)
    return np.concatenate([*(found(samples[at : at + block]) for at in range(0, len(samples), block)), found.end()])


@needs_kernels
@pytest.mark.parametrize("block", [512, 9 * FRAME_SAMPLES, 64 * FRAME_SAMPLES, 70_001, 10**9])
@pytest.mark.parametrize("loudness_aware", [True, False])
def test_probabilities_are_those_of_the_plain_detector(block: int, loudness_aware: bool) -> None:
    samples = recording()
    expected = heard(VoiceProbabilities, samples, 10**9, loudness_aware=loudness_aware)
    found = heard(FastVoiceProbabilities, samples, block, loudness_aware=loudness_aware)
    assert found == pytest.approx(expected, abs=ROUNDING)
    assert 0.2 < (found > 0.5).mean() < 0.95


@needs_kernels
def test_what_is_no_number_is_silence() -> None:
    samples = recording()
    samples[[100, 40_000, 90_001]] = np.nan, np.inf, -np.inf
    expected = heard(VoiceProbabilities, samples, 10**9)
    assert heard(FastVoiceProbabilities, samples, 10**9) == pytest.approx(expected, abs=ROUNDING)


@needs_kernels
def test_streams_in_threads_do_not_meet() -> None:
    samples = recording()
    alone = heard(FastVoiceProbabilities, samples, 4000)
    found: dict[int, np.ndarray] = {}

    def hear(number: int) -> None:
        found[number] = heard(FastVoiceProbabilities, samples, 4000)

    threads = [threading.Thread(target=hear, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[number], alone) for number in range(4))


@pytest.mark.parametrize("isa", ["plain", "avx2", "avx512", "amx"])
def test_every_set_of_instructions_hears_the_same(isa: str, tmp_path: Path) -> None:
    code = (
        "import json, numpy as np, sys; from auricle.engines.cpu.voice import FastVoiceProbabilities as F; "
        "x = np.load(sys.argv[1]); found = F(); print(json.dumps(np.concatenate([found(x), found.end()]).tolist()))"
    )
    samples = recording(6.0)
    np.save(tmp_path / "samples.npy", samples)
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "samples.npy")],
        env={**os.environ, ISA_VARIABLE: isa},
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(said.stdout) == pytest.approx(heard(VoiceProbabilities, samples, 10**9), abs=ROUNDING)


def test_without_kernels_the_plain_detector_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FastVoiceProbabilities, "fast_frames", None)
    samples = recording(4.0)
    assert np.array_equal(heard(FastVoiceProbabilities, samples, 8000), heard(VoiceProbabilities, samples, 8000))
