"""`auricle diarize`: recordings in, who speaks when out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.border import SOME_FAILED, border, say, write_utf8
from auricle.cli.order import read_known
from auricle.cli.outputs import check_file, write_whole
from auricle.cli.sources import Source, find_sources
from auricle.cli.startup import quick_imports
from auricle.errors import AuricleError, OptionError, nearest
from auricle.speech.diarization import Diarization, DiarizationOptions
from auricle.speech.rttm import rttm

if TYPE_CHECKING:
    from auricle.pipelines.speaker_diarization import SpeakerDiarizationPipeline

FORMATS = ("text", "rttm", "json")
ENDINGS = {"txt": "text"}
DEFAULT_MODEL = "bundled-diarization"


@dataclass(frozen=True)
class Order:
    """What to hear and how to write it; conflicts are refused here, before anything is loaded."""

    form: str  # of FORMATS
    output: Path | None  # None: stdout
    parameters: dict[str, Any]  # of a call, without None
    known: dict[str, str]  # name to the recording of a voice
    model: str | None = None
    device: str | None = None
    revision: str | None = None
    token: str | None = None
    allow_private_urls: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.form not in FORMATS:
            raise OptionError(f"--format {self.form!r} is none of {', '.join(FORMATS)}{nearest(self.form, FORMATS)}")
        DiarizationOptions(**self.parameters)


def diarize(
    sources: Annotated[
        list[str], typer.Argument(help="Files, folders (with their subfolders), globs, URLs, or - for stdin.")
    ],
    form: Annotated[str | None, typer.Option("--format", "-f", help="text, rttm or json. (default: text)")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write this file; its ending is the format.")
    ] = None,
    speakers: Annotated[int | None, typer.Option("--speakers", min=1, help="How many speakers there are.")] = None,
    min_speakers: Annotated[int | None, typer.Option(min=1, help="At least so many.")] = None,
    max_speakers: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    known: Annotated[
        list[str] | None,
        typer.Option("--known", metavar="NAME=FILE", help="Someone's name and a few seconds of their voice; repeat."),
    ] = None,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="One speaker at a time.")] = False,
    vad: Annotated[
        bool | None,
        typer.Option(help="Nobody talks where the voice detector hears nobody. (default: as the model wants it)"),
    ] = None,
    skip_silence: Annotated[
        bool, typer.Option("--skip-silence", help="Do not look where the voice detector hears nobody.")
    ] = False,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A diarization's folder or Hub name. (default: the bundled one)"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. (default: the best)")] = None,
    allow_private_urls: Annotated[
        bool, typer.Option("--allow-private-urls", help="Fetch from private addresses, too.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="On stderr, only errors.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    token: Annotated[str | None, typer.Option(help="Hub token. (default: the one stored, or HF_TOKEN)")] = None,
) -> None:
    """Tell who speaks when. Turns go to stdout, everything else to stderr.

    Exit codes: 0 all is well, 1 some recordings failed, 2 wrong usage, 3 no model, 130 interrupted.
    """
    with border():
        numbers = {"num_speakers": speakers, "min_speakers": min_speakers, "max_speakers": max_speakers}
        order = Order(
            form=form or _form_of(output),
            output=output.expanduser() if output is not None else None,
            parameters={
                **{name: value for name, value in numbers.items() if value is not None},
                "exclusive": exclusive,
                **({} if vad is None else {"vad": vad}),
                "skip_silence": skip_silence,
            },
            known=read_known(known or [], "--known"),
            model=model,
            device=device,
            revision=revision,
            token=token,
            allow_private_urls=allow_private_urls,
            quiet=quiet,
        )
        if run(order, find_sources(sources)):
            raise typer.Exit(SOME_FAILED)


def run(order: Order, sources: Sequence[Source]) -> int:
    """Diarize every source; return how many failed."""
    write_utf8()
    if order.form == "rttm":
        _refuse_same_names(sources)
    if order.output is not None:
        check_file(order.output)
    who = load(order)
    contents: list[str] = []
    try:
        return _diarized(order, sources, who, contents)
    finally:  # what is finished is kept when Ctrl-C ends the run
        if order.output is not None and contents:
            write_whole({order.output: "".join(contents)}, "--output")


def _diarized(order: Order, sources: Sequence[Source], who: SpeakerDiarizationPipeline, contents: list[str]) -> int:
    """Diarize every source, add what is written of each to `contents`, and return how many failed."""
    from auricle.cli.progress import Bar, total_duration

    n_failed = 0
    with Bar(order.quiet) as bar:
        bar.expect(total_duration(sources) if bar.live else None)
        results = who.diarizations(
            [source.given for source in sources],
            on_error="return",
            progress=bar.heard,
            known_speakers=order.known,
            **order.parameters,
        )
        for source, result in zip(sources, results, strict=True):
            if isinstance(result, AuricleError):
                n_failed += 1
                say(f"{source.name}: {result}")
                continue
            for warning in () if order.quiet else result.warnings:
                say(f"{source.name}: {warning.kind}: {warning.message}")
            if not result.turns and not order.quiet:
                say(f"{source.name}: nobody is heard to speak")
            contents.append(written(order.form, source, result, several=len(sources) > 1))
            if order.output is None:
                with bar.aside():
                    sys.stdout.write(contents[-1])
                    sys.stdout.flush()
    return n_failed


def load(order: Order) -> SpeakerDiarizationPipeline:
    """Make the pipeline. This is where torch is loaded."""
    with quick_imports():
        from auricle.audio.limits import AudioLimits
        from auricle.pipelines import pipeline

        made: Any = pipeline(
            "speaker-diarization",
            # Named, the bundled model does not announce itself.
            DEFAULT_MODEL if order.model is None and order.quiet else order.model,
            device=order.device,
            revision=order.revision,
            token=order.token,
            limits=AudioLimits(allow_private_urls=order.allow_private_urls),
        )
        return made


def written(form: str, source: Source, found: Diarization, several: bool) -> str:
    """What is written of one recording; of `several` each line says which it is of."""
    if form == "rttm":
        return rttm(found.turns, _name_in_rttm(source))
    if form == "json":
        from auricle.pipelines.speaker_diarization import as_dict

        content = {"file": source.name, **as_dict(found)}
        return json.dumps(content, ensure_ascii=False, indent=None if several else 2) + "\n"
    name = f"{source.row_name}\t" if several else ""
    return "".join(f"{name}{_clock(turn.start)} - {_clock(turn.end)}  {turn.speaker}\n" for turn in found.turns)


def _name_in_rttm(source: Source) -> str:
    return Path(source.given).stem if source.given != "-" else "stdin"


def _refuse_same_names(sources: Sequence[Source]) -> None:
    """Refuse recordings that RTTM, which has no folders, would make one.

    Raises:
        OptionError: two are called the same.
    """
    known: dict[str, Source] = {}
    for source in sources:
        other = known.setdefault(_name_in_rttm(source), source)
        if other is not source:
            raise OptionError(
                f"{other.given} and {source.given} are both called {_name_in_rttm(source)!r} in RTTM, and their turns "
                "would be one recording's; write them to two files"
            )


def _clock(seconds: float) -> str:
    whole = round(seconds * 100)
    return f"{whole // 360000}:{whole // 6000 % 60:02d}:{whole // 100 % 60:02d}.{whole % 100:02d}"


def _form_of(output: Path | None) -> str:
    ending = output.suffix[1:].lower() if output is not None else ""
    return ENDINGS.get(ending, ending) or "text"
