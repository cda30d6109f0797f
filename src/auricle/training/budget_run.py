"""The loop of the networks of diarization: one network, one optimizer, until a budget of minutes is spent.

Minutes are those that a processor worked for the loop: what a run waits, or is stopped, takes nothing from its budget.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from auricle.errors import OptionError
from auricle.training.pretrain_ctc import rate_at
from auricle.training.run_file import read_run, write_run

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class BudgetOptions:
    """What a run is told; kept in its checkpoints."""

    least_batch: ClassVar[int] = 1

    minutes: float  # of training in all, over all its runs, while a processor worked
    batch_size: int
    rate: float  # peak learning rate (AdamW)
    averaging: float  # decay of the weights' moving average, which is what is kept
    seed: int = 1
    snapshot_minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.minutes <= 0 or self.batch_size < self.least_batch or not 0 <= self.averaging < 1:
            raise OptionError(
                f"expected minutes > 0, batch_size >= {self.least_batch} and averaging in [0, 1); got "
                f"minutes={self.minutes}, batch_size={self.batch_size}, averaging={self.averaging}"
            )


@dataclass
class BudgetRun(Generic[Network]):
    """Everything that a killed run needs to go on."""

    model: Network
    average: Network
    optimizer: torch.optim.Optimizer
    options: BudgetOptions
    step: int = 0
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        """Return what is kept of the run."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "options": asdict(self.options),
            "counts": (self.step, self.seconds),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave, save the options."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["counts"]

    def train(self, folder: Path, loss_of: Callable[[np.random.Generator], Tensor], clip: float) -> None:
        """Train, or go on training, until the budget is spent; `folder` keeps the log and the checkpoint.

        `loss_of` draws a batch and gives the loss of it; a gradient's norm is at most `clip`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        saved = read_run(folder)
        if saved is not None:
            self.restore(saved)
        self.model.train()
        losses: list[float] = []
        written, clock = self.seconds, time.thread_time()
        options, budget = self.options, 60 * self.options.minutes
        while self.seconds < budget:
            for group in self.optimizer.param_groups:
                group["lr"] = options.rate * rate_at(self.seconds / budget)
            # Each step has its own generator, so that a resumed run hears what it would have heard.
            loss = loss_of(np.random.default_rng((options.seed, self.step)))
            loss.backward()
            nn.utils.clip_grad_norm_([p for group in self.optimizer.param_groups for p in group["params"]], clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
            move_average(self.average, self.model, min(options.averaging, (1 + self.step) / (10 + self.step)))
            self.step += 1
            losses.append(float(loss.detach()))
            now = time.thread_time()
            self.seconds, clock = self.seconds + now - clock, now
            if self.step % 50 == 0:
                log(folder, {"step": self.step, "minutes": self.seconds / 60, "loss": sum(losses) / len(losses)})
                losses.clear()
            if self.seconds - written >= 60 * options.snapshot_minutes or self.seconds >= budget:
                written = self.seconds
                write_run(folder, self.state())


def move_average(kept: nn.Module, model: nn.Module, decay: float) -> None:
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
