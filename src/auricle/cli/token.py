"""`auricle token`: who may use the server when it requires a token."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.border import border, say, write_utf8
from auricle.errors import MissingExtraError, OptionError

if TYPE_CHECKING:
    from auricle.server.access.tokens import Token, TokenStore

app = typer.Typer(
    help="Make, list and revoke the tokens of `auricle serve --token-required`.",
    no_args_is_help=True,
)

_UNITS_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_HEADINGS = ("ID", "NAME", "SCOPES", "STATE", "CREATED", "EXPIRES", "LAST USED", "REVOKED")

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The server's data folder. (default: AURICLE_DATA_DIR, or the usual)")
]
Config = Annotated[Path | None, typer.Option("--config", help="The server's TOML file, which may name that folder.")]


@app.command("create", no_args_is_help=True)
def create(
    name: Annotated[str, typer.Option("--name", help="Who or what will use it; shown in lists and messages.")],
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="infer, or manage; may be given twice. (default: infer)")
    ] = None,
    expires: Annotated[str, typer.Option("--expires", help="Such as 90d, 12h or 2w; or never.")] = "never",
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """Make a token and print it, this once, on stdout."""
    with border():
        write_utf8()
        lifetime = lifetime_of(expires)
        store = _store(data_dir, config)
        text, token = store.create(name, frozenset(scopes or ["infer"]), lifetime)
        typer.echo(text)
        until = "until it is revoked" if token.expires is None else f"until {_written(token.expires)}"
        say(f"auricle: token {token.id} ({name}) may {' and '.join(sorted(token.scopes))} {until}")
        say(f"auricle: its SHA-256 is in {store.path}; the token itself is shown only now, so keep it safe")


@app.command("list")
def list_tokens(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """List every token that was made, without its secret."""
    with border():
        write_utf8()
        store = _store(data_dir, config)
        rows = [_row(token) for token in store.tokens()]
        if as_json:
            typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        elif rows:
            _print_table(rows)
        else:
            say(f"auricle: no token is in {store.path.parent}; `auricle token create --name NAME` makes one")


@app.command("revoke", no_args_is_help=True)
def revoke(
    handle: Annotated[str, typer.Argument(metavar="ID|NAME", help="Its id or name; the token itself does, too.")],
    data_dir: DataDir = None,
    config: Config = None,
) -> None:
    """End a token at once, also in a server that is running."""
    with border():
        token = _store(data_dir, config).revoke(handle)
        say(f"auricle: token {token.id} ({token.name}) is revoked")


def lifetime_of(expires: str) -> float | None:
    """Read a time such as "90d" in seconds; None for "never".

    Raises:
        OptionError: it is neither.
    """
    if expires == "never":
        return None
    form = re.fullmatch(r"(\d{1,6})([mhdw])", expires.strip().lower())
    if form is None or int(form[1]) == 0:
        raise OptionError(
            f"--expires {expires!r} is no time; write a number and m, h, d or w, such as 12h or 90d, or never"
        )
    return float(int(form[1]) * _UNITS_S[form[2]])


def _store(data_dir: Path | None, config: Path | None) -> TokenStore:
    """Open the tokens where a server with the same settings looks for them."""
    from auricle.server.access.tokens import TokenStore

    if data_dir is None:
        try:
            from auricle.server.settings import read_settings
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"the server's settings need {error.name}; install it with `pip install 'auricle[server]'`"
            ) from error
        data_dir = read_settings(config).data_dir
    return TokenStore(data_dir.expanduser())


def _row(token: Token) -> dict[str, Any]:
    times = {name: getattr(token, name) for name in ("created", "expires", "last_used", "revoked")}
    return {
        "id": token.id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "state": token.state(datetime.now(UTC).timestamp()),
        **{name: None if at is None else _written(at) for name, at in times.items()},
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    lines: list[tuple[str, ...]] = [_HEADINGS]
    for row in rows:
        cells = {**row, "scopes": ",".join(row["scopes"]), "expires": row["expires"] or "never"}
        lines.append(tuple(str(value or "-") for value in cells.values()))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _written(at: float) -> str:
    """Write a time as ISO 8601, in UTC and to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
