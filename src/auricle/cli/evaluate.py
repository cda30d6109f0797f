"""`auricle evaluate`: models over data sets, or predictions that are there; rates with intervals out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from auricle.cli import evaluate_flags as flags
from auricle.cli.border import NO_MODEL, SOME_FAILED, border, say, write_utf8
from auricle.cli.evaluate_plan import OWN, TASKS, Plan, choose_normalizer, refuse_other_tasks
from auricle.cli.order import read_folder, read_options
from auricle.cli.scores import check_form, show, show_differences
from auricle.cli.startup import quick_imports
from auricle.errors import OptionError
from auricle.speech.languages import named_language

if TYPE_CHECKING:
    from auricle.evaluation.leaderboard import Entry
    from auricle.evaluation.predictions import Prediction
    from auricle.evaluation.scoring import Sampling, Score


def evaluate(
    model: flags.Models = None,
    data: flags.Data = None,
    task: flags.Task = TASKS[0],
    split: flags.Split = None,
    where: flags.Where = None,
    text_column: flags.TextColumn = None,
    audio_column: flags.AudioColumn = None,
    limit: flags.Limit = None,
    language: flags.LanguageOf = None,
    predictions: flags.Predictions = None,
    references: flags.References = None,
    rescore: flags.Rescore = None,
    device: flags.Device = None,
    dtype: flags.Dtype = "auto",
    engine: flags.Engine = "auto",
    batch_size: flags.BatchSize = None,
    option: flags.Option = None,
    normalizer: flags.Normalizer = "auto",
    resamples: flags.Resamples = 1000,
    seed: flags.Seed = 0,
    draw: flags.Drawn = "auto",
    collar: flags.Collar = 0.0,
    skip_overlap: flags.SkipOverlap = False,
    out: flags.Out = None,
    overwrite: flags.Overwrite = False,
    form: flags.Form = "table",
    differences: flags.Differences = 0,
    quiet: flags.Quiet = False,
) -> None:
    """Measure models on data sets: error rates with their intervals, raw beside normalised, and the speed.

    With --out, raw predictions are kept as they are made: the same command goes on where it was interrupted, --rescore
    scores them in another way, and `auricle leaderboard` shows them.

    Exit codes: 0 all is well, 1 some utterances failed, 2 wrong usage, 3 a model could not be loaded, 130 interrupted.
    """
    with border():
        write_utf8()
        check_form(form)
        if task not in TASKS:
            raise OptionError(f"--task {task!r} is none of {', '.join(TASKS)}")
        of_speech = {"--split": split, "--where": where, "--draw": draw != "auto", "--differences": differences}
        of_speech |= {"--text-column": text_column, "--audio-column": audio_column}
        refuse_other_tasks(task, {TASKS[0]: of_speech, TASKS[1]: {"--collar": collar, "--skip-overlap": skip_overlap}})
        plan = Plan(
            models=tuple(model or ()),
            data=tuple(data or ()),
            predictions=tuple(predictions or ()),
            references=references,
            rescore=rescore,
            split=split,
            where=_pairs(where or []),
            text_column=text_column,
            audio_column=audio_column,
            limit=limit,
            language=named_language(language) if language is not None else None,
            normalizer=normalizer,
            model_settings={"device": device, "dtype": dtype, "engine": engine},
            parameters=read_options(option or [], {}, OWN),
            batch_size=batch_size,
            out=read_folder(out),
            overwrite=overwrite,
            quiet=quiet,
        )
        if task == TASKS[1]:
            from auricle.cli.evaluate_diarization import run_diarization
            from auricle.evaluation.diarization import Scoring

            n_failed = run_diarization(plan, Scoring(collar, skip_overlap, resamples, seed), form)
        else:
            n_failed = run(plan, resamples, seed, draw, form, differences)
        if n_failed:
            raise typer.Exit(SOME_FAILED)


def run(plan: Plan, resamples: int, seed: int, drawn: str, form: str, n_differences: int) -> int:
    """Score what the plan says, print it, and return how many utterances failed.

    Raises:
        typer.Exit: a model could not be loaded; the others' rates are printed.
    """
    with quick_imports():
        from auricle.evaluation.leaderboard import boards, duels
        from auricle.evaluation.scoring import Sampling
        from auricle.evaluation.tables import details

    all_there = True
    sampling = Sampling(resamples=resamples, seed=seed, drawn=drawn)
    if plan.rescore is not None:
        results = _rescored(plan, plan.rescore, sampling)
    elif plan.predictions:
        results = _external(plan, sampling)
    else:
        from auricle.cli.evaluate_models import measured

        results, all_there = measured(plan, sampling)
    found = boards(entry for entry, _ in results)
    scores = {entry.place: score for entry, score in results}
    show(found, [details(board) for board in found], _duels_within(found, scores, duels), form)
    if n_differences and form == "table":
        show_differences(scores, n_differences)
    n_failed = 0
    for one in scores.values():
        n_failed += len(one.failed)
        for failed in one.failed[:10] if not plan.quiet else ():
            say(f"{failed.id}: {failed.error}")
    if not all_there:
        raise typer.Exit(NO_MODEL)
    return n_failed


def _duels_within(found: Sequence[Any], scores: dict[tuple[str, str], Score], duels: Any) -> list[Any]:
    """Compare models where their texts were normalised alike."""
    return [
        duel
        for board in found
        for duel in duels({entry.place: scores[entry.place] for entry in board.entries if entry.place in scores})
    ]


def _external(plan: Plan, sampling: Sampling) -> list[tuple[Entry, Score]]:
    from auricle.evaluation.external import read_external
    from auricle.evaluation.leaderboard import Entry
    from auricle.evaluation.places import labelled, place, unique
    from auricle.evaluation.rows import Made, speech_row, write_json
    from auricle.evaluation.scoring import score

    given = [labelled(str(path)) for path in plan.predictions]
    named = unique([(Path(label).stem if label == what else label, what) for label, what in given], "--predictions")
    all_read = [read_external(Path(what), plan.references) for _, what in named]
    results = []
    for (label, _), dataset, read in zip(named, _data_sets(plan, named, all_read), all_read, strict=True):
        chosen = choose_normalizer(plan, [plan.language] if plan.language else [one.language for one in read])
        one = score(read, chosen, sampling)
        path = None if plan.out is None else place(plan.out, label, dataset)
        row = speech_row(one, Made(label, dataset), path.name if path is not None else None)
        if path is not None:
            _keep(path, "".join(line.line() + "\n" for line in read), plan.overwrite)
            write_json(path.with_suffix(".json"), row)
        results.append((Entry(row, path), one))
    return results


def _data_sets(plan: Plan, named: Sequence[tuple[str, str]], read: Sequence[Sequence[Prediction]]) -> list[str]:
    """Name what predictions are of: their references, the data set of their run, or a file whose model is named."""
    from auricle.evaluation.places import data_sets
    from auricle.evaluation.runs import data_set_of

    if plan.references is not None:
        return [plan.references.stem for _ in named]
    wished = [
        data_set_of(Path(what)) or (Path(what).stem if Path(what).stem != label else None) for label, what in named
    ]
    references = [frozenset((one.id, one.reference) for one in of_file) for of_file in read]
    return data_sets(list(zip(wished, references, strict=True)))


def _keep(path: Path, lines: str, overwrite: bool) -> None:
    """Write predictions that were given to where results are kept, and over no others.

    Raises:
        OptionError: others are there, and --overwrite is not given.
    """
    if path.exists() and not overwrite and path.read_text(encoding="utf-8") != lines:
        raise OptionError(
            f"{path} holds other predictions; name these differently (--predictions NAME=FILE), choose another --out, "
            "or give --overwrite"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lines, encoding="utf-8")


def _rescored(plan: Plan, folder: Path, sampling: Sampling) -> list[tuple[Entry, Score]]:
    from auricle.evaluation.leaderboard import Entry
    from auricle.evaluation.rescore import rescore

    results = []
    for path, row, one in rescore(folder, lambda languages: choose_normalizer(plan, languages), sampling):
        results.append((Entry(row, path), one))
    if not results:
        raise OptionError(f"{folder} holds no row with predictions; they are kept by `auricle evaluate --out`")
    return results


def _pairs(values: Sequence[str]) -> dict[str, str]:
    found = {}
    for value in values:
        key, sign, text = value.partition("=")
        if not (sign and key):
            raise OptionError(f"--where {value!r} is not KEY=VALUE; expected such as --where corpus=clean")
        found[key] = text
    return found
