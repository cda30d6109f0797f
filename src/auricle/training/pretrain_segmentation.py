"""Training a network that says who speaks when in ten seconds of sound, on made conversations.

Dimension key: B batch, S samples at 16 kHz, T frames of the network, K speakers, C powerset classes, P permutations.

Which speaker is called first is nobody's to know: the loss is that of the best of all ways to name them.
Source: powerset training, Plaquet and Bredin 2023 (arXiv 2310.13025); permutation-invariant loss, Fujita et al. 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from auricle.models.pyannet import PyanNet
from auricle.training.augment import add_noise
from auricle.training.budget_run import BudgetOptions, BudgetRun
from auricle.training.data import Sounds
from auricle.training.diarization_pool import Pool
from auricle.training.voices import FRAME_SAMPLES


@dataclass(frozen=True)
class SegmentationOptions(BudgetOptions):
    """What a run is told."""

    batch_size: int = 16
    rate: float = 2e-3
    averaging: float = 0.998


class SegmentationRun(BudgetRun[PyanNet]):
    """A run of the network that says who speaks when."""

    def begin_as(self, trained: PyanNet) -> None:
        """Take over the weights of a trained network of the same configuration."""
        self.model.load_state_dict(trained.state_dict())
        self.average.load_state_dict(trained.state_dict())


def class_targets(activity: Tensor, classes: Tensor) -> Tensor:
    """Return the class of each frame under each naming of the speakers: (B, K, T) booleans to (B, P, T) numbers.

    Where more speak than any class has, those that speak most in the stretch are taken.
    """
    most = int(classes.sum(1).max())
    busy = activity.float().mean(2).argsort(1, descending=True)  # (B, K)
    ordered = torch.gather(activity, 1, busy[:, :, None].expand_as(activity))
    kept = ordered & (ordered.cumsum(1) <= most)
    by_set = {tuple(row.tolist()): number for number, row in enumerate(classes.long())}
    n_speakers = activity.shape[1]
    weights = 2 ** torch.arange(n_speakers)
    table = torch.zeros(2**n_speakers, dtype=torch.long)
    for members, number in by_set.items():
        table[sum(2**place for place, one in enumerate(members) if one)] = number
    orders = [list(order) for order in permutations(range(n_speakers))]
    named = torch.stack([kept[:, order] for order in orders], 1)  # (B, P, K, T)
    return table[(named.long() * weights[:, None]).sum(2)]


def segmentation_loss(log_probs: Tensor, activity: Tensor, classes: Tensor) -> Tensor:
    """Return the mean negative log-likelihood under each row's best naming: (B, T, C) and (B, K, T) to ()."""
    targets = class_targets(activity, classes)  # (B, P, T)
    picked = log_probs[:, None].expand(-1, targets.shape[1], -1, -1).gather(3, targets[..., None])[..., 0]
    return -picked.mean(2).amax(1).mean()


def frames_of(activity: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return (K, N) activity at the network's frame centres, given in samples: (K, T)."""
    places = np.clip(centres // FRAME_SAMPLES, 0, activity.shape[1] - 1).astype(int)
    return activity[:, places]


def batch_of(
    pool: Pool,
    centres: np.ndarray,
    n_speakers: int,
    seconds: float,
    size: int,
    sounds: Sounds,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Return random stretches, (B, S), and who speaks at the network's frames, (B, K, T)."""
    waveforms, targets = [], []
    for _ in range(size):
        samples, active = pool.stretch(seconds, n_speakers, rng)
        if sounds.noises and rng.random() < 0.3:
            noise = sounds.noises[int(rng.integers(len(sounds.noises)))]
            samples = add_noise(samples, noise, rng.uniform(5.0, 25.0), rng)
        samples = samples * np.float32(10 ** (rng.uniform(-8.0, 8.0) / 20))
        if rng.random() < 0.5:
            samples = -samples
        waveforms.append(samples.astype(np.float32))
        targets.append(frames_of(active, centres))
    return torch.from_numpy(np.stack(waveforms)), torch.from_numpy(np.stack(targets))


def train_segmentation(
    run: SegmentationRun,
    pool: Pool,
    centres: np.ndarray,
    classes: Tensor,
    seconds: float,
    sounds: Sounds,
    folder: Path,
) -> None:
    """Train, or go on training, until the budget of minutes is spent; `folder` keeps the log and the checkpoint."""

    def loss_of(rng: np.random.Generator) -> Tensor:
        size = run.options.batch_size
        waveforms, activity = batch_of(pool, centres, classes.shape[1], seconds, size, sounds, rng)
        return segmentation_loss(run.model(waveforms), activity, classes)

    run.train(folder, loss_of, clip=1.0)
