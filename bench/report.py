"""Prints a run: tables for people, one JSON document for scripts."""

from __future__ import annotations

import json
import sys

from rich.console import Console
from rich.table import Table

from bench.bars import Bar
from bench.figures import Figures, Row

_PLAIN_WIDTH = 150


def document(
    machine: dict[str, object], figures: Figures, bars: list[Bar], problems: list[str], ours: frozenset[str]
) -> dict[str, object]:
    """Return the run as one JSON document.

    Args:
        machine: facts about the machine.
        figures: everything measured.
        bars: the bars of the sections that were run.
        problems: what could not be measured, a sentence each.
        ours: names of the engines that are Formicary; the others are its peers.
    """
    rows = list(figures.rows())
    pending = [found for size in ("200", "10000") for found in _all(figures, f"pending-{size}", ours)]
    return {
        "name": "engine",
        "machine": machine,
        "floor": figures.floor,
        "figures": [row.as_json() for row in rows if row.engine in ours] + pending,
        "peers": [row.as_json() for row in rows if row.engine not in ours],
        "bars": [bar.as_json() for bar in bars],
        "problems": problems,
    }


def _all(figures: Figures, mode: str, engines: frozenset[str]) -> list[dict[str, object]]:
    found = ((engine, figures.last(engine, mode)) for engine in sorted(engines))
    return [{"what": mode, "engine": engine, **last} for engine, last in found if last is not None]


def print_json(content: dict[str, object]) -> None:
    """Print the document to standard output."""
    json.dump(content, sys.stdout, indent=2, ensure_ascii=False)
    print()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rows_table(rows: list[Row]) -> Table:
    table = Table("what", "engine", "unit", title="Figures")
    for heading in ("median", "min", "max", "runs", "jobs"):
        table.add_column(heading, justify="right")
    table.add_column("how", overflow="fold")
    for row in rows:
        spread = (_number(row.median), _number(row.low), _number(row.high), str(len(row.runs)))
        jobs, form = str(row.last.get("jobs", "")), str(row.last.get("form", ""))
        table.add_row(row.mode, row.engine, row.unit, *spread, jobs, form)
    return table


def _promises_table(rows: list[Row]) -> Table:
    """Each engine once: what it promises for what its speed costs."""
    table = Table("engine", "durability", "versions", title="What each promises")
    seen: dict[str, Row] = {}
    for row in rows:
        seen.setdefault(row.engine, row)
    for engine, row in seen.items():
        versions = row.last.get("versions")
        named = versions.items() if isinstance(versions, dict) else ()
        table.add_row(engine, str(row.last.get("durability", "")), " ".join(f"{name} {value}" for name, value in named))
    return table


def _bars_table(bars: list[Bar]) -> Table:
    table = Table("what", "bar", title="Bars")
    table.add_column("value", justify="right")
    table.add_column("met")
    words = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "not measured"}
    for bar in bars:
        table.add_row(bar.what, bar.bar, "" if bar.value is None else _number(bar.value), words[bar.met])
    return table


def _print_disturbances(console: Console, found: object) -> None:
    """Say why this run should be repeated; nothing after a quiet one."""
    for sentence in found if isinstance(found, list) else ():
        console.print(f"Disturbed, measure again: {sentence}", style="yellow", highlight=False)


def print_tables(machine: dict[str, object], figures: Figures, bars: list[Bar], problems: list[str]) -> None:
    """Print the run for people; plain when standard output is no terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    rows = list(figures.rows())
    facts = {name: value for name, value in machine.items() if name != "disturbed"}
    console.print("  ".join(f"{name} {value}" for name, value in facts.items()), highlight=False)
    _print_disturbances(console, machine.get("disturbed"))
    console.print(
        "Floor: " + "  ".join(f"{name} {value:.3f}" for name, value in figures.floor.items()), highlight=False
    )
    console.print(_rows_table(rows))
    console.print(_promises_table(rows))
    pending = Table("pending", title="Backlog")
    names = ("bytes_per_job", "start_s", "shallow_per_s", "deep_per_s", "fall", "accepted_per_s")
    for name in names:
        pending.add_column(name, justify="right")
    for mode in ("pending-200", "pending-10000"):
        last = figures.last("formicary+sqlite", mode)
        if last is not None:
            pending.add_row(mode, *(_number(float(str(last[name]))) for name in names))
    if pending.row_count:
        console.print(pending)
    console.print(_bars_table(bars))
    for problem in problems:
        console.print(f"Not measured: {problem}", style="yellow", highlight=False)
