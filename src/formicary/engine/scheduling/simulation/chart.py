"""Pictures of runs as SVG text: a Gantt chart of few jobs, and waiting and use over time of many."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import ceil, floor, log10

from formicary.engine.scheduling.simulation.engine import Outcome
from formicary.engine.scheduling.simulation.workload import SLOTS, Cluster

WIDTH, LEFT, TOP = 960, 130, 34
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#ee8866", "#44bb99", "#997700")
MOST_BARS = 400
_POINTS = 240


def draw(outcomes: Mapping[str, Outcome], cluster: Cluster) -> str:
    """One picture of all runs, by name of policy: Gantt charts for small ones, lines over time for others."""
    small = all(sum(len(ran.segments) for ran in one.jobs) <= MOST_BARS for one in outcomes.values())
    body, height = _gantts(outcomes, cluster) if small and len(cluster.ants) <= 40 else _lines(outcomes, cluster)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(text)}</text>'


def _span(outcomes: Mapping[str, Outcome]) -> tuple[float, float]:
    ends = [segment[1] for one in outcomes.values() for ran in one.jobs for segment in ran.segments]
    starts = [ran.job.submit for one in outcomes.values() for ran in one.jobs]
    low, high = min(starts, default=0.0), max(ends, default=1.0)
    return low, high if high > low else low + 1.0


def _round_steps(low: float, high: float, most: int = 8) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within the span, no more than `most` and the first."""
    rough = (high - low) / most
    power = 10.0 ** floor(log10(rough))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough * (1 - 1e-9))
    return [step * number for number in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _axis(y: float, low: float, high: float) -> list[str]:
    """The axis of time, in hours where it is long."""
    unit, seconds = ("h", 3600.0) if high - low >= 3 * 3600 else ("s", 1.0)
    found = [
        f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - 20}" y2="{y:.1f}" stroke="#333"/>',
        _text(LEFT - 8, y + 15, f"time, {unit}", 'text-anchor="end" fill="#333"'),
    ]
    for at in _round_steps(low / seconds, high / seconds):
        x = LEFT + (WIDTH - 20 - LEFT) * (at * seconds - low) / (high - low)
        found.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{y + 4:.1f}" stroke="#333"/>')
        found.append(_text(x, y + 16, f"{at:.6g}", 'text-anchor="middle" fill="#333"'))
    return found


def _lanes(outcome: Outcome) -> dict[str, list[list[tuple[float, float, int]]]]:
    """Bars by ant, on as many lanes as there is running at once."""
    bars: dict[str, list[tuple[float, float, int]]] = {}
    for number, ran in enumerate(outcome.jobs):
        for start, end, ant in ran.segments:
            bars.setdefault(ant, []).append((start, end, number))
    lanes: dict[str, list[list[tuple[float, float, int]]]] = {}
    for ant, all_bars in bars.items():
        rows = lanes.setdefault(ant, [])
        for bar in sorted(all_bars):
            free = next((row for row in rows if row[-1][1] <= bar[0] + 1e-9), None)
            if free is None:
                rows.append([bar])
            else:
                free.append(bar)
    return lanes


def _gantts(outcomes: Mapping[str, Outcome], cluster: Cluster) -> tuple[list[str], int]:
    low, high = _span(outcomes)
    scale = (WIDTH - 20 - LEFT) / (high - low)
    y, body = TOP, []
    for policy, outcome in outcomes.items():
        lanes = _lanes(outcome)
        body.append(_text(12, y - 10, policy, 'font-weight="bold"'))
        for ant in cluster.ants:
            rows = lanes.get(ant.id) or [[]]
            body.append(_text(12, y + 15, ant.id[:18], 'fill="#333"'))
            for row in rows:
                for start, end, number in row:
                    x, width = LEFT + (start - low) * scale, max(0.5, (end - start) * scale)
                    name = outcome.jobs[number].job.id
                    colour = COLOURS[number % len(COLOURS)]
                    body.append(
                        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="20" fill="{colour}" stroke="white">'
                        f"<title>{escape(name)}: {start:g} to {end:g} s</title></rect>"
                    )
                    if width > 7 * len(name) + 4:
                        middle = f'text-anchor="middle" fill="{"black" if number % 10 in (3, 4, 6) else "white"}"'
                        body.append(_text(x + width / 2, y + 14, name, middle))
                y += 22
        body += _axis(y + 2, low, high)
        y += 58
    return body, y


def _measured(cluster: Cluster) -> str:
    """The resource whose use is drawn; empty where ants name neither."""
    return next((name for name in ("cpu", SLOTS) if any(name in ant.capacity for ant in cluster.ants)), "")


def _steps(outcome: Outcome, cluster: Cluster) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Changes of the number of jobs that wait, and of the per cent of the cluster (else number of jobs) that run."""
    name = _measured(cluster)
    all_there_is = sum(ant.capacity.get(name, 0.0) for ant in cluster.ants)
    scale = 100.0 / all_there_is if all_there_is else 1.0
    waiting: list[tuple[float, float]] = []
    held: list[tuple[float, float]] = []
    for ran in outcome.jobs:
        waiting.append((ran.waits_from, 1.0))
        if ran.start is not None:
            waiting.append((ran.start, -1.0))
        part = scale * ran.job.demand.get(name, 1.0 if name in ("", SLOTS) else 0.0)
        for start, end, _ in ran.segments:
            held += [(start, part), (end, -part)]
    return sorted(waiting), sorted(held)


def _sampled(steps: list[tuple[float, float]], low: float, high: float) -> list[float]:
    values, at, now = [], 0, 0.0
    for point in range(_POINTS + 1):
        limit = low + (high - low) * point / _POINTS
        while at < len(steps) and steps[at][0] <= limit:
            now += steps[at][1]
            at += 1
        values.append(now)
    return values


def _lines(outcomes: Mapping[str, Outcome], cluster: Cluster) -> tuple[list[str], int]:
    low, high = _span(outcomes)
    curves = {name: _steps(one, cluster) for name, one in outcomes.items()}
    body: list[str] = []
    y = TOP
    resource = _measured(cluster)
    use = f"{resource} in use, per cent" if resource else "jobs that run, number"
    for position, title in enumerate(("jobs that wait, number", use)):
        sampled = {name: _sampled(pair[position], low, high) for name, pair in curves.items()}
        top = max((max(values) for values in sampled.values()), default=1.0) or 1.0
        body.append(_text(12, y - 10, title, 'font-weight="bold"'))
        for at in _round_steps(0.0, top, 5):
            level = y + 200 - 195 * at / top
            body.append(_text(LEFT - 8, level + 4, f"{at:.6g}", 'text-anchor="end" fill="#333"'))
            body.append(f'<line x1="{LEFT}" y1="{level:.1f}" x2="{WIDTH - 20}" y2="{level:.1f}" stroke="#ddd"/>')
        for number, (name, values) in enumerate(sampled.items()):
            points = " ".join(
                f"{LEFT + (WIDTH - 20 - LEFT) * at / _POINTS:.1f},{y + 200 - 195 * value / top:.1f}"
                for at, value in enumerate(values)
            )
            colour = COLOURS[number % len(COLOURS)]
            body.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
            body.append(_text(12, y + 30 + 16 * number, name, f'fill="{colour}"'))
        body += _axis(y + 200, low, high)
        y += 262
    return body, y - 20
