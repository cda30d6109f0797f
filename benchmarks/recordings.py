"""Human speech to measure with: the recordings that longform.jsonl joins, or, where they are absent, those of samples/.

Each is left as an .npy file of float32 samples at 16 kHz, so that every contestant hears the same samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

RATE = 16000
HERE = Path(__file__).parent
SAMPLES = HERE.parent / "samples"
SPEECH = HERE.parent.parent / "shared" / "speech"


def recording(cache: Path, seconds: float, speech: Path = SPEECH) -> Path:
    """A recording of so many seconds."""
    path = cache / f"recording-{seconds:g}-s.npy"
    if not path.is_file():
        wanted, found, n_found = round(seconds * RATE), [], 0
        for samples in _endless(speech):
            found.append(samples)
            n_found += len(samples)
            if n_found >= wanted:
                break
        np.save(path, np.concatenate(found)[:wanted])
    return path


def sample(cache: Path, name: str = "jfk.flac") -> Path:
    """A recording of samples/."""
    from auricle.audio.decode import load_audio

    path = cache / f"{Path(name).stem}.npy"
    if not path.is_file():
        np.save(path, load_audio(SAMPLES / name, RATE))
    return path


def clips(cache: Path, n_clips: int, shortest_s: float, longest_s: float, speech: Path = SPEECH) -> list[Path]:
    """Clips of evenly spread lengths, in a random order that is always the same."""
    lengths = np.random.default_rng(0).permutation(np.linspace(shortest_s, longest_s, n_clips))
    paths = [cache / f"clip-{number}-of-{n_clips}-{length:.2f}-s.npy" for number, length in enumerate(lengths)]
    if not all(path.is_file() for path in paths):
        total = float(lengths.sum())
        samples = np.load(recording(cache, round(total + 1), speech))
        at = 0
        for path, length in zip(paths, lengths, strict=True):
            np.save(path, samples[at : at + round(length * RATE)])
            at += round(length * RATE)
    return paths


def seconds_of(path: Path) -> float:
    """How long a recording is."""
    return len(np.load(path, mmap_mode="r")) / RATE


def _endless(speech: Path) -> Iterator[np.ndarray]:
    """Clips at their true distances, or the samples with a second of silence after each, again and again."""
    from auricle.audio.decode import load_audio

    lines = []
    if (speech / "longform.jsonl").is_file():
        lines = (speech / "longform.jsonl").read_text(encoding="utf-8").splitlines()
    while True:
        for row in map(json.loads, lines):
            before = 0.0
            for clip, (_, start, end) in zip(row["clips"], row["segments"], strict=True):
                yield np.zeros(max(0, round((start - before) * RATE)), np.float32)
                yield load_audio(speech / clip, RATE)[: round((end - start) * RATE)]
                before = end
        if not lines:
            for path in sorted(path for path in SAMPLES.iterdir() if path.suffix in (".flac", ".ogg")):
                yield load_audio(path, RATE)
                yield np.zeros(RATE, np.float32)
