"""Whole datasets on Ray Data: a shard is what a worker does, and what is done again where one dies.

Every worker opens the dataset and the model by itself: the same paths must be there on all machines, and `out` must be
one folder for all of them. A shard has its name only once it is whole, so that two workers that both do one, since the
first was thought dead, leave one file.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from auricle.bulk.listening import Listener, ahead, windows
from auricle.bulk.options import BulkOptions
from auricle.bulk.output import OutputFolder
from auricle.bulk.rows import check_form
from auricle.bulk.summary import Counter, Progress, Summary
from auricle.bulk.transcriber import Transcriber, header_of
from auricle.cluster.addresses import check_address
from auricle.corpora import Corpus, Utterance, open_corpus
from auricle.errors import AuricleError, OptionError

if TYPE_CHECKING:
    import numpy as np

    from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline

OBJECT_STORE_BYTES = 128 << 20  # nothing but numbers passes through it


@dataclass(frozen=True)
class Setup:
    """What every worker opens."""

    source: str  # an absolute path
    split: str | None = None
    text_column: str | None = None
    audio_column: str | None = None
    model: str = "bundled"
    model_settings: Mapping[str, Any] = field(default_factory=dict)
    allow_private_urls: bool = False
    options: BulkOptions = field(default_factory=BulkOptions)

    def corpus(self) -> Corpus:
        """Open the dataset."""
        return open_corpus(self.source, split=self.split, text_column=self.text_column, audio_column=self.audio_column)

    def pipeline(self) -> AutomaticSpeechRecognitionPipeline:
        """Load the model."""
        from auricle.audio.limits import AudioLimits
        from auricle.pipelines import pipeline

        limits = AudioLimits(allow_private_urls=self.allow_private_urls)
        made: Any = pipeline("automatic-speech-recognition", self.model, limits=limits, **self.model_settings)
        return made


@dataclass(frozen=True)
class Workers:
    """How many processes there are, and what each may use."""

    count: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    address: str | None = None  # of a cluster to join; None: Ray begins on this machine, and ends with the run


def transcribe_on_cluster(
    setup: Setup,
    corpus: Corpus,
    out: str | Path,
    workers: Workers,
    *,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Transcribe every row of a dataset as `auricle.bulk.transcribe_corpus` does, in processes on Ray.

    Of an interrupted run finished shards are kept.

    Raises:
        OptionError: the folder holds another run, or the dataset is streamed. AuricleError: Ray does not begin, or a
            worker cannot open the dataset or the model.
    """
    if corpus.is_streamed:
        raise OptionError(
            f"{corpus.name} is streamed, and workers cannot begin in its middle; fetch it first, for instance its "
            "Parquet files, or leave --cluster out"
        )
    options = setup.options
    check_form(options.form)
    place = Path(out).expanduser().resolve()
    n_rows = len(corpus)
    with _connected(workers), OutputFolder(place, options.form, options.timestamps is not None) as folder:
        if overwrite:
            folder.clear()
        header = _header(setup, workers)
        folder.begin(header)
        folder.drop_journals()
        missing = [number for number in range(-(-n_rows // options.shard_size)) if not folder.is_done(number)]
        done, failed = folder.done_so_far(options.shard_size, n_rows)
        counter = Counter(done, n_rows, failed)
        for shard in _shards(setup, header, str(place), missing, workers):
            counter.add(shard["failed"], shard["rows"], shard["seconds"])
            if progress is not None:
                progress(counter.progress())
        left = [number for number in missing if not folder.is_done(number)]
        if left:
            raise AuricleError(f"shards {left[:5]} are not there, although Ray says so; run the same again")
        folder.finish(n_rows)
        return counter.summary(n_rows, folder.gather_failures(), options.shard_size)


class ShardWorker:
    """Does shards: what Ray Data keeps in each of its processes."""

    def __init__(self, setup: Setup, header: Mapping[str, Any], out: str, n_threads: int) -> None:
        """Open the dataset and load the model.

        Raises:
            AuricleError: they are others than those of the run.
        """
        import torch

        torch.set_num_threads(n_threads)
        self._setup, self._options = setup, setup.options
        self._pipe, self._corpus = setup.pipeline(), setup.corpus()
        found = header_of(self._pipe, self._corpus, self._options)
        if found["dataset"]["fingerprint"] != header["dataset"]["fingerprint"] or found["model"] != header["model"]:
            raise AuricleError(f"this machine has {found['dataset']}, {found['model']}; the run is of {dict(header)}")
        self._folder = OutputFolder(Path(out), self._options.form, self._options.timestamps is not None, is_shared=True)
        self._cursor = _Cursor(self._corpus)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[Any]]:
        """Write the shards whose numbers arrive, and say what was done."""
        told = [self._do(int(number)) for number in batch["shard"]]
        return {key: [one[key] for one in told] for key in ("shard", "rows", "failed", "seconds", "pid")}

    def _do(self, number: int) -> dict[str, Any]:
        size = self._options.shard_size
        expected = range(number * size, min((number + 1) * size, len(self._corpus)))
        listener = Listener(self._pipe.sample_rate, self._pipe.limits, self._options)
        transcriber = Transcriber(self._pipe, self._options)
        found: dict[int, dict[str, Any]] = {}
        try:
            with ahead(windows(self._cursor.read(expected), listener, self._options)) as stream:
                for window in stream:
                    for rows in transcriber.rows_of(window):
                        found.update(rows)
        finally:
            listener.close()
        if len(found) != len(expected):
            raise AuricleError(f"shard {number} has {len(found)} rows where {len(expected)} were expected")
        failed = self._folder.write_shard(number, [found[place] for place in expected])
        seconds = sum(row["duration"] or 0.0 for row in found.values() if row["error"] is None)
        return {"shard": number, "rows": len(found), "failed": len(failed), "seconds": seconds, "pid": os.getpid()}


class _Cursor:
    """Rows of ranges that mostly rise, so that a dataset is read through about once."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._range = range(0)
        self._next = 0
        self._rows: Iterator[tuple[int, Utterance]] = iter(())

    def read(self, wanted: range) -> Iterator[tuple[int, Utterance]]:
        """Give the rows of a range."""
        if wanted.start < self._next or not self._next:
            self._rows = self._corpus.numbered(lambda number: number in self._range)
        self._range, self._next = wanted, wanted.stop
        return islice(self._rows, len(wanted))


def _shards(
    setup: Setup, header: Mapping[str, Any], out: str, missing: list[int], workers: Workers
) -> Iterator[dict[str, Any]]:
    """Have the workers do what is missing; give what each says of a shard, as it is done."""
    if not missing:
        return
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    numbers = ray.data.from_items([{"shard": number} for number in missing], override_num_blocks=len(missing))
    told = numbers.map_batches(
        ShardWorker,
        fn_constructor_args=(setup, header, out, max(1, int(workers.cpus))),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers.count, len(missing))),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus or None,
    )
    try:
        yield from told.iter_rows()
    except ray.exceptions.RayError as error:
        raise AuricleError(f"a worker failed: {error}") from error


def _header(setup: Setup, workers: Workers) -> dict[str, Any]:
    """Ask a worker what the run is of: the machine that asks may lack what the model needs."""

    def described() -> dict[str, Any]:
        return header_of(setup.pipeline(), setup.corpus(), setup.options)

    asked = ray.remote(described).options(num_cpus=workers.cpus, num_gpus=workers.gpus or None).remote()
    try:
        found: dict[str, Any] = ray.get(asked)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, AuricleError):
            raise error.cause from None
        raise AuricleError(f"a worker cannot open the dataset and the model: {error}") from error
    return found


@contextmanager
def _connected(workers: Workers) -> Iterator[None]:
    """Begin Ray on this machine, or join a cluster; leave it at the end."""
    if ray.is_initialized():
        yield
        return
    check_address(workers.address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    n_cpus = max(os.cpu_count() or 1, int(-(-workers.count * workers.cpus // 1)))
    here: dict[str, Any] = {
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "num_cpus": n_cpus,
    }
    try:
        ray.init(
            address=workers.address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(here if workers.address is None else {}),
        )
    except Exception as error:  # Ray raises no narrower one where its processes do not begin in time
        where = "on this machine" if workers.address is None else f"at {workers.address}"
        raise AuricleError(f"Ray does not answer {where}: {error}") from error
    try:
        n_gpus = ray.cluster_resources().get("GPU", 0.0)
        if workers.address is None and workers.gpus > n_gpus:  # a cluster may get more; this machine will not
            raise OptionError(
                f"each worker is to have {workers.gpus:g} GPUs and Ray finds {n_gpus:g} on this machine, so that none "
                "would ever begin; give fewer (--worker-gpus) or join a cluster that has them (--ray-address)"
            )
        yield
    finally:
        ray.shutdown()
