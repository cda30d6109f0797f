"""Tables of scores, and where texts differ, on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from auricle.cli.border import say
from auricle.errors import OptionError, nearest

if TYPE_CHECKING:
    from auricle.evaluation.leaderboard import Board, Duel
    from auricle.evaluation.scoring import Score
    from auricle.evaluation.tables import Table

FORMS = ("table", "json", "markdown")
_COLOURS = {"equal": "", "replace": "bold yellow", "delete": "bold red", "insert": "bold green"}


def check_form(form: str, forms: Sequence[str] = FORMS) -> None:
    """Refuse a format that is none of `forms`."""
    if form not in forms:
        raise OptionError(f"--format {form!r} is none of {', '.join(forms)}{nearest(form, forms)}")


def show(boards: Sequence[Board], tables: Sequence[Table], duels: Sequence[Duel], form: str) -> None:
    """Print results on stdout in the form that was asked for; warnings of tables go to stderr."""
    from auricle.evaluation.tables import markdown

    warnings = list(dict.fromkeys(warning for board in boards for warning in board.warnings))
    if form == "json":
        print(as_json(boards, duels), end="")
    elif form == "markdown":
        print(markdown(tables, warnings, duels), end="")
    else:
        for table in tables:
            _print_table(table)
        for duel in duels:
            print(duel)
        for warning in warnings:
            say(f"auricle: {warning}")


def as_json(boards: Sequence[Board], duels: Sequence[Duel]) -> str:
    """Return rows, comparisons and warnings as JSON; the server's page of results reads such a file, too."""
    rows = [dict(entry.row) for board in boards for entry in board.entries]
    warnings = list(dict.fromkeys(warning for board in boards for warning in board.warnings))
    told = {"results": rows, "comparisons": [_told(duel) for duel in duels], "warnings": warnings}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def show_differences(scores: Mapping[tuple[str, str], Score], n_worst: int) -> None:
    """Print the utterances with most errors, both texts aligned, and the words that are confused most often."""
    from rich.console import Console
    from rich.text import Text

    from auricle.evaluation.alignment import confusions
    from auricle.evaluation.wer import LENGTH

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for (model, dataset), one in scores.items():
        console.print(Text(f"\n{model} on {dataset}: said [-left out-] {{+put in+}} [said -> heard]", style="bold"))
        errors = one.normalized.words[:, :LENGTH].sum(axis=1)
        for at in sorted(range(len(errors)), key=lambda at: -errors[at])[:n_worst]:
            if errors[at]:
                head = f"{one.kept[at].id} ({errors[at]} of {one.normalized.words[at, LENGTH]}): "
                console.print(Text(head, style="dim") + difference(one.references[at], one.predictions[at]))
        pairs = list(zip(one.references, one.predictions, strict=True))
        for kind, heading in (("replace", "confused"), ("delete", "left out"), ("insert", "put in")):
            common = confusions(pairs, kind).most_common(n_worst)  # type: ignore[arg-type]
            if common:
                told = ", ".join(f"{' -> '.join(filter(None, pair))} {count}" for pair, count in common)
                console.print(Text(f"{heading}: {told}"))


def difference(reference: str, prediction: str) -> Any:
    """Return both texts as one, what differs marked by signs and colours."""
    from rich.text import Text

    from auricle.evaluation.alignment import align

    told = Text()
    for piece in align(reference, prediction):
        shown = {
            "equal": piece.reference,
            "replace": f"[{piece.reference} -> {piece.hypothesis}]",
            "delete": f"[-{piece.reference}-]",
            "insert": f"{{+{piece.hypothesis}+}}",
        }[piece.kind]
        told.append(shown, style=_COLOURS[piece.kind]).append(" ")
    told.right_crop(1)
    return told


def _print_table(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as Drawn

    drawn = Drawn()
    for place, name in enumerate(table.columns):
        is_name = place < table.n_names
        width = 16 if is_name else None
        drawn.add_column(name, justify="left" if is_name else "right", overflow="fold", no_wrap=not is_name,
                         min_width=width)  # fmt: skip
    for row in table.rows:
        drawn.add_row(*row)
    # Names are folded to a terminal's width; figures that are cut off would be worse than lines that are too long.
    print(table.title)
    wide = Console(file=sys.stdout, width=10_000)
    least, most = wide.measure(drawn).minimum, wide.measure(drawn).maximum
    wished = Console(file=sys.stdout).width if sys.stdout.isatty() else most
    Console(file=sys.stdout, highlight=False, markup=False, width=max(least, min(wished, most))).print(drawn)


def _told(duel: Duel) -> dict[str, Any]:
    one = duel.comparison
    return {
        "dataset": duel.dataset,
        "first": duel.first,
        "second": duel.second,
        "difference": one.difference,
        "low": one.low,
        "high": one.high,
        "first_better": one.first_better,
        "n_utterances": one.n_utterances,
        "drawn": one.drawn,
    }
