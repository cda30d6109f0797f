"""What a run of `auricle evaluate` is to do; conflicts are refused here, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auricle.cli.border import say
from auricle.errors import AuricleError, CheckpointError, MissingExtraError, OptionError, TaskError

if TYPE_CHECKING:
    from auricle.evaluation.normalizers import Normalizer

# Parameters of the pipeline's call that --option cannot set here, and why.
OWN = {
    "batch_size": "what sets it is --batch-size",
    "speakers": "texts are scored without speakers; --task speaker-diarization scores those",
    "return_timestamps": "texts are scored, and no times; leave it out",
    "resume": "it is --out that lets a run go on",
    "on_error": "a recording that fails is told and the others go on; leave it out",
    "progress": "it is shown on a terminal; leave it out",
}
TASKS = ("automatic-speech-recognition", "speaker-diarization")


@dataclass(frozen=True)
class Plan:
    """What a run is to do."""

    models: tuple[str, ...]
    data: tuple[str, ...]
    predictions: tuple[Path, ...]
    references: Path | None
    rescore: Path | None
    split: str | None = None
    where: dict[str, str] = field(default_factory=dict)
    text_column: str | None = None
    audio_column: str | None = None
    limit: int | None = None
    language: str | None = None
    normalizer: str = "auto"
    model_settings: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    out: Path | None = None
    overwrite: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        ways = [bool(self.models or self.data), bool(self.predictions), self.rescore is not None]
        if sum(ways) != 1:
            raise OptionError(
                "give one of: --model and --data, --predictions FILE, or --rescore FOLDER; "
                f"{'none' if not any(ways) else 'several'} of them arrived"
            )
        if bool(self.models) != bool(self.data):
            missing, there = ("--data", "--model") if self.models else ("--model", "--data")
            raise OptionError(f"{there} is given and {missing} is not; a model is measured on a data set: give both")
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise OptionError(f"--out {self.out} is a file; give a folder, there already or not")
        if self.references is not None and len(self.predictions) == 0:
            raise OptionError(f"--references {self.references} belongs to --predictions FILE; give that, too")
        if not self.models:
            self._refuse_what_only_models_use()

    def _refuse_what_only_models_use(self) -> None:
        rows = {"--split": self.split, "--where": self.where, "--limit": self.limit}
        rows |= {"--text-column": self.text_column, "--audio-column": self.audio_column}
        running = {"--option": self.parameters, "--batch-size": self.batch_size}
        for flag, value in {**rows, **running}.items():
            if value:
                does = "chooses rows of --data" if flag in rows else "is of a model that is run"
                raise OptionError(f"{flag} {does}; leave it out where texts or turns are there")
        if self.rescore is not None and self.out is not None:
            raise OptionError(f"--rescore writes to its own folder; leave --out out ({self.out})")


def refuse_other_tasks(task: str, used: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse a flag that is given and only of use to another task; `used` has the flags of each."""
    for other, flags in used.items():
        for flag, value in flags.items():
            if value and other != task:
                raise OptionError(f"{flag} is for --task {other}; leave it out")


def loaded(
    models: Sequence[tuple[str, str]], plan: Plan, load: Callable[[str, Plan], Any], absent: list[AuricleError]
) -> Iterator[tuple[str, str, Any]]:
    """Load one model of (label, what it is) after the other, and give each with its pipeline.

    One that cannot be loaded is told and added to `absent`.

    Raises:
        CheckpointError, TaskError, MissingExtraError: none can be.
    """
    for label, what in models:
        try:
            pipe = load(what, plan)
        except (CheckpointError, TaskError, MissingExtraError) as error:
            absent.append(error)
            if len(absent) == len(models):
                raise
            say(f"auricle: {label} is not measured: {error}")
            continue
        yield label, what, pipe


def choose_normalizer(plan: Plan, languages: Sequence[str | None]) -> Normalizer:
    """Return the normaliser that is asked for; of itself it goes by the language, which is told where it is unknown."""
    from auricle.evaluation.normalizers import AUTO, normalizer, normalizer_for

    if plan.normalizer != AUTO:
        return normalizer(plan.normalizer)
    known = [plan.language] if plan.language else languages
    if not plan.quiet and not all(known):
        say("auricle: of some texts the language is not known, so that only capitals and punctuation are taken away; "
            "give --language en for English")  # fmt: skip
    return normalizer_for(known)
