"""The options of `auricle transcribe` for whole datasets, as its help shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_PANEL = "Datasets (with --out)"

Data = Annotated[
    str | None,
    typer.Option(
        help="A dataset: its folder (Common Voice, audiofolder, LibriSpeech, Kaldi, …), manifest, Parquet file, or "
        "Hub name (OWNER/NAME, OWNER/NAME:CONFIG). (default: the one source, where --out is given)",
        rich_help_panel=_PANEL,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Write shards of rows to this folder. The same command again goes on where it was stopped.",
        rich_help_panel=_PANEL,
    ),
]
Split = Annotated[str | None, typer.Option(help="One split. (default: all)", rich_help_panel=_PANEL)]
TextColumn = Annotated[
    str | None, typer.Option(help="The column of the reference text, if not found by itself.", rich_help_panel=_PANEL)
]
AudioColumn = Annotated[
    str | None, typer.Option(help="The column of the recordings, if not found by itself.", rich_help_panel=_PANEL)
]
ShardSize = Annotated[int, typer.Option(min=1, help="Rows in each shard.", rich_help_panel=_PANEL)]
OutputFormat = Annotated[str, typer.Option(help="jsonl or parquet.", rich_help_panel=_PANEL)]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 if any row failed; else with 0.", rich_help_panel=_PANEL)
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Do rows again that failed in an earlier run, such as those whose files were mended since.",
        rich_help_panel=_PANEL,
    ),
]
OnCluster = Annotated[
    bool, typer.Option("--cluster", help="Compute shards in worker processes on Ray.", rich_help_panel=_PANEL)
]
WorkerCount = Annotated[int, typer.Option("--workers", min=1, help="Processes on Ray.", rich_help_panel=_PANEL)]
WorkerCpus = Annotated[float, typer.Option(min=0.1, help="Processors of each.", rich_help_panel=_PANEL)]
WorkerGpus = Annotated[float, typer.Option(min=0, help="GPUs of each.", rich_help_panel=_PANEL)]
RayAddress = Annotated[
    str | None,
    typer.Option(help="auto or HEAD:6379, a cluster to join. (default: this machine)", rich_help_panel=_PANEL),
]
