"""Models over data sets, for `auricle evaluate`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auricle.cli.border import say, say_as_it_is
from auricle.cli.evaluate_plan import Plan, choose_normalizer, loaded
from auricle.cli.load import native
from auricle.cli.startup import quick_imports
from auricle.errors import AuricleError, OptionError

if TYPE_CHECKING:
    from auricle.corpora import Corpus, Utterance
    from auricle.evaluation.leaderboard import Entry
    from auricle.evaluation.scoring import Sampling, Score

OTHER_LANGUAGE = "it is in another language"


def measured(plan: Plan, sampling: Sampling) -> tuple[list[tuple[Entry, Score]], bool]:
    """Run every model over every data set, and say whether each was there; data sets are opened before one is loaded.

    A model that cannot be loaded is told, and the others are measured.

    Raises:
        CheckpointError, TaskError, MissingExtraError: none can be.
    """
    from auricle.evaluation.places import labelled, unique

    models = unique([labelled(one) for one in plan.models], "--model")
    corpora = unique([(_dataset(label, plan), what) for label, what in map(labelled, plan.data)], "--data")
    opened = {label: (what, _open(what, plan)) for label, what in corpora}
    with tempfile.TemporaryDirectory() as scratch:
        out = plan.out if plan.out is not None else Path(scratch)
        results: list[tuple[Entry, Score]] = []
        absent: list[AuricleError] = []
        for label, what, pipe in loaded(models, plan, load, absent):
            results += _measure(label, what, pipe, opened, plan, sampling, out)
        return results, not absent


def load(model: str, plan: Plan) -> Any:
    """Make the pipeline. This is where torch is loaded.

    Raises: TaskError for a model that transformers runs: its texts can be scored as predictions.
    """
    with quick_imports():
        from auricle.pipelines import pipeline

        return native(pipeline("automatic-speech-recognition", model, **plan.model_settings))


def rows_of(corpus: Corpus, plan: Plan, left_out: dict[str, int]) -> Iterator[Utterance]:
    """Give the rows that are asked for, in the corpus' order; those in other languages are counted in `left_out`."""
    n_rows = 0
    for row in corpus:
        if any(value_of(row, key) != value for key, value in plan.where.items()):
            continue
        if plan.language and row.language and _base(row.language) != _base(plan.language):
            left_out[OTHER_LANGUAGE] = left_out.get(OTHER_LANGUAGE, 0) + 1
            continue
        if n_rows == plan.limit:
            return
        n_rows += 1
        yield row


def value_of(row: Utterance, key: str) -> str | None:
    """Return a column of a row as text: one of the utterance's own, or one of the data set's.

    Raises:
        OptionError: it has no such column.
    """
    if key in ("id", "language", "speaker", "text"):
        value = getattr(row, key)
    elif key in row.extra:
        value = row.extra[key]
    else:
        has = ", ".join(["id", "language", "speaker", *map(str, row.extra)])
        raise OptionError(f"--where {key}=…: {row.id} has no column {key!r}; it has {has}")
    return None if value is None else str(value)


def _measure(
    label: str, model: str, pipe: Any, opened: dict[str, tuple[str, Corpus]], plan: Plan, sampling: Sampling, out: Path
) -> Iterator[tuple[Entry, Score]]:
    from auricle.evaluation.hardware import describe, machine
    from auricle.evaluation.leaderboard import Entry
    from auricle.evaluation.places import place
    from auricle.evaluation.rows import Made, speech_row, write_json
    from auricle.evaluation.running import Run, predict
    from auricle.evaluation.scoring import score

    identity = pipe.identity
    parameters = dict(plan.parameters)
    if plan.language and "language" in pipe.dialect.fields:
        parameters.setdefault("language", plan.language)
    computed = {"engine": identity.engine, "dtype": identity.dtype, "device": identity.device}
    for dataset, (data, corpus) in opened.items():
        path = place(out, label, dataset)
        if plan.overwrite:
            path.with_suffix(".run").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        settings = {"model": model, "revision": identity.revision, "options": parameters, **computed}
        settings["data"] = os.path.realpath(data) if os.path.exists(data) else data
        left_out: dict[str, int] = {}
        run = Run(path, settings, parameters, plan.batch_size)
        with _Told(plan, f"{label} on {dataset}", corpus) as told:
            found = predict(pipe, rows_of(corpus, plan, left_out), run, told)
        if not found:
            raise OptionError(f"{dataset} has no row that is asked for; look at --split, --where and --language")
        languages = [one.language for one in found]
        one = score(found, choose_normalizer(plan, languages), sampling)
        here = machine(identity.device)
        made = Made(
            model=label,
            dataset=dataset,
            hardware=describe(here, identity.engine, identity.dtype),
            machine=here,
            options={**parameters, "batch_size": plan.batch_size or 1, "model": model},
            revision=identity.revision,
            left_out={**corpus.report.reasons, **left_out},
        )
        row = speech_row(one, made, path.name)
        write_json(path.with_suffix(".json"), row)
        yield Entry(row, path.with_suffix(".json")), one


def _open(what: str, plan: Plan) -> Corpus:
    from auricle.corpora import no_text, open_corpus

    corpus = open_corpus(what, split=plan.split, text_column=plan.text_column, audio_column=plan.audio_column)
    if not corpus.is_streamed and len(corpus) and not any(one.n_texts for one in corpus.report.found.values()):
        raise no_text(corpus, corpus)
    if not plan.quiet and corpus.report.n_left_out:
        say_as_it_is(str(corpus.report))
    return corpus


def _dataset(label: str, plan: Plan) -> str:
    """Return the name of a data set with what of it is read: two parts of one never look the same."""
    given = Path(label)
    name = label
    if given.suffix == ".jsonl" and given.exists():
        # A folder has one manifest.jsonl; files of other names may be several.
        own = "" if given.stem == "manifest" else f" {given.stem}"
        name = f"{given.parent.resolve().name}{own}"
    columns = [f"by {name}" for name in (plan.text_column, plan.audio_column) if name]
    parts = [plan.split, *columns, *(f"{key}={value}" for key, value in plan.where.items()), plan.language]
    return " ".join([name, *filter(None, parts), *([f"first {plan.limit}"] if plan.limit else [])])


def _base(language: str) -> str:
    return language.replace("_", "-").split("-")[0].lower()


class _Told:
    """Shows on a terminal how far a run is, in seconds of audio."""

    def __init__(self, plan: Plan, what: str, corpus: Corpus) -> None:
        from auricle.cli.progress import Bar

        self.bar = Bar(plan.quiet)
        self.seconds = 0.0
        if not plan.quiet:
            say(f"auricle: {what}")
        whole = not (plan.where or plan.limit or plan.language)
        known = [found for found in corpus.report.found.values() if found.n_timed == found.rows]
        self.total = sum(found.seconds for found in known) if whole and known else None

    def __enter__(self) -> _Told:
        self.bar.__enter__()
        self.bar.expect(self.total)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.__exit__()

    def __call__(self, one: Any) -> None:
        self.seconds += one.duration or 0.0
        self.bar.heard(self.seconds)
