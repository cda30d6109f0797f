"""How a fine-tuning run goes: bars on a terminal's stderr, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from auricle.cli.border import say_as_it_is

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from auricle.training.trainer import State
    from auricle.training.watching import Narrator

EVERY_S = 30.0  # between lines where there is no terminal


@contextmanager
def narrator(quiet: bool) -> Iterator[Narrator]:
    """What tells a run on this stderr, or tells nothing."""
    from auricle.training.finetuning import Silent

    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        from rich.console import Console

        with _progress(Console(stderr=True)) as progress:
            yield Bars(progress)
    else:
        yield Lines()


class Lines:
    """Sentences."""

    def __init__(self) -> None:
        self._told = time.monotonic()
        self._last = (0.0, 0.0)  # seconds spent and seconds heard when the last line was written
        self._steps = 0

    def say(self, message: str) -> None:
        """Tell a sentence, or a line of a table."""
        say_as_it_is(message)

    def preparing(self, what: str, done: int, n_rows: int) -> None:
        """Tell how many rows are computed."""
        if self._is_time() or done == n_rows:
            self.say(f"{what}: {done} of {n_rows} rows prepared")

    def step(self, row: dict[str, Any], state: State, n_steps: int | None) -> None:
        """Tell a step."""
        if self._is_time():
            self.say(f"step {told(row, state, n_steps, self._last)}")
            self._last = state.seconds, state.audio_seconds

    def evaluation(self, row: dict[str, Any]) -> None:
        """Tell an evaluation."""
        self.say(evaluated(row))

    def evaluating(self, done: int, n_batches: int) -> None:
        """Nothing: it does not take long."""

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._told < EVERY_S:
            return False
        self._told = now
        return True


class Bars:
    """Two bars: of what is prepared or evaluated, and of the run."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def say(self, message: str) -> None:
        """Tell a sentence above the bars."""
        self._progress.console.print(message, highlight=False, markup=False)

    def preparing(self, what: str, done: int, n_rows: int) -> None:
        """Move the bar of what is prepared."""
        self._show(f"preparing {what}", done, n_rows, "")

    def step(self, row: dict[str, Any], state: State, n_steps: int | None) -> None:
        """Move the bar of the run."""
        self._show("training", state.step, n_steps, told(row, state, None, (0.0, 0.0)))

    def evaluation(self, row: dict[str, Any]) -> None:
        """Tell an evaluation."""
        self.say(evaluated(row))

    def evaluating(self, done: int, n_batches: int) -> None:
        """Move the bar of an evaluation."""
        self._show("evaluating", done, n_batches, "")

    def _show(self, what: str, done: int, total: int | None, said: str) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=total, said=said)
        self._progress.update(self._tasks[what], completed=done, total=total, said=said)
        if done == total and what != "training":
            self._progress.remove_task(self._tasks.pop(what))


def told(row: dict[str, Any], state: State, n_steps: int | None, since: tuple[float, float]) -> str:
    """A step in words: loss, the best rate so far, seconds of sound a second, and the time that is left."""
    spent, heard = state.seconds - since[0], state.audio_seconds - since[1]
    loss = "not finite" if row["loss"] is None else f"{row['loss']:.3f}"
    parts = [f"{state.step}{f' of {n_steps}' if n_steps else ''}", f"loss {loss}"]
    if state.best < float("inf"):
        parts.append(f"best {state.best:.1%}")
    parts.append(f"{heard / max(spent, 1e-9):.0f} s of sound a second")
    if n_steps and state.step:
        left = (n_steps - state.step) * state.seconds / state.step
        parts.append(f"{left / 60:.0f} min left" if left >= 60 else f"{left:.0f} s left")
    return ", ".join(parts)


def evaluated(row: dict[str, Any]) -> str:
    """An evaluation in words, and one pair of texts."""
    line = f"step {row['step']}: WER {row['wer']:.2%}, CER {row['cer']:.2%}{', the best so far' if row['best'] else ''}"
    if row["pairs"]:
        reference, text = row["pairs"][0]
        line += f" | said {reference!r}, heard {text!r}"
    return line


def _progress(console: Any) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        console=console,
        redirect_stdout=False,
    )
