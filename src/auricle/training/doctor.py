"""A look at a training's data before the first step: what would make it fail, or learn something else.

    Most trainings that fail were lost before they began: labels that do not say the text, recordings longer than their
    texts, a validation split that is in the training one.

CTC needs a frame for every label and one more between two alike: `frames >= labels + repeats`, after the model's
subsampling.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from auricle.training.ctc_objective import frames_needed
from auricle.training.findings import Finding, Findings, advice_for, counted, listed, some
from auricle.training.labels import Removed
from auricle.training.objective import Example, Objective, Rejected
from auricle.training.sound_check import check_sounds, duplicated_sounds
from auricle.training.vocabulary import RARE, Vocabulary

PAIRS = 5  # texts that are shown beside their labels
BAR = 40  # characters of the histogram's longest bar
TOO_MANY = 0.5  # share of rows left out for one reason that stops a run
FEW_SECONDS = 600.0  # of training: less teaches little
FEW_ROWS = 20  # of validation: fewer tell little
OUTLYING = 5.0  # deviations from the median speed of speech, in logarithms
LEAST_WORDS = 4  # of a text that two recordings have by no chance
TIGHT = 1.1  # frames for each that is needed


class Entry(Protocol):
    """What is known of an example that was prepared."""

    id: str
    labels: tuple[int, ...]
    n_frames: int
    text: str
    duration: float
    speaker: str | None
    language: str | None


class Split(Protocol):
    """Examples of a split, prepared, and the rows that were not."""

    @property
    def entries(self) -> Sequence[Any]:
        """What is known of each."""
        ...

    @property
    def rejected(self) -> Sequence[Rejected]:
        """Rows that cannot be learned."""
        ...

    def __getitem__(self, place: int) -> Example: ...


@dataclass(frozen=True)
class Case:
    """What is examined."""

    training: Split
    validation: Split | None
    training_rows: Sequence[Any]  # Utterances, as the dataset has them
    validation_rows: Sequence[Any]
    vocabulary: Vocabulary | None = None  # a new one, of the training texts
    decode: Callable[[Sequence[int]], str] | None = None  # what labels say; None: `Entry.text` is made of them
    n_steps: int | None = None  # of the run
    batch_seconds: float = 120.0
    language: str | None = None


def examine(objective: Objective, case: Case, *, listens: bool = True, measures: bool = True) -> Findings:
    """Look at everything; without `listens` no recording is opened, without `measures` no step is tried."""
    entries = list(case.training.entries)
    found = [
        *_left_out("training", case.training, case),
        *(_left_out("validation", case.validation, case) if case.validation is not None else ()),
        *_labels(objective, case),
        *_characters(case),
        *_amounts(case),
        *_speeds(entries),
        *_overlaps(case),
    ]
    tables = [*histogram([entry.duration for entry in entries]), *pairs(case)]
    if listens:
        sounds, said = check_sounds(case.training_rows)
        found += [*sounds, *duplicated_sounds(case.training_rows, case.validation_rows)]
        tables.append(said)
    if measures and entries:
        tables.append(_estimate(objective, case))
    return Findings(tuple(found), tuple(tables))


def histogram(durations: Sequence[float], n_bars: int = 8) -> list[str]:
    """Bars of text: how many recordings are how long."""
    if not durations:
        return []
    longest = max(durations)
    width = next((step for step in (0.25, 0.5, 1, 2, 2.5, 5, 10, 20, 60) if step * n_bars >= longest), longest / n_bars)
    counts = Counter(min(int(duration / width), n_bars - 1) for duration in durations)
    most = max(counts.values())
    hours = sum(durations) / 3600
    lines = [f"{len(durations)} recordings, {hours:.2f} h, median {statistics.median(durations):.1f} s"]
    for place in range(max(counts) + 1):
        n = counts.get(place, 0)
        bar = "#" * math.ceil(BAR * n / most)
        lines.append(f"  {place * width:5.4g} - {(place + 1) * width:<5.4g} s {bar:<{BAR}} {n}")
    return lines


def pairs(case: Case) -> list[str]:
    """A few texts as the dataset has them, and what their labels say."""
    raw = {row.id: row.text or "" for row in case.training_rows}
    entries = list(case.training.entries)
    chosen = entries[:: max(1, len(entries) // PAIRS)][:PAIRS]
    lines = [f"{len(chosen)} texts, and what their labels say:"] if chosen else []
    for entry in chosen:
        said = case.decode(entry.labels) if case.decode is not None else entry.text
        lines += [f"  text   {raw.get(entry.id, '')!r}", f"  labels {said!r}"]
    return lines


def _left_out(name: str, split: Split, case: Case) -> Iterable[Finding]:
    reasons: dict[str, list[Rejected]] = defaultdict(list)
    for one in split.rejected:
        reasons[one.reason].append(one)
    n_all = len(split.entries) + len(split.rejected)
    for reason, rows in sorted(reasons.items(), key=lambda pair: -len(pair[1])):
        advice = advice_for(reason)
        if case.vocabulary is not None and reason.startswith("characters outside"):
            advice = "Have these characters in the training split, too, or leave the rows out"
        severity = "error" if len(rows) > TOO_MANY * n_all else "warning"
        examples = some([f"{one.id}: {one.detail}" if one.detail else one.id for one in rows])
        message = f"{name}: {counted(len(rows), n_all)} left out, {reason}"
        yield Finding(severity, reason, message, advice, len(rows), examples)


def _labels(objective: Objective, case: Case) -> Iterable[Finding]:
    entries = list(case.training.entries)
    if objective.kind == "ctc":
        tight = [one for one in entries if one.n_frames < TIGHT * frames_needed(one.labels)]
        if tight:
            shown = [f"{one.id}: {one.n_frames} frames for {frames_needed(one.labels)}: {one.text!r}" for one in tight]
            yield Finding(
                "warning",
                "tight frames",
                f"training: {counted(len(tight), len(entries))} have hardly more frames than labels need",
                "Look whether these recordings are cut, or their texts too long",
                len(tight),
                some(shown),
            )
    raw = {row.id: row.text or "" for row in case.training_rows}
    said = {one.id: case.decode(one.labels) if case.decode is not None else one.text for one in entries}
    silent = [one for one in entries if not _letters(said[one.id])]
    unlike = [one for one in entries if _letters(said[one.id]) and _unlike(raw.get(one.id, ""), said[one.id])]
    for kind, rows, what in (("silent labels", silent, "say no letter"), ("other labels", unlike, "say another text")):
        if rows:
            severity = "error" if len(rows) > 0.05 * len(entries) else "warning"
            examples = some([f"{one.id}: {raw.get(one.id, '')!r} became {said[one.id]!r}" for one in rows])
            advice = "The vocabulary does not fit these texts: try --new-vocabulary, and --language"
            message = f"training: labels of {counted(len(rows), len(entries))} {what}"
            yield Finding(severity, kind, message, advice, len(rows), examples)
    texts = Counter(one.text for one in entries)
    if len(entries) >= 20 and len(texts) <= 0.05 * len(entries):
        yield Finding(
            "warning", "few texts", f"training: {len(entries)} rows share {len(texts)} texts",
            "A model learns to choose among them, and no other words; look whether the right column is read",
            len(texts), some([text for text, _ in texts.most_common(3)]),
        )  # fmt: skip


def _characters(case: Case) -> Iterable[Finding]:
    vocabulary = case.vocabulary
    if vocabulary is None:
        return
    outside = vocabulary.outside(row.text or "" for row in case.validation_rows)
    if outside:
        yield Finding(
            "warning", "unknown characters",
            f"validation has {len(outside)} characters that training has not: {listed(outside.items())}",
            "They can never be written; remove the texts, or have them in the training split, too", len(outside),
        )  # fmt: skip
    rare = vocabulary.rare()
    if rare:
        yield Finding(
            "note", "rare characters",
            f"{len(rare)} characters occur fewer than {RARE} times and will hardly be learned: {listed(rare.items())}",
            "Correct their texts if they are mistakes, or leave them out", len(rare),
        )  # fmt: skip
    digits = vocabulary.digits()
    if digits:
        yield Finding(
            "warning", "digits", f"texts have digits: {listed(digits.items())}",
            "Nobody hears digits: write numbers as words, as they were said", len(digits),
        )  # fmt: skip
    symbols = vocabulary.removed.symbols()
    if symbols:
        yield Finding(
            "warning", "symbols", f"symbols that are said as words were removed: {listed(symbols.items())}",
            "Write them as words ('percent')", sum(symbols.values()),
        )  # fmt: skip
    removed = Removed(vocabulary.removed.counts - Counter(symbols)).counts
    if removed:
        message = f"removed from texts: {listed(removed.most_common())}"
        yield Finding("note", "removed", message, "", sum(removed.values()))


def _amounts(case: Case) -> Iterable[Finding]:
    seconds = sum(entry.duration for entry in case.training.entries)
    if seconds < FEW_SECONDS:
        yield Finding(
            "warning", "little data", f"there are {seconds / 60:.1f} minutes to learn from",
            "Expect little of less than 10 minutes; an hour of one speaker, or ten of many, teach a language", 1,
        )  # fmt: skip
    n_held = len(case.validation.entries) if case.validation is not None else 0
    if n_held < FEW_ROWS:
        advice = "The best checkpoint is chosen by chance among fewer than 20; hold out more (--validation-share)"
        if not n_held:
            advice = "The last weights are kept, however good they are; hold out some (--validation-share above 0)"
        yield Finding("warning", "little validation", f"there are {n_held} rows to validate with", advice, n_held)
    languages = Counter(entry.language for entry in case.training.entries if entry.language)
    if len(languages) > 1 and case.language is None:
        yield Finding("note", "languages", f"rows are of several languages: {listed(languages.most_common())}",
                      "Give --language to learn from one of them", len(languages))  # fmt: skip


def _speeds(entries: Sequence[Any]) -> Iterable[Finding]:
    """Rows whose text is far too long or too short for their sound: the text of another recording."""
    rates = [(math.log(len(one.text) / one.duration), one) for one in entries if one.text and one.duration > 0]
    if len(rates) < 10:
        return
    middle = statistics.median(rate for rate, _ in rates)
    spread = 1.4826 * statistics.median(abs(rate - middle) for rate, _ in rates)  # of a normal distribution
    spread = max(spread, 0.1)
    odd = [(rate, one) for rate, one in rates if abs(rate - middle) > OUTLYING * spread]
    if odd:
        odd.sort(key=lambda pair: -abs(pair[0] - middle))
        examples = some([f"{one.id}: {math.exp(rate):.1f} characters a second: {one.text!r}" for rate, one in odd])
        yield Finding(
            "warning", "speed",
            f"training: {counted(len(odd), len(entries))} are far from {math.exp(middle):.1f} characters a second",
            "Look whether these texts belong to these recordings", len(odd), examples,
        )  # fmt: skip


def _overlaps(case: Case) -> Iterable[Finding]:
    if case.validation is None:
        return
    taught, held = list(case.training.entries), list(case.validation.entries)
    speakers = {one.speaker for one in taught if one.speaker} & {one.speaker for one in held if one.speaker}
    if speakers:
        yield Finding(
            "warning", "speakers", f"{len(speakers)} speakers are in training and in validation",
            "Validation then says how well these are known, not how well new ones are heard; hold out whole speakers",
            len(speakers), some(sorted(speakers)),
        )  # fmt: skip
    said = {(one.speaker, one.text) for one in taught if one.speaker and len(one.text.split()) >= LEAST_WORDS}
    same = [one for one in held if (one.speaker, one.text) in said]
    if same:
        yield Finding(
            "warning", "same sentences",
            f"validation: {counted(len(same), len(held))} have text and speaker of a training row",
            "Remove them from one of the two splits", len(same), some([f"{one.id}: {one.text!r}" for one in same]),
        )  # fmt: skip
    texts = {one.text for one in taught if len(one.text.split()) >= LEAST_WORDS}
    known = [one for one in held if one.text in texts]
    if len(known) > 0.1 * len(held) and not same:
        yield Finding(
            "warning", "known sentences",
            f"validation: {counted(len(known), len(held))} have sentences of the training rows",
            "Error rates are lower than they will be for new sentences", len(known), some([one.text for one in known]),
        )  # fmt: skip


def _estimate(objective: Objective, case: Case) -> str:
    """Try one step of ordinary rows, which changes nothing, and say how long the run takes."""
    entries = case.training.entries
    order = sorted(range(len(entries)), key=lambda place: entries[place].duration)
    middle, chosen, seconds = len(order) // 2, [], 0.0
    for place in order[middle:]:
        chosen.append(place)
        seconds += entries[place].duration
        if seconds >= case.batch_seconds:
            break
    objective.set_training(True)
    began = time.perf_counter()
    device = next(iter(objective.model.parameters())).device
    batch = objective.collate([case.training[place] for place in chosen], torch.Generator().manual_seed(0)).to(device)
    loss, _ = objective.loss(batch)
    loss.backward()
    spent = time.perf_counter() - began
    for parameter in objective.model.parameters():
        parameter.grad = None
    objective.set_training(False)
    total = "" if case.n_steps is None else f", {case.n_steps} steps take about {_spell(spent * case.n_steps)}"
    return f"a step of {seconds:.0f} s of sound takes {spent:.2f} s{total}, evaluations aside"


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _unlike(raw: str, said: str) -> bool:
    """Whether fewer than half of a text's letters are in what its labels say."""
    wanted, there = Counter(_letters(raw)), Counter(_letters(said))
    return sum((wanted & there).values()) < 0.5 * max(1, sum(wanted.values())) if wanted else False


def _spell(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
