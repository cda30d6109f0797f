"""Training a network whose outputs are near for one speaker's recordings and far for two speakers'.

Dimension key: B speakers in a batch, two recordings of each; S samples at 16 kHz, D width of an embedding.

A speaker played faster or slower, pitch included, is another speaker, which makes three of each.
Source: angular prototypes, Chung et al. 2020 (arXiv 2003.11982); speeds as speakers, Yamamoto et al. 2019.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.models.wespeaker import WeSpeakerResNet
from auricle.training.augment import change_speed, disturb
from auricle.training.budget_run import BudgetOptions, BudgetRun
from auricle.training.data import Sounds
from auricle.training.voices import FRAME_SAMPLES, SAMPLE_RATE, Voice, VoiceStore

SPEEDS = (1.0, 0.88, 1.12)


@dataclass(frozen=True)
class SpeakerOptions(BudgetOptions):
    """What a run is told."""

    least_batch: ClassVar[int] = 2

    batch_size: int = 24  # speakers, each twice
    rate: float = 1e-3
    averaging: float = 0.995
    seconds: float = 2.0  # of speech in one example
    weight_decay: float = 0.05


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
class SpeakerRun(BudgetRun[WeSpeakerResNet]):
    """A run of the network that tells voices apart."""

    scale: nn.Parameter = field(kw_only=True)  # () of the cosines, as a logarithm

    def state(self) -> dict[str, Any]:
        """Return what is kept of the run."""
        return {**super().state(), "scale": self.scale.detach()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, save the options."""
        super().restore(state)
        self.scale.data.copy_(state["scale"])


def train_speakers(run: SpeakerRun, speakers: Speakers, folder: Path) -> None:
    """Train, or go on training, until the budget of minutes is spent; `folder` keeps the log and the checkpoint."""

    def loss_of(rng: np.random.Generator) -> Tensor:
        pairs = speakers.draw(run.options.batch_size, rng)
        first, second = run.model(torch.cat(pairs)).chunk(2)
        return prototype_loss(first, second, run.scale.exp())

    run.train(folder, loss_of, clip=5.0)


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
