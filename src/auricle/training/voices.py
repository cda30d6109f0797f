"""Single speakers' recordings in one file, with where their voice is heard: what conversations are mixed from.

Dimension key: S samples at 16 kHz, N activity frames of 10 ms.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auricle.audio.decode import load_audio
from auricle.engines.cpu.voice import FastVoiceProbabilities as VoiceProbabilities
from auricle.errors import AudioError, CheckpointError
from auricle.speech.voice import VoiceOptions, regions

SAMPLE_RATE = 16000  # hertz
FRAME_SAMPLES = 160  # of one activity frame, 10 ms
LEVEL = 0.06  # root mean square of the voiced part, which all recordings are brought to
# Recordings of one meeting, or of nobody known, cannot be mixed from.
LEFT_OUT = frozenset({"ami_debug", "speechbrain_2spk", "faster_whisper_clips", "aishell_clip", "fleurs50"})
# Speakers that only ever measure; LibriSpeech's test speakers and the test learners join them.
HELD_OUT = frozenset({"ls-1867", "ls-3242"})
# No margins: a mixture's reference is where the voice is, not where one should cut.
EXACT = VoiceOptions(pad_s=0.0, min_silence_s=0.16)


@dataclass(frozen=True)
class Voice:
    """One recording of one speaker."""

    offset: int  # first sample in the file
    n_samples: int
    speaker: str
    corpus: str
    split: str  # "train" or "test"


class VoiceStore:
    """Recordings by speaker, read by memory mapping."""

    def __init__(self, folder: Path) -> None:
        index = folder / "index.json"
        if not index.exists():
            raise CheckpointError(f"{folder} holds no voices: expected index.json; run the command `voices` first")
        self.voices = [Voice(**row) for row in json.loads(index.read_text(encoding="utf-8"))]
        self._samples = np.memmap(folder / "samples.i16", np.int16, "r")
        self._activity = np.memmap(folder / "activity.u8", np.uint8, "r")

    def samples(self, voice: Voice) -> np.ndarray:
        """Return (S,) float32 samples at one loudness for all recordings."""
        return self._samples[voice.offset : voice.offset + voice.n_samples].astype(np.float32) / 32768

    def activity(self, voice: Voice) -> np.ndarray:
        """Return (N,) booleans: whether the voice is heard in each 10 ms."""
        start = voice.offset // FRAME_SAMPLES
        return self._activity[start : start + voice.n_samples // FRAME_SAMPLES].astype(bool)

    def by_speaker(self, split: str) -> dict[str, list[Voice]]:
        """Return the recordings of a split's speakers, in stored order."""
        found: dict[str, list[Voice]] = defaultdict(list)
        for voice in self.voices:
            if voice.split == split:
                found[voice.speaker].append(voice)
        return dict(found)


def prepare_voices(speech: Path, folder: Path, n_workers: int = 1) -> None:
    """Write the `VoiceStore` of a folder with manifest.jsonl; what cannot be read or has no voice is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in (speech / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    chosen = [row for row in rows if row.get("speaker") and _is_used(row)]
    index: list[dict[str, Any]] = []
    offset = 0
    with (folder / "samples.i16").open("wb") as samples, (folder / "activity.u8").open("wb") as activity:
        for row, (waveform, active) in zip(chosen, _voices(speech, chosen, n_workers), strict=True):
            if not active.any():
                continue
            split = "test" if row["split"] == "test" or row["speaker"] in HELD_OUT else "train"
            samples.write(waveform.tobytes())
            activity.write(active.astype(np.uint8).tobytes())
            index.append(asdict(Voice(offset, len(waveform), row["speaker"], row["corpus"], split)))
            offset += len(waveform)
    (folder / "index.json.part").write_text(json.dumps(index), encoding="utf-8")
    (folder / "index.json.part").replace(folder / "index.json")


def _is_used(row: dict[str, Any]) -> bool:
    """Whether a row of the manifest teaches or measures.

    Common Voice's speakers say a few words each, and some of them in both splits: its test clips do neither.
    """
    is_common_voice = row["corpus"].startswith("common_voice")
    return row["corpus"] not in LEFT_OUT and not (is_common_voice and row["split"] == "test")


def _voices(speech: Path, rows: list[dict[str, Any]], n_workers: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    paths = [speech / row["path"] for row in rows]
    with ProcessPoolExecutor(n_workers) as pool:
        yield from pool.map(_voice, paths, chunksize=16)


def _voice(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return (S,) 16-bit samples, S a multiple of a frame, and (N,) activity; both empty for what cannot be read."""
    torch.set_num_threads(1)
    try:
        waveform = load_audio(path, SAMPLE_RATE)
    except AudioError:
        return np.zeros(0, np.int16), np.zeros(0, bool)
    waveform = waveform[: len(waveform) // FRAME_SAMPLES * FRAME_SAMPLES]
    active = voiced(waveform)
    loud = waveform.reshape(-1, FRAME_SAMPLES)[active]
    if loud.size:
        waveform = waveform * (LEVEL / (np.sqrt(np.mean(loud**2)) + 1e-8))
    return (np.clip(waveform, -1, 1) * 32767).astype(np.int16), active


def voiced(waveform: np.ndarray) -> np.ndarray:
    """Return (N,) booleans: whether a voice is detected in each whole 10 ms of (S,) samples."""
    detector = VoiceProbabilities(SAMPLE_RATE)
    probabilities = np.concatenate([detector(waveform), detector.end()])
    active = np.zeros(len(waveform) // FRAME_SAMPLES, bool)
    for region in regions(probabilities, EXACT, SAMPLE_RATE, len(waveform)):
        active[region.start // FRAME_SAMPLES : region.end // FRAME_SAMPLES] = True
    return active
