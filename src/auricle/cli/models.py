"""`auricle models`: what is here already, and usable with no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from auricle.cli.border import border, say, write_utf8
from auricle.errors import AuricleError


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that are bundled or in the cache, and whether auricle or transformers computes them."""
    with border():
        from auricle.hub import cached_models

        write_utf8()
        found = cached_models()
        runs = {one.folder: who_runs(one.folder) for one in found}
        if as_json:
            rows = [
                {
                    "name": one.name,
                    "revision": one.revision,
                    "size": one.size,
                    "folder": str(one.folder),
                    "runs": runs[one.folder],
                }
                for one in found
            ]
            typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
            return
        widths = max((len(one.name) for one in found), default=0)
        for one in found:
            revision = (one.revision or "-")[:12]
            size, who = megabytes(one.size), runs[one.folder]
            typer.echo(f"{one.name:<{widths}}  {revision:<12}  {size:>10}  {who:<8}  {one.folder}")
        if not found:
            say("auricle: no model is here yet; `auricle download openai/whisper-tiny` fetches one")


def who_runs(folder: Path) -> str:
    """Say "native" of a model that auricle computes, "bridged" of one that transformers does."""
    from auricle.loading import runs_natively

    try:
        return "native" if runs_natively(folder) else "bridged"
    except AuricleError:
        return "unknown"


def megabytes(size: int) -> str:
    """Write a size in bytes as megabytes of 10**6 bytes."""
    return f"{size / 1e6:.1f} MB"
