"""A window of rows in, rows of the output out, a batch at a time; no row's failure is another's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auricle.bulk.batches import batches
from auricle.bulk.listening import Heard, picked_channel
from auricle.bulk.options import BulkOptions
from auricle.bulk.rows import row_of
from auricle.errors import AuricleError, OptionError
from auricle.pipelines.provenance import journal_header
from auricle.results import Transcript

if TYPE_CHECKING:
    from auricle.corpora import Corpus
    from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline


class Transcriber:
    """Computes rows with a pipeline."""

    def __init__(self, pipe: AutomaticSpeechRecognitionPipeline, options: BulkOptions) -> None:
        self._pipe, self._options = pipe, options
        self._parameters = call_parameters(options)
        self._has_worked = False

    def rows_of(self, window: Sequence[Heard]) -> Iterator[dict[int, dict[str, Any]]]:
        """Give the finished rows of a window by number, a batch at a time.

        Raises:
            OptionError: the model refuses an option. Exception: what the first batch failed with, all its rows alike,
                where that was no error of a recording: then the next would fail, too.
        """
        unit = self._options.timestamps
        failed = [heard for heard in window if heard.error is not None]
        if failed:
            yield {heard.number: row_of(heard, heard.error, unit) for heard in failed if heard.error}
        good = [heard for heard in window if heard.error is None]
        for batch in self._batches(good):
            results = self._computed(batch)
            yield {one.number: row_of(one, result, unit) for one, result in zip(batch, results, strict=True)}

    def _batches(self, good: Sequence[Heard]) -> Iterator[list[Heard]]:
        """Give batches of rows in memory, then long rows one by one."""
        short = [heard for heard in good if not heard.is_long]
        limits = self._options.batch_size, self._options.batch_seconds
        for places in batches([heard.seconds for heard in short], *limits):
            yield [short[place] for place in places]
        yield from ([heard] for heard in good if heard.is_long)

    def _computed(self, batch: list[Heard]) -> list[Transcript | Exception]:
        """Compute a batch; where it fails as a whole, each row by itself."""
        tried = self._tried(batch)
        if isinstance(tried, Exception):
            alone = [tried] if len(batch) == 1 else [self._tried([heard]) for heard in batch]
            results = [one if isinstance(one, Exception) else one[0] for one in alone]
        else:
            results = tried
        unexpected = [one for one in results if isinstance(one, Exception) and not isinstance(one, AuricleError)]
        if len(unexpected) == len(batch) and not self._has_worked:
            raise unexpected[0]
        self._has_worked = self._has_worked or any(isinstance(one, Transcript) for one in results)
        return results

    def _tried(self, batch: list[Heard]) -> list[Transcript | Exception] | Exception:
        try:
            return list(self._transcripts(batch))
        except OptionError:
            raise
        except Exception as error:  # a model may fail in any way at some sound, and a million rows go on
            return error

    def _transcripts(self, batch: list[Heard]) -> Iterator[Transcript | AuricleError]:
        size = len(batch) if len(batch) > 1 else None
        sources = [heard.source for heard in batch]
        parameters = self._parameters
        if picked_channel(self._options) is not None and not batch[0].is_long:  # what is in memory is that channel
            parameters = {name: value for name, value in parameters.items() if name != "channels"}
        return self._pipe.transcripts(sources, batch_size=size, on_error="return", **parameters)


def call_parameters(options: BulkOptions) -> dict[str, Any]:
    """Return the parameters of the pipeline's call."""
    times = {} if options.timestamps is None else {"return_timestamps": options.timestamps}
    return {**options.parameters, **times}


def header_of(pipe: AutomaticSpeechRecognitionPipeline, corpus: Corpus, options: BulkOptions) -> dict[str, Any]:
    """Return what must be the same for a run to go on: the dataset, the model, its options, the shards.

    Raises:
        OptionError: the model refuses a parameter.
    """
    request, _, _ = pipe.read_call(call_parameters(options), None, "return")
    model: Mapping[str, Any] = journal_header(pipe.identity, request, "")
    speakers = {}
    if request.speakers is not None:
        speakers = {"speakers": pipe.speaker_models.told(request.speakers)}
        del speakers["speakers"]["revision"]  # it is only known once the model is loaded
    return {
        **speakers,
        "dataset": {
            "layout": corpus.layout,
            "fingerprint": corpus.fingerprint,
            "outline": corpus.outline,
            "name": corpus.name,
        },
        "model": {key: value for key, value in model.items() if key not in ("options", "audio_sha256")},
        "options": model["options"],
        "timestamps": options.timestamps,
        "shard_size": options.shard_size,
        "form": options.form,
    }
