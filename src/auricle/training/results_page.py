"""results.html: a run's curves and texts as one file that needs nothing else, not even a server."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auricle.training.card import best_evaluation

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 560, 220, 58, 26, 10
MAX_POINTS = 600  # drawn of a curve; the others lie between them
STYLE = """
:root { color-scheme: light dark; --line: #2563a8; --grid: #8885; --best: #b3530a; }
@media (prefers-color-scheme: dark) { :root { --line: #7ab8f5; --best: #f0a35e; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; } svg .grid { stroke: var(--grid); }
svg .curve { fill: none; stroke: var(--line); stroke-width: 1.6; } svg .best { fill: var(--best); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; vertical-align: top; border-bottom: 1px solid var(--grid); }
"""
# A wide table scrolls by itself, with the keyboard, too.
_REGION = '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table>'


def write_page(path: Path, title: str, summary: str, log: Sequence[dict[str, Any]], metric: str = "wer") -> None:
    """Draw loss, error rates, learning rate and gradient norm of a log, and its last pairs of texts."""
    steps, evaluations = [row for row in log if "loss" in row], [row for row in log if "wer" in row]
    best = best_evaluation(evaluations, metric)
    plots = [
        plot("Loss per label", _points(steps, "loss"), logarithmic=True),
        plot("Word error rate", _points(evaluations, "wer"), best=_place(best, "wer"), percent=True),
        plot("Character error rate", _points(evaluations, "cer"), best=_place(best, "cer"), percent=True),
        plot("Learning rate", _points(steps, "learning_rate")),
        plot("Norm of the gradient", _points(steps, "gradient_norm"), logarithmic=True),
        plot("Share of frames that are blank", _points(steps, "blank_share"), percent=True),
    ]
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(summary)}</p>",
        f'<div class="plots">{"".join(plots)}</div>',
        _pairs(evaluations, best),
        _table(evaluations, best),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>"
    )
    path.write_text(page + "\n", encoding="utf-8")


def plot(
    title: str,
    points: Sequence[tuple[float, float]],
    *,
    best: tuple[float, float] | None = None,
    logarithmic: bool = False,
    percent: bool = False,
) -> str:
    """A curve as inline SVG with its axes; nothing where there are no points."""
    if not points:
        return ""
    thinned = [points[at] for at in range(0, len(points), max(1, len(points) // MAX_POINTS))]
    thinned += [points[-1]] if thinned[-1] != points[-1] else []
    positive = [y for _, y in thinned if y > 0]
    logarithmic = logarithmic and bool(positive) and max(positive) / min(positive) > 10

    def height_of(y: float) -> float:
        return math.log10(max(y, min(positive))) if logarithmic else y

    low, high = min(height_of(y) for _, y in thinned), max(height_of(y) for _, y in thinned)
    low = low if logarithmic else min(0.0, low)
    high = high if high > low else low + 1
    last = max(1.0, max(x for x, _ in thinned))

    def at(x: float, y: float) -> str:
        across = LEFT + (WIDTH - LEFT - 10) * x / last
        down = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (height_of(y) - low) / (high - low)
        return f"{across:.1f},{down:.1f}"

    lines = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = low + (high - low) * share
        y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share
        said = _written(10**value if logarithmic else value, percent)
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{said}</text>')
        x = LEFT + (WIDTH - LEFT - 10) * share
        lines.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{round(last * share)}</text>')
    lines.append(f'<polyline class="curve" points="{" ".join(at(x, y) for x, y in thinned)}"/>')
    label = f"{title}: from {_written(points[0][1], percent)} to {_written(points[-1][1], percent)}"
    if best is not None:
        across, _, down = at(*best).partition(",")
        lines.append(f'<circle class="best" cx="{across}" cy="{down}" r="5"/>')
        label += f", best {_written(best[1], percent)} at step {round(best[0])}"
    return (
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}">{"".join(lines)}</svg>'
        "</figure>"
    )


def _points(rows: Sequence[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in rows if isinstance(row.get(name), int | float)]


def _place(best: dict[str, Any] | None, name: str) -> tuple[float, float] | None:
    return None if best is None else (best["step"], best[name])


def _pairs(evaluations: Sequence[dict[str, Any]], best: dict[str, Any] | None) -> str:
    if best is None:
        return ""
    first = dict(evaluations[0]["pairs"])
    rows = "".join(
        f"<tr><td>{html.escape(reference)}</td><td>{html.escape(first.get(reference, ''))}</td>"
        f"<td>{html.escape(text)}</td></tr>"
        for reference, text in best["pairs"]
    )
    return (
        f"<h2>Texts</h2>{_REGION.format('Texts')}<thead><tr><th>said</th><th>recognised at step "
        f"{evaluations[0]['step']}</th><th>at step {best['step']}, which is kept</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _table(evaluations: Sequence[dict[str, Any]], best: dict[str, Any] | None) -> str:
    if best is None:
        return ""
    rows = "".join(
        f"<tr><td>{row['step']}</td><td>{row['wer']:.2%}</td><td>{row['errors']} of {row['words']}</td>"
        f"<td>{row['cer']:.2%}</td><td>{'kept' if row is best else ''}</td></tr>"
        for row in evaluations
    )
    return (
        f"<h2>Evaluations</h2>{_REGION.format('Evaluations')}<thead><tr><th>step</th><th>WER</th><th>words wrong</th>"
        f"<th>CER</th><th></th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _written(value: float, percent: bool) -> str:
    return f"{value:.1%}" if percent else f"{value:.3g}"
