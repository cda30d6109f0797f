"""`auricle transcribe`: recordings in, text or subtitle files out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from auricle.cli import dataset_flags, flags
from auricle.cli.border import SOME_FAILED, border, say, write_utf8
from auricle.cli.datasets import DATASETS, DatasetOrder, run_dataset
from auricle.cli.load import load
from auricle.cli.order import (
    Order,
    read_channels,
    read_folder,
    read_formats,
    read_options,
    read_speakers,
    read_temperature,
)
from auricle.cli.outputs import check_journals, check_outputs, deliver, pending, remove
from auricle.cli.sources import Source, find_sources
from auricle.errors import AudioError, AuricleError, OptionError
from auricle.results import Transcript

if TYPE_CHECKING:
    from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline


def transcribe(
    sources: flags.Sources = None,
    model: flags.Model = None,
    target_lang: flags.TargetLang = None,
    device: flags.Device = None,
    dtype: flags.Dtype = "auto",
    engine: flags.Engine = "auto",
    revision: flags.Revision = None,
    token: flags.Token = None,
    channels: flags.Channels = None,
    vad: flags.Vad = None,
    schedule: flags.Schedule = None,
    batch_size: flags.BatchSize = None,
    chunk_length: flags.ChunkLength = None,
    allow_private_urls: flags.AllowPrivateURLs = False,
    language: flags.Language = None,
    task: flags.Task = None,
    beams: flags.Beams = None,
    temperature: flags.Temperature = None,
    hotword: flags.Hotword = None,
    lm: flags.LanguageModel = None,
    punctuate: flags.Punctuate = False,
    initial_prompt: flags.InitialPrompt = None,
    prefix: flags.Prefix = None,
    condition: flags.Condition = None,
    option: flags.Option = None,
    speakers: flags.Speakers = False,
    num_speakers: flags.NumSpeakers = None,
    min_speakers: flags.MinSpeakers = None,
    max_speakers: flags.MaxSpeakers = None,
    known_speaker: flags.KnownSpeaker = None,
    diarization_model: flags.DiarizationModel = None,
    timestamps: flags.Timestamps = None,
    formats: flags.Formats = None,
    output_dir: flags.OutputDir = None,
    resume: flags.Resume = False,
    overwrite: flags.Overwrite = False,
    paragraphs: flags.Paragraphs = False,
    word_cues: flags.WordCues = False,
    max_line_length: flags.MaxLineLength = None,
    max_lines: flags.MaxLines = None,
    max_chars_per_second: flags.MaxCharsPerSecond = None,
    min_gap: flags.MinGap = None,
    data: dataset_flags.Data = None,
    out: dataset_flags.Out = None,
    split: dataset_flags.Split = None,
    text_column: dataset_flags.TextColumn = None,
    audio_column: dataset_flags.AudioColumn = None,
    shard_size: dataset_flags.ShardSize = 1000,
    output_format: dataset_flags.OutputFormat = "jsonl",
    strict: dataset_flags.Strict = False,
    retry_failed: dataset_flags.RetryFailed = False,
    cluster: dataset_flags.OnCluster = False,
    workers: dataset_flags.WorkerCount = 1,
    worker_cpus: dataset_flags.WorkerCpus = 1.0,
    worker_gpus: dataset_flags.WorkerGpus = 0.0,
    ray_address: dataset_flags.RayAddress = None,
    quiet: flags.Quiet = False,
) -> None:
    """Transcribe recordings. The text goes to stdout and everything else to stderr.

    With several recordings each line is the recording's name, a tab and its text; JSON is one object a line.
    With --out, the source or --data is a dataset, and its rows are written in shards; see docs/datasets.md.
    Exit codes: 0 all is well, 1 some recordings failed, 2 wrong usage, 3 no model, 130 interrupted.
    """
    with border():
        counts = _given(num_speakers=num_speakers, min_speakers=min_speakers, max_speakers=max_speakers)
        parameters = _given(
            speakers=read_speakers(speakers, counts, known_speaker, diarization_model),
            channels=read_channels(channels),
            vad=vad,
            schedule=schedule,
            chunk_length_s=chunk_length,
            language=language,
            task=task,
            num_beams=beams,
            temperature=read_temperature(temperature),
            hotwords=tuple(hotword) if hotword else None,
            lm=str(lm) if lm else None,
            punctuate=punctuate or None,
            initial_prompt=initial_prompt,
            prefix=prefix,
            condition_on_prev_tokens=condition,
        )
        order = Order(
            model=model,
            model_settings=_given(
                device=device, dtype=dtype, engine=engine, revision=revision, token=token, target_lang=target_lang
            ),
            parameters={**parameters, **read_options(option or [], parameters)},
            formats=read_formats(formats),
            timestamps=timestamps,
            output_dir=read_folder(output_dir),
            rules=_given(
                max_line_length=max_line_length,
                max_lines=max_lines,
                max_chars_per_second=max_chars_per_second,
                min_gap=min_gap,
            ),
            word_cues=word_cues,
            paragraphs=paragraphs,
            batch_size=batch_size,
            allow_private_urls=allow_private_urls,
            resume=resume,
            overwrite=overwrite,
            quiet=quiet,
        )
        dataset = DatasetOrder(
            *(
                data,
                read_folder(out),
                split,
                text_column,
                audio_column,
                shard_size,
                output_format,
                strict,
                retry_failed,
            ),
            *(cluster, workers, worker_cpus, worker_gpus, ray_address),
        )
        if _has_failed(order, sources or [], dataset):
            raise typer.Exit(SOME_FAILED)


def _has_failed(order: Order, sources: list[str], dataset: DatasetOrder) -> bool:
    if dataset.is_asked:
        return run_dataset(order, sources, dataset)
    if not sources:
        raise OptionError("there is nothing to transcribe; name recordings, or a dataset with --data and --out")
    for source in sources:
        if Path(source).suffix.lower() in DATASETS:
            raise OptionError(f"{source} is named as a dataset is, whose rows are written in shards; add --out FOLDER")
    return run(order, find_sources(sources)) > 0


def run(order: Order, sources: list[Source]) -> int:
    """Transcribe every source that has no result yet; return how many failed."""
    from auricle.cli.progress import Bar, total_duration

    write_utf8()
    rows = len(sources) > 1
    # Before the model is loaded: what cannot be written need not be heard.
    check_outputs(order, len(sources))
    sources = list(pending(order, sources))
    if not sources:
        return 0
    journals = check_journals(order, sources)
    n_failed, seconds, started = 0, 0.0, time.monotonic()
    # Before the bar: the Hub shows bars of its own where the model is yet to be fetched.
    recognizer = load(order)
    with Bar(order.quiet) as bar, _told_how_to_go_on(journals):
        bar.expect(total_duration(sources) if bar.live else None)
        results = _results(recognizer, order, sources, journals, bar.heard)
        for source, journal, result in zip(sources, journals, results, strict=True):
            with bar.aside():
                if isinstance(result, AuricleError):
                    n_failed += 1
                    say(f"{source.name}: {result}")
                else:
                    seconds += result.duration or 0.0
                    deliver(order, source, result, recognizer.name, rows)
            # Of a recording that is damaged, too, there is nothing to go on with.
            if not isinstance(result, AuricleError) or isinstance(result, AudioError):
                remove(journal)
    if not order.quiet:
        _summarise(len(sources) - n_failed, n_failed, seconds, time.monotonic() - started)
    return n_failed


def _results(
    recognizer: AutomaticSpeechRecognitionPipeline,
    order: Order,
    sources: list[Source],
    journals: list[Path | None],
    heard: Callable[[float], None],
) -> Iterator[Transcript | AuricleError]:
    unit = order.unit(list(recognizer.dialect.times.values()))
    kept: dict[str, Any] = {"resume": journals} if any(journals) else {}
    return recognizer.transcripts(
        [source.given for source in sources],
        batch_size=order.batch_size,
        on_error="return",
        progress=heard,
        return_timestamps=None if unit == "none" else unit,
        **kept,
        **order.parameters,
    )


@contextmanager
def _told_how_to_go_on(journals: list[Path | None]) -> Iterator[None]:
    """Say, when Ctrl-C ends the run, whether its finished windows are kept."""
    try:
        yield
    except KeyboardInterrupt:
        if any(path is not None and path.exists() for path in journals):
            raise KeyboardInterrupt("the finished windows are kept, and --resume goes on from there") from None
        raise


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _summarise(n_done: int, n_failed: int, seconds: float, took: float) -> None:
    failed = f", {n_failed} failed" if n_failed else ""
    say(f"auricle: {n_done} done{failed}; {seconds:.1f} s of audio in {took:.1f} s with loading")
