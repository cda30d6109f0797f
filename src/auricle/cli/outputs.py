"""Where transcripts go: stdout, or files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from auricle.cli.border import say
from auricle.cli.order import Order
from auricle.cli.sources import Source
from auricle.errors import OptionError
from auricle.results import Transcript
from auricle.speech import formats
from auricle.speech.formats import TIMED_FORMATS


def deliver(order: Order, source: Source, transcript: Transcript, model: str, rows: bool) -> None:
    """Print one transcript, or write its files; `rows` is whether there are several recordings."""
    if not order.quiet:
        say_warnings(source.name, transcript)
    options = order.writing(source.name, model)
    if order.output_dir is not None:
        contents = {
            path: formats.write(transcript, form, options.only_for(form))
            for form, path in zip(order.formats, order.outputs(order.output_dir, source), strict=True)
        }
        write_whole(contents)
        return
    form = order.formats[0]
    if rows and form == "json":
        text = json.dumps(formats.as_dict(transcript, options.only_for(form)), ensure_ascii=False) + "\n"
    else:
        text = formats.write(transcript, form, options.only_for(form))
    if rows and form == "txt":
        text = "".join(f"{source.row_name}\t{line}\n" for line in text.splitlines() or [""])
    sys.stdout.write(text)
    sys.stdout.flush()


def say_warnings(name: str, transcript: Transcript) -> None:
    """Print a recording's warnings on stderr, one a line."""
    for warning in transcript.warnings:
        where = f" at {warning.start:.1f} s" if warning.start is not None else ""
        say(f"{name}: {warning.kind}{where}: {warning.message}")


def write_whole(contents: dict[Path, str], flag: str = "--output-dir") -> None:
    """Write files so that each is there whole or not at all, whenever the run is stopped; `flag` named their place.

    Raises:
        OptionError: a file or its folder cannot be written.
    """
    with _refusing_to_write(flag), _removed_if_left(contents) as parts:
        for path, part in parts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(contents[path], encoding="utf-8", errors="surrogateescape", newline="\n")
        for path, part in parts.items():
            os.replace(part, path)


def check_outputs(order: Order, n_sources: int) -> None:
    """Refuse, before the model is loaded, what could not be written.

    Raises:
        OptionError: several recordings are to share stdout or a journal there, or a folder takes no files.
    """
    if order.output_dir is not None:
        if order.output_dir.exists() and not order.output_dir.is_dir():
            raise OptionError(f"--output-dir {str(order.output_dir)!r} is a file; give a folder, there already or not")
        with _refusing_to_write():
            order.output_dir.mkdir(parents=True, exist_ok=True)
            _try_writing(order.output_dir)
    elif n_sources > 1 and (order.resume or TIMED_FORMATS.intersection(order.formats)):
        cause = "--resume" if order.resume else order.formats[0]
        raise OptionError(f"{cause} on stdout is for one recording and there are {n_sources}; add --output-dir FOLDER")


def pending(order: Order, sources: Sequence[Source]) -> Iterator[Source]:
    """Give the sources that have not all their files yet, and say which are passed over."""
    for source in sources:
        if order.output_dir is not None and not order.overwrite:
            paths = order.outputs(order.output_dir, source)
            if all(path.exists() for path in paths):
                if not order.quiet:
                    say(f"{source.name}: skipped, {paths[0]} exists (--overwrite writes it anew)")
                continue
        yield source


def check_journals(order: Order, sources: Sequence[Source]) -> list[Path | None]:
    """Return where the finished windows of each source are kept.

    Raises:
        OptionError: an interrupted run left some, and neither --resume nor --overwrite says what to do with them.
    """
    journals = [order.journal(source) for source in sources]
    left = [path for path in journals if path is not None and path.exists()]
    if left and not order.resume and not order.overwrite:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise OptionError(
            f"an interrupted run left {left[0]}{more}; --resume goes on from there, --overwrite begins anew"
        )
    if not order.resume:
        for path in left:
            remove(path)
    return journals


def remove(journal: Path | None) -> None:
    """Remove a journal that is of no more use.

    Raises:
        OptionError: its folder lets no file be removed.
    """
    if journal is not None:
        with _refusing_to_write():
            journal.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Refuse, before anything is loaded, a file of --output that could not be written.

    Raises:
        OptionError: it is a folder, or its folder takes no files.
    """
    if path.is_dir():
        raise OptionError(f"--output {str(path)!r} is a folder; give a file, such as {str(path / 'words.json')!r}")
    with _refusing_to_write("--output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        _try_writing(path.parent)


@contextmanager
def _refusing_to_write(flag: str = "--output-dir") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OptionError(f"cannot write to {str(error.filename)!r}: {error.strerror}; give another {flag}") from None


@contextmanager
def _removed_if_left(paths: dict[Path, str]) -> Iterator[dict[Path, Path]]:
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in paths}
    try:
        yield parts
    finally:
        for part in parts.values():
            if part.parent.is_dir():
                part.unlink(missing_ok=True)


def _try_writing(folder: Path) -> None:
    """Make a file that is gone at once; a folder's mode does not tell of disks that are read only."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        error.filename = str(folder)
        raise
