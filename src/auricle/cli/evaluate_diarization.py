"""Scores of who spoke when, for `auricle evaluate --task speaker-diarization`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from auricle.cli.border import NO_MODEL, say
from auricle.cli.evaluate_plan import Plan, choose_normalizer, loaded
from auricle.cli.scores import show
from auricle.cli.sources import SUFFIXES
from auricle.cli.startup import quick_imports
from auricle.errors import AuricleError, OptionError

if TYPE_CHECKING:
    from auricle.evaluation.diarization import Scoring
    from auricle.evaluation.leaderboard import Entry
    from auricle.evaluation.turns import Turn, Turns


def run_diarization(plan: Plan, scoring: Scoring, form: str) -> int:
    """Score models on folders of recordings and references, or a file of turns; return how many recordings failed.

    Raises:
        typer.Exit: a model could not be loaded; the others' rates are printed.
    """
    from auricle.evaluation.leaderboard import boards
    from auricle.evaluation.tables import details

    if plan.rescore is not None:
        raise OptionError("--rescore scores texts; give --predictions HYP.rttm --references REF.rttm to score turns")
    absent: list[AuricleError] = []
    entries, n_failed = _external(plan, scoring) if plan.predictions else _models(plan, scoring, absent)
    found = boards(entries)
    show(found, [details(board) for board in found], [], form)
    if absent:
        raise typer.Exit(NO_MODEL)
    return n_failed


def _external(plan: Plan, scoring: Scoring) -> tuple[list[Entry], int]:
    from auricle.evaluation.places import labelled
    from auricle.evaluation.turns import read_turns

    if plan.references is None:
        raise OptionError("--predictions needs --references FILE: .rttm, .stm or SegLST .json")
    references = read_turns(plan.references)
    entries = []
    for given in plan.predictions:
        label, what = labelled(str(given))
        label = Path(label).stem if label == what else label
        found = read_turns(Path(what))
        row = _row(plan, label, plan.references.stem, references, found, scoring)
        entries.append(_entry(plan, row, found))
    return entries, 0


def _models(plan: Plan, scoring: Scoring, absent: list[AuricleError]) -> tuple[list[Entry], int]:
    """Measure every model that can be loaded; why others cannot is added to `absent`, and raised where none can."""
    from auricle.evaluation.hardware import describe, machine
    from auricle.evaluation.places import labelled, unique

    entries, n_failed = [], 0
    models = unique([labelled(one) for one in plan.models], "--model")
    for label, model, pipe in loaded(models, plan, load, absent):
        for dataset, folder in unique([labelled(one) for one in plan.data], "--data"):
            references, audio, stretches = read_folder_of_turns(Path(folder))
            options = {**plan.parameters, "model": model}
            _refuse_other(plan, label, dataset, {"options": options, "revision": pipe.identity.revision})
            if plan.limit is not None:
                references = dict(list(references.items())[: plan.limit])
            found, lengths, seconds, failures = _listen(pipe, references, audio, plan)
            n_failed += len(failures)
            heard = {recording: references[recording] for recording in found}
            if not heard:
                raise OptionError(
                    f"{label} failed on every recording of {folder}, such as {next(iter(failures.values()))}"
                )
            # Without a UEM the whole recording is scored, silence after the last turn included.
            whole = {recording: [(0.0, length)] for recording, length in lengths.items()}
            row = _row(plan, label, dataset, heard, found, scoring, {**whole, **stretches})
            here = machine(pipe.identity.device)
            row |= {
                "rtfx": sum(lengths.values()) / seconds if seconds else None,
                "audio_seconds": sum(lengths.values()),
                "compute_seconds": seconds,
                "n_failed": len(failures),
                "failures": [{"id": recording, "error": error} for recording, error in failures.items()],
                "hardware": describe(here, plan.model_settings["engine"], "float32"),
                "machine": here,
                "revision": pipe.identity.revision,
                "options": options,
            }
            entries.append(_entry(plan, row, found))
    return entries, n_failed


def _entry(plan: Plan, row: dict[str, Any], found: Turns) -> Entry:
    """Return a row as an entry; where results are kept, write it and the turns."""
    from auricle.evaluation.leaderboard import Entry
    from auricle.evaluation.places import place
    from auricle.evaluation.rows import write_json
    from auricle.evaluation.turns import write_rttm

    if plan.out is None:
        return Entry(row)
    path = place(plan.out, row["model"], row["dataset"]).with_suffix(".json")
    row["predictions"] = path.with_suffix(".rttm").name
    write_rttm(path.with_suffix(".rttm"), found)
    write_json(path, row)
    return Entry(row, path)


def _refuse_other(plan: Plan, label: str, dataset: str, made: Mapping[str, Any]) -> None:
    """Refuse to write over a row that was made otherwise.

    Raises:
        OptionError: there is one, and --overwrite is not given.
    """
    from auricle.evaluation.places import place

    path = place(plan.out, label, dataset).with_suffix(".json") if plan.out is not None else None
    if path is None or plan.overwrite or not path.exists():
        return
    before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(made))
    changed = [f"{key} was {before.get(key)!r} and is {now[key]!r}" for key in now if before.get(key) != now[key]]
    if changed:
        raise OptionError(
            f"{path} was made otherwise: {'; '.join(changed)}; name this one differently (--model NAME=MODEL), choose "
            "another --out, or give --overwrite"
        )


def load(model: str, plan: Plan) -> Any:
    """Make the pipeline. This is where torch is loaded."""
    with quick_imports():
        from auricle.pipelines import pipeline

        return pipeline("speaker-diarization", model, **plan.model_settings)


def read_folder_of_turns(folder: Path) -> tuple[Turns, dict[str, Path], dict[str, list[tuple[float, float]]]]:
    """Return a folder's references, the recordings of the same names, and the stretches of its UEM files.

    Raises:
        OptionError: there is no RTTM, or none of its recordings is there.
    """
    from auricle.evaluation.turns import read_turns, read_uem

    if not folder.is_dir():
        raise OptionError(f"{folder} is no folder; give one with recordings and .rttm files of the same names")
    references: Turns = {}
    for path in sorted(folder.rglob("*.rttm")):
        references.update(read_turns(path))
    stretches = {name: parts for path in sorted(folder.rglob("*.uem")) for name, parts in read_uem(path).items()}
    audio = {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES}
    missing = [recording for recording in references if recording not in audio]
    if missing:
        say(f"auricle: {len(missing)} recordings of the references are not in {folder}: {', '.join(missing[:5])}")
    kept = {recording: turns for recording, turns in references.items() if recording in audio}
    if not kept:
        raise OptionError(f"{folder} has no recording with a reference; expected NAME.wav and its turns in a .rttm")
    return kept, audio, stretches


def _listen(
    pipe: Any, references: Turns, audio: Mapping[str, Path], plan: Plan
) -> tuple[Turns, dict[str, float], float, dict[str, str]]:
    """Diarize each recording; the first once more before anything is timed."""
    from auricle.evaluation.turns import Turn

    found: Turns = {}
    lengths: dict[str, float] = {}
    failures: dict[str, str] = {}
    seconds, is_warm = 0.0, False
    for recording in references:
        source = str(audio[recording])
        for _ in range(1 if is_warm else 2):
            started = time.perf_counter()
            [result] = pipe.diarizations([source], batch_size=plan.batch_size, on_error="return", **plan.parameters)
            took = time.perf_counter() - started
        if isinstance(result, AuricleError):
            failures[recording] = f"{type(result).__name__}: {result}"
            say(f"{recording}: {failures[recording]}")
            continue
        is_warm = True
        seconds += took
        lengths[recording] = result.duration
        found[recording] = [Turn(turn.speaker, turn.start, turn.end) for turn in result.turns]
    return found, lengths, seconds, failures


def _row(
    plan: Plan,
    label: str,
    dataset: str,
    references: Turns,
    hypotheses: Turns,
    scoring: Scoring,
    stretches: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> dict[str, Any]:
    from auricle.evaluation.diarization import score_diarization
    from auricle.evaluation.rows import diarization_row

    scored = score_diarization(references, hypotheses, scoring, stretches)
    words = None
    if _all_words(references) and _all_words(hypotheses):
        words = choose_normalizer(plan, [plan.language])
    return diarization_row(label, dataset, scored, scoring, references, hypotheses, words)


def _all_words(turns: Mapping[str, Sequence[Turn]]) -> bool:
    return all(turn.words is not None for spoken in turns.values() for turn in spoken)
