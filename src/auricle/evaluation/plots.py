"""Plots as SVG text: bars with intervals, points, lines. Colours are classes c0 to c7 of the page that holds them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

N_COLOURS = 8
_WIDTH, _LINE = 720, 22
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 14, 44


@dataclass(frozen=True)
class Bar:
    """A rate with its interval, as fractions."""

    label: str
    rate: float
    low: float | None
    high: float | None
    colour: int


@dataclass(frozen=True)
class Point:
    """A named place."""

    label: str
    x: float
    y: float
    colour: int


def bars(title: str, bars: Sequence[Bar]) -> str:
    """Return horizontal bars in percent, a line across each for its interval; all start at 0."""
    top = max([*(bar.high or bar.rate for bar in bars), 0.01])
    left = 14 + 7 * max(len(_short(bar.label)) for bar in bars)
    ticks = _ticks(100 * top)
    scale = (_WIDTH - left - 80) / ticks[-1]
    height = _TOP + _LINE * len(bars) + 30
    parts = [_grid_line(left + tick * scale, _TOP, height - 26, f"{tick:g} %") for tick in ticks]
    for place, bar in enumerate(bars):
        y = _TOP + _LINE * place + 3
        end = left + 100 * bar.rate * scale
        told = f"{bar.label}: {100 * bar.rate:.2f} %"
        parts.append(_text(left - 8, y + 12, _short(bar.label), "end"))
        parts.append(
            f'<rect class="c{bar.colour % N_COLOURS}" x="{left}" y="{y}" width="{max(end - left, 1):.1f}" '
            f'height="{_LINE - 7}" rx="2"><title>{escape(told)}</title></rect>'
        )
        reach = end
        if bar.low is not None and bar.high is not None:
            low, high, middle = left + 100 * bar.low * scale, left + 100 * bar.high * scale, y + (_LINE - 7) / 2
            parts.append(
                f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} '
                f'{middle - 4}v8"/>'
            )
            reach = max(end, high)
        parts.append(_text(reach + 6, y + 12, f"{100 * bar.rate:.2f}", "start"))
    return _figure(title, height, parts)


def scatter(title: str, points: Sequence[Point], x_name: str, y_name: str) -> str:
    """Return points over a logarithmic axis of speed; y is a fraction, shown in percent from 0."""
    height = 340
    low, high = _decades([point.x for point in points])
    y_ticks = _ticks(100 * max([*(point.y for point in points), 0.01]))

    def x_at(value: float) -> float:
        return _LEFT + (math.log10(value) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT - 110)

    def y_at(percent: float) -> float:
        return height - _BOTTOM - percent / y_ticks[-1] * (height - _TOP - _BOTTOM)

    parts = [_level_line(y_at(tick), f"{tick:g} %") for tick in y_ticks]
    for power in range(math.ceil(low), math.floor(high) + 1):
        parts.append(_grid_line(x_at(10.0**power), _TOP, height - _BOTTOM + 4, f"{10.0**power:g}"))
    for point in points:
        x, y = x_at(point.x), y_at(100 * point.y)
        told = f"{point.label}: {100 * point.y:.2f} %, {point.x:.1f}"
        parts.append(
            f'<circle class="c{point.colour % N_COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="6">'
            f"<title>{escape(told)}</title></circle>"
        )
        parts.append(_text(x + 10, y + 4, _short(point.label), "start"))
    parts.append(_text(_WIDTH / 2, height - 6, x_name, "middle"))
    parts.append(_text(_LEFT, _TOP - 2, y_name, "start"))
    return _figure(title, height, parts)


def lines(title: str, places: Sequence[str], series: Mapping[str, Sequence[float | None]], x_name: str) -> str:
    """Return a line for each series over named places; a series may lack some. Values are fractions."""
    height = 300
    known = [value for values in series.values() for value in values if value is not None]
    ticks = _ticks(100 * max([*known, 0.01]))
    step = (_WIDTH - _LEFT - _RIGHT - 200) / max(len(places) - 1, 1)

    def y_at(percent: float) -> float:
        return height - _BOTTOM - percent / ticks[-1] * (height - _TOP - _BOTTOM)

    parts = [_level_line(y_at(tick), f"{tick:g} %") for tick in ticks]
    parts += [_text(_LEFT + 10 + place * step, height - 26, name, "middle") for place, name in enumerate(places)]
    for colour, (label, values) in enumerate(series.items()):
        spots = [
            (_LEFT + 10 + place * step, y_at(100 * value)) for place, value in enumerate(values) if value is not None
        ]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline class="line c{colour % N_COLOURS}" points="{drawn}"><title>{escape(label)}</title>')
        parts.append("</polyline>")
        parts += [f'<circle class="c{colour % N_COLOURS}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in spots]
    parts += _line_names(series, y_at, _LEFT + 10, step)
    parts.append(_text(_WIDTH / 2, height - 6, x_name, "middle"))
    return _figure(title, height, parts)


def _line_names(series: Mapping[str, Sequence[float | None]], y_at: object, left: float, step: float) -> list[str]:
    """Return the name of each line at its end, moved apart where two would cover each other."""
    assert callable(y_at)
    ends = []
    for label, values in series.items():
        known = [(place, value) for place, value in enumerate(values) if value is not None]
        if known:
            place, value = known[-1]
            ends.append([y_at(100 * value) + 4, left + place * step + 8, label])
    ends.sort(key=lambda end: end[0])
    for before, after in itertools.pairwise(ends):
        after[0] = max(after[0], before[0] + 14)
    return [_text(x, y, _short(label), "start") for y, x, label in ends]


def _figure(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg class="plot" role="img" aria-label="{escape(title)}" viewBox="0 0 {_WIDTH} {height:g}">'
        f"{''.join(parts)}</svg>"
    )


def _grid_line(x: float, top: float, bottom: float, label: str) -> str:
    return f'<path class="grid" d="M{x:.1f} {top}V{bottom:.1f}"/>' + _text(x, bottom + 14, label, "middle")


def _level_line(y: float, label: str) -> str:
    return f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>' + _text(_LEFT - 6, y + 4, label, "end")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks(top: float) -> list[float]:
    """Return four to eight round numbers from 0 to at least `top`."""
    size = 10.0 ** math.floor(math.log10(top))
    step = next(step for step in (size / 5, size / 2, size, 2 * size) if top / step <= 7)
    return [step * place for place in range(math.ceil(top / step - 1e-9) + 1)]


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """Return logarithms that enclose positive values, at least a decade apart."""
    low, high = math.log10(min(values)), math.log10(max(values))
    return math.floor(low), max(math.ceil(high + 0.05), math.floor(low) + 1)


def _short(label: str) -> str:
    return label if len(label) <= 30 else f"…{label[-29:]}"
