"""The figures of a run: every measurement by engine and mode, and what is read off them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

#: A JSON line of a runner.
Measurement = dict[str, object]
#: The figure of each mode that its row shows, with its unit.
HEADLINES: dict[str, tuple[str, str]] = {
    "bulk": ("per_s", "jobs/s"),
    "single": ("per_s", "jobs/s"),
    "chain": ("per_s", "jobs/s"),
    "latency": ("p50_ms", "ms"),
    "shell": ("p50_ms", "ms"),
    "fan": ("ms", "ms"),
    "simulation": ("events_per_s", "events/s"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One engine in one mode over all its runs.

    Args:
        unit: of median, low and high.
        medians: the median of every figure of the mode.
        last: the last measurement, for everything that does not vary.
    """

    engine: str
    mode: str
    unit: str
    median: float
    low: float
    high: float
    runs: list[float]
    medians: dict[str, float]
    last: Measurement

    def as_json(self) -> dict[str, object]:
        """Return the row as it is printed."""
        shown = {"what": self.mode, "engine": self.engine, "unit": self.unit}
        spread = {"median": self.median, "min": self.low, "max": self.high, "runs": self.runs, "medians": self.medians}
        kept = ("jobs", "durability", "versions", "form")
        return {**shown, **spread, **{key: self.last[key] for key in kept if key in self.last}}


@dataclass(slots=True)
class Figures:
    """All measurements of one run so far, and the floor."""

    floor: dict[str, float] = field(default_factory=dict)
    _measured: dict[tuple[str, str], list[Measurement]] = field(default_factory=dict)

    def add(self, measurement: Measurement) -> None:
        """Take one JSON line of a runner."""
        key = (str(measurement["peer"]), str(measurement["mode"]))
        self._measured.setdefault(key, []).append(measurement)

    def values(self, engine: str, mode: str, name: str) -> list[float]:
        """Return one figure of every run, none when it was not measured."""
        found = (measurement.get(name) for measurement in self._measured.get((engine, mode), ()))
        return [float(value) for value in found if isinstance(value, int | float)]

    def median(self, engine: str, mode: str, name: str) -> float | None:
        """Return the median of one figure over the runs, None when it was not measured."""
        found = self.values(engine, mode, name)
        return statistics.median(found) if found else None

    def last(self, engine: str, mode: str) -> Measurement | None:
        """Return the latest measurement, None when there is none."""
        found = self._measured.get((engine, mode))
        return found[-1] if found else None

    def rows(self) -> Iterator[Row]:
        """Yield a row for every engine and mode that has a headline, by mode."""
        order = list(HEADLINES)
        keys = sorted((key for key in self._measured if key[1] in HEADLINES), key=lambda key: order.index(key[1]))
        for engine, mode in keys:
            name, unit = HEADLINES[mode]
            found = self.values(engine, mode, name)
            if found:
                spread = (statistics.median(found), min(found), max(found))
                last = self._measured[engine, mode][-1]
                yield Row(engine, mode, unit, *spread, found, self._medians(engine, mode, last), last)

    def _medians(self, engine: str, mode: str, last: Measurement) -> dict[str, float]:
        numeric = (name for name, value in last.items() if isinstance(value, int | float))
        return {name: statistics.median(self.values(engine, mode, name)) for name in numeric}
