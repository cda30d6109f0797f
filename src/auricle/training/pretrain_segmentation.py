"""Training a network that says who speaks when in ten seconds of sound, on made conversations.

Dimension key: B batch, S samples at 16 kHz, T frames of the network, K speakers, C powerset classes, P permutations.

Which speaker is called first is nobody's to know: the loss is that of the best of all ways to name them.
Source: powerset training, Plaquet and Bredin 2023 (arXiv 2310.13025); permutation-invariant loss, Fujita et al. 2019.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auricle.errors import OptionError
from auricle.models.pyannet import PyanNet
from auricle.training.augment import add_noise
from auricle.training.data import Sounds
from auricle.training.diarization_pool import Pool
from auricle.training.pretrain_ctc import rate_at
from auricle.training.voices import FRAME_SAMPLES


@dataclass(frozen=True)
class SegmentationOptions:
    """What a run is told; kept in its checkpoints."""

    minutes: float  # of training in all, over all its runs
    batch_size: int = 16
    rate: float = 2e-3  # peak learning rate (AdamW)
    averaging: float = 0.998  # decay of the weights' moving average, which is what is kept
    seed: int = 1
    snapshot_minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.batch_size < 1 or not 0 <= self.averaging < 1:
            raise OptionError(
                f"expected minutes > 0, batch_size >= 1 and averaging in [0, 1); got minutes={self.minutes}, "
                f"batch_size={self.batch_size}, averaging={self.averaging}"
            )


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


@dataclass
class SegmentationRun:
    """Everything that a killed run needs to go on."""

    model: PyanNet
    average: PyanNet
    optimizer: torch.optim.Optimizer
    options: SegmentationOptions
    step: int = 0
    seconds: float = 0.0

    def save(self, folder: Path) -> None:
        """Write the run to `folder`/run.pt; a kill while writing leaves the one before."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
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
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["counts"]


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
    """Train, or go on training, until the budget of minutes is spent; `folder` keeps the log and the checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    run.resume(folder)
    run.model.train()
    losses: list[float] = []
    saved, clock = run.seconds, time.monotonic()
    options = run.options
    while run.seconds < 60 * options.minutes:
        # Each step has its own generator, so that a resumed run hears what it would have heard.
        rng = np.random.default_rng((options.seed, run.step))
        waveforms, activity = batch_of(pool, centres, classes.shape[1], seconds, options.batch_size, sounds, rng)
        for group in run.optimizer.param_groups:
            group["lr"] = options.rate * rate_at(run.seconds / (60 * options.minutes))
        loss = segmentation_loss(run.model(waveforms), activity, classes)
        loss.backward()
        nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
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


def average(kept: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the kept weights towards the model's; numbers that are no floats are taken as they are."""
    with torch.no_grad():
        for mine, theirs in zip(kept.state_dict().values(), model.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


def log(folder: Path, row: dict[str, float]) -> None:
    """Add a line to a run's log."""
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({name: round(value, 4) for name, value in row.items()}) + "\n")
