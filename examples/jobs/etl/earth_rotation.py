"""How long is a day? The tasks of the job in ``earth_rotation.yaml``, as plain functions.

The input is real: the IERS series "EOP 20 C04", the Earth's orientation for every day since 1962, as it ships in the
package ``astropy-iers-data``. Its column LOD says by how many seconds each day was longer than 86,400 SI seconds.

The functions hand file names to each other, not tables: a result is at most 1 MB. Every file is written under a
temporary name and then renamed, so that a task that is run again after a crash leaves the same files behind.
"""

from __future__ import annotations

import csv
import datetime
import importlib.util
import os
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import TypedDict

import line_chart

PACKAGE = "astropy_iers_data"
SERIES = "eopc04.1962-now"
SOURCE = "IERS EOP 20 C04 series, Paris Observatory"
MAX_LOD_S = 0.01
"""No day since 1962 was off by more than 5 ms; twice that is a broken row."""
MAX_POLE_ARCSEC = 1.0
"""The pole wanders within half an arc second."""


class Extract(TypedDict):
    """Where the extracted rows are: one CSV file per year, with day, lod_ms, pole_x and pole_y."""

    folder: str
    rows: int
    first_day: str
    last_day: str
    release: str


class Year(TypedDict):
    """Figures of one year. Lengths in milliseconds above 86,400 s, the pole's distance in arc seconds."""

    year: int
    days: int
    mean_ms: float
    least_ms: float
    most_ms: float
    total_ms: float
    pole_arcsec: float


class Decade(TypedDict):
    """Mean of a decade's years."""

    decade: str
    years: int
    mean_ms: float


class Summary(TypedDict):
    """All years together."""

    table: str
    first: int
    last: int
    mean_ms: float
    longest_year: int
    shortest_year: int
    gained_s: float
    decades: list[Decade]


def extract(out: str, first: int, last: int) -> Extract:
    """Takes the years out of the series and writes one CSV file for each.

    Args:
        out: Folder to write to.
        first: First year.
        last: Last year, included.
    """
    path, release = find_series()
    folder = Path(out, "years").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    by_year: dict[int, list[list[str]]] = {}
    for day, lod_s, x, y in read_series(path.read_text(encoding="ascii").splitlines()):
        if first <= day.year <= last:
            by_year.setdefault(day.year, []).append([day.isoformat(), f"{lod_s * 1000:.4f}", f"{x:.6f}", f"{y:.6f}"])
    if not by_year:
        raise ValueError(f"the series {path.name} holds nothing from {first} to {last}")
    for year, rows in by_year.items():
        _write_csv(folder / f"{year}.csv", ["day", "lod_ms", "pole_x", "pole_y"], rows)
    count = sum(len(rows) for rows in by_year.values())
    print(f"{count:,} days from {min(by_year)} to {max(by_year)} out of {path.name}, release {release}")
    return {
        "folder": str(folder),
        "rows": count,
        "first_day": by_year[min(by_year)][0][0],
        "last_day": by_year[max(by_year)][-1][0],
        "release": release,
    }


def validate(data: Extract, first: int, last: int) -> dict[str, int]:
    """Checks that no day is missing or doubled and that every value is possible; fails with all mistakes at once."""
    mistakes: list[str] = []
    expected = datetime.date(first, 1, 1)
    checked = 0
    for year in range(first, last + 1):
        for row in read_year(data["folder"], year):
            day = datetime.date.fromisoformat(row["day"])
            if day != expected:
                mistakes.append(f"{day} comes where {expected} should be")
            expected = day + datetime.timedelta(days=1)
            if abs(float(row["lod_ms"])) > MAX_LOD_S * 1000:
                mistakes.append(f"{day}: a day that is {row['lod_ms']} ms too long")
            if max(abs(float(row["pole_x"])), abs(float(row["pole_y"]))) > MAX_POLE_ARCSEC:
                mistakes.append(f"{day}: the pole is off by {row['pole_x']}, {row['pole_y']} arc seconds")
            checked += 1
    if expected != datetime.date(last + 1, 1, 1):
        mistakes.append(f"the last day is {expected - datetime.timedelta(days=1)}, not {last}-12-31")
    if mistakes:
        more = f"\n  and {len(mistakes) - 20} more" if len(mistakes) > 20 else ""
        raise ValueError(f"{len(mistakes)} mistakes in {checked:,} days:\n  " + "\n  ".join(mistakes[:20]) + more)
    print(f"{checked:,} days, none missing, all values possible")
    return {"checked": checked}


def summarise_year(data: Extract, year: int, out: str, pace: float = 0.0) -> Year:
    """Computes the figures of one year.

    Args:
        data: What `extract` returned.
        year: The year.
        out: Folder to write to; each attempt notes itself in ``attempts.log`` there.
        pace: Seconds to take, so that there is time to pull a plug while the job runs.
    """
    note_attempt(out)
    time.sleep(pace)
    rows = list(read_year(data["folder"], year))
    lod = [float(row["lod_ms"]) for row in rows]
    pole = [(float(row["pole_x"]) ** 2 + float(row["pole_y"]) ** 2) ** 0.5 for row in rows]
    return {
        "year": year,
        "days": len(rows),
        "mean_ms": round(fmean(lod), 4),
        "least_ms": min(lod),
        "most_ms": max(lod),
        "total_ms": round(sum(lod), 4),
        "pole_arcsec": round(fmean(pole), 4),
    }


