"""Joins the alarms to a run: they hear what its watch hears, and what they say is said to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from auricle.training.alarms import Alarm, Alarms
from auricle.training.trainer import State, Watch


class Narrator(Watch, Protocol):
    """A watch that also hears what happens around the loop."""

    def say(self, message: str) -> None:
        """Tell a sentence."""
        ...

    def preparing(self, what: str, done: int, n_rows: int) -> None:
        """Rows are being computed."""
        ...


class Watched:
    """A watch whose narrator is told of alarms, too; `stop` is called where going on would be in vain."""

    def __init__(self, narrator: Narrator, kind: str, stop: Callable[[], None]) -> None:
        self._narrator, self._stop = narrator, stop
        self._alarms = Alarms(kind)
        self._n_steps: int | None = None
        self.said: list[Alarm] = []

    @property
    def fatal(self) -> Alarm | None:
        """The alarm that stopped the run."""
        return next((alarm for alarm in self.said if alarm.stops), None)

    def replay(self, rows: Sequence[dict[str, Any]], n_steps: int | None) -> None:
        """Hear what an interrupted run has logged, without a word."""
        self._n_steps = n_steps
        self._alarms.replay(rows, n_steps)

    def step(self, row: dict[str, Any], state: State, n_steps: int | None) -> None:
        """Pass on, and look at the step."""
        self._n_steps = n_steps
        self._narrator.step(row, state, n_steps)
        self._tell(self._alarms.step(row, row.get("rows", ())))

    def evaluation(self, row: dict[str, Any]) -> None:
        """Pass on, and look at the texts that are logged."""
        self._narrator.evaluation(row)
        pairs = row.get("pairs") or []
        share = row["step"] / self._n_steps if self._n_steps else 0.0
        references, texts = [one for one, _ in pairs], [text for _, text in pairs]
        self._tell(self._alarms.evaluation(row, references, texts, share))

    def evaluating(self, done: int, n_batches: int) -> None:
        """Pass on."""
        self._narrator.evaluating(done, n_batches)

    def _tell(self, alarms: Sequence[Alarm]) -> None:
        for alarm in alarms:
            self.said.append(alarm)
            self._narrator.say(f"warning: {alarm}")
            if alarm.stops:
                self._stop()
