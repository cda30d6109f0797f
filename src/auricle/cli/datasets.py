"""`auricle transcribe --data … --out …`: whole datasets in, shards of rows out."""

from __future__ import annotations

import glob
import os
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auricle.cli.border import say, say_as_it_is
from auricle.cli.load import load
from auricle.cli.order import Order
from auricle.cli.sources import find_sources
from auricle.corpora.walk import SUFFIXES
from auricle.errors import MissingExtraError, OptionError

if TYPE_CHECKING:
    from auricle.bulk import BulkOptions, Progress, Summary
    from auricle.corpora import Corpus

DATASETS = (".parquet", ".jsonl", ".csv", ".tsv")  # what no recording's name ends in
_EVERY_S = 0.5  # a terminal's line is written anew
_EVERY_S_IN_A_LOG = 60.0
_FLAGS = {"form": "output_format"}  # of fields that are called otherwise
_ON_CLUSTER = ("workers", "worker_cpus", "worker_gpus", "ray_address")


@dataclass(frozen=True)
class DatasetOrder:
    """What is asked for of a dataset."""

    data: str | None = None  # the dataset; None: the one source there is
    out: Path | None = None
    split: str | None = None
    text_column: str | None = None
    audio_column: str | None = None
    shard_size: int = 1000
    form: str = "jsonl"
    strict: bool = False
    retry_failed: bool = False
    cluster: bool = False
    workers: int = 1
    worker_cpus: float = 1.0
    worker_gpus: float = 0.0
    ray_address: str | None = None

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self) if getattr(self, one.name) != one.default):
            flag = f"--{_FLAGS.get(name, name).replace('_', '-')}"
            if not self.is_asked:
                raise OptionError(f"{flag} is for datasets; add --out FOLDER")
            if name in _ON_CLUSTER and not self.cluster:
                raise OptionError(f"{flag} is for --cluster; add that, or leave it out")
        if self.retry_failed and self.cluster:
            raise OptionError("--retry-failed is of rows, and --cluster does whole shards; leave --cluster out for it")

    @property
    def is_asked(self) -> bool:
        """Whether this is about a dataset at all."""
        return self.data is not None or self.out is not None

    def source(self, sources: list[str]) -> str | list[dict[str, str]]:
        """Return the dataset's name, or rows of the recordings that are named.

        Raises:
            OptionError: there is none, or more than one, or no place for its rows.
        """
        given = [*([self.data] if self.data is not None else []), *sources]
        if self.out is None:
            raise OptionError(f"--data {given[0]} writes shards of rows; add --out FOLDER")
        if "-" in given:
            raise OptionError(
                "'-' is one recording on stdin, and --out is for datasets; for a list of paths give a manifest: a "
                '.jsonl with {"path": …} in each line'
            )
        if given and all(map(_names_recordings, given)):
            return self._rows(given)
        if len(given) != 1:
            others = [one for one in given if not _names_recordings(one)]
            told = f", and {others[0]} is no recording by its name" if others else ""
            raise OptionError(
                f"--out is for one dataset and {len(given)} were given, or for recordings{told}; run each by itself"
            )
        return given[0]

    def _rows(self, given: list[str]) -> list[dict[str, str]]:
        if self.cluster:
            raise OptionError(
                "--cluster opens the dataset in each worker; give a folder or a manifest with the recordings"
            )
        found = [source.given for source in find_sources(given)]
        dataset = next((one for one in found if Path(one).suffix.lower() in DATASETS), None)
        if dataset is not None:
            raise OptionError(f"{dataset} is named as a dataset is; give its folder, or one dataset by itself")
        return [{"audio": one, "id": one} for one in found]


def _names_recordings(name: str) -> bool:
    """Whether this is a recording by its name, a URL, or a pattern of names."""
    if os.path.lexists(name):
        return not os.path.isdir(name) and Path(name).suffix.lower() in SUFFIXES
    return name.startswith(("http://", "https://")) or glob.has_magic(name) or Path(name).suffix.lower() in SUFFIXES


