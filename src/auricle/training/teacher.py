"""A pretrained Whisper encoder's states of the training recordings, which a small student predicts beside letters.

Dimension key: T student frames, D teacher's width.

Clips are joined into windows of 30 s, which is what the teacher was trained on, and encoded undisturbed; the student
hears them in rooms and noise, stretched and masked. Two teacher frames of 20 ms are averaged into one of 40 ms. States
are stored less their mean and over their deviation, both of each dimension over all recordings.
Source: predicting a frozen encoder's states, arXiv 2110.01900, section 3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from auricle.audio.decode import load_audio
from auricle.audio.whisper_mel import WhisperFeatures
from auricle.engines import Engine, make_engine
from auricle.errors import CheckpointError, OptionError
from auricle.training.whisper_clips import SAMPLE_RATE
from auricle.training.whisper_prepare import CONFIG
from auricle.training.whisper_states import load_encoder

FRAME = 2 * 320  # samples of one stored state: two of the encoder's
WINDOW = 30 * SAMPLE_RATE
GAP = 10 * FRAME  # silence between two clips of a window


class TeacherStates:
    """Stored states by the recording they are of."""

    def __init__(self, folder: Path) -> None:
        index = folder / "index.json"
        if not index.exists():
            raise CheckpointError(f"{folder} holds no states of a teacher: expected index.json; encode them first")
        raw = json.loads(index.read_text(encoding="utf-8"))
        self.width: int = raw["width"]
        self._rows: dict[str, tuple[int, int]] = {name: (start, n) for name, (start, n) in raw["rows"].items()}
        n_frames = max((start + n for start, n in self._rows.values()), default=0)
        self._frames = np.memmap(folder / "states.f16", np.float16, "r", shape=(n_frames, self.width))
        self._mean, self._deviation = (torch.tensor(raw[name]) for name in ("mean", "deviation"))

    def __contains__(self, source: str) -> bool:
        return source in self._rows

    def states(self, source: str) -> Tensor:
        """(frames of 40 ms, D) float32, normalised."""
        start, n_frames = self._rows[source]
        found = torch.from_numpy(self._frames[start : start + n_frames].astype("float32"))
        return (found - self._mean) / self._deviation


def teach(recordings: Iterable[tuple[str, Path]], encoder: Path, folder: Path, longest: float = 30.0) -> None:
    """Encode recordings, pairs of a name and a file, and write their states.

    What is longer than `longest` seconds, and a name that comes again, is left out.

    Raises:
        OptionError: longest is above a window's 30 s. TensorError: the encoder lacks a tensor.
    """
    if not 0 < longest <= WINDOW / SAMPLE_RATE:
        raise OptionError(f"longest is {longest}; a teacher takes windows of at most 30 s")
    folder.mkdir(parents=True, exist_ok=True)
    engine, features = make_engine(load_encoder(encoder, CONFIG), dtype="auto"), WhisperFeatures(CONFIG.num_mel_bins)
    rows: dict[str, tuple[int, int]] = {}
    n_frames, total, squares = 0, np.zeros(CONFIG.d_model), np.zeros(CONFIG.d_model)
    with (folder / "states.f16").open("wb") as file:
        for window in join_clips(recordings, round(longest * SAMPLE_RATE)):
            for name, states in _encoded(engine, features, window):
                file.write(states.astype(np.float16).tobytes())
                rows[name] = (n_frames, len(states))
                n_frames += len(states)
                total += states.sum(0, dtype=np.float64)
                squares += np.square(states, dtype=np.float64).sum(0)
    mean = total / max(n_frames, 1)
    deviation = np.sqrt(np.maximum(squares / max(n_frames, 1) - mean**2, 1e-6))
    index = {"width": CONFIG.d_model, "rows": rows, "mean": mean.tolist(), "deviation": deviation.tolist()}
    (folder / "index.json.part").write_text(json.dumps(index), encoding="utf-8")
    (folder / "index.json.part").replace(folder / "index.json")


def join_clips(recordings: Iterable[tuple[str, Path]], n_longest: int) -> Iterator[list[tuple[str, np.ndarray]]]:
    """Group recordings of up to `n_longest` samples, in order, by what fits into one window with silence between."""
    window: list[tuple[str, np.ndarray]] = []
    filled, known = 0, set()
    for name, path in recordings:
        if name in known:
            continue
        known.add(name)
        waveform = load_audio(path, SAMPLE_RATE)
        if len(waveform) > n_longest:
            continue
        if filled + len(waveform) > WINDOW:
            yield window
            window, filled = [], 0
        window.append((name, waveform))
        filled += -(-len(waveform) // FRAME) * FRAME + GAP
    if window:
        yield window


def _encoded(
    engine: Engine, features: WhisperFeatures, window: Sequence[tuple[str, np.ndarray]]
) -> Iterator[tuple[str, np.ndarray]]:
    whole, start, places = np.zeros(WINDOW, np.float32), 0, []
    for name, waveform in window:
        whole[start : start + len(waveform)] = waveform
        n_frames = -(-len(waveform) // FRAME)
        places.append((name, start // FRAME, n_frames))
        start += n_frames * FRAME + GAP
    with torch.inference_mode():
        states = engine.encode(features([whole]))[0][0]  # (1500, D)
    halved = states.view(-1, 2, states.shape[-1]).mean(1).numpy()  # (750, D)
    for name, first, n_frames in places:
        yield name, halved[first : first + n_frames]


def at_frames(states: Sequence[Tensor | None], frames: Tensor, n_frames: int, width: int) -> tuple[Tensor, Tensor]:
    """Bring each row's states, (any, D), to its number of student frames: (B, T, D), and (B, T) where there are any."""
    targets = torch.zeros(len(states), n_frames, width)
    there = torch.zeros(len(states), n_frames, dtype=torch.bool)
    for index, (row, n) in enumerate(zip(states, frames.tolist(), strict=True)):
        if row is not None:
            targets[index, :n] = F.interpolate(row.T[None], size=n, mode="linear", align_corners=False)[0].T
            there[index, :n] = True
    return targets, there


def distance(predicted: Tensor, targets: Tensor, there: Tensor) -> Tensor:
    """Mean squared error plus one less the cosine, over the frames that are there; 0 without any."""
    if not bool(there.any()):
        return predicted.sum() * 0.0
    ours, theirs = predicted[there].float(), targets[there]
    return F.mse_loss(ours, theirs) + (1 - F.cosine_similarity(ours, theirs, dim=-1)).mean()
