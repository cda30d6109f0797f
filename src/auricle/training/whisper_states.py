"""What a frozen Whisper encoder makes of windows, computed once: bfloat16 states in a file, labels beside them.

An index line is written after the states it describes, so that training can read what is there while more is being
encoded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from auricle.audio.decode import load_audio
from auricle.audio.whisper_mel import WhisperFeatures
from auricle.errors import CheckpointError, TensorError
from auricle.models.whisper import Whisper, WhisperConfig
from auricle.training.data import load_sounds
from auricle.training.whisper_clips import SAMPLE_RATE, Clip
from auricle.training.whisper_windows import Mixture, Plan, Spoken, plan_windows, sound, speed_up

N_FRAMES = 1500


@dataclass(frozen=True)
class LabelledWindow:
    """One stored window: where its states are, what is said in it, and what was said before."""

    pack: Path
    row: int
    spoken: tuple[Spoken, ...]
    history: tuple[str, ...]
    speaker: str
    seconds: float


def load_encoder(folder: Path, config: WhisperConfig) -> Whisper:
    """A Whisper with the encoder of `folder`, one .npy a tensor (dots as underscores, _fp16 appended), frozen.

    Raises:
        TensorError: a tensor is absent or of another shape.
    """
    model = Whisper(config)
    for name, parameter in model.model.encoder.state_dict(keep_vars=True).items():
        path = folder / f"{name.replace('.', '_')}_fp16.npy"
        if not path.exists():
            raise TensorError(f"{folder} lacks {path.name}; expected one file for each tensor of the encoder")
        values = torch.from_numpy(np.load(path)).float()
        if values.shape != parameter.shape:
            raise TensorError(f"{path} is {tuple(values.shape)}; the encoder has {tuple(parameter.shape)}")
        parameter.data = values
    model.model.encoder.requires_grad_(False)
    return model.eval()


def encode(model: Whisper, features: WhisperFeatures, waveforms: Sequence[np.ndarray]) -> Tensor:
    """(B, T, D) bfloat16 states of windows."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        return model.model.encoder(features(waveforms).values).bfloat16()


def write_pack(
    pack: Path,
    plans: Iterable[Plan],
    encoder: Whisper,
    mixture: Mixture,
    speech: Path,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Encode windows into `pack`: states.bf16 and index.jsonl; goes on where an earlier call was stopped."""
    pack.mkdir(parents=True, exist_ok=True)
    features, noises = WhisperFeatures(encoder.config.num_mel_bins), load_sounds(speech).noises
    read = lru_cache(maxsize=16)(lambda path: load_audio(path, SAMPLE_RATE))
    index = pack / "index.jsonl"
    n_done = len(index.read_text(encoding="utf-8").splitlines()) if index.exists() else 0
    size = N_FRAMES * encoder.config.d_model * 2
    with (pack / "states.bf16").open("ab") as states, index.open("a", encoding="utf-8") as lines:
        states.truncate(n_done * size)
        for number, plan in enumerate(plans):
            if number < n_done:
                continue
            rng = np.random.default_rng([seed, number])
            speed = float(rng.choice(mixture.speeds))
            made = speed_up(plan, speed)
            disturbed = bool(rng.random() < mixture.disturbed)
            waveform = sound(made, lambda clip: read(clip.path), noises, disturbed, speed, rng)
            states.write(encode(encoder, features, [waveform])[0].view(torch.int16).numpy().tobytes())
            states.flush()
            lines.write(json.dumps(_label(made, len(waveform) / SAMPLE_RATE)) + "\n")
            lines.flush()
            if progress is not None:
                progress(number + 1)


def _label(plan: Plan, seconds: float) -> dict[str, object]:
    spoken = [asdict(part.spoken()) for part in plan.parts]
    for one in spoken:
        one["times"] = [[round(start, 3), round(end, 3)] for start, end in one["times"]]
    speaker = plan.parts[0].clip.speaker if plan.parts else ""
    return {"spoken": spoken, "history": plan.history, "speaker": speaker, "seconds": round(seconds, 3)}


def read_pack(pack: Path) -> list[LabelledWindow]:
    """The windows encoded so far, in order."""
    if not (pack / "index.jsonl").exists():
        raise CheckpointError(f"{pack} holds no windows: expected index.jsonl; prepare them first")
    found = []
    for row, line in enumerate((pack / "index.jsonl").read_text(encoding="utf-8").splitlines()):
        raw = json.loads(line)
        spoken = tuple(
            Spoken(tuple(one["words"]), tuple((start, end) for start, end in one["times"]), one["is_cut"])
            for one in raw["spoken"]
        )
        found.append(LabelledWindow(pack, row, spoken, tuple(raw["history"]), raw["speaker"], raw["seconds"]))
    return found


class States:
    """Reads the states of stored windows, (B, T, D) bfloat16, by memory mapping."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._files: dict[Path, np.memmap] = {}

    def __call__(self, windows: Sequence[LabelledWindow]) -> Tensor:
        return torch.stack([self._row(window) for window in windows])

    def _row(self, window: LabelledWindow) -> Tensor:
        held = self._files.get(window.pack)
        if held is None or len(held) <= window.row:
            path = window.pack / "states.bf16"
            n_rows = path.stat().st_size // (N_FRAMES * self._width * 2)
            held = np.memmap(path, np.int16, "r", shape=(n_rows, N_FRAMES, self._width))
            self._files[window.pack] = held
        return torch.from_numpy(held[window.row].copy()).view(torch.bfloat16)  # (T, D)


def draw_plans(clips: Sequence[Clip], mixture: Mixture, seed: int) -> list[Plan]:
    """The plans of one pass over the clips; the same for the same seed."""
    return plan_windows(clips, mixture, np.random.default_rng(seed))


def packs_in(folder: Path) -> Iterator[Path]:
    """The packs of a folder that hold windows."""
    yield from (path.parent for path in sorted(folder.glob("*/index.jsonl")))
