"""A dataset's transcripts, shard by shard; a run that was stopped anywhere goes on with what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auricle.bulk.listening import Listener, ahead, windows
from auricle.bulk.options import BulkOptions
from auricle.bulk.output import OutputFolder, ShardJournal
from auricle.bulk.rows import check_form
from auricle.bulk.summary import Counter, Progress, Summary
from auricle.bulk.transcriber import Transcriber, header_of
from auricle.errors import AuricleError

if TYPE_CHECKING:
    from auricle.corpora import Corpus
    from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline


def transcribe_corpus(
    pipe: AutomaticSpeechRecognitionPipeline,
    corpus: Corpus,
    out: str | Path,
    options: BulkOptions | None = None,
    *,
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Transcribe every row of a dataset into shards within the folder `out`.

    Called again with the same, whatever stopped it, it goes on: at the end each row is in one shard, once, in the
    dataset's order. Rows that fail carry their error, and are in failures.jsonl, too; `retry_failed` does those of an
    earlier run again, whose files may have been mended since. `overwrite` begins anew.

    >>> transcribe_corpus(pipeline("automatic-speech-recognition"), open_corpus("cv-corpus/en"), "texts")

    Raises:
        OptionError: the folder holds a run with another dataset, model or options, or cannot be written.
        MissingExtraError: Parquet is asked for and pyarrow is not installed.
    """
    options = options or BulkOptions()
    check_form(options.form)
    header = header_of(pipe, corpus, options)
    with OutputFolder(Path(out).expanduser(), options.form, options.timestamps is not None) as folder:
        if overwrite:
            folder.clear()
        n_rows = folder.begin(header, may_mend=retry_failed)
        if retry_failed and folder.reopen_failed(options.shard_size):
            n_rows = None
        if n_rows is not None and not folder.is_whole(n_rows, options.shard_size):  # a shard was removed
            n_rows = None
        total = n_rows if n_rows is not None else None if corpus.is_streamed else len(corpus)
        run = _Run(pipe, folder, options, total)
        if n_rows is None:
            n_rows = run.go(corpus, progress)
            folder.finish(n_rows)
        return run.counter.summary(n_rows, folder.gather_failures(), options.shard_size)


class _Run:
    """One run over what is missing."""

    def __init__(
        self, pipe: AutomaticSpeechRecognitionPipeline, folder: OutputFolder, options: BulkOptions, total: int | None
    ) -> None:
        self._pipe, self._folder, self._options = pipe, folder, options
        self._needed = _Needed(folder, options.shard_size)
        self._next_shard = 0  # all before are finished
        self._journal: tuple[int, ShardJournal] | None = None
        n_done, n_failed = folder.done_so_far(options.shard_size, total)
        self.counter = Counter(n_done, total, n_failed)

    def go(self, corpus: Corpus, progress: Callable[[Progress], None] | None) -> int:
        """Transcribe what is missing; return how many rows the dataset has."""
        listener = Listener(self._pipe.sample_rate, self._pipe.limits, self._options)
        transcriber = Transcriber(self._pipe, self._options)
        try:
            with ahead(windows(corpus.numbered(self._needed), listener, self._options)) as stream:
                for window in stream:
                    shard = window[0].number // self._options.shard_size
                    self._finish_before(shard, self._options.shard_size)
                    for rows in transcriber.rows_of(window):
                        self._journal_of(shard).add(rows)
                        self._count(rows)
                        if progress is not None:
                            progress(self.counter.progress())
            n_rows = self._needed.n_seen
            n_shards = -(-n_rows // self._options.shard_size)
            self._finish_before(n_shards - 1, self._options.shard_size)
            self._finish_before(n_shards, n_rows - max(0, n_shards - 1) * self._options.shard_size)
            return n_rows
        finally:
            listener.close()
            if self._journal is not None:
                self._journal[1].close()

    def _count(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        failed = sum(row["error"] is not None for row in rows.values())
        seconds = sum(row["duration"] or 0.0 for row in rows.values() if row["error"] is None)
        self.counter.add(failed, len(rows), seconds)

    def _journal_of(self, shard: int) -> ShardJournal:
        if self._journal is None or self._journal[0] != shard:
            if self._journal is not None:
                self._journal[1].close()
            self._journal = shard, self._folder.journal(shard)
        return self._journal[1]

    def _finish_before(self, shard: int, n_rows: int) -> None:
        """Write the shards before `shard` that are not there yet, of `n_rows` each: all their rows are done."""
        while self._next_shard < shard:
            number = self._next_shard
            if not self._folder.is_done(number):
                journal = self._journal_of(number)
                if len(journal.rows) != n_rows:
                    raise AuricleError(
                        f"shard {number} has {len(journal.rows)} rows where {n_rows} were expected: the dataset was "
                        "changed while it was read; begin anew with overwrite"
                    )
                rows = [journal.rows[place] for place in sorted(journal.rows)]
                self._folder.add_failures(self._folder.write_shard(number, rows))
            # Also one that was left by a run that ended between these two steps.
            self._journal_of(number).remove()
            self._journal = None
            self._next_shard += 1


class _Needed:
    """Which rows are to be done: those in no finished shard, and in no journal."""

    def __init__(self, folder: OutputFolder, shard_size: int) -> None:
        self._folder, self._size = folder, shard_size
        self._shard = -1
        self._is_done = False
        self._finished: frozenset[int] = frozenset()
        self.n_seen = 0  # rows of the dataset so far

    def __call__(self, number: int) -> bool:
        self.n_seen = number + 1
        if number // self._size != self._shard:
            self._shard = number // self._size
            self._is_done = self._folder.is_done(self._shard)
            self._finished = frozenset() if self._is_done else frozenset(self._folder.journal(self._shard).rows)
        return not self._is_done and number not in self._finished
