"""The loop of fine-tuning: order, rates, gradients, evaluations, snapshots. What is learned is the objective's.

Whatever is drawn at random is drawn from seeds of the step's number, so that a run that was killed and is started
again computes what it would have computed, to the last bit.
"""

from __future__ import annotations

import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from auricle.evaluation import character_errors, word_errors
from auricle.training.journal import Log
from auricle.training.objective import Objective
from auricle.training.options import FinetuneOptions, refuse_changes
from auricle.training.order import batches_of_epoch, derived_seed
from auricle.training.prepared import Prepared
from auricle.training.rates import decayed, rate_at
from auricle.training.snapshot import load_snapshot, save_snapshot
from auricle.training.validation import evaluation_row, transcribed
from auricle.training.world import World

BETAS = (0.9, 0.98)
# Networks write nothing for long, and then everything at once: no one waits in vain before a rate is below this.
LEARNING = 0.9


class Watch(Protocol):
    """Who is told of a run."""

    def step(self, row: dict[str, Any], state: State, n_steps: int | None) -> None:
        """A step was made."""
        ...

    def evaluation(self, row: dict[str, Any]) -> None:
        """An evaluation was made."""
        ...

    def evaluating(self, done: int, n_batches: int) -> None:
        """One is going on."""
        ...


@dataclass
class State:
    """Where a run is."""

    step: int = 0
    epoch: int = 0
    place: int = 0  # steps made in this epoch
    seconds: float = 0.0  # spent, evaluations included
    audio_seconds: float = 0.0  # heard, repeats included
    skipped: int = 0  # steps whose gradient was not finite
    best: float = math.inf  # rate of the best checkpoint, by the metric
    best_other: float = math.inf  # its other rate, which decides between equals
    best_step: int | None = None
    since_best: int = 0  # evaluations
    ended: str = ""  # why the run is over
    evaluated: int = -1  # the last step that was evaluated


