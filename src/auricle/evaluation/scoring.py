"""From stored predictions to figures: what counts, how it is normalised, and the rates with their intervals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from auricle.errors import OptionError
from auricle.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    SEED,
    Comparison,
    Interval,
    compare,
    interval,
    what_to_draw,
)
from auricle.evaluation.normalizers import Normalizer
from auricle.evaluation.predictions import Prediction
from auricle.evaluation.wer import LENGTH, ErrorCounts, Unit, total, utterance_counts

# References that say of themselves that they are not to be scored (NIST's, in STM files).
IGNORED = ("ignore_time_segment_in_scoring", "ignore time segment in scoring")
# Seconds that divide utterances where rates are told by duration.
DURATIONS = (0.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, float("inf"))


@dataclass(frozen=True)
class Sampling:
    """How the intervals are drawn."""

    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = SEED
    drawn: str = "auto"  # "utterance", "speaker", or "auto": speakers where all are known and there are enough

    def __post_init__(self) -> None:
        if self.drawn not in ("auto", "utterance", "speaker"):
            raise OptionError(f"drawn={self.drawn!r}; expected auto, utterance or speaker")

    def groups(self, speakers: Sequence[str | None]) -> list[str] | None:
        """Return the speaker of each utterance where speakers are drawn, else None.

        Raises:
            OptionError: speakers are asked for, and an utterance has none.
        """
        if self.drawn == "utterance":
            return None
        if self.drawn == "auto":
            return what_to_draw(speakers)
        unknown = sum(1 for speaker in speakers if not speaker)
        if unknown:
            raise OptionError(f"{unknown} of {len(speakers)} utterances have no speaker; draw utterances instead")
        return [str(speaker) for speaker in speakers]

    def parameters(self) -> dict[str, Any]:
        """Return what `interval` and `compare` take."""
        return {"level": self.level, "resamples": self.resamples, "seed": self.seed}


@dataclass(frozen=True)
class Rates:
    """One way to count: the errors of each utterance, (N, 4) as `utterance_counts` has them."""

    words: np.ndarray
    characters: np.ndarray

    @cached_property
    def word_total(self) -> ErrorCounts:
        """Word errors of all utterances."""
        return total(self.words)

    @cached_property
    def character_total(self) -> ErrorCounts:
        """Character errors of all utterances."""
        return total(self.characters)


@dataclass(frozen=True)
class Score:
    """How good predictions are, with both texts normalised and as they were written."""

    kept: list[Prediction]  # what counts, in the order of the predictions
    references: list[str]  # normalised, of what counts
    predictions: list[str]
    normalized: Rates
    raw: Rates
    normalizer: Normalizer
    failed: list[Prediction]
    dropped: dict[str, list[str]] = field(default_factory=dict)  # reason to ids
    sampling: Sampling = Sampling()

    @cached_property
    def groups(self) -> list[str] | None:
        """The speakers that are drawn; None: utterances are."""
        return self.sampling.groups([one.speaker for one in self.kept])

    def interval(self, unit: Unit, raw: bool = False) -> Interval | None:
        """Return the interval of the word or character error rate."""
        rates = self.raw if raw else self.normalized
        counts = rates.words if unit == "words" else rates.characters
        parameters = self.sampling.parameters()
        return interval(counts[:, :LENGTH].sum(axis=1), counts[:, LENGTH], self.groups, **parameters)

    @cached_property
    def rtfx(self) -> float | None:
        """Seconds of audio recognised in a second of computing; None where times are not known of all."""
        timed = [(one.duration, one.seconds) for one in self.kept]
        audio = sum(duration or 0.0 for duration, _ in timed)
        computed = sum(seconds or 0.0 for _, seconds in timed)
        known = all(duration is not None and seconds is not None for duration, seconds in timed)
        return audio / computed if known and computed > 0 else None


def score(predictions: Sequence[Prediction], normalizer: Normalizer, sampling: Sampling | None = None) -> Score:
    """Score predictions after both texts of each went through `normalizer`, and also as they are.

    Utterances without a reference, and those whose reference normalises to nothing, are dropped and counted; those
    that the model failed on are told apart. Neither is part of a rate.
    """
    kept, failed, dropped = [], [], dict[str, list[str]]()
    for one in predictions:
        reason = _why_not(one)
        if reason is not None:
            dropped.setdefault(reason, []).append(one.id)
        elif one.prediction is None:
            failed.append(one if one.error else replace(one, error="it has no prediction"))
        else:
            kept.append(one)
    references = normalizer.all(one.reference or "" for one in kept)
    empty = {place for place, text in enumerate(references) if not text}
    if empty:
        dropped.setdefault(f"the reference is empty after {normalizer.name}", []).extend(
            kept[place].id for place in sorted(empty)
        )
        kept = [one for place, one in enumerate(kept) if place not in empty]
        references = [text for text in references if text]
    texts = normalizer.all(one.prediction or "" for one in kept)
    raw = ([one.reference or "" for one in kept], [one.prediction or "" for one in kept])
    return Score(
        kept=kept,
        references=references,
        predictions=texts,
        normalized=Rates(*(utterance_counts(references, texts, unit) for unit in ("words", "characters"))),
        raw=Rates(*(utterance_counts(*raw, unit) for unit in ("words", "characters"))),
        normalizer=normalizer,
        failed=failed,
        dropped=dropped,
        sampling=sampling or Sampling(),
    )


def by_duration(one: Score) -> list[dict[str, Any]]:
    """Return the word error rate of utterances of like duration, where durations are known."""
    places = [place for place, prediction in enumerate(one.kept) if prediction.duration is not None]
    durations = np.array([one.kept[place].duration for place in places], dtype=np.float64)
    found = []
    for low, high in itertools.pairwise(DURATIONS):
        inside = np.array(places, dtype=np.int64)[(durations >= low) & (durations < high)]
        if len(inside):
            counts = total(one.normalized.words[inside])
            top = None if high == float("inf") else high
            found.append(
                {"from": low, "to": top, "n_utterances": len(inside), "words": counts.words, "wer": counts.rate}
            )
    return found


def differing(first: Score, second: Score) -> list[str]:
    """The ids that both have and that do not stand for the same reference."""
    said = {one.id: reference for one, reference in zip(second.kept, second.references, strict=True)}
    pairs = zip(first.kept, first.references, strict=True)
    return [one.id for one, reference in pairs if said.get(one.id, reference) != reference]


def compare_scores(first: Score, second: Score) -> Comparison | None:
    """Compare the word errors of two models on the utterances that both have, by a paired bootstrap.

    None where they share fewer than two.

    Raises:
        OptionError: they are normalised differently, or an id has two different references.
    """
    if first.normalizer.hash != second.normalizer.hash:
        raise OptionError(
            f"one is normalised by {first.normalizer.name} ({first.normalizer.hash}) and the other by "
            f"{second.normalizer.name} ({second.normalizer.hash}); score both again with the same"
        )
    places = {one.id: place for place, one in enumerate(second.kept)}
    pairs = [(place, places[one.id]) for place, one in enumerate(first.kept) if one.id in places]
    different = differing(first, second)
    if different:
        raise OptionError(
            f"{len(different)} utterances have different references in the two, {different[0]!r} the first; "
            "compare results of the same data"
        )
    ours, theirs = (np.array([pair[side] for pair in pairs], dtype=np.int64) for side in (0, 1))
    a, b = first.normalized.words[ours], second.normalized.words[theirs]
    groups = first.sampling.groups([first.kept[place].speaker for place in ours])
    errors = (a[:, :LENGTH].sum(axis=1), b[:, :LENGTH].sum(axis=1))
    return compare(*errors, a[:, LENGTH], groups, **first.sampling.parameters())


def _why_not(one: Prediction) -> str | None:
    if one.reference is None or not one.reference.strip():
        return "it has no reference"
    if one.reference.strip().lower() in IGNORED:
        return "its reference says that it is not to be scored"
    return None
