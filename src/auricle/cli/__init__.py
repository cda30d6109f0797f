"""The `auricle` command: one file per command; heavy imports wait until a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from auricle import __version__
from auricle.cli import (
    align,
    chat,
    diarize,
    doctor,
    download,
    evaluate,
    finetune,
    leaderboard,
    listen,
    models,
    serve,
    token,
    transcribe,
)

app = typer.Typer(
    name="auricle",
    help="Pretrained models, speech recognition first, on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with every local value would print tokens.
    pretty_exceptions_enable=False,
)
app.command("transcribe", no_args_is_help=True)(transcribe.transcribe)
app.command("align", no_args_is_help=True)(align.align)
app.command("diarize", no_args_is_help=True)(diarize.diarize)
app.command("listen")(listen.listen)
app.command("chat")(chat.chat)
app.command("serve")(serve.serve)
app.command("finetune", no_args_is_help=True)(finetune.finetune)
app.command("evaluate", no_args_is_help=True)(evaluate.evaluate)
app.command("leaderboard", no_args_is_help=True)(leaderboard.leaderboard)
app.command("models")(models.models)
app.command("download", no_args_is_help=True)(download.download)
app.command("doctor")(doctor.doctor)
app.add_typer(token.app, name="token")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"auricle {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass
