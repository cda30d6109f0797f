"""The leaderboard as one HTML file: nothing is fetched, so that it works from a disk and can be sent to others."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from auricle import __version__
from auricle.evaluation.alignment import align
from auricle.evaluation.leaderboard import Board, Duel, hardware_of
from auricle.evaluation.plots import Bar, Point, bars, lines, scatter
from auricle.evaluation.rows import SPEECH
from auricle.evaluation.scoring import Score
from auricle.evaluation.tables import Table, details, standings
from auricle.evaluation.wer import LENGTH

Scores = Mapping[tuple[str, str], Score]  # model and data set to what was scored


def page(title: str, boards: Sequence[Board], scores: Sequence[Scores], duels: Sequence[Duel], n_worst: int) -> str:
    """Return the page: tables, plots, comparisons, and the `n_worst` utterances of each model and data set."""
    warnings = list(dict.fromkeys(warning for board in boards for warning in board.warnings))
    body = [f"<h1>{escape(title)}</h1>"]
    if warnings:
        body.append('<section class="told"><h2>To be known</h2>' + _list(warnings) + "</section>")
    for board, of_board in zip(boards, scores, strict=True):
        body.append(_board(board))
        body += [_differences(model, dataset, one, n_worst) for (model, dataset), one in of_board.items() if n_worst]
    if duels:
        body.append("<section><h2>Compared on the same utterances</h2>" + _list(map(str, duels)) + "</section>")
    body.append(f"<footer>{_how_to_read()}</footer>")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'\">"
        f"<style>{_asset('page.css')}</style></head><body><main>{''.join(body)}</main>"
        f"<script>{_asset('page.js')}</script></body></html>\n"
    )


def _board(board: Board) -> str:
    heading = "Speech recognition" if board.task == SPEECH else "Speaker diarization"
    parts = [f"<section><h2>{heading}</h2>", _table(standings(board)), *_plots(board), _table(details(board))]
    places = sorted({str(entry.row["hardware"]) for entry in board.entries if entry.row.get("hardware")})
    if places:
        parts.append("<h3>Speed was measured on</h3>" + _list(places))
    return "".join(parts) + "</section>"


def _plots(board: Board) -> list[str]:
    rate, models = board.rate, [model for model, _ in board.standings]
    colours = {model: place for place, model in enumerate(models)}
    drawn = []
    for dataset in board.datasets:
        rows = [board.cells[model, dataset].row for model in models if (model, dataset) in board.cells]
        shown = [
            Bar(row["model"], row[rate], row.get(f"{rate}_low"), row.get(f"{rate}_high"), colours[row["model"]])
            for row in sorted(rows, key=lambda row: row[rate])
        ]
        drawn.append(_figure(f"{rate.upper()} on {dataset}, lower is better; the line is the interval", bars, shown))
    points = _speeds(board, colours)
    if points:
        name = f"{rate.upper()} against speed"
        drawn.append(
            f"<figure><figcaption>{name}: better is lower and to the right</figcaption>"
            + scatter(name, points, "seconds of audio recognised in a second (RTFx)", f"mean {rate.upper()}")
            + "</figure>"
        )
    return drawn + _by_duration(board, models)


def _figure(caption: str, draw: object, shown: Sequence[Bar]) -> str:
    assert callable(draw)
    return f"<figure><figcaption>{escape(caption)}</figcaption>{draw(caption, shown)}</figure>"


def _speeds(board: Board, colours: Mapping[str, int]) -> list[Point]:
    """Return the mean rate and the speed over all data sets, of models that have both, on one kind of hardware."""
    if len({hardware_of(entry.row) for entry in board.entries if entry.row.get("rtfx")}) != 1:
        return []
    points = []
    for model, mean in board.standings:
        rows = [entry.row for entry in board.entries if entry.row["model"] == model]
        computed = sum(row.get("compute_seconds") or 0.0 for row in rows)
        if mean is not None and computed and all(row.get("rtfx") for row in rows):
            points.append(Point(model, sum(row["audio_seconds"] for row in rows) / computed, mean, colours[model]))
    return points


def _by_duration(board: Board, models: Sequence[str]) -> list[str]:
    drawn = []
    for dataset in board.datasets:
        told = {model: board.cells[model, dataset].row.get("by_duration") or [] for model in models
                if (model, dataset) in board.cells}  # fmt: skip
        starts = sorted({one["from"] for parts in told.values() for one in parts})
        if len(starts) < 2:
            continue
        ends = {one["from"]: one["to"] for parts in told.values() for one in parts}
        names = [f"{start:g} to {ends[start]:g} s" if ends[start] else f"{start:g} s on" for start in starts]
        series = {
            model: [next((one["wer"] for one in parts if one["from"] == start), None) for start in starts]
            for model, parts in told.items()
        }
        caption = f"WER by the length of utterances: {dataset}"
        drawn.append(
            f"<figure><figcaption>{escape(caption)}</figcaption>"
            f"{lines(caption, names, series, 'length of the utterance')}</figure>"
        )
    return drawn


def _differences(model: str, dataset: str, one: Score, n_worst: int) -> str:
    errors = one.normalized.words[:, :LENGTH].sum(axis=1)
    worst = [at for at in sorted(range(len(errors)), key=lambda at: -errors[at])[:n_worst] if errors[at]]
    if not worst:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(one.kept[at].id)}</th><td>{errors[at]}</td>'
        f"{''.join(f'<td>{number}</td>' for number in one.normalized.words[at])}"
        f'<td class="text">{marked(one.references[at], one.predictions[at])}</td></tr>'
        for at in worst
    )
    names = ("utterance", "errors", "sub", "del", "ins", "words")
    heads = "".join(f'<th scope="col"><button type="button">{name}</button></th>' for name in names)
    label = f"Differences: {model} on {dataset}"
    return (
        f"<details><summary>{escape(label)}, the {len(worst)} utterances with most errors</summary>"
        f'<div class="frame" role="region" aria-label="{escape(label)}" tabindex="0"><table class="sortable"><thead>'
        f'<tr>{heads}<th scope="col" class="name">what was said, and what was heard</th></tr></thead><tbody>{rows}'
        "</tbody></table></div></details>"
    )


def marked(reference: str, prediction: str) -> str:
    """Return both texts as HTML: what was left out in <del>, what was put in in <ins>, exchanged words as both."""
    parts = []
    for piece in align(reference, prediction):
        if piece.kind == "equal":
            parts.append(escape(piece.reference))
            continue
        exchanged = ' class="sub"' if piece.kind == "replace" else ""
        said = f"<del{exchanged}>{escape(piece.reference)}</del>" if piece.reference else ""
        heard = f"<ins{exchanged}>{escape(piece.hypothesis)}</ins>" if piece.hypothesis else ""
        parts.append(" ".join(filter(None, [said, heard])))
    return " ".join(parts)


def _table(table: Table) -> str:
    heads = "".join(
        f'<th scope="col"{_aligned(place, table)}><button type="button">{escape(name)}</button></th>'
        for place, name in enumerate(table.columns)
    )
    head_at = 1 if table.columns[0] == "rank" else 0
    rows = []
    for row in table.rows:
        cells = [
            f'<th scope="row">{escape(text)}</th>'
            if place == head_at
            else f"<td{_aligned(place, table)}>{escape(text)}</td>"
            for place, text in enumerate(row)
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="frame" role="region" aria-label="{escape(table.title)}" tabindex="0"><table class="sortable">'
        f"<caption>{escape(table.title)}</caption><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        "</div>"
    )


def _aligned(place: int, table: Table) -> str:
    return ' class="name"' if place < table.n_names else ""


def _list(texts: object) -> str:
    assert hasattr(texts, "__iter__")
    return f"<ul>{''.join(f'<li>{escape(str(text))}</li>' for text in texts)}</ul>"


def _how_to_read() -> str:
    return (
        "<p>WER and CER are errors per word and per character of the references. A mean is the plain mean of the data "
        "sets' rates; models that lack a data set have none. In the differences <del>this</del> was said and not "
        'heard, <ins>this</ins> was heard and not said, and <del class="sub">this</del> <ins class="sub">that</ins> '
        f"are exchanged.</p><p>Written by auricle {__version__} on {datetime.date.today().isoformat()}.</p>"
    )


def _asset(name: str) -> str:
    return files("auricle.evaluation").joinpath("web", name).read_text(encoding="utf-8")
