"""A model over a data set: predictions are written as they are made, so that an interrupted run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from auricle.corpora import Utterance
from auricle.errors import AuricleError, OptionError
from auricle.evaluation.predictions import Prediction, read_jsonl
from auricle.evaluation.rows import write_json
from auricle.results import Transcript

SETTINGS = ".run"  # beside the predictions: what they were made with; not .json, which is for rows


class SpeechPipeline(Protocol):
    """What a model must do here."""

    def transcripts(self, sources: Any, **parameters: Any) -> Iterator[Transcript | AuricleError]:
        """Give the transcript of each source, or the error it met."""
        ...


@dataclass(frozen=True)
class Run:
    """What is run, and where its predictions go."""

    path: Path  # of the predictions, a .jsonl
    settings: Mapping[str, Any]  # what makes predictions differ: the model, its options, the batch
    parameters: Mapping[str, Any]  # of every call
    batch_size: int | None = None


def predict(
    pipe: SpeechPipeline, rows: Iterable[Utterance], run: Run, told: Callable[[Prediction], None] | None = None
) -> list[Prediction]:
    """Transcribe every row whose prediction is not in the file yet, and return those of all rows in their order.

    The first recording is transcribed once more, before anything is timed. A recording that fails is written with its
    error, and tried again by the next run. `told` is called with each prediction that is new.

    Raises:
        OptionError: the file's predictions were made with other settings.
    """
    known = {one.id: one for one in _earlier(run)}
    found: dict[str, Prediction] = {}
    waiting: list[Utterance] = []
    is_warm = False
    with run.path.open("a", encoding="utf-8") as file:

        def work() -> None:
            nonlocal is_warm
            if waiting and not is_warm:
                is_warm = _warm_up(pipe, waiting[0], run)
            for one in _batch(pipe, waiting, run):
                file.write(one.line() + "\n")
                found[one.id] = one
                if told is not None:
                    told(one)
            file.flush()
            waiting.clear()

        for row in rows:
            earlier = known.get(row.id)
            if earlier is not None and earlier.error is None:
                found[row.id] = _with_reference(earlier, row, run.path)
                continue
            found[row.id] = _unheard(row)  # keeps the order
            waiting.append(row)
            if len(waiting) >= (run.batch_size or 1):
                work()
        work()
    return list(found.values())


def _earlier(run: Run) -> list[Prediction]:
    """Return what an earlier run wrote, and write down what this one is made with."""
    settings = run.path.with_suffix(SETTINGS)
    run.path.parent.mkdir(parents=True, exist_ok=True)
    if not run.path.exists() or not settings.exists():
        run.path.unlink(missing_ok=True)
        write_json(settings, dict(run.settings))
        return []
    before = json.loads(settings.read_text(encoding="utf-8"))
    now = json.loads(json.dumps(dict(run.settings)))
    if "data" in now:
        before.setdefault("data", now["data"])  # not written down by earlier versions
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if changed:
        said = "; ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed)
        raise OptionError(
            f"{run.path} was made otherwise: {said}; name this one differently (--model NAME=MODEL, --data "
            "NAME=DATA), choose another --out, or give --overwrite"
        )
    _cut_unfinished_line(run.path)
    return read_jsonl(run.path)


def _cut_unfinished_line(path: Path) -> None:
    """Remove what stands after the last line's end: a run that was stopped may have left half a line."""
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _warm_up(pipe: SpeechPipeline, row: Utterance, run: Run) -> bool:
    """Transcribe one recording for nothing; whether that went well."""
    return not _transcribe(pipe, [row], run)[0][0].error


def _batch(pipe: SpeechPipeline, rows: Sequence[Utterance], run: Run) -> list[Prediction]:
    """Transcribe rows together; the time of each is its share by its length."""
    if not rows:
        return []
    predictions, seconds = _transcribe(pipe, rows, run)
    audio = sum(one.duration or 0.0 for one in predictions if one.error is None)
    return [_timed(one, seconds * (one.duration or 0.0) / audio if audio else None) for one in predictions]


def _transcribe(pipe: SpeechPipeline, rows: Sequence[Utterance], run: Run) -> tuple[list[Prediction], float]:
    """Return the predictions, and the seconds from the files to the texts."""
    started = time.perf_counter()
    results: list[Transcript | Exception] = []
    try:
        sources = [row.source() for row in rows]
        results.extend(pipe.transcripts(sources, batch_size=len(rows), on_error="return", **run.parameters))
    except OptionError:
        raise  # a wrong parameter is wrong for every recording
    except Exception as error:
        # Whatever one recording does to a model, the others are still to be measured; the error is in the file.
        if len(rows) > 1:
            parts = [_transcribe(pipe, [row], run) for row in rows]
            return [one for found, _ in parts for one in found], sum(seconds for _, seconds in parts)
        results = [error]
    seconds = time.perf_counter() - started
    return [_prediction(row, result) for row, result in zip(rows, results, strict=True)], seconds


def _prediction(row: Utterance, result: Transcript | Exception) -> Prediction:
    if isinstance(result, Transcript):
        heard = result.duration if result.duration is not None else row.duration
        return Prediction(row.id, row.text, result.text, _audio(row), heard, None, row.speaker, row.language)
    told = f"{type(result).__name__}: {result}"
    return Prediction(row.id, row.text, None, _audio(row), row.duration, None, row.speaker, row.language, told)


def _timed(one: Prediction, seconds: float | None) -> Prediction:
    return replace(one, seconds=seconds) if one.error is None else one


def _unheard(row: Utterance) -> Prediction:
    return Prediction(row.id, row.text, None, error="it was not transcribed")


def _audio(row: Utterance) -> str:
    return row.audio if isinstance(row.audio, str) else ""


def _with_reference(earlier: Prediction, row: Utterance, path: Path) -> Prediction:
    if earlier.reference != row.text:
        raise OptionError(
            f"{path} has {earlier.reference!r} as the reference of {row.id!r}, and the data set has {row.text!r}; "
            "give --overwrite, or choose another --out"
        )
    return earlier
