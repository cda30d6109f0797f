"""Fine-tuning from a model's name and a collection of recordings to a folder that transcribes.

`finetune` is the whole of it. What each stage does is in its own file: rows.py, ctc_objective.py, prepared.py,
trainer.py, card.py, results_page.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auricle.errors import OptionError
from auricle.speech.languages import named_language
from auricle.training.card import Run, best_evaluation, device_name, summary, write_card
from auricle.training.doctor import Case, examine
from auricle.training.journal import read_log
from auricle.training.labels import LabelRules
from auricle.training.methods import Base, open_objective
from auricle.training.objective import Objective
from auricle.training.options import FinetuneOptions, refuse_changes
from auricle.training.order import batches_of_epoch
from auricle.training.prepared import Prepared, prepare_rows
from auricle.training.results_page import write_page
from auricle.training.rows import Chosen, choose_rows
from auricle.training.snapshot import load_snapshot, snapshots
from auricle.training.tensorboard import write_events
from auricle.training.trainer import State, Trainer
from auricle.training.watching import Narrator, Watched
from auricle.training.world import World, join_world, leave_world

STATE = "training_state"  # the folder, within that of the model, of what a run needs to go on


class Silent:
    """Tells nobody anything."""

    def say(self, message: str) -> None:
        """Nothing."""

    def preparing(self, what: str, done: int, n_rows: int) -> None:
        """Nothing."""

    def step(self, row: dict[str, Any], state: State, n_steps: int | None) -> None:
        """Nothing."""

    def evaluation(self, row: dict[str, Any]) -> None:
        """Nothing."""

    def evaluating(self, done: int, n_batches: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Finetuned:
    """A run that ended or was interrupted."""

    folder: Path
    steps: int
    ended: str  # why; empty where it was interrupted
    wer: float | None  # of the checkpoint that is kept, on the validation rows
    cer: float | None


def finetune(
    model: str | Path,
    data: Any,
    out: str | Path,
    options: FinetuneOptions | None = None,
    *,
    validation_data: Any = None,
    narrator: Narrator | None = None,
) -> Finetuned:
    """Fine-tune `model` on the collection `data` into the folder `out`, or go on with the run that is there.

    `data` is what `auricle.corpora.open_corpus` opens. The best checkpoint lies at the top of `out`, in the Hub's
    format, beside README.md, results.html and log.jsonl; training_state/ is what a run needs to go on.

    Example: `finetune("bundled", "my-recordings", "my-model")`.

    Raises:
        OptionError: options that do not fit each other, the model or the data, or not those the run was begun with; or
            `out` holds something else than a run, or cannot be written to.
        CheckpointError: the model cannot be read.
    """
    options, told, folder = _checked(options), narrator or Silent(), Path(out)
    _refuse_other(folder, model)
    world = join_world(options.device)
    if not world.is_first:
        told = Silent()
    try:
        chosen = choose_rows(
            data,
            validation_data,
            split=options.validation_split,
            share=options.validation_share,
            language=options.language,
            seed=options.seed,
            columns=(options.text_column, options.audio_column),
        )
        for report in chosen.reports:
            told.say(report)
        told.say(_found(chosen))
        objective, base = open_objective(model, options, chosen.training)
        _refuse_changed(folder, objective, options.resolved(base.family, 1))
        objective.model.to(world.device)  # where frozen parts compute once, and where a step is timed
        _make(folder / STATE)
        training, validation = _prepare(objective, chosen, folder / STATE, world, told)
        n_batches = len(batches_of_epoch(training_durations(training), options.batch_seconds, options.seed, 0))
        resolved = options.resolved(base.family, n_batches)
        if world.is_first and not snapshots(folder / STATE):
            _examine(objective, chosen, training, validation, resolved, n_batches, told)
        run = _described(folder, base, objective, resolved, (chosen, training, validation), world)
        return _train(objective, training, validation, resolved, folder, world, told, run)
    finally:
        leave_world(world)


def _checked(options: Any) -> FinetuneOptions:
    """The options with the code of their language, or the default ones."""
    options = FinetuneOptions() if options is None else options
    if not isinstance(options, FinetuneOptions):
        kind = type(options).__name__
        raise OptionError(f"options is a {kind}; expected FinetuneOptions, such as FinetuneOptions(steps=100)")
    return options if options.language is None else replace(options, language=named_language(options.language))


def _refuse_other(folder: Path, model: str | Path) -> None:
    """Refuse a folder whose files a model would be written over, and that of the model to start from.

    Names that begin with a dot are no obstacle: a clone of a repository that is still empty has some.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder} is a file; give as --out the folder of the new model")
    others = sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
    if others and STATE not in others:
        shown = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        raise OptionError(
            f"{folder} holds {shown} and no run of finetune; a model would be written over what is there. Give another "
            "--out, or empty this one"
        )
    if others and Path(model).resolve() == folder.resolve():
        raise OptionError(f"{folder} is the model to start from and the folder of the new one; give another --out")


def _refuse_changed(folder: Path, objective: Objective, options: FinetuneOptions) -> None:
    """Refuse a run that was begun otherwise, before what it has prepared is written over.

    Whether the data is the same is known once it is prepared; the trainer compares that.
    """
    saved = load_snapshot(folder / STATE)
    if saved is not None:
        before = {"model": saved["identity"][:16], **saved["options"]}
        refuse_changes(before, {"model": objective.identity[:16], **options.fixed()}, str(folder))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"cannot write to {str(folder)!r}: {error.strerror}; give another --out") from None


