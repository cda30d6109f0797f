"""`auricle download`: fetch a model now, use it with no network later."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auricle.cli.border import border, say, write_utf8


def download(
    name: Annotated[str, typer.Argument(help="A model's name on the Hub, such as openai/whisper-tiny.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    token: Annotated[str | None, typer.Option(help="Hub token. (default: the one stored, or HF_TOKEN)")] = None,
) -> None:
    """Fetch a model into the cache and print its folder; files that are there are not fetched again."""
    with border():
        write_utf8()
        folder = fetch(name, revision, token)
        say(f"auricle: {name} is in the cache; use it with --model {name}")
        typer.echo(str(folder))


def fetch(name: str, revision: str | None, token: str | None) -> Path:
    """Bring a model into the cache, with a bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from auricle.hub import download as fetch_model

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, redirect_stdout=False) as bar:
        task = bar.add_task(name, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        return fetch_model(name, revision=revision, token=token, progress=show)
