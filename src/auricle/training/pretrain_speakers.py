"""Training a network whose outputs are near for one speaker's recordings and far for two speakers'.

Dimension key: B speakers in a batch, two recordings of each; S samples at 16 kHz, D width of an embedding.

A speaker played faster or slower, pitch included, is another speaker, which makes three of each.
Source: angular prototypes, Chung et al. 2020 (arXiv 2003.11982); speeds as speakers, Yamamoto et al. 2019.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.errors import OptionError
from auricle.models.wespeaker import WeSpeakerResNet
from auricle.training.augment import change_speed, disturb
from auricle.training.data import Sounds
from auricle.training.pretrain_ctc import rate_at
from auricle.training.pretrain_segmentation import average, log
from auricle.training.voices import FRAME_SAMPLES, SAMPLE_RATE, Voice, VoiceStore

SPEEDS = (1.0, 0.88, 1.12)


@dataclass(frozen=True)
class SpeakerOptions:
    """What a run is told; kept in its checkpoints."""

    minutes: float  # of training in all, over all its runs
    batch_size: int = 24  # speakers, each twice
    seconds: float = 2.0  # of speech in one example
    rate: float = 1e-3  # peak learning rate (AdamW)
    weight_decay: float = 0.05
    averaging: float = 0.995
    seed: int = 1
    snapshot_minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.batch_size < 2 or not 0 <= self.averaging < 1:
            raise OptionError(
                f"expected minutes > 0, batch_size >= 2 and averaging in [0, 1); got minutes={self.minutes}, "
                f"batch_size={self.batch_size}, averaging={self.averaging}"
            )


def prototype_loss(first: Tensor, second: Tensor, scale: Tensor) -> Tensor:
    """Return how badly one recording of each speaker finds the other among all of the batch: twice (B, D) to ().

    `scale` multiplies cosines before they are compared.
    """
    similar = scale * F.normalize(first) @ F.normalize(second).T  # (B, B)
    own = torch.arange(len(similar))
    return 0.5 * (F.cross_entropy(similar, own) + F.cross_entropy(similar.T, own))


class Speakers:
    """Pairs of examples of a store's speakers, at three speeds."""

    def __init__(self, store: VoiceStore, split: str, sounds: Sounds, seconds: float) -> None:
        self.store, self.sounds = store, sounds
        # Of a single recording its microphone is learned, not its speaker.
        self.rows = [voices for voices in store.by_speaker(split).values() if len(voices) > 1]
        self.n_samples = round(seconds * SAMPLE_RATE)
        # Those with much speech are drawn more often, but not as often as they have more.
        lengths = np.array([sum(voice.n_samples for voice in voices) for voices in self.rows], float)
        self.weights = lengths**0.4 / (lengths**0.4).sum()

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return voiced speech in rooms and noise: (B, S) of one recording of each speaker, (B, S) of another."""
        places = rng.choice(len(self.rows), size, replace=False, p=self.weights)
        pairs = []
        for place in places.tolist():
            speed = SPEEDS[int(rng.integers(len(SPEEDS)))]
            numbers = rng.choice(len(self.rows[place]), 2, replace=False)
            pairs.append([self._example(self.rows[place][number], speed, rng) for number in numbers.tolist()])
        first, second = (torch.from_numpy(np.stack([pair[side] for pair in pairs])) for side in (0, 1))
        return first, second

    def _example(self, voice: Voice, speed: float, rng: np.random.Generator) -> np.ndarray:
        waveform = self._said(voice, speed, rng)
        if speed != 1.0:
            waveform = change_speed(waveform, speed, SAMPLE_RATE)
        waveform = np.resize(waveform, self.n_samples).astype(np.float32)
        waveform = disturb(waveform, self.sounds.noises, self.sounds.rooms, rng)
        return waveform * np.float32(10 ** (rng.uniform(-10.0, 6.0) / 20))

    def _said(self, voice: Voice, speed: float, rng: np.random.Generator) -> np.ndarray:
        """Return about as many voiced samples as an example needs at a speed."""
        frames = self.store.samples(voice).reshape(-1, FRAME_SAMPLES)[self.store.activity(voice)]
        n_frames = min(len(frames), math.ceil(self.n_samples * speed / FRAME_SAMPLES) + 1)
        first = int(rng.integers(len(frames) - n_frames + 1))
        return frames[first : first + n_frames].reshape(-1)


@dataclass
class SpeakerRun:
    """Everything that a killed run needs to go on."""

    model: WeSpeakerResNet
    average: WeSpeakerResNet
    scale: nn.Parameter  # () of the cosines, as a logarithm
    optimizer: torch.optim.Optimizer
    options: SpeakerOptions
    step: int = 0
    seconds: float = 0.0

    def save(self, folder: Path) -> None:
        """Write the run to `folder`/run.pt; a kill while writing leaves the one before."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "scale": self.scale.detach(),
            "optimizer": self.optimizer.state_dict(),
            "options": asdict(self.options),
            "counts": (self.step, self.seconds),
        }
        torch.save(state, folder / "run.pt.part")
        (folder / "run.pt.part").replace(folder / "run.pt")

    def resume(self, folder: Path) -> None:
        """Take what `folder` holds, if it holds a run."""
        if not (folder / "run.pt").exists():
            return
        state = torch.load(folder / "run.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.scale.data.copy_(state["scale"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["counts"]


def train_speakers(run: SpeakerRun, speakers: Speakers, folder: Path) -> None:
    """Train, or go on training, until the budget of minutes is spent; `folder` keeps the log and the checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    run.resume(folder)
    run.model.train()
    options = run.options
    losses: list[float] = []
    saved, clock = run.seconds, time.monotonic()
    while run.seconds < 60 * options.minutes:
        progress = run.seconds / (60 * options.minutes)
        pairs = speakers.draw(options.batch_size, np.random.default_rng((options.seed, run.step)))
        for group in run.optimizer.param_groups:
            group["lr"] = options.rate * rate_at(progress)
        first, second = run.model(torch.cat(pairs)).chunk(2)
        loss = prototype_loss(first, second, run.scale.exp())
        loss.backward()
        nn.utils.clip_grad_norm_([*run.model.parameters(), run.scale], 5.0)
        run.optimizer.step()
        run.optimizer.zero_grad()
        average(run.average, run.model, min(options.averaging, (1 + run.step) / (10 + run.step)))
        run.step += 1
        losses.append(float(loss.detach()))
        now = time.monotonic()
        run.seconds, clock = run.seconds + now - clock, now
        if run.step % 50 == 0:
            log(folder, {"step": run.step, "minutes": run.seconds / 60, "loss": sum(losses) / len(losses)})
            losses.clear()
        if run.seconds - saved >= 60 * options.snapshot_minutes or run.seconds >= 60 * options.minutes:
            saved = run.seconds
            run.save(folder)


def equal_error_rate(embeddings: Tensor, speakers: Tensor) -> float:
    """Return the rate at which as many pairs of one speaker are refused as pairs of two are taken: (B, D), (B,)."""
    similar = F.normalize(embeddings) @ F.normalize(embeddings).T
    upper = torch.triu(torch.ones_like(similar, dtype=torch.bool), 1)
    same = (speakers[:, None] == speakers[None]) & upper
    scores = torch.cat([similar[same], similar[~same & upper]])
    is_same = torch.cat([torch.ones(int(same.sum())), torch.zeros(int((~same & upper).sum()))])
    order = scores.argsort()
    refused = is_same[order].cumsum(0) / is_same.sum()
    taken = 1 - (1 - is_same[order]).cumsum(0) / (1 - is_same).sum()
    place = int((refused - taken).abs().argmin())
    return float((refused[place] + taken[place]) / 2)