def training_durations(training: Prepared) -> list[float]:
    """Seconds of every example."""
    return [entry.duration for entry in training.entries]


def _prepare(
    objective: Objective, chosen: Chosen, folder: Path, world: World, told: Narrator
) -> tuple[Prepared, Prepared | None]:
    """Compute the examples, the first process for all; the others need the same folder."""
    parts = {"training": chosen.training, "validation": chosen.validation}
    if world.is_first:
        for what, rows in parts.items():
            if rows:
                prepare_rows(objective, rows, folder / what, _reporting(told, what))
    world.wait()
    training = Prepared(folder / "training")
    validation = Prepared(folder / "validation") if chosen.validation else None
    for what, part in (("training", training), ("validation", validation)):
        if part is None:
            continue
        for reason, n in part.reasons().items():
            example = next(one for one in part.rejected if one.reason == reason)
            told.say(f"{what}: {n} rows left out, {reason} (such as {example.id}: {example.detail})")
    return training, validation


def _examine(
    objective: Objective,
    chosen: Chosen,
    training: Prepared,
    validation: Prepared | None,
    options: FinetuneOptions,
    n_batches: int,
    told: Narrator,
) -> None:
    """Say what would make the run fail; stop where it surely will."""
    n_steps = options.steps or round((options.epochs or 0) * n_batches / options.accumulate) or None
    tokenizer = getattr(objective, "tokenizer", None)
    case = Case(
        training=training,
        validation=validation,
        training_rows=chosen.training,
        validation_rows=chosen.validation,
        vocabulary=getattr(getattr(objective, "labels", None), "vocabulary", None),
        decode=getattr(tokenizer, "decode_with_timestamps", None),
        n_steps=n_steps,
        batch_seconds=options.batch_seconds,
        language=options.language,
    )
    findings = examine(objective, case)
    for line in findings.lines():
        told.say(line)
    if findings.errors and not options.force:
        first = findings.errors[0]
        raise OptionError(f"{first.message}. {first.advice}. Nothing was trained; --force trains all the same")


def _reporting(told: Narrator, what: str) -> Callable[[int, int], None]:
    return lambda done, n_rows: told.preparing(what, done, n_rows)


def _train(
    objective: Objective,
    training: Prepared,
    validation: Prepared | None,
    options: FinetuneOptions,
    folder: Path,
    world: World,
    told: Narrator,
    run: Run,
) -> Finetuned:
    def keep(made: Path) -> None:
        write_card(made, run, read_log(folder / "log.jsonl"))

    watched = Watched(told, objective.kind, lambda: setattr(trainer, "stop_asked", True))
    # A Whisper writes punctuation and capitals; words are compared without, as those of a CTC model are learned.
    normalize = str if objective.kind == "ctc" else LabelRules(options.language).normalize
    trainer = Trainer(objective, training, validation, options, folder, world, watched, keep, normalize)
    if trainer.state.step:
        told.say(f"going on after step {trainer.state.step}")
        watched.replay(read_log(folder / "log.jsonl"), trainer.n_steps)
    state = trainer.run()
    if watched.fatal is not None:
        raise OptionError(str(watched.fatal))
    log = read_log(folder / "log.jsonl") if world.is_first else []
    best = best_evaluation(log, options.metric)
    if world.is_first:
        if state.best_step == 0:
            told.say("no step scored better than the start did: what is written are the weights that it began with")
        write_card(folder, run, log)
        write_page(folder / "results.html", run.name, summary(run, best), log, options.metric)
        if options.tensorboard:
            (folder / "tensorboard").mkdir(exist_ok=True)
            started = (folder / STATE / "training" / "rows.jsonl").stat().st_ctime
            write_events(folder / "tensorboard" / "events.out.tfevents.auricle", log, started)
    wer, cer = (best["wer"], best["cer"]) if best is not None else (None, None)
    return Finetuned(folder, state.step, state.ended, wer, cer)


def _described(
    folder: Path,
    base: Base,
    objective: Objective,
    options: FinetuneOptions,
    data: tuple[Chosen, Prepared, Prepared | None],
    world: World,
) -> Run:
    chosen, training, validation = data
    said = {
        **chosen.said,
        "training_rows": len(training),
        "training_hours": training.seconds / 3600,
        "validation_rows": len(validation) if validation is not None else 0,
        "validation_hours": validation.seconds / 3600 if validation is not None else 0.0,
        "rejected": training.reasons(),
    }
    spoken = {row.language for row in chosen.training if row.language}
    # A vocabulary that had to be made anew says that the texts may be of a language that the model did not know.
    own = () if getattr(getattr(objective, "labels", None), "is_new", False) else base.languages
    own = (options.target_lang,) if options.target_lang else own
    languages = (options.language,) if options.language else tuple(sorted(spoken)) or own
    parameters = list(objective.model.parameters())
    return Run(
        name=folder.resolve().name,
        base=base.name,
        family=base.family,
        kind=objective.kind,
        options=options,
        data=said,
        languages=tuple(one for one in languages if one),
        n_trained=sum(p.numel() for p in parameters if p.requires_grad),
        n_parameters=sum(p.numel() for p in parameters),
        n_processes=world.size,
        device=device_name(world.device),
    )


def _found(chosen: Chosen) -> str:
    n_taught, n_held = len(chosen.training), len(chosen.validation)
    return f"{n_taught} rows to learn from, {n_held} to validate ({chosen.said['validation']})"
