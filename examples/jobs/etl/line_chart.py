"""A line chart with a band, as SVG text, by hand: about a hundred lines instead of a plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 960, 520
LEFT, RIGHT, TOP, BOTTOM = 64, 28, 108, 64
INK, MUTED, GRID, LINE, BAND, ZERO = "#1b1f24", "#5b6470", "#e3e7ec", "#b3441e", "#f2c9b4", "#9aa3ad"
FONT = "font-family=\"-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif\""


@dataclass(frozen=True, slots=True)
class Point:
    """One year: its mean, its least and its greatest value."""

    x: int
    mean: float
    least: float
    most: float


def draw(points: Sequence[Point], *, title: str, subtitle: str, unit: str, source: str) -> str:
    """Returns the chart.

    Args:
        points: At least one, in the order of x.
        title: What the chart answers.
        subtitle: What is drawn.
        unit: Unit of the values.
        source: Where they come from.
    """
    if not points:
        raise ValueError("a chart needs at least one point")
    ticks = nice_ticks(min(p.least for p in points), max(p.most for p in points))
    scale = _Scale(points[0].x, max(points[-1].x, points[0].x + 1), ticks[0], ticks[-1])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' role="img" aria-label="{escape(title)}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(LEFT - 40, 38, title, size=22, weight=600),
        _text(LEFT - 40, 62, subtitle, size=13.5, fill=MUTED),
        *_axes(points, ticks, scale, unit),
        _band(points, scale),
        _line(points, scale),
        *_marks(points, scale, unit),
        _text(WIDTH - RIGHT, HEIGHT - 14, source, size=11, fill=MUTED, anchor="end"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def nice_ticks(least: float, most: float, wanted: int = 8) -> list[float]:
    """Returns round values that enclose a range, steps of 1, 2 or 5 times a power of ten."""
    span = (most - least) or abs(most) or 1.0
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    low, high = math.floor(least / step), math.ceil(most / step)
    return [round(i * step, 10) for i in range(low, high + 1)]


class _Scale:
    def __init__(self, first: int, last: int, low: float, high: float) -> None:
        self.first, self.last, self.low, self.high = first, last, low, high

    def x(self, value: float) -> float:
        return LEFT + (value - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)


def _axes(points: Sequence[Point], ticks: Sequence[float], scale: _Scale, unit: str) -> list[str]:
    parts = []
    for tick in ticks:
        y = scale.y(tick)
        colour, width = (ZERO, 1.4) if tick == 0 else (GRID, 1)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"'
            f' stroke-width="{width}"/>'
        )
        parts.append(_text(LEFT - 10, y + 4, f"{tick:g}".replace("-", "\u2212"), size=12, fill=MUTED, anchor="end"))
    parts.append(_text(LEFT - 40, TOP - 12, unit, size=12, fill=MUTED))
    span = points[-1].x - points[0].x
    step = 10 if span > 25 else 5 if span > 12 else 2 if span > 6 else 1
    for year in range(math.ceil(points[0].x / step) * step, points[-1].x + 1, step):
        x = scale.x(year)
        bottom = HEIGHT - BOTTOM
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}" stroke="{ZERO}"/>')
        parts.append(_text(x, bottom + 20, str(year), size=12, fill=MUTED, anchor="middle"))
    return parts


def _band(points: Sequence[Point], scale: _Scale) -> str:
    upper = [f"{scale.x(p.x):.1f},{scale.y(p.most):.1f}" for p in points]
    lower = [f"{scale.x(p.x):.1f},{scale.y(p.least):.1f}" for p in reversed(points)]
    return f'<polygon points="{" ".join(upper + lower)}" fill="{BAND}" fill-opacity="0.55"/>'


def _line(points: Sequence[Point], scale: _Scale) -> str:
    path = " ".join(f"{scale.x(p.x):.1f},{scale.y(p.mean):.1f}" for p in points)
    return f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="2.4" stroke-linejoin="round"/>'


def _marks(points: Sequence[Point], scale: _Scale, unit: str) -> list[str]:
    """Dots with their value at the greatest and the least mean."""
    parts = []
    for point, above in ((max(points, key=lambda p: p.mean), True), (min(points, key=lambda p: p.mean), False)):
        x, y = scale.x(point.x), scale.y(point.mean)
        side = "start" if x < WIDTH * 0.8 else "end"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{LINE}" stroke="#ffffff" stroke-width="1.5"/>')
        shift = -12 if above else 20
        label = f"{point.x}: {point.mean:+.2f} {unit}".replace("-", "\u2212")
        parts.append(_text(x + (8 if side == "start" else -8), y + shift, label, size=12, weight=600, anchor=side))
    return parts


def _text(
    x: float, y: float, text: str, *, size: float, fill: str = INK, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" font-weight="{weight}" fill="{fill}"'
        f' text-anchor="{anchor}">{escape(text)}</text>'
    )
