"""`auricle leaderboard`: results of `auricle evaluate` side by side, on the terminal or as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from auricle.cli.border import border, say, write_utf8
from auricle.cli.order import read_folder
from auricle.cli.scores import check_form, show
from auricle.errors import OptionError

FORMS = ("table", "json", "markdown", "html")


def leaderboard(
    results: Annotated[Path, typer.Argument(help="The folder that `auricle evaluate --out` wrote to.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write; its ending says the form: .html, .md, .json."),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", "-f", help="table, json, markdown or html. (default: table, or as --out)")
    ] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = "Leaderboard",
    differences: Annotated[
        int, typer.Option(min=0, help="Utterances with most errors that the page lists, of each model and data set.")
    ] = 100,
    compare: Annotated[
        bool, typer.Option("--compare/--no-compare", help="Compare models pairwise on the utterances that they share.")
    ] = True,
) -> None:
    """Show models against data sets: means and ranks, raw rates beside normalised ones, intervals, speed.

    Rows whose texts were normalised differently get tables of their own. The page is one file that needs no network.
    """
    with border():
        write_utf8()
        chosen = _form(form, out)
        from auricle.evaluation.leaderboard import Entry, boards, duels, load_score
        from auricle.evaluation.rows import read_rows
        from auricle.evaluation.tables import details, markdown, standings

        found = boards(Entry(row, path) for path, row in read_rows(read_folder(results) or results))
        wanted = compare or chosen == "html"
        scores = [
            {entry.place: one for entry in board.entries if (one := load_score(entry)) is not None} if wanted else {}
            for board in found
        ]
        compared = [duel for of_board in scores for duel in duels(of_board)] if compare else []
        tables = [table for board in found for table in (standings(board), details(board))]
        if chosen == "html":
            from auricle.evaluation.page import page

            text = page(title, found, scores, compared, n_worst=differences)
        elif chosen == "markdown":
            warnings = list(dict.fromkeys(warning for board in found for warning in board.warnings))
            text = markdown(tables, warnings, compared)
        else:
            if out is not None and chosen == "table":
                raise OptionError(f"--out {out} takes no table; choose .html, .md or .json")
            if out is None:
                show(found, tables, compared, chosen)
                return
            from auricle.cli.scores import as_json

            text = as_json(found, compared)
        if out is None:
            print(text, end="")
        else:
            path = read_folder(out) or out
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            say(f"auricle: wrote {path}")


def _form(form: str | None, out: Path | None) -> str:
    by_ending = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json"}
    if form is not None:
        check_form(form, FORMS)
        return form
    if out is None:
        return "table"
    if out.suffix.lower() not in by_ending:
        raise OptionError(f"--out {out} ends in none of {', '.join(by_ending)}; give --format, too")
    return by_ending[out.suffix.lower()]
