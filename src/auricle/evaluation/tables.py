"""Boards as tables of texts, which a terminal, Markdown and a page show alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auricle.evaluation.leaderboard import Board, Duel
from auricle.evaluation.rows import DIARIZATION

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A title, the columns' heads, and rows of as many texts; all but the first `n_names` columns are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_names: int = 1


def standings(board: Board) -> Table:
    """Return models against data sets with their means and ranks, raw rates beside the normalised ones."""
    datasets, cells = board.datasets, board.cells
    rate = board.rate.upper()
    rows = []
    rank = 0
    for place, (model, mean) in enumerate(board.standings, 1):
        rank = place if mean is not None else rank
        found = [cells[model, one].row if (model, one) in cells else None for one in datasets]
        rows.append(
            (
                str(rank) if mean is not None else NOTHING,
                model,
                percent(mean),
                *(_with_raw(row, board.rate) if row is not None else NOTHING for row in found),
            )
        )
    head = "rate (raw text)" if board.task != DIARIZATION else "rate"
    columns = ("rank", "model", f"mean {rate}", *datasets)
    return Table(f"{rate}: {head}; {board.ways}", columns, tuple(rows), n_names=2)


def details(board: Board) -> Table:
    """Return everything that was counted, a row for each model and data set."""
    rows = [entry.row for entry in board.entries]
    columns: tuple[str, ...]
    if board.task == DIARIZATION:
        columns = (
            *("model", "data set", "DER %", "95 % interval", "missed", "false alarm", "confusion", "JER %"),
            *("cpWER %", "WDER %", "recordings", "RTFx"),
        )
        return Table(f"Diarization; {board.ways}", columns, tuple(map(_diarization, rows)), n_names=2)
    columns = (
        *("model", "data set", "WER %", "95 % interval", "raw WER %", "CER %", "raw CER %"),
        *("sub", "del", "ins", "words", "utterances", "left out", "RTFx"),
    )
    return Table(f"Speech recognition; normalised by {board.ways}", columns, tuple(map(_speech, rows)), n_names=2)


def markdown(tables: Sequence[Table], warnings: Sequence[str] = (), duels: Sequence[Duel] = ()) -> str:
    """Return tables, comparisons and warnings as Markdown."""
    parts = []
    for table in tables:
        aligned = [":---" if place < table.n_names else "---:" for place in range(len(table.columns))]
        lines = [_line(table.columns), _line(aligned), *map(_line, table.rows)]
        parts.append(f"### {table.title}\n\n" + "\n".join(lines))
    if duels:
        parts.append("### Compared on the same utterances\n\n" + "\n".join(f"- {duel}" for duel in duels))
    if warnings:
        parts.append("### To be known\n\n" + "\n".join(f"- {warning}" for warning in warnings))
    return "\n\n".join(parts) + "\n"


def percent(rate: float | None) -> str:
    """Return a fraction in percent, with two digits."""
    return NOTHING if rate is None else f"{100 * rate:.2f}"


def _speech(row: Mapping[str, Any]) -> tuple[str, ...]:
    raw = row.get("raw") or {}
    low, high = row.get("wer_low"), row.get("wer_high")
    dropped = sum(one.get("n", 0) for one in (row.get("dropped") or {}).values())
    left_out = [f"{dropped} dropped"] * bool(dropped) + [f"{row.get('n_failed')} failed"] * bool(row.get("n_failed"))
    return (
        row["model"],
        row["dataset"],
        percent(row["wer"]),
        NOTHING if low is None or high is None else f"{percent(low)} to {percent(high)}",
        percent(raw.get("wer")),
        percent(row.get("cer")),
        percent(raw.get("cer")),
        *(_count(row.get(key)) for key in ("substitutions", "deletions", "insertions", "words", "n_utterances")),
        ", ".join(left_out) or "0",
        _speed(row),
    )


def _diarization(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row.get("der_low"), row.get("der_high")
    between = NOTHING if low is None or high is None else f"{percent(low)} to {percent(high)}"
    parts = [percent(row.get(key)) for key in ("missed", "false_alarm", "confusion", "jer", "cpwer", "wder")]
    return (
        *(row["model"], row["dataset"], percent(row["der"]), between),
        *parts,
        *(_count(row.get("n_recordings")), _speed(row)),
    )


def _with_raw(row: Mapping[str, Any], rate: str) -> str:
    raw = (row.get("raw") or {}).get(rate)
    return percent(row[rate]) + (f" ({percent(raw)})" if raw is not None else "")


def _speed(row: Mapping[str, Any]) -> str:
    return NOTHING if not row.get("rtfx") else f"{row['rtfx']:.1f}"


def _count(number: Any) -> str:
    return NOTHING if number is None else str(number)


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"
