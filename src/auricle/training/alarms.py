"""What goes wrong in trainings, noticed while it can still be mended: fed with what the loop logs, pure, and said once.

Rows are those of log.jsonl. A run that goes on feeds its old rows first, so that it knows what it has said.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BLANKS = 0.98  # share of frames in which the blank is likeliest, of a model that has given up
STUCK_LOSS = 1.5  # per label: below it so many blanks may be true, of slow speech
N_STUCK = 3  # evaluations in a row
MOST_NOT_FINITE = 5  # steps in a row, after which nothing is to be hoped for
SMOOTHED = 20  # steps that are taken together
LEAST_SHARE = 0.25  # of a run, by which it must have learned something
LEARNED = 0.95  # of an earlier loss: above it nothing was learned
DIVERGED = 2.0  # times the lowest loss
RISEN = 1.05  # times the lowest word error rate
N_RISING = 3  # evaluations


@dataclass(frozen=True)
class Alarm:
    """What was noticed, and what to do."""

    kind: str
    message: str
    advice: str
    stops: bool = False  # going on would only spend time

    def __str__(self) -> str:
        return f"{self.message}. {self.advice}"


@dataclass
class Alarms:
    """Watches one run; `n_units` of the losses are labels."""

    kind: str = "ctc"  # the objective's
    _first: list[float] = field(default_factory=list)
    _losses: deque[float] = field(default_factory=lambda: deque(maxlen=SMOOTHED))
    _lowest: float = float("inf")  # of the smoothed losses
    _blanks: deque[float] = field(default_factory=lambda: deque(maxlen=SMOOTHED))
    _not_finite: int = 0
    _stuck: int = 0
    _same: int = 0
    _rates: list[float] = field(default_factory=list)
    _means: list[float] = field(default_factory=list)  # smoothed losses at evaluations
    _said: set[str] = field(default_factory=set)

    def step(self, row: Mapping[str, Any], ids: Sequence[str] = ()) -> list[Alarm]:
        """Hear of one step; `ids` are the rows that it learned."""
        loss, norm = row.get("loss"), row.get("gradient_norm", 0.0)
        if loss is None or norm is None:
            return self._heard_not_finite(row, ids)
        self._not_finite = 0
        self._said.discard("not finite")
        self._losses.append(float(loss))
        if len(self._first) < SMOOTHED:
            self._first.append(float(loss))
        if "blank_share" in row:
            self._blanks.append(float(row["blank_share"]))
        if len(self._losses) < SMOOTHED:
            return []
        mean = statistics.fmean(self._losses)
        self._lowest = min(self._lowest, mean)
        return self._when(
            "divergence",
            mean > DIVERGED * self._lowest + 0.5,
            lambda: Alarm(
                "divergence",
                f"the loss rises: {mean:.2f} over {SMOOTHED} steps up to {row['step']}, after {self._lowest:.2f}",
                f"Lower --learning-rate (now {row.get('learning_rate')}), or lengthen --warmup-share; "
                "the best checkpoint so far is kept",
            ),
        )

    def evaluation(
        self, row: Mapping[str, Any], references: Sequence[str], texts: Sequence[str], share: float
    ) -> list[Alarm]:
        """Hear of an evaluation after this share of the run."""
        mean = statistics.fmean(self._losses) if self._losses else float("nan")
        self._rates.append(float(row["wer"]))
        self._means.append(mean)
        found = self._blank(row, texts, mean)
        found += self._unlearned(row, mean, share)
        found += self._overfitted(row)
        several = len(set(references)) >= 4
        same = several and len(set(texts)) == 1 and bool(texts[0].strip())
        self._same = self._same + 1 if same else 0
        found += self._when(
            "one text",
            self._same >= 2,
            lambda: Alarm(
                "one text",
                f"every validation recording gets the same text at step {row['step']}: {texts[0]!r}",
                "The model does not listen: lower --learning-rate, and look whether texts belong to their recordings",
            ),
        )
        return found

    def replay(self, rows: Sequence[Mapping[str, Any]], n_steps: int | None) -> None:
        """Hear the rows of an interrupted run again, without a word; texts are those that were logged."""
        for row in rows:
            if "wer" in row:
                pairs = row.get("pairs") or []
                share = row["step"] / n_steps if n_steps else 0.0
                self.evaluation(row, [one for one, _ in pairs], [text for _, text in pairs], share)
            elif "loss" in row:
                self.step(row)

    def _heard_not_finite(self, row: Mapping[str, Any], ids: Sequence[str]) -> list[Alarm]:
        self._not_finite += 1
        what = "loss" if row.get("loss") is None else "gradient"
        shown = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
        if self._not_finite >= MOST_NOT_FINITE:
            return [
                Alarm(
                    "not finite",
                    f"the {what} is not a number in {self._not_finite} steps in a row, up to step {row['step']}",
                    f"Lower --learning-rate (now {row.get('learning_rate')}), train without --bf16, and look at "
                    f"the rows of the last step: {shown or 'unknown'}",
                    stops=True,
                )
            ]
        return self._when(
            "not finite",
            True,
            lambda: Alarm(
                "not finite",
                f"the {what} of step {row['step']} is not a number",
                f"The step is left out; --learning-rate was at {row.get('learning_rate')}; rows: {shown or 'unknown'}",
            ),
        )

    def _blank(self, row: Mapping[str, Any], texts: Sequence[str], mean: float) -> list[Alarm]:
        empty = sum(not text.strip() for text in texts) / max(1, len(texts))
        if self.kind == "ctc":
            blanks = statistics.fmean(self._blanks) if self._blanks else empty
            stuck = blanks > BLANKS and mean > STUCK_LOSS
        else:
            blanks, stuck = empty, empty > 0.9
        self._stuck = self._stuck + 1 if stuck else 0
        if self.kind == "ctc":
            advice = (
                "Train longer, or try a --learning-rate three times as high or as low, a longer --warmup-share, "
                "--freeze encoder for the first run, or a larger --batch-seconds; and look whether texts belong to "
                "their recordings"
            )
            message = f"the model writes blanks: {blanks:.1%} of the frames, with a loss of {mean:.2f}"
        else:
            advice = "Lower --learning-rate, and look whether texts belong to their recordings"
            message = f"the model writes nothing for {blanks:.0%} of the recordings"
        message += f", at {self._stuck} evaluations in a row up to step {row['step']}"
        # CTC begins with blanks alone, also where it learns: then the loss falls meanwhile.
        still = self.kind != "ctc" or mean > LEARNED * self._means[-N_STUCK:][0]
        return self._when("blanks", self._stuck >= N_STUCK and still, lambda: Alarm("blanks", message, advice))

    def _unlearned(self, row: Mapping[str, Any], mean: float, share: float) -> list[Alarm]:
        if share < LEAST_SHARE or len(self._first) < SMOOTHED or len(self._losses) < SMOOTHED:
            return []
        first = statistics.fmean(self._first)
        # Who starts from a model that can do it already has little to learn.
        nothing = mean > LEARNED * first and float(row["wer"]) > 0.5
        return self._when(
            "no learning",
            nothing,
            lambda: Alarm(
                "no learning",
                f"nothing is learned: the loss is {mean:.2f} after {share:.0%} of the run and was {first:.2f} at first",
                "Raise --learning-rate tenfold if the loss stands still, lower it if it jumps; see in the pairs above "
                "whether texts belong to their recordings, and whether too much is frozen (--freeze)",
            ),
        )

    def _overfitted(self, row: Mapping[str, Any]) -> list[Alarm]:
        lowest = min(self._rates)
        at = self._rates.index(lowest)
        later = self._rates[at + 1 :]
        rising = len(later) >= N_RISING and all(rate > RISEN * lowest for rate in later[-N_RISING:])
        falling = self._means[-1] < self._means[at]
        return self._when(
            "overfitting",
            rising and falling,
            lambda: Alarm(
                "overfitting",
                f"the training loss falls, and the word error rate rose from {lowest:.1%} to {self._rates[-1]:.1%}, "
                f"at step {row['step']}",
                "The best checkpoint is kept; more data, --augment, --noise, a lower --learning-rate or --method lora "
                "help more than more steps",
            ),
        )

    def _when(self, kind: str, holds: bool, make: Callable[[], Alarm]) -> list[Alarm]:
        """The alarm where it holds, unless it was said and held ever since."""
        if not holds:
            self._said.discard(kind)
            return []
        if kind in self._said:
            return []
        self._said.add(kind)
        return [make()]
