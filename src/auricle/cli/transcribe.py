"""`auricle transcribe`: recordings in, text or subtitle files out."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.border import SOME_FAILED, border, say, write_utf8
from auricle.cli.sources import Source, find_sources
from auricle.cli.writers import FORMATS, TIMED_FORMATS, UNITS, as_dict, write
from auricle.errors import AuricleError, OptionError, nearest
from auricle.results import Transcript

if TYPE_CHECKING:
    from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline


@dataclass(frozen=True)
class Order:
    """What a run is to do; conflicts are refused here, before anything is loaded."""

    model: str | None  # None: the bundled one, with a line that says so
    model_settings: dict[str, Any]  # device, dtype, revision, token, target_lang; only those that were given
    parameters: dict[str, Any]  # of the pipeline's call, only those that were given
    formats: tuple[str, ...]  # of FORMATS, without repetition
    timestamps: str | None  # of UNITS; None: as each format has it by itself
    output_dir: Path | None  # None: everything goes to stdout
    batch_size: int = 1
    allow_private_urls: bool = False
    overwrite: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        if not self.formats:
            raise OptionError(f"--format is empty; give one or more of {', '.join(FORMATS)}")
        for form in self.formats:
            if form not in FORMATS:
                raise OptionError(f"--format {form!r} is none of {', '.join(FORMATS)}{nearest(form, FORMATS)}")
        timed = sorted(TIMED_FORMATS.intersection(self.formats))
        if self.timestamps is not None and self.timestamps not in UNITS:
            raise OptionError(f"--timestamps {self.timestamps!r} is none of {', '.join(UNITS)}")
        if self.timestamps == "none" and timed:
            raise OptionError(f"--timestamps none leaves nothing to write in {timed[0]}; leave one of them out")
        if self.output_dir is None and len(self.formats) > 1:
            raise OptionError(
                f"stdout takes one format, and {', '.join(self.formats)} were given; add --output-dir FOLDER"
            )

    @property
    def unit(self) -> str:
        """The times that the recognizer is asked for."""
        return self.timestamps or ("segment" if TIMED_FORMATS.intersection(self.formats) else "none")


def transcribe(
    sources: Annotated[
        list[str], typer.Argument(help="Files, folders (with their subfolders), globs, URLs, or - for stdin.")
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A model's folder or Hub name. (default: the bundled one)"),
    ] = None,
    language: Annotated[str | None, typer.Option(help="The language spoken, such as en (Whisper).")] = None,
    target_lang: Annotated[str | None, typer.Option(help="The adapter to load, such as fra (MMS).")] = None,
    task: Annotated[str | None, typer.Option(help="transcribe, or translate to English (Whisper).")] = None,
    timestamps: Annotated[str | None, typer.Option(help="none, word, segment or char.")] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", help="txt, json, srt, vtt, tsv; several with commas."),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", "-o", help="Write files here and nothing on stdout.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps. (default: the best)")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Recordings computed together.")] = 1,
    beams: Annotated[int | None, typer.Option(min=1, help="Beams of the search; 1 is greedy.")] = None,
    hotword: Annotated[list[str] | None, typer.Option(help="A word to favour; may be repeated.")] = None,
    lm: Annotated[Path | None, typer.Option(help="An n-gram language model, ARPA or KenLM (CTC).")] = None,
    chunk_length: Annotated[float | None, typer.Option(help="Seconds computed at once.")] = None,
    initial_prompt: Annotated[str | None, typer.Option(help="Text that sets style and names (Whisper).")] = None,
    allow_private_urls: Annotated[
        bool, typer.Option("--allow-private-urls", help="Fetch from private addresses, too.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write files anew that exist; else they are skipped.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="On stderr, only errors.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a Hub model.")] = None,
    token: Annotated[str | None, typer.Option(help="Hub token. (default: the one stored, or HF_TOKEN)")] = None,
) -> None:
    """Transcribe recordings. The text goes to stdout and everything else to stderr.

    With several recordings each line is the recording's name, a tab and its text; JSON is one object a line.
    Exit codes: 0 all is well, 1 some recordings failed, 2 wrong usage, 3 no model, 130 interrupted.
    """
    given = {
        "language": language,
        "task": task,
        "num_beams": beams,
        "hotwords": tuple(hotword) if hotword else None,
        "lm": str(lm) if lm else None,
        "chunk_length_s": chunk_length,
        "initial_prompt": initial_prompt,
    }
    place = {
        "device": device,
        "dtype": dtype,
        "revision": revision,
        "token": token,
        "target_lang": target_lang,
    }
    with border():
        order = Order(
            model=model,
            model_settings={name: value for name, value in place.items() if value is not None},
            parameters={name: value for name, value in given.items() if value is not None},
            formats=_split(formats or ["txt"]),
            timestamps=timestamps,
            # A shell leaves the ~ of --output-dir=~/texts as it is.
            output_dir=Path(os.path.expanduser(output_dir)) if output_dir is not None else None,
            batch_size=batch_size,
            allow_private_urls=allow_private_urls,
            overwrite=overwrite,
            quiet=quiet,
        )
        if run(order, find_sources(sources)):
            raise typer.Exit(SOME_FAILED)


def run(order: Order, sources: list[Source]) -> int:
    """Transcribe every source that has no result yet; return how many failed."""
    from auricle.cli.progress import Bar, total_duration

    write_utf8()
    rows = len(sources) > 1
    # Before the model is loaded: what cannot be written need not be heard.
    _check_outputs(order, len(sources))
    sources = list(_pending(order, sources))
    if not sources:
        return 0
    n_failed, started = 0, time.monotonic()
    # Before the bar: the Hub shows bars of its own where the model is yet to be fetched.
    recognizer = load(order)
    with Bar(order.quiet) as bar:
        bar.expect(total_duration(sources) if bar.live else None)
        results = recognizer.transcripts(
            [source.given for source in sources],
            batch_size=order.batch_size,
            on_error="return",
            progress=bar.heard,
            return_timestamps=None if order.unit == "none" else order.unit,
            **order.parameters,
        )
        seconds = 0.0
        for source, result in zip(sources, results, strict=True):
            with bar.aside():
                if isinstance(result, AuricleError):
                    n_failed += 1
                    say(f"{source.name}: {result}")
                else:
                    seconds += result.duration or 0.0
                    deliver(order, source, result, recognizer.name, rows)
    if not order.quiet:
        _summarise(len(sources) - n_failed, n_failed, seconds, time.monotonic() - started)
    return n_failed


def load(order: Order) -> AutomaticSpeechRecognitionPipeline:
    """Make the pipeline. This is where torch is loaded."""
    from auricle.audio.limits import AudioLimits
    from auricle.pipelines import pipeline

    made: Any = pipeline(
        "automatic-speech-recognition",
        # Named, the bundled model does not announce itself.
        "bundled" if order.model is None and order.quiet else order.model,
        limits=AudioLimits(allow_private_urls=order.allow_private_urls),
        **order.model_settings,
    )
    return made


def deliver(order: Order, source: Source, transcript: Transcript, model: str, rows: bool) -> None:
    """Print one transcript, or write its files."""
    if not order.quiet:
        for warning in transcript.warnings:
            where = f" at {warning.start:.1f} s" if warning.start is not None else ""
            say(f"{source.name}: {warning.kind}{where}: {warning.message}")
    unit = order.timestamps or "none"
    if order.output_dir is not None:
        contents = {
            path: write(transcript, form, unit, source.name, model)
            for form, path in zip(order.formats, _outputs(order.output_dir, order.formats, source), strict=True)
        }
        write_whole(contents)
        return
    form = order.formats[0]
    if rows and form == "txt":
        text = write(transcript, form, unit, source.name, model)
        lines = text.splitlines() or [""]
        sys.stdout.write("".join(f"{source.row_name}\t{line}\n" for line in lines))
    elif rows:
        import json

        sys.stdout.write(json.dumps(as_dict(transcript, unit, source.name, model), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(write(transcript, form, unit, source.name, model))
    sys.stdout.flush()


def write_whole(contents: dict[Path, str]) -> None:
    """Write files so that each is there whole or not at all, whenever the run is stopped.

    Raises:
        OptionError: a file or its folder cannot be written.
    """
    with _refusing_to_write(), _removed_if_left(contents) as parts:
        for path, part in parts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(contents[path], encoding="utf-8", errors="surrogateescape", newline="\n")
        for path, part in parts.items():
            os.replace(part, path)


@contextmanager
def _refusing_to_write() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OptionError(
            f"cannot write to {str(error.filename)!r}: {error.strerror}; give another --output-dir"
        ) from None


@contextmanager
def _removed_if_left(paths: dict[Path, str]) -> Iterator[dict[Path, Path]]:
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths}
    try:
        yield parts
    finally:
        for part in parts.values():
            if part.parent.is_dir():
                part.unlink(missing_ok=True)


def _split(values: list[str]) -> tuple[str, ...]:
    names = [name.strip() for value in values for name in value.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def _outputs(folder: Path, formats: tuple[str, ...], source: Source) -> list[Path]:
    # Not with_suffix(): it would take the end of a name such as "Dr. No".
    return [folder / f"{source.output}.{form}" for form in formats]


def _check_outputs(order: Order, n_sources: int) -> None:
    if order.output_dir is not None:
        if order.output_dir.exists() and not order.output_dir.is_dir():
            raise OptionError(f"--output-dir {str(order.output_dir)!r} is a file; give a folder, there already or not")
        with _refusing_to_write():
            order.output_dir.mkdir(parents=True, exist_ok=True)
            _try_writing(order.output_dir)
    elif n_sources > 1 and TIMED_FORMATS.intersection(order.formats):
        raise OptionError(
            f"stdout takes {order.formats[0]} of one recording and there are {n_sources}; add --output-dir FOLDER"
        )


def _try_writing(folder: Path) -> None:
    """Make a file that is gone at once; a folder's mode does not tell of disks that are read only."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        error.filename = str(folder)
        raise


def _pending(order: Order, sources: list[Source]) -> Iterator[Source]:
    """Give the sources that have not all their files yet, and say which are passed over."""
    for source in sources:
        if order.output_dir is not None and not order.overwrite:
            paths = _outputs(order.output_dir, order.formats, source)
            if all(path.exists() for path in paths):
                if not order.quiet:
                    say(f"{source.name}: skipped, {paths[0]} exists (--overwrite writes it anew)")
                continue
        yield source


def _summarise(n_done: int, n_failed: int, seconds: float, took: float) -> None:
    failed = f", {n_failed} failed" if n_failed else ""
    say(f"auricle: {n_done} done{failed}; {seconds:.1f} s of audio in {took:.1f} s with loading")