def run_dataset(order: Order, sources: list[str], wanted: DatasetOrder) -> bool:
    """Transcribe a dataset; return whether rows failed where none may."""
    source = wanted.source(sources)
    options = _options(order, wanted)
    if wanted.retry_failed and order.overwrite:
        raise OptionError("--overwrite begins anew and --retry-failed goes on with what is there; give one of them")
    from auricle.corpora import open_corpus

    corpus = open_corpus(source, split=wanted.split, text_column=wanted.text_column, audio_column=wanted.audio_column)
    if not order.quiet:
        say_as_it_is(str(corpus.report))
    if not corpus.is_streamed and not len(corpus):
        left = "".join(f"; left out: {n} {reason}" for reason, n in corpus.report.reasons.items())
        raise OptionError(f"{corpus.name} has no rows to transcribe{left}; look at the report, and at --split")
    line = ProgressLine(order.quiet)
    try:
        summary = (_on_cluster if wanted.cluster else _here)(order, wanted, source, corpus, options, line)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("finished rows are kept, and the same command goes on from there") from None
    finally:
        line.end()
    if not order.quiet:
        if corpus.is_streamed:
            say_as_it_is(str(corpus.report))
        _summarise(summary, wanted)
    return wanted.strict and summary.failed > 0


class ProgressLine:
    """One line on a terminal's stderr, written anew; in a log a line a minute."""

    def __init__(self, quiet: bool) -> None:
        self._is_quiet, self._is_live = quiet, sys.stderr.isatty()
        self._last = time.monotonic() if not self._is_live else 0.0
        self._width = 0

    def show(self, progress: Progress) -> None:
        """Show how far it is, unless that was done just now."""
        now = time.monotonic()
        if self._is_quiet or now - self._last < (_EVERY_S if self._is_live else _EVERY_S_IN_A_LOG):
            return
        self._last = now
        text = str(progress)
        if self._is_live:
            sys.stderr.write(f"\r{text:<{self._width}}")
            sys.stderr.flush()
            self._width = len(text)
        else:
            say(text)

    def end(self) -> None:
        """Leave the line."""
        if self._width:
            sys.stderr.write("\n")
            self._width = 0


def _options(order: Order, wanted: DatasetOrder) -> BulkOptions:
    """Return the options of a run, and refuse those of single recordings."""
    for flag, is_given in {
        "--output-dir": order.output_dir is not None,
        "--format": order.formats != ("txt",),
        "--paragraphs": order.paragraphs,
        "--word-cues": order.word_cues,
        "the shape of subtitles": bool(order.rules),
    }.items():
        if is_given:
            raise OptionError(f"{flag} is for single recordings; rows of a dataset go to --out (--output-format)")
    from auricle.bulk import BulkOptions

    size = {} if order.batch_size is None else {"batch_size": order.batch_size}
    return BulkOptions(
        shard_size=wanted.shard_size,
        form=wanted.form,
        timestamps=None if order.timestamps == "none" else order.timestamps,
        parameters=order.parameters,
        **size,
    )


def _here(
    order: Order, wanted: DatasetOrder, source: Any, corpus: Corpus, options: BulkOptions, line: ProgressLine
) -> Summary:
    from auricle.bulk import transcribe_corpus

    assert wanted.out is not None
    how = {"overwrite": order.overwrite, "retry_failed": wanted.retry_failed}
    return transcribe_corpus(load(order), corpus, wanted.out, options, progress=line.show, **how)


def _on_cluster(
    order: Order, wanted: DatasetOrder, source: Any, corpus: Corpus, options: BulkOptions, line: ProgressLine
) -> Summary:
    try:
        from auricle.cluster.bulk import Setup, Workers, transcribe_on_cluster
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("auricle"):
            raise
        raise MissingExtraError(
            f"--cluster needs {error.name}, which is not installed; run: pip install 'auricle[ray]'"
        ) from None
    assert wanted.out is not None
    is_here = os.path.exists(os.path.expanduser(source))
    setup = Setup(
        source=os.path.abspath(os.path.expanduser(source)) if is_here else source,
        split=wanted.split,
        text_column=wanted.text_column,
        audio_column=wanted.audio_column,
        model=order.model or "bundled",
        model_settings=order.model_settings,
        allow_private_urls=order.allow_private_urls,
        options=options,
    )
    workers = Workers(wanted.workers, wanted.worker_cpus, wanted.worker_gpus, wanted.ray_address)
    return transcribe_on_cluster(setup, corpus, wanted.out, workers, overwrite=order.overwrite, progress=line.show)


def _summarise(summary: Summary, wanted: DatasetOrder) -> None:
    failed = f", {summary.failed} failed (failures.jsonl; --retry-failed does them again)" if summary.failed else ""
    before = summary.rows - summary.new_rows
    earlier = f", {before} of them before" if before else ""
    say(
        f"auricle: {summary.rows} rows in {summary.shards} shards in {wanted.out}{earlier}{failed}; "
        f"{summary.seconds:.1f} s of audio in {summary.took:.1f} s"
    )
