"""Probabilities of voice: those of the published detector, whatever the calls, in no other state of the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.audio.decode import open_audio
from auricle.audio.vad import FRAME_SAMPLES, VoiceProbabilities
from auricle.errors import MissingExtraError

SAMPLE = Path(__file__).parents[3] / "samples" / "librispeech-1320-122612-0008.ogg"
# Sums in another order, carried on by a recurrent layer through some hundred frames.
ROUNDING = 2e-5


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return open_audio(SAMPLE, 16000).read()


def probabilities(samples: np.ndarray, block: int = 10**9, **options: bool) -> np.ndarray:
    voice = VoiceProbabilities(**options)
    parts = [voice(samples[start : start + block]) for start in range(0, len(samples), block)]
    return np.concatenate([*parts, voice.end()])


def published(samples: np.ndarray) -> list[float]:
    """What the script of the package gives, one frame a call."""
    spec = find_spec("silero_vad")
    assert spec is not None
    path = Path(next(iter(spec.submodule_search_locations or ()))) / "data" / "silero_vad.jit"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.load(path)
    padded = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
    with torch.no_grad():
        return [float(script(torch.from_numpy(frame)[None], 16000)) for frame in padded.reshape(-1, FRAME_SAMPLES)]


def test_probabilities_are_those_of_the_published_script(speech: np.ndarray) -> None:
    ours = probabilities(speech, loudness_aware=False)
    assert ours == pytest.approx(published(speech), abs=ROUNDING)
    assert (ours > 0.5).mean() > 0.5


@pytest.mark.parametrize("block", [100, 512, 5000, 70_001])
def test_calls_of_any_length_give_the_same(speech: np.ndarray, block: int) -> None:
    part = speech[: 4 * 16000 + 77]
    assert probabilities(part, block) == pytest.approx(probabilities(part), abs=ROUNDING)


def test_a_frame_comes_when_it_is_complete_and_the_last_at_the_end() -> None:
    voice = VoiceProbabilities()
    assert [len(voice(np.zeros(n, np.float32))) for n in (511, 1, 0, 1025)] == [0, 1, 0, 2]
    assert len(voice.end()) == 1
    assert len(VoiceProbabilities().end()) == 0


def test_quiet_speech_is_heard_like_loud_speech(speech: np.ndarray) -> None:
    loud = probabilities(speech) > 0.5
    for decibels, differing in ((20, 0.02), (40, 0.02), (50, 0.04)):
        quiet = probabilities(speech * np.float32(10 ** (-decibels / 20))) > 0.5
        assert (quiet != loud).mean() < differing
    deaf = probabilities(speech * np.float32(1e-3), loudness_aware=False) > 0.5
    assert (deaf != loud).mean() > 0.3


def test_another_sample_rate_gives_as_many_frames_a_second(speech: np.ndarray) -> None:
    voice = VoiceProbabilities(8000)
    found = np.concatenate([voice(speech[::2]), voice.end()])
    assert abs(len(found) - len(speech) / FRAME_SAMPLES) <= 1
    wanted = probabilities(speech)[: len(found)] > 0.5
    assert ((found > 0.5)[: len(wanted)] == wanted).mean() > 0.9


def test_what_is_no_number_does_not_spoil_what_follows(speech: np.ndarray) -> None:
    broken = speech.copy()
    broken[1000:1100] = np.nan
    broken[1100:1200] = np.inf
    found = probabilities(broken)
    assert np.isfinite(found).all()
    assert (found[30:] > 0.5).mean() == pytest.approx((probabilities(speech)[30:] > 0.5).mean(), abs=0.05)


def test_streams_in_threads_do_not_meet(speech: np.ndarray) -> None:
    parts = [speech[start : start + 48000] for start in range(0, 96000, 12000)]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda part: probabilities(part, 8000), parts))
    for part, found in zip(parts, together, strict=True):
        np.testing.assert_array_equal(found, probabilities(part, 8000))


def test_nothing_of_the_process_is_changed() -> None:
    code = """
import json, sys, torch, numpy as np
state = lambda: [torch.get_num_threads(), torch.is_grad_enabled(), str(torch.get_default_dtype()), torch.initial_seed()]
torch.set_num_threads(3)
before = state()
from auricle.audio.vad import VoiceProbabilities
VoiceProbabilities()(np.zeros(4096, np.float32))
print(json.dumps([before == state(), "silero_vad" in sys.modules]))
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert ran.stderr == ""
    assert json.loads(ran.stdout) == [True, False]


def test_a_network_with_other_spectra_is_refused() -> None:
    from auricle.audio import vad

    basis = vad.network().window * torch.ones(258, 1)
    with pytest.raises(MissingExtraError, match="another network than this version of auricle knows"):
        vad._window_of(basis)


def test_weights_that_are_not_there_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from auricle.audio import vad

    monkeypatch.setattr(vad, "find_spec", lambda name: None)
    vad.network.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'silero-vad>=6.2'.*vad=False"):
        VoiceProbabilities()