@dataclass
class Trainer:
    """A run in a folder: log.jsonl, training_state, and the best checkpoint at its top."""

    objective: Objective
    training: Prepared
    validation: Prepared | None
    options: FinetuneOptions  # resolved
    folder: Path
    world: World
    watch: Watch
    keep: Callable[[Path], None]  # what is written beside a checkpoint
    normalize: Callable[[str], str] = str  # what texts are before they are compared
    state: State = field(default_factory=State)
    stop_asked: bool = False

    def __post_init__(self) -> None:
        self.model: nn.Module = self.objective.model.to(self.world.device)
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items() if self.options.averaging}
        groups = decayed(self.parameters, self.options.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=BETAS, fused=self.world.device.type in ("cpu", "cuda"))
        self.durations = [entry.duration for entry in self.training.entries]
        self.n_steps = None if self.options.minutes else self._steps()
        n_batches = len(batches_of_epoch(self.durations, self.options.batch_seconds, self.options.seed, 0))
        self.evaluate_every = self.options.pace(n_batches)
        log_size = self._restored()
        self.log = Log(self.folder / "log.jsonl", log_size) if self.world.is_first else None

    # ---- the loop

    def run(self) -> State:
        """Train until the budget is spent, nothing gets better, or someone interrupts; then write the last snapshot."""
        clock = _Clock(self.state)
        saved = time.monotonic()
        with self._interruptible():
            if self.state.step == 0 and self.state.evaluated < 0:
                self._evaluate()
            while not self.state.ended and not self.stop_asked:
                for batches in self._epoch(self.state.epoch)[self.state.place :]:
                    row = self._step(batches)
                    clock.tick()
                    self._tell(row)
                    if self._is_over() or self.state.step % self.evaluate_every == 0:
                        self._evaluate()
                        clock.tick()
                    due = time.monotonic() - saved >= 60 * self.options.save_minutes
                    due, self.stop_asked = self.world.agreed((due, self.stop_asked))
                    if due or self.state.evaluated == self.state.step:
                        self._save()
                        saved = time.monotonic()
                    if self.state.ended or self.stop_asked:
                        break
                else:
                    self.state.epoch, self.state.place = self.state.epoch + 1, 0
        self._save()
        return self.state

    def _epoch(self, epoch: int) -> list[list[list[int]]]:
        groups = batches_of_epoch(self.durations, self.options.batch_seconds, self.options.seed, epoch)
        size = self.options.accumulate
        return [groups[start : start + size] for start in range(0, len(groups), size)]

    def _steps(self) -> int:
        if self.options.steps is not None:
            return self.options.steps
        epochs = self.options.epochs or 1
        whole = sum(len(self._epoch(epoch)) for epoch in range(int(epochs)))
        return max(1, whole + round((epochs - int(epochs)) * len(self._epoch(int(epochs)))))

    def _step(self, batches: Sequence[Sequence[int]]) -> dict[str, Any]:
        """One update from the batches' rows, of which every process takes its share."""
        state, options = self.state, self.options
        rate = self._set_rate()
        self.objective.set_training(True)
        sums = torch.zeros(3, dtype=torch.float64)  # loss, labels, seconds
        figures: dict[str, float] = {}
        for number, places in enumerate(batches):
            own = places[self.world.rank :: self.world.size]
            if not own:
                continue
            seed = derived_seed(options.seed, state.step, number, self.world.rank)
            generator = torch.Generator().manual_seed(seed)
            torch.manual_seed(seed)  # of dropout
            examples = [self.training[place] for place in own]
            batch = self.objective.collate(examples, generator).to(self.world.device)
            with torch.autocast(self.world.device.type, torch.bfloat16, enabled=options.bf16):
                loss, found = self.objective.loss(batch)
            (loss * batch.n_units).backward()
            sums += torch.tensor(
                [float(loss.detach()) * batch.n_units, batch.n_units, sum(e.duration for e in examples)]
            )
            figures = {key: round(value, 5) for key, value in found.items()}
        norm = self._share_gradients(sums)
        if math.isfinite(norm) and math.isfinite(float(sums[0])):
            self.optimizer.step()
            self._average()
        else:
            state.skipped += 1
        self.optimizer.zero_grad(set_to_none=True)
        state.step, state.place = state.step + 1, state.place + 1
        state.audio_seconds += float(sums[2])
        row: dict[str, Any] = {
            "step": state.step,
            "epoch": state.epoch,
            "loss": _rounded(float(sums[0] / sums[1].clamp(min=1))),
            "learning_rate": float(f"{rate:.6g}"),
            "gradient_norm": _rounded(norm),
            **figures,
            "audio_seconds": round(state.audio_seconds, 2),
            "skipped": state.skipped,
        }
        if row["loss"] is None or row["gradient_norm"] is None:
            row["rows"] = [self.training.entries[place].id for places in batches for place in places]
        return row

    def _share_gradients(self, sums: Tensor) -> float:
        """Make gradients the mean over all labels of all processes, clipped; returns their norm before."""
        gradients = self.world.add_gradients(self.parameters.values())
        shared = sums.to(self.world.device) if self.world.device.type != "mps" else sums.float()
        self.world.add([shared])
        sums.copy_(shared)
        if not gradients:
            return 0.0
        torch._foreach_div_(gradients, max(1.0, float(sums[1])))
        return float(nn.utils.clip_grad_norm_(self.parameters.values(), self.options.clip))

    def _set_rate(self) -> float:
        rate = (self.options.learning_rate or 0.0) * rate_at(
            self._progress(), self.options.warmup_share, self.options.schedule
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _progress(self) -> float:
        """The share of the run that is done."""
        if self.options.minutes:
            share = self.state.seconds / (60 * self.options.minutes)
            return float(self.world.agreed(share))
        # Neither the first step nor the last is one of rate zero.
        return (self.state.step + 1) / ((self.n_steps or 1) + 1)

    def _is_over(self) -> bool:
        if self.n_steps is not None and self.state.step >= self.n_steps:
            self.state.ended = "all steps are made"
        elif self.options.minutes and self.world.agreed(self.state.seconds) >= 60 * self.options.minutes:
            self.state.ended = "the time is spent"
        elif self.options.patience is not None and self.state.since_best >= self.options.patience:
            self.state.ended = f"{self.state.since_best} evaluations brought nothing better"
        return bool(self.state.ended)

    def _average(self) -> None:
        if self.averages:
            # Early weights are far from the late ones: the average forgets them faster.
            decay = min(self.options.averaging, (1 + self.state.step) / (10 + self.state.step))
            with torch.no_grad():
                ours = list(self.averages.values())
                theirs: list[Tensor] = [self.parameters[name] for name in self.averages]
                torch._foreach_lerp_(ours, theirs, 1 - decay)

    # ---- evaluation

    def _evaluate(self) -> None:
        """Score the weights on the validation data; keep them if they are the best, and count if they are not."""
        state = self.state
        state.evaluated = state.step
        if self.validation is None:
            self._keep_weights()
            return
        with self._averaged():
            references, texts = (
                list(map(self.normalize, one))
                for one in transcribed(self.objective, self.validation, self.options, self.world, self.watch.evaluating)
            )
            words, characters = word_errors(references, texts), character_errors(references, texts)
            rate, other = words.rate, characters.rate
            if self.options.metric == "cer":
                rate, other = other, rate
            better = (rate, other) < (state.best, state.best_other)
            row = evaluation_row(state.step, words, characters, references, texts)
            if self.log is not None:
                self.log.add(row)  # before the checkpoint, whose card tells of it
            if better:
                state.best, state.best_other = rate, other
                state.best_step, state.since_best = state.step, 0
                self._write()
            elif state.best < LEARNING:
                state.since_best += 1
        if self.log is not None:
            self.watch.evaluation({**row, "best": better})
        self._is_over()

    def _keep_weights(self) -> None:
        """Without validation data the last weights are the ones to keep."""
        self.state.best_step = self.state.step
        with self._averaged():
            self._write()

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the averages in the weights' place, where there are any."""
        own = {name: self.parameters[name].detach().clone() for name in self.averages}
        with torch.no_grad():
            for name, value in self.averages.items():
                self.parameters[name].copy_(value)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in own.items():
                    self.parameters[name].copy_(value)

    # ---- files

    def _write(self) -> None:
        """Write the checkpoint beside, then move its files into place."""
        if not self.world.is_first:
            return
        made = self.folder / "training_state" / "checkpoint"
        made.mkdir(parents=True, exist_ok=True)
        self.objective.save(made)
        self.keep(made)
        for path in sorted(one for one in made.rglob("*") if one.is_file()):
            place = self.folder / path.relative_to(made)
            place.parent.mkdir(exist_ok=True)
            path.replace(place)
        shutil.rmtree(made)

    def _save(self) -> None:
        if self.log is None:
            self.world.wait()
            return
        if not self.options.minutes:
            self.state.seconds = round(self.state.seconds, 3)
        state: dict[str, Any] = {
            "options": self.options.fixed(),
            "identity": self.objective.identity,
            "data": self._data(),
            "state": asdict(self.state),
            "log_size": self.log.size(),
            "parameters": {name: parameter.detach().cpu() for name, parameter in self.parameters.items()},
            "averages": {name: average.cpu() for name, average in self.averages.items()},
            "optimizer": self.optimizer.state_dict(),
        }
        save_snapshot(self.folder / "training_state", self.state.step, state)
        self.world.wait()

    def _data(self) -> dict[str, str]:
        return {
            "training data": self.training.fingerprint[:16],
            "validation data": self.validation.fingerprint[:16] if self.validation is not None else "none",
        }

    def _restored(self) -> int:
        """Take over the newest snapshot, if there is one; bytes of the log that belong to it."""
        saved = load_snapshot(self.folder / "training_state")
        if saved is None:
            return 0
        before = {"model": saved["identity"][:16], **saved["data"], **saved["options"]}
        now = {"model": self.objective.identity[:16], **self._data(), **self.options.fixed()}
        refuse_changes(before, now, str(self.folder))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(saved["parameters"][name])
            for name, average in self.averages.items():
                average.copy_(saved["averages"][name])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.state = State(**saved["state"])
        self.state.ended = ""  # there may be more steps, time or patience now
        self._is_over()
        return int(saved["log_size"])

    def _tell(self, row: dict[str, Any]) -> None:
        if self.log is not None:
            row["seconds"] = round(self.state.seconds, 2)
            self.log.add(row)
            self.watch.step(row, self.state, self.n_steps)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Finish the step before stopping at Ctrl-C or SIGTERM; a second Ctrl-C stops at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self.stop_asked and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.stop_asked = True

        try:
            former = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread, which alone receives signals
            former = {}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


class _Clock:
    """Adds the time that passes to a run's own."""

    def __init__(self, state: State) -> None:
        self.state, self.last = state, time.monotonic()

    def tick(self) -> None:
        """Count what passed since the last call."""
        now = time.monotonic()
        self.state.seconds, self.last = self.state.seconds + now - self.last, now


def _rounded(value: float) -> float | None:
    """A number that JSON can hold; None for one that is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
