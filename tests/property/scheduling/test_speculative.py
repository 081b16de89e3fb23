"""Speculative execution: who is a straggler, how much extra work is allowed, what the tail gains."""

import random

from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.speculative import Attempt, Limits, backups, percentile

HISTORY = {"map": [10.0] * 19 + [12.0]}


def test_by_the_history() -> None:
    """Longer than p95 of its kind: backed up elsewhere, with the figures; one that forbids it never."""
    running = [Attempt("slow", "map", 0, ant="a1"), Attempt("not", "map", 0, allowed=False), Attempt("new", "map", 9)]
    found = backups(running, HISTORY, 11, slots=40, free=4, work_done=1000)
    assert [(one.attempt, one.not_on) for one in found] == [("slow", "a1")]
    assert found[0].reason == "has run 11 s, p95 of its kind is 10 s"
    assert backups(running, HISTORY, 10, slots=40, free=4, work_done=1000) == []


def test_by_the_rate_of_progress() -> None:
    """OSDI 2008, section 4: the slowest of its siblings, and the one that will end last goes first."""
    running = [Attempt(f"t{i}", "map", 0, progress=0.5) for i in range(8)]
    running += [Attempt("late", "map", 0, progress=0.02), Attempt("later", "map", 0, progress=0.01)]
    found = backups(running, HISTORY, 5, slots=100, free=1, work_done=10_000)
    assert [one.attempt for one in found] == ["later"]


def test_the_caps() -> None:
    """Copies at a time, extra work, and slots that must be free."""
    running = [Attempt(f"t{i}", "map", 0) for i in range(10)]
    assert len(backups(running, HISTORY, 50, slots=30, free=30, work_done=1e6)) == 3
    assert len(backups(running, HISTORY, 50, slots=300, free=2, work_done=1e6)) == 2
    assert len(backups(running, HISTORY, 50, slots=300, free=30, work_done=300)) == 1
    assert backups(running, HISTORY, 50, slots=10, free=4, work_done=1e6, limits=Limits(resource_threshold=0.5)) == []
    doubled = [Attempt("t", "map", 0, has_backup=True)]
    assert backups(doubled, HISTORY, 50, slots=10, free=4, work_done=1e6) == []


@given(st.lists(st.integers(1, 99), min_size=1), st.integers(1, 100))
def test_nearest_rank(values: list[int], per_cent: int) -> None:
    """At least that part of the values is no greater, and it is one of them."""
    found = percentile(values, per_cent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= per_cent * len(values)
    assert sum(value < found for value in values) * 100 < per_cent * len(values)


def test_the_tail_falls_at_five_per_cent_extra_work() -> None:
    """1 of 50 tasks takes twenty times as long: p99 falls by half or more at 5 % of extra work."""
    rng = random.Random(3)
    draw = lambda: 10 * rng.uniform(0.8, 1.2) * (20 if rng.random() < 0.02 else 1)  # noqa: E731 - one line says it
    plain, helped, work, extra = [], [], 0.0, 0.0
    history: dict[str, list[float]] = {"t": [10.0 * rng.uniform(0.8, 1.2) for _ in range(50)]}
    for _ in range(4000):
        length = draw()
        plain.append(length)
        at = percentile(history["t"], 95) + 0.1
        task = Attempt("x", "t", 0)
        known = {"t": history["t"]}
        if length > at and backups([task], known, at, slots=10, free=2, work_done=work, work_of_copies=extra):
            copy = draw()
            end = min(length, at + copy)
            extra += end - at
        else:
            end = length
        work += end
        helped.append(end)
        history["t"] = [*history["t"][-199:], end]
    assert percentile(helped, 99) <= percentile(plain, 99) / 2
    assert extra <= 0.05 * (work + extra) + 12
