"""`auricle download`: fetch a model now, use it with no network later."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from auricle.cli.border import border, say, write_utf8
from auricle.errors import OptionError


def download(
    name: Annotated[str, typer.Argument(help="A model's name on the Hub, such as openai/whisper-tiny.")],
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit.")] = None,
    token: Annotated[str | None, typer.Option(help="Hub token. (default: the one stored, or HF_TOKEN)")] = None,
    target_lang: Annotated[
        list[str] | None, typer.Option(help="Fetch the adapter of a language, too, such as fra (MMS); may be repeated.")
    ] = None,
) -> None:
    """Fetch a model into the cache and print its folder; files that are there are not fetched again.

    Of an adapter the model that it belongs to is fetched, too.
    """
    with border():
        write_utf8()
        strange = [code for code in target_lang or [] if not re.fullmatch(r"\w[\w-]*", code)]
        if strange:
            raise OptionError(f"--target-lang {strange[0]!r} is no language code such as 'fra' or 'deu'")
        folder = fetch(name, revision, token, [f"adapter.{code}.*" for code in target_lang or []])
        base = base_of(folder)
        if base is not None:
            fetch(*base, token)
        say(f"auricle: {name} is in the cache; use it with --model {name}")
        typer.echo(str(folder))


def base_of(folder: Path) -> tuple[str, str | None] | None:
    """Return the Hub name and revision of the model that an adapter belongs to; None where there is none to fetch."""
    if (folder / "config.json").exists():
        return None
    from auricle.checkpoints.lora import read_lora

    lora = read_lora(folder, with_weights=False)
    return None if lora is None or Path(lora.base).expanduser().is_dir() else (lora.base, lora.revision)


def fetch(name: str, revision: str | None, token: str | None, extra_files: Sequence[str] = ()) -> Path:
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

        return fetch_model(name, revision=revision, token=token, extra_files=extra_files, progress=show)
