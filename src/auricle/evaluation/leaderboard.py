"""Models against data sets: rows of results gathered, compared where that is fair, and told where it is not.

Rows whose texts were normalised differently never share a table. The mean of a model is the plain mean of its data
sets' rates, as on the Open ASR Leaderboard, and only models that have all data sets have one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auricle.errors import OptionError
from auricle.evaluation.bootstrap import Comparison
from auricle.evaluation.normalizers import normalizer
from auricle.evaluation.predictions import read_jsonl
from auricle.evaluation.rows import DIARIZATION, SPEECH
from auricle.evaluation.scoring import Sampling, Score, compare_scores, differing, score


@dataclass(frozen=True)
class Entry:
    """A row and the file that it is from; None: it was just made."""

    row: Mapping[str, Any]
    path: Path | None = None

    @property
    def place(self) -> tuple[str, str]:
        """The model and the data set."""
        return self.row["model"], self.row["dataset"]


@dataclass(frozen=True)
class Board:
    """Rows that may stand beside each other."""

    task: str
    ways: str  # how texts are normalised, or what a diarization forgives: the same for all rows
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...] = ()

    @property
    def rate(self) -> str:
        """The key of the rate that models are ranked by."""
        return "der" if self.task == DIARIZATION else "wer"

    @property
    def datasets(self) -> list[str]:
        """The data sets, by name."""
        return sorted({entry.row["dataset"] for entry in self.entries})

    @property
    def cells(self) -> dict[tuple[str, str], Entry]:
        """Model and data set to the row."""
        return {entry.place: entry for entry in self.entries}

    @property
    def standings(self) -> list[tuple[str, float | None]]:
        """The models and the plain means of their rates, the best first; those without all data sets have none."""
        cells, datasets = self.cells, self.datasets
        means: dict[str, float | None] = {}
        for model in dict.fromkeys(entry.row["model"] for entry in self.entries):
            rates = [cells[model, one].row[self.rate] for one in datasets if (model, one) in cells]
            means[model] = sum(rates) / len(rates) if len(rates) == len(datasets) else None
        return sorted(means.items(), key=lambda one: (one[1] is None, one[1] or 0.0, one[0]))


@dataclass(frozen=True)
class Duel:
    """Two models on one data set."""

    dataset: str
    first: str
    second: str
    comparison: Comparison

    def __str__(self) -> str:
        """Return it as a sentence; the better one is named first."""
        one = self.comparison
        better, worse, share = self.first, self.second, one.first_better
        low, high, difference = one.low, one.high, one.difference
        if share < 0.5:
            better, worse, share, difference, low, high = worse, better, 1 - share, -difference, -high, -low
        return (
            f"{self.dataset}: {better} better than {worse} in {_percent_of_resamples(share)} of resamples "
            f"(difference {_points(-difference)} points, {_points(-high)} to {_points(-low)}; "
            f"{one.n_utterances} utterances, drawn by {one.drawn})"
        )


@dataclass
class _Pile:
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def boards(entries: Iterable[Entry]) -> list[Board]:
    """Put rows into one board for each task and each way of scoring; warnings say what cannot be compared."""
    piles: dict[tuple[str, str], _Pile] = {}
    for entry in entries:
        pile = piles.setdefault((entry.row.get("task") or SPEECH, way_of(entry.row)), _Pile())
        earlier = pile.entries.get(entry.place)
        if earlier is not None:
            pile.warnings.append(
                f"{entry.place[0]} on {entry.place[1]} is there twice, in {earlier.path} and {entry.path}; the one "
                "with the later date is shown"
            )
            if str(earlier.row.get("date") or "") > str(entry.row.get("date") or ""):
                continue
        pile.entries[entry.place] = entry
    speech = [way for task, way in piles if task == SPEECH]
    if len(speech) > 1:
        told = (
            f"the rows are normalised in {len(speech)} ways ({'; '.join(speech)}), whose rates cannot be compared: "
            "each has a table of its own; `auricle evaluate --rescore` scores stored predictions again in one way"
        )
        for (task, _), pile in piles.items():
            if task == SPEECH:
                pile.warnings.insert(0, told)
    return [
        Board(task, way, tuple(pile.entries.values()), (*pile.warnings, *_unlike(pile.entries.values())))
        for (task, way), pile in piles.items()
    ]


def way_of(row: Mapping[str, Any]) -> str:
    """Say what must be the same in two rows for their rates to be comparable."""
    if row.get("task") == DIARIZATION:
        return f"collar {row.get('collar')} s, overlap {'left out' if row.get('skip_overlap') else 'scored'}"
    stamp = row.get("normalizer")
    if not isinstance(stamp, Mapping):
        return "an unknown normaliser"
    return f"{stamp.get('name')} ({stamp.get('version')}, {stamp.get('hash')})"


def load_score(entry: Entry) -> Score | None:
    """Score a row's stored predictions again, as it was scored; None where it has none.

    Raises:
        OptionError: the file cannot be read, or the normaliser is no longer what it was.
    """
    name = entry.row.get("predictions")
    stamp = entry.row.get("normalizer") or {}
    if entry.path is None or not name or entry.row.get("task") == DIARIZATION or not stamp.get("name"):
        return None
    way = normalizer(stamp["name"])
    if way.hash != stamp.get("hash"):
        raise OptionError(
            f"{entry.path} was normalised by {stamp['name']} {stamp.get('hash')}, which is {way.hash} now; score it "
            "again: auricle evaluate --rescore FOLDER"
        )
    told = entry.row.get("interval") or {}
    sampling = Sampling(**{key: told[key] for key in ("level", "resamples", "seed", "drawn") if key in told})
    return score(read_jsonl(entry.path.parent / name), way, sampling)


def duels(scores: Mapping[tuple[str, str], Score]) -> list[Duel]:
    """Compare every two models on every data set that both have, by a paired bootstrap.

    Two whose references differ are not compared: the board that they are on says that they do.
    """
    found = []
    for dataset in sorted({dataset for _, dataset in scores}):
        models = [model for model, one in scores if one == dataset]
        for first, second in itertools.combinations(models, 2):
            one, other = scores[first, dataset], scores[second, dataset]
            comparison = None if differing(one, other) else compare_scores(one, other)
            if comparison is not None:
                found.append(Duel(dataset, first, second, comparison))
    return found


def _unlike(entries: Iterable[Entry]) -> list[str]:
    """Say which data sets were not the same for all models, and whether speeds can be compared."""
    by_dataset: dict[str, list[Entry]] = {}
    for entry in entries:
        by_dataset.setdefault(entry.row["dataset"], []).append(entry)
    found = []
    for dataset, same in by_dataset.items():
        if len({entry.row.get("references") for entry in same if entry.row.get("references")}) > 1:
            counts = ", ".join(f"{entry.row['model']} {entry.row.get('n_utterances')}" for entry in same)
            found.append(f"{dataset}: the models were scored on different utterances or references ({counts})")
    failed = [f"{entry.row['model']} on {entry.row['dataset']}" for entry in _all(by_dataset) if _failed(entry)]
    if failed:
        found.append(f"utterances that failed are not part of the rates of {', '.join(failed)}")
    places = {hardware_of(entry.row) for entry in _all(by_dataset) if entry.row.get("rtfx")}
    if len(places) > 1:
        found.append(f"RTFx was measured on {len(places)} kinds of hardware; compare speeds within one")
    return found


def hardware_of(row: Mapping[str, Any]) -> str:
    """Return what a row's speed was measured on, without the engine and versions."""
    return str(row.get("hardware") or "unknown").split(";")[0]


def _all(by_dataset: Mapping[str, Sequence[Entry]]) -> list[Entry]:
    return [entry for same in by_dataset.values() for entry in same]


def _failed(entry: Entry) -> bool:
    return bool(entry.row.get("n_failed"))


def _percent_of_resamples(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(difference: float) -> str:
    return f"{100 * difference + 0.0:.2f}".replace("-0.00", "0.00")
