"""The bars: what the figures are held against. A bar is met by the medians."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.figures import Figures

OURS, OURS_POSTGRES = "formicary+sqlite", "formicary+postgresql"
CELERY, CELERY_RABBIT = "celery+redis", "celery+rabbitmq"
PROCRASTINATE, DBOS, HUEY = "procrastinate+postgresql", "dbos+sqlite", "huey+sqlite fsync"
SIZES = (200, 10_000)
_TESTS: dict[str, Callable[[float, float], bool]] = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar and how it was met.

    Args:
        section: the section of the benchmark it belongs to.
        what: what is measured.
        bar: the limit in words.
        value: what was measured, in the unit of the bar; None when it could not be measured.
        met: None when it could not be measured.
    """

    section: str
    what: str
    bar: str
    value: float | None
    met: bool | None

    def as_json(self) -> dict[str, object]:
        """Return the bar as it is printed."""
        rounded = None if self.value is None else round(self.value, 3)
        return {"section": self.section, "what": self.what, "bar": self.bar, "value": rounded, "met": self.met}


def _bar(section: str, what: str, test: str, limit: float | None, text: str, value: float | None) -> Bar:
    """Judge one value; a limit or value that is missing leaves the bar open."""
    met = None if value is None or limit is None else _TESTS[test](value, limit)
    return Bar(section, what, f"{test} {text}", value, met)


def _ratio(ours: float | None, peer: float | None) -> float | None:
    return None if ours is None or not peer else ours / peer


def _throughput(figures: Figures) -> Iterator[Bar]:
    def against(section: str, what: str, mode: str, ours: str, peer: str, limit: float) -> Bar:
        ratio = _ratio(figures.median(ours, mode, "per_s"), figures.median(peer, mode, "per_s"))
        return _bar(section, f"{what} / {peer}", "≥", limit, f"{limit:g} ×", ratio)

    for peer, limit in ((CELERY, 6.0), (PROCRASTINATE, 7.0), (DBOS, 20.0), (HUEY, 2.0)):
        yield against("bulk", "no-op jobs in bulk on SQLite", "bulk", OURS, peer, limit)
    commits = figures.median(OURS, "bulk", "commits_per_task")
    yield _bar("bulk", "commits per task under bulk load", "≤", 0.1, "0.1", commits)
    yield against("single", "one job per call, 64 in flight", "single", OURS, CELERY, 2.0)
    for peer, limit in ((CELERY, 3.0), (DBOS, 5.0)):
        yield against("chain", "chain of 3, 64 in flight", "chain", OURS, peer, limit)
    yield against("postgres", "no-op jobs in bulk on PostgreSQL", "bulk", OURS_POSTGRES, PROCRASTINATE, 4.0)


def _idle(figures: Figures) -> Iterator[Bar]:
    p50 = figures.median(OURS, "latency", "p50_ms")
    p99 = figures.median(OURS, "latency", "p99_ms")
    shell = figures.median(OURS, "shell", "p50_ms")
    celery = figures.median(CELERY, "latency", "p50_ms")
    by_commit = 3 * figures.floor["sqlite_commit_ms"] + 2.5 if "sqlite_commit_ms" in figures.floor else None
    limits = [limit for limit in (None if celery is None else 1.5 * celery, by_commit) if limit is not None]
    limit = max(limits) if limits else None
    shown = "" if limit is None else f" = {limit:.2f} ms"
    text = f"max(1.5 × {CELERY}, 3 × commit + 2.5 ms){shown}"
    yield _bar("idle", "idle, submit to result, PYTHON no-op, p50 ms", "≤", limit, text, p50)
    yield _bar("idle", "the same, p99 / p50", "≤", 3.0, "3 ×", _ratio(p99, p50))
    start = figures.floor.get("process_start_ms")
    limit = None if p50 is None or start is None else p50 + 1.5 * start
    shown = "" if limit is None else f" = {limit:.2f} ms"
    text = f"PYTHON p50 + 1.5 × process start{shown}"
    yield _bar("idle", "idle, submit to result, SHELL `true`, p50 ms", "≤", limit, text, shell)


def _fan(figures: Figures) -> Iterator[Bar]:
    ours = figures.median(OURS, "fan", "ms")
    rabbit, redis = figures.median(CELERY_RABBIT, "fan", "ms"), figures.median(CELERY, "fan", "ms")
    peer, name, limit = (redis, CELERY, 0.5) if rabbit is None else (rabbit, CELERY_RABBIT, 0.7)
    yield _bar("fan", f"1 → 100 → 1 / chord of {name}", "≤", limit, f"{limit:g} ×", _ratio(ours, peer))


def _pending(figures: Figures) -> Iterator[Bar]:
    memory = []
    for size in SIZES:
        mode, text = f"pending-{size}", "200 B" if size == 200 else "10 KB"
        deep = figures.median(OURS, mode, "pending") or 100_000
        fall, start = figures.median(OURS, mode, "fall"), figures.median(OURS, mode, "start_s")
        memory.append(figures.median(OURS, mode, "bytes_per_job"))
        what = f"1,000 → {deep:,.0f} pending, {text} params"
        yield _bar("pending", f"{what}: throughput falls by", "≤", 0.2, "20 %", fall)
        yield _bar("pending", f"{what}: queen's bytes per pending job", "≤", 2048, "2 KB", memory[-1])
        yield _bar("pending", f"{what}: start-up seconds after kill -9", "≤", 3.0, "3 s", start)
    small, large = memory
    apart = None if small is None or large is None else abs(large - small) / max(min(small, large), 1.0)
    yield _bar("pending", "memory per pending job, 200 B against 10 KB: difference", "≤", 0.1, "10 %", apart)


def _simulation(figures: Figures) -> Iterator[Bar]:
    value = figures.median(OURS, "simulation", "events_per_s")
    yield _bar("simulation", "simulated events/s per process", "≥", 15_000.0, "15,000", value)


def bars(figures: Figures, sections: set[str]) -> list[Bar]:
    """Return every bar of the sections that were run, in the order of the sections."""
    made = [bar for part in (_throughput, _idle, _fan, _pending, _simulation) for bar in part(figures)]
    return [bar for bar in made if bar.section in sections]
