"""The options of `auricle evaluate` and `auricle leaderboard`, as their help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auricle.cli.flags import Device as Device
from auricle.cli.flags import Dtype as Dtype
from auricle.cli.flags import Engine as Engine
from auricle.cli.flags import any_parameter

_WHAT, _MODEL, _SCORING, _WRITING = "What is measured", "Model", "Scoring", "Output"

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help="A model's folder or Hub name, or NAME=MODEL to call it so in tables; may be repeated.",
        rich_help_panel=_WHAT,
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        "-d",
        help="A data set: a folder, a manifest, a Hub name; or NAME=DATA to call it so; may be repeated.",
        rich_help_panel=_WHAT,
    ),
]
Task = Annotated[str, typer.Option(help="automatic-speech-recognition or speaker-diarization.", rich_help_panel=_WHAT)]
Split = Annotated[str | None, typer.Option(help="The split to read, such as test.", rich_help_panel=_WHAT)]
Where = Annotated[
    list[str] | None,
    typer.Option(
        help="Only rows whose column has this value; may be repeated.", metavar="KEY=VALUE", rich_help_panel=_WHAT
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(help="The column of the reference text, if not found by itself.", rich_help_panel=_WHAT),
]
AudioColumn = Annotated[
    str | None, typer.Option(help="The column of the recordings, if not found by itself.", rich_help_panel=_WHAT)
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.", rich_help_panel=_WHAT)]
LanguageOf = Annotated[
    str | None,
    typer.Option("--language", help="The language of the data: rows of others are left out.", rich_help_panel=_WHAT),
]
Predictions = Annotated[
    list[Path] | None,
    typer.Option(
        "--predictions",
        "-p",
        help="Score a file that is there, without a model: .jsonl, .json, .csv, .tsv, .parquet, or the folder of "
        "`auricle transcribe --out`; with --references also .txt, .trn, .ctm, .rttm; may be repeated.",
        rich_help_panel=_WHAT,
    ),
]
References = Annotated[
    Path | None,
    typer.Option(help="The references of --predictions: .txt, .trn, .stm, .rttm.", rich_help_panel=_WHAT),
]
Rescore = Annotated[
    Path | None,
    typer.Option(
        help="Score the stored predictions of this folder again, such as by another normaliser.", rich_help_panel=_WHAT
    ),
]

BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Recordings, or windows of one (diarization), at once.", rich_help_panel=_MODEL),
]
Option = Annotated[list[str] | None, any_parameter(_MODEL)]

Normalizer = Annotated[
    str,
    typer.Option(
        help="none, basic, english, whisper-basic, whisper-english; auto: whisper-english where all is known to be "
        "English, else basic.",
        rich_help_panel=_SCORING,
    ),
]
Resamples = Annotated[int, typer.Option(min=1, help="Resamples of the bootstrap intervals.", rich_help_panel=_SCORING)]
Seed = Annotated[int, typer.Option(min=0, help="Of the bootstrap.", rich_help_panel=_SCORING)]
Drawn = Annotated[
    str,
    typer.Option(
        help="What is drawn for intervals: utterance, speaker, or auto: speakers where all are known and there are 10.",
        rich_help_panel=_SCORING,
    ),
]
Collar = Annotated[
    float,
    typer.Option(
        min=0.0, help="Seconds on each side of a reference's turn that are not scored (DER).", rich_help_panel=_SCORING
    ),
]
SkipOverlap = Annotated[
    bool, typer.Option("--skip-overlap", help="Do not score where speakers overlap (DER).", rich_help_panel=_SCORING)
]

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Keep predictions and results here.", rich_help_panel=_WRITING)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Begin anew where predictions are there.", rich_help_panel=_WRITING)
]
Form = Annotated[str, typer.Option("--format", "-f", help="table, json or markdown.", rich_help_panel=_WRITING)]
Differences = Annotated[
    int,
    typer.Option(
        min=0, help="Show so many of the worst utterances, aligned, and confused words.", rich_help_panel=_WRITING
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="On stderr, only errors.", rich_help_panel=_WRITING)]