def combine(years: list[Year], out: str) -> Summary:
    """Puts the years together in one table."""
    ordered = sorted(years, key=lambda year: year["year"])
    table = Path(out, "years.csv").resolve()
    _write_csv(table, list(Year.__annotations__), [[str(value) for value in year.values()] for year in ordered])
    decades: dict[int, list[float]] = {}
    for year in ordered:
        decades.setdefault(year["year"] // 10 * 10, []).append(year["mean_ms"])
    return {
        "table": str(table),
        "first": ordered[0]["year"],
        "last": ordered[-1]["year"],
        "mean_ms": round(fmean(year["mean_ms"] for year in ordered), 4),
        "longest_year": max(ordered, key=lambda year: year["mean_ms"])["year"],
        "shortest_year": min(ordered, key=lambda year: year["mean_ms"])["year"],
        "gained_s": round(sum(year["total_ms"] for year in ordered) / 1000, 3),
        "decades": [
            {"decade": f"{decade}s", "years": len(means), "mean_ms": round(fmean(means), 3)}
            for decade, means in sorted(decades.items())
        ],
    }


def chart(summary: Summary, out: str) -> dict[str, str]:
    """Draws the length of the day by year."""
    with open(summary["table"], newline="", encoding="utf-8") as file:
        points = [
            line_chart.Point(int(row["year"]), float(row["mean_ms"]), float(row["least_ms"]), float(row["most_ms"]))
            for row in csv.DictReader(file)
        ]
    text = line_chart.draw(
        points,
        title="How much longer than 86,400 seconds is a day?",
        subtitle=f"Excess length of day, {summary['first']} to {summary['last']}: mean of each year, shortest and "
        "longest day",
        unit="ms",
        source=f"Source: {SOURCE}",
    )
    path = Path(out, "length_of_day.svg").resolve()
    _write(path, text)
    print(f"chart: {path}")
    return {"chart": str(path)}


def report(summary: Summary, data: Extract, chart: str, out: str) -> dict[str, str]:
    """Writes the report: the figures in words, the chart, one row per decade."""
    rows = "\n".join(f"| {d['decade']} | {d['years']} | {d['mean_ms']:+.3f} |" for d in summary["decades"])
    text = f"""# The length of the day, {summary["first"]} to {summary["last"]}

{data["rows"]:,} days from {data["first_day"]} to {data["last_day"]}, from the {SOURCE}
(package astropy-iers-data {data["release"]}).

![Excess length of day by year]({os.path.relpath(chart, out)})

On average a day lasted {86_400 + summary["mean_ms"] / 1000:,.6f} seconds. By the mean of the year, days were longest in
{summary["longest_year"]} and shortest in {summary["shortest_year"]}. Over all these years the excess adds up to
{summary["gained_s"]:.1f} seconds: about that many leap seconds a clock needs to keep step with the Sun.

| decade | years | mean excess, ms |
|---|---:|---:|
{rows}
"""
    path = Path(out, "report.md").resolve()
    _write(path, text)
    print(f"report: {path}")
    return {"report": str(path)}


def find_series() -> tuple[Path, str]:
    """Returns the file of the series and the release of its package, without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the data is not installed: pip install astropy-iers-data")
    from importlib.metadata import version

    return Path(spec.origin).parent / "data" / SERIES, version("astropy-iers-data")


def read_series(lines: Iterable[str]) -> Iterable[tuple[datetime.date, float, float, float]]:
    """Yields (day, excess in seconds, pole x, pole y) of each row; columns as in the ReadMe beside the series."""
    for line in lines:
        if not line.startswith("#") and line.strip():
            day = datetime.date(int(line[0:4]), int(line[4:8]), int(line[8:12]))
            yield day, float(line[110:122]), float(line[26:38]), float(line[38:50])


def read_year(folder: str, year: int) -> Iterable[dict[str, str]]:
    """Yields the rows of one year's file."""
    with open(Path(folder, f"{year}.csv"), newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def note_attempt(out: str) -> None:
    """Appends one line per attempt to ``attempts.log``; an append of one short line is not torn."""
    line = f"{os.environ.get('FORMICARY_TASK_KEY', '-')} attempt {os.environ.get('FORMICARY_ATTEMPT', '1')}\n"
    with open(Path(out, "attempts.log"), "a", encoding="utf-8") as file:
        file.write(line)


def _write_csv(path: Path, header: list[str], rows: Iterable[list[str]]) -> None:
    _write(path, "".join(",".join(row) + "\n" for row in [header, *rows]))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
