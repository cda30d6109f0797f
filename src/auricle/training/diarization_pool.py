"""A pool of made conversations on disk, from which training takes stretches at random.

Dimension key: K speakers (at most `MOST`), S samples at 16 kHz, N activity frames of 10 ms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from auricle.errors import CheckpointError
from auricle.training.data import Sounds
from auricle.training.mixtures import Manners, conversation
from auricle.training.voices import FRAME_SAMPLES, SAMPLE_RATE, Voice, VoiceStore

SECONDS = 60.0  # of one conversation
MOST = 4  # speakers in one
SHARES = (0.15, 0.4, 0.3, 0.15)  # of conversations of 1, 2, 3 and 4 speakers
USUAL = Manners()
# A speaker with a few seconds would say the same words again and again.
LEAST_SECONDS = 8.0


def make_pool(
    store: VoiceStore,
    split: str,
    sounds: Sounds,
    folder: Path,
    hours: float,
    seed: int,
    n_workers: int,
    manners: Manners = USUAL,
) -> None:
    """Write conversations of a split's speakers to `folder`; the same arguments make the same pool."""
    folder.mkdir(parents=True, exist_ok=True)
    n_rows = round(hours * 3600 / SECONDS)
    chosen = [voices for voices in store.by_speaker(split).values() if _seconds(voices) >= LEAST_SECONDS]
    work = partial(_one, store, chosen, sounds, seed, manners)
    with (folder / "samples.i16").open("wb") as samples, (folder / "activity.u8").open("wb") as activity:
        for mixed, active in _made(work, n_rows, n_workers):
            samples.write((mixed * 32767).astype(np.int16).tobytes())
            activity.write(active.astype(np.uint8).tobytes())
    (folder / "index.json").write_text(json.dumps({"rows": n_rows, "seconds": SECONDS}), encoding="utf-8")


def _made(
    work: partial[tuple[np.ndarray, np.ndarray]], n_rows: int, n_workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if n_workers == 1:
        yield from map(work, range(n_rows))
        return
    with ProcessPoolExecutor(n_workers) as pool:
        yield from pool.map(work, range(n_rows), chunksize=4)


def _one(
    store: VoiceStore, speakers: list[list[Voice]], sounds: Sounds, seed: int, manners: Manners, row: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return conversation number `row`: (S,) samples and (MOST, N) activity, rows of absent speakers empty."""
    rng = np.random.default_rng((seed, row))
    n_speakers = 1 + int(rng.choice(len(SHARES), p=SHARES))
    # A speaker of an hour is not heard a hundred times as often as one of a minute.
    weights = np.sqrt([_seconds(voices) for voices in speakers])
    picked = rng.choice(len(speakers), n_speakers, replace=False, p=weights / weights.sum())
    mixed, active = conversation(store, [speakers[place] for place in picked], SECONDS, sounds, rng, manners)
    whole = np.zeros((MOST, active.shape[1]), bool)
    whole[:n_speakers] = active
    return mixed, whole


def _seconds(voices: list[Voice]) -> float:
    return sum(voice.n_samples for voice in voices) / SAMPLE_RATE


class Pool:
    """Stretches of made conversations."""

    def __init__(self, folder: Path) -> None:
        index = folder / "index.json"
        if not index.exists():
            raise CheckpointError(f"{folder} holds no conversations: expected index.json; run `mixtures` first")
        raw = json.loads(index.read_text(encoding="utf-8"))
        n_samples = round(raw["seconds"] * SAMPLE_RATE)
        self.n_rows, self.n_frames = raw["rows"], n_samples // FRAME_SAMPLES
        self._samples = np.memmap(folder / "samples.i16", np.int16, "r", shape=(self.n_rows, n_samples))
        self._activity = np.memmap(folder / "activity.u8", np.uint8, "r", shape=(self.n_rows, MOST, self.n_frames))

    def row(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a whole conversation: (S,) float32 samples and (MOST, N) activity."""
        return self._samples[row].astype(np.float32) / 32768, self._activity[row].astype(bool)

    def stretch(self, seconds: float, most: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return a random stretch in which at most `most` people speak: (S,) and (most, N), speakers in any order."""
        n_frames = round(seconds * SAMPLE_RATE / FRAME_SAMPLES)
        while True:
            row, start = int(rng.integers(self.n_rows)), int(rng.integers(self.n_frames - n_frames + 1))
            active = self._activity[row, :, start : start + n_frames].astype(bool)
            heard = np.flatnonzero(active.any(axis=1))
            if len(heard) > most:
                continue
            first = start * FRAME_SAMPLES
            samples = self._samples[row, first : first + n_frames * FRAME_SAMPLES].astype(np.float32) / 32768
            found = np.zeros((most, n_frames), bool)
            found[: len(heard)] = active[heard]
            return samples, found
