"""Diarization error rate and Jaccard error rate, by pyannote.metrics.

DER is the time that was missed, was given to nobody's speech, or to another speaker than the best matching one, per
second of reference speech; each speaker's speech counts where several talk. JER is the mean over reference speakers of
one minus the overlap of their speech with that of their match (Ryant et al. 2019, The Second DIHARD Challenge).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auricle.errors import MissingExtraError, OptionError
from auricle.evaluation.bootstrap import RESAMPLES, SEED, Interval, interval
from auricle.evaluation.turns import Turn

Stretches = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Scoring:
    """What is forgiven, and how the interval is drawn."""

    collar: float = 0.0  # seconds on each side of a reference's turn's start and end, as in md-eval; 0.25 is usual
    skip_overlap: bool = False  # do not score where several speakers talk in the reference
    resamples: int = RESAMPLES  # of recordings, for the interval of DER
    seed: int = SEED


@dataclass(frozen=True)
class RecordingScore:
    """The seconds of one recording; of all recordings where they are added up."""

    recording: str
    total: float  # of reference speech
    missed: float
    false_alarm: float
    confusion: float
    jer: float
    n_speakers: int  # of the reference

    @property
    def errors(self) -> float:
        """All three kinds together, in seconds."""
        return self.missed + self.false_alarm + self.confusion

    @property
    def der(self) -> float:
        """Errors per second of reference speech: it can exceed 1."""
        if self.total > 0:
            return self.errors / self.total
        return float("inf") if self.errors > 0 else 0.0


@dataclass(frozen=True)
class DiarizationScore:
    """The scores of recordings, and of all together."""

    recordings: tuple[RecordingScore, ...]
    all: RecordingScore

    def interval(self, resamples: int = RESAMPLES, seed: int = SEED) -> Interval | None:
        """Return the 95 % interval of DER, of resampled recordings; None for fewer than two."""
        errors = np.array([one.errors for one in self.recordings])
        totals = np.array([one.total for one in self.recordings])
        return interval(errors, totals, resamples=resamples, seed=seed)


def score_diarization(
    references: Mapping[str, Sequence[Turn]],
    hypotheses: Mapping[str, Sequence[Turn]],
    scoring: Scoring | None = None,
    scored: Stretches | None = None,
) -> DiarizationScore:
    """Score the recordings of `references`; one without a hypothesis has none of its speech found.

    `scored` is what of each recording is scored (UEM, in seconds); without it, from 0 to the last turn's end.

    Raises:
        OptionError: a hypothesis has no reference, or no reference has speech.
        MissingExtraError: without pyannote.metrics.
    """
    unknown = [recording for recording in hypotheses if recording not in references]
    if unknown:
        raise OptionError(
            f"{len(unknown)} recordings have turns and no reference, {unknown[0]!r} the first; expected the names of "
            f"the references: {', '.join(list(references)[:5])}"
        )
    core, metrics = _pyannote()
    chosen = scoring or Scoring()
    # pyannote removes half of its collar on each side.
    given = {"collar": 2 * chosen.collar, "skip_overlap": chosen.skip_overlap}
    der, jer = metrics.DiarizationErrorRate(**given), metrics.JaccardErrorRate(**given)
    found = []
    for recording, turns in references.items():
        said, heard = _annotation(core, recording, turns), _annotation(core, recording, hypotheses.get(recording, ()))
        stretches = (scored or {}).get(recording) or [(0.0, _end([*turns, *hypotheses.get(recording, ())]))]
        uem = core.Timeline([core.Segment(*stretch) for stretch in stretches], uri=recording)
        parts = der(said, heard, uem=uem, detailed=True)
        rate = float(jer(said, heard, uem=uem))
        found.append(_recording(recording, parts, rate, len({turn.speaker for turn in turns})))
    if not any(one.total for one in found):
        raise OptionError("no reference has speech that is scored; look at the references, the UEM and the collar")
    added = {key: sum(getattr(one, key) for one in found) for key in ("total", "missed", "false_alarm", "confusion")}
    n_speakers = sum(one.n_speakers for one in found)
    return DiarizationScore(tuple(found), RecordingScore("all", **added, jer=float(abs(jer)), n_speakers=n_speakers))


def _recording(recording: str, parts: Mapping[str, float], jer: float, n_speakers: int) -> RecordingScore:
    return RecordingScore(
        recording,
        float(parts["total"]),
        float(parts["missed detection"]),
        float(parts["false alarm"]),
        float(parts["confusion"]),
        jer,
        n_speakers,
    )


def _annotation(core: Any, recording: str, turns: Sequence[Turn]) -> Any:
    made = core.Annotation(uri=recording)
    for place, turn in enumerate(turns):
        made[core.Segment(turn.start, turn.end), place] = turn.speaker
    # Two turns of one speaker that overlap are one voice.
    return made.support()


def _end(turns: Sequence[Turn]) -> float:
    return max((turn.end for turn in turns), default=0.0)


def _pyannote() -> tuple[Any, Any]:
    try:
        import pyannote.core as core
        import pyannote.metrics.diarization as metrics
    except ImportError as error:
        raise MissingExtraError(
            'scores of diarization need pyannote.metrics: pip install "auricle[evaluate]"'
        ) from error
    return core, metrics
