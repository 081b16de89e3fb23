"""Priorities that fall while jobs wait, and deadlines that users miss alike many of, in the core."""

from __future__ import annotations

import pytest

from formicary.engine.queen.core.degrading import Degrading
from formicary.engine.queen.core.explaining import explain
from formicary.engine.queen.core.slices import LOOKS
from formicary.engine.scheduling.candidates import Candidate, OrderKey
from formicary.engine.scheduling.queues.reading import read_queues
from tests.unit.core.test_queues import colony, job, started


def test_with_degrade_log_the_youngest_of_equals_goes_first() -> None:
    made = colony("policy: priority\nset: {degrade: log}\n")
    made.submit("held", made.define(job("held", "priority: 9")))
    made.ant("ant", 1)
    equal = made.define(job("equal", "priority: 5"))
    made.submit("old", equal)
    made.advance(6)  # one attempt: 5 - log 2
    made.submit("young", equal)
    made.submit("low", made.define(job("low", "priority: 4")))
    words = next(one.message for one in explain(made.core, made.core.jobs["old"]).reasons if one.gate == "order")
    assert "falls while it waits (degrade log)" in words
    made.restart()
    made.join("ant")
    made.news()
    made.ok("held", "a")
    assert started(made) == ["young"]
    made.ok("young", "a")
    assert started(made) == ["old"], "4.3 by now"
    made.advance(20)
    made.submit("lowest", made.define(job("lowest", "priority: 3")))
    made.ok("old", "a")
    assert started(made) == ["lowest"], "the one of 4 has waited for three attempts"


def test_with_degrade_step_one_is_lost_by_five_attempts_and_none_below_five() -> None:
    made = colony("policy: priority\nset: {degrade: step}\n")
    made.submit("held", made.define(job("held")))
    made.ant("ant", 1)
    for name, priority in (("six", 6), ("five", 5)):
        made.submit(name, made.define(job(name, f"priority: {priority}")))
    made.advance(106)  # attempts after 5, 15, 30, 50, 75 and 105 s
    made.submit("new", made.define(job("new", "priority: 6")))
    started(made)
    made.ok("held", "a")
    assert started(made) == ["new"]
    made.ok("new", "a")
    assert started(made) == ["six"], "it has 5 now, and came first"


def test_without_degrade_nothing_falls() -> None:
    made = colony("policy: priority\n")
    made.submit("held", made.define(job("held", "priority: 9")))
    made.ant("ant", 1)
    made.submit("old", made.define(job("equal", "priority: 5")))
    made.advance(60)
    made.submit("young", made.define(job("equal", "priority: 5")))
    started(made)
    made.ok("held", "a")
    assert started(made) == ["old"]


def test_who_has_missed_more_of_his_deadlines_goes_first() -> None:
    made = colony("policy: edf\nset: {fair_by: user}\n")
    made.ant("ant", 1)
    short = made.define(job("short", "deadline: 20s; estimated_runtime: 10s"))
    long = made.define(job("long", "deadline: 60s; estimated_runtime: 10s"))
    made.submit("s0", short, user="sam")
    made.submit("l0", long, user="lou")
    assert started(made) == ["s0"]
    made.advance(55)
    made.ok("s0", "a")  # too late
    assert started(made) == ["l0"]
    made.ok("l0", "a")
    for name in ("l1", "l2"):
        made.submit(name, long, user="lou")
    started(made)
    made.submit("s1", made.define(job("patient", "deadline: 500s; estimated_runtime: 10s")), user="sam")
    words = next(one.message for one in explain(made.core, made.core.jobs["s1"]).reasons if one.gate == "order")
    assert "fair by user: sam has missed 100%" in words
    made.ok("l1", "a")
    assert started(made) == ["s1"], "though its deadline is later"
    made.ok("s1", "a")
    assert started(made) == ["l2"]


def test_what_is_late_counts_once_and_goes_behind_what_can_be_kept() -> None:
    made = colony("policy: edf\nset: {fair_by: user}\n")
    made.ant("ant", 1)
    made.submit("held", made.define(job("held")), user="sam")
    soon = made.define(job("soon", "deadline: 20s; estimated_runtime: 10s"))
    made.submit("late", soon, user="sam")
    made.submit("plain", made.define(job("plain")), user="sam")
    made.advance(30)
    made.submit("far", made.define(job("far", "deadline: 90s; estimated_runtime: 10s")), user="sam")
    started(made)
    misses = made.core.queueing.deciding.misses if made.core.queueing is not None else None
    assert misses is not None and misses.ratio(("", "sam")) == 1.0
    for name, then in (("held", "far"), ("far", "late"), ("late", "plain")):
        made.ok(name, "a")
        assert started(made) == [then]
    assert misses.ratio(("", "sam")) == 0.5, "one was missed, one kept"
    made.submit("hopeless", made.define(job("hopeless", "deadline: 5s; estimated_runtime: 100s")), user="sam")
    made.ok("plain", "a")
    made.ok("hopeless", "a")
    assert misses.ratio(("", "sam")) == 0.5, "it could not have been kept"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("policy: priority\nset: {degrade: fast}\n", "none, log, step"),
        ("policy: priority\nset: {degrade: log, aging: 1}\n", "degrade does not go with aging"),
        ("policy: priority\nset: {degrade: step, preemptive: true, floor: 5}\n", "degrade does not go with floor"),
        ("policy: edf\nset: {fair_by: queue}\n", "user, org"),
        ("policy: edf\nset: {fair_by: user, preemptive: true}\n", "fair_by does not go with preemptive"),
        ("policy: edf\nset: {fair_by: user, overload: shed}\n", "fair_by does not go with overload"),
        ("policy: edf\nset: {weights: {a: 2}}\n", "weights are for fair_by"),
    ],
)
def test_what_does_not_go_together_is_refused(source: str, words: str) -> None:
    found = read_queues(source)
    assert found.queues is None and any(words in one.message and one.line == 2 for one in found.violations)


def test_a_look_at_many_is_made_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `degrade` no turn of the loop looks at more than its part of what waits; at the end all have fallen."""
    made = colony("policy: priority\nset: {degrade: log}\n", check_twin=False)
    made.submit("held", made.define(job("held", "priority: 9")))
    made.ant("ant", 1)
    equal = made.define(job("equal", "priority: 5"))
    for number in range(3 * LOOKS):
        made.submit(f"old{number}", equal)
    started(made)
    looked: list[int] = []
    key = Degrading._key

    def counted(self: Degrading, candidate: Candidate) -> OrderKey:
        looked[-1] += 1
        return key(self, candidate)

    monkeypatch.setattr(Degrading, "_key", counted)
    made.mono += 6
    core = made.core
    core.at(made.mono, made.wall)
    looked.append(0)
    assert core.schedule()
    while True:
        looked.append(0)
        if not core.schedule():
            break
    made.submit("young", equal)
    assert max(looked) <= LOOKS + 1 and sum(looked) >= 3 * LOOKS
    made.ok("held", "a")
    assert started(made) == ["young"]
