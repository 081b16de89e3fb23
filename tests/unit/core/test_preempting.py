"""Preemption in the core: orders, levels of feedback, reclaim without a grace, and deadlines under overload."""

from __future__ import annotations

import pytest

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.batch import Batch, Outgoing
from formicary.engine.scheduling.queues.reading import read_queues
from tests.unit.core.colony import Colony
from tests.unit.core.test_queues import colony, job, started


def asked(made: Colony) -> list[str]:
    """Jobs whose tasks have been asked to give way since somebody looked last."""
    found = [text.split()[1].partition("/")[0] for text in made.events if text.startswith("cancel")]
    made.events.clear()
    return found


def over(made: Colony, name: str, kind: int, ran_s: float, task: str = "a") -> None:
    """The ant says that an attempt has ended and how long it ran."""
    token = made.token(name, task)
    session = made.holder(token).session
    made.core.result(session, ends.Outcome(token, kind, 0, started_at=made.wall - ran_s, ended_at=made.wall))
    made.settle()


def give_way(made: Colony, *names: str, ran_s: float = 1.0) -> None:
    """The ants answer."""
    for name in names:
        over(made, name, ends.CANCELLED, ran_s)


def test_a_higher_priority_takes_the_place_of_the_lowest_that_runs() -> None:
    made = colony("policy: priority\nset: {preemptive: true}\n")
    for name, priority in (("low", 1), ("middle", 5), ("low2", 1)):
        made.submit(name, made.define(job(name, f"priority: {priority}")))
    made.ant("ant", 3)
    assert sorted(started(made)) == ["low", "low2", "middle"]
    made.events.clear()
    made.submit("high", made.define(job("high", "priority: 9")))
    assert asked(made) == ["low2"], "of equal ones that which came last"
    made.submit("same", made.define(job("same", "priority: 5")))
    assert asked(made) == ["low"]
    made.submit("equal", made.define(job("equal", "priority: 1")))
    made.settle()
    assert asked(made) == [], "nobody gives way twice, or to an equal"
    give_way(made, "low2", "low")
    assert started(made) == ["high", "same"]
    for name in ("high", "same", "middle"):
        made.ok(name, "a")
    assert started(made) == ["low", "low2", "equal"], "they have their turn again, in their old order"
    run = made.core.jobs["low"].run
    assert run is not None and (run.runs[0].attempts, run.runs[0].lost, run.runs[0].failures) == (2, 0, 0)


def test_without_preemptive_nobody_gives_way() -> None:
    made = colony("policy: priority\n")
    made.submit("low", made.define(job("low")))
    made.ant("ant", 1)
    made.submit("high", made.define(job("high", "priority: 9")))
    assert started(made) == ["low"] and asked(made) == []


def test_several_give_way_where_one_needs_the_room_of_several_and_only_where_it_helps() -> None:
    made = colony("policy: priority\nset: {preemptive: true}\n")
    small = made.define(job("small", task="  resources: {cpu: 1}\n"))
    for at in range(4):
        made.submit(f"s{at}", small)
    made.ant("ant", 8, resources={"cpu": 4})
    made.ant("other", 1)
    started(made)
    made.events.clear()
    made.submit("large", made.define(job("large", "priority: 5", "  resources: {cpu: 3}\n")))
    assert asked(made) == ["s3", "s2", "s1"]
    made.submit("never", made.define(job("never", "priority: 9", "  resources: {cpu: 5}\n")))
    assert asked(made) == [], "it would not help"


@pytest.mark.parametrize(
    ("policy", "first", "second", "gives"),
    [
        ("edf", "deadline: 900s", "deadline: 500s", True),
        ("edf", "deadline: 500s", "deadline: 900s", False),
        ("sjf", "estimated_runtime: 100s", "estimated_runtime: 50s", True),
        ("sjf", "estimated_runtime: 100s", "estimated_runtime: 80s", False),  # 70 s of it are left by then
        ("llf", "deadline: 900s; estimated_runtime: 100s", "deadline: 600s; estimated_runtime: 10s", True),
        ("llf", "deadline: 600s; estimated_runtime: 100s", "deadline: 900s; estimated_runtime: 10s", False),
    ],
)
def test_orders_preempt_what_is_behind(policy: str, first: str, second: str, gives: bool) -> None:
    made = colony(f"policy: {policy}\nset: {{preemptive: true}}\n")
    made.submit("one", made.define(job("one", first)))
    made.ant("ant", 1)
    made.advance(30)
    made.events.clear()
    made.submit("two", made.define(job("two", second)))
    assert asked(made) == (["one"] if gives else [])


def test_two_alike_do_not_take_turns_by_laxity() -> None:
    """What runs gains laxity with each second, and would lose it where it had to begin anew: nobody would ever end."""
    made = colony("policy: llf\nset: {preemptive: true}\n")
    made.submit("one", made.define(job("one", "deadline: 900s; estimated_runtime: 100s")))
    made.ant("ant", 1)
    made.submit("two", made.define(job("two", "deadline: 902s; estimated_runtime: 100s")))
    started(made)
    made.events.clear()
    for number in range(10):
        made.advance(9)
        made.submit(f"far{number}", made.define(job(f"far{number}", "deadline: 9000s; estimated_runtime: 10s")))
        assert asked(made) == [], number
    made.submit("near", made.define(job("near", "deadline: 100s; estimated_runtime: 90s")))
    assert asked(made) == ["one"]
    give_way(made, "one", ran_s=90)
    assert started(made) == ["near"]


def test_a_strict_queue_preempts_those_below_it() -> None:
    queues = "queues:\n- {name: top, priority: 9, match: {job_types: [top]}}\n- {name: low, priority: 1}\n"
    made = colony(f"policy: multilevel\nset: {{preemptive: true}}\ndefault: low\n{queues}")
    made.submit("l", made.define(job("l", "priority: 10")))
    made.ant("ant", 1)
    started(made)
    made.submit("t", made.define(job("top")))
    assert asked(made) == ["l"]
    give_way(made, "l")
    assert started(made) == ["t"]
    made.submit("t2", made.define(job("top", "priority: 10")))
    assert asked(made) == [], "within the queue nobody preempts"


def test_with_feedback_a_job_sinks_with_the_time_it_has_used() -> None:
    two = "job_type: {name}\ntasks:\n- task_type: a\n  script: x\n  on_completed: b\n- task_type: b\n  script: x\n"
    made = colony("policy: multilevel\nset: {mode: feedback, quantum: 10, levels: 3}\n")
    made.submit("long", made.define(two.format(name="long")))
    made.ant("ant", 1)
    started(made)
    made.advance(12)
    made.submit("s1", made.define(job("short")))
    made.restart()
    made.join("ant")
    over(made, "long", ends.COMPLETED, 12.0)
    assert started(made) == ["s1"], "it came later, and has used nothing yet"
    made.restart()
    made.join("ant")
    made.submit("s2", made.define(job("short")))
    made.ok("s1", "a")
    assert started(made) == ["s2"], "what was used is known after a restart"
    made.ok("s2", "a")
    assert started(made) == ["long"]


def test_with_feedback_slices_end_where_somebody_waits_above() -> None:
    made = colony("policy: multilevel\nset: {mode: feedback, quantum: 10, levels: 3, preemptive: true}\n")
    made.submit("long", made.define(job("long")))
    made.ant("ant", 1)
    made.advance(5)
    made.events.clear()
    made.submit("s1", made.define(job("short")))
    made.advance(4)
    assert asked(made) == [], "its first slice is not over"
    made.advance(2)
    assert asked(made) == ["long"]
    give_way(made, "long", ran_s=11.0)
    assert started(made) == ["s1"]
    made.ok("s1", "a")
    assert started(made) == ["long"]
    made.advance(25)
    assert asked(made) == [], "nobody waits"


def test_a_boost_brings_all_to_the_first_level() -> None:
    made = colony("policy: multilevel\nset: {mode: feedback, quantum: 1, levels: 2, boost: 60}\n")
    definition = made.define(job("work"))
    made.submit("old", definition)
    made.ant("ant", 1)
    queueing = made.core.queueing
    assert queueing is not None
    made.advance(5)
    made.die("ant")
    made.advance(5)
    old = made.core.jobs["old"]
    assert queueing.feedback.level(old) == 1.0
    made.submit("new", definition)
    assert queueing.key(made.core.jobs["new"], 0) < queueing.key(old, 0)
    made.advance(60)
    assert queueing.key(made.core.jobs["new"], 0) > queueing.key(old, 0)


def watch(made: Colony, seen: list[Outgoing]) -> None:
    """Keeps what the ants are told."""
    release = made._release

    def look(batch: Batch) -> None:
        seen.extend(batch.outgoing.values())
        release(batch)

    setattr(made, "_release", look)  # noqa: B010  # looked at on its way


def test_aggressive_reclaim_leaves_no_grace() -> None:
    queues = "queues: [{name: a, guaranteed: 50, match: {job_types: [a]}}, {name: b, guaranteed: 50}]\n"
    for reclaim, at_once in (("graceful", 0), ("aggressive", 1)):
        made = colony(f"policy: capacity\nset: {{reclaim: {reclaim}}}\ndefault: b\n{queues}")
        seen: list[Outgoing] = []
        watch(made, seen)
        other = made.define(job("b"))
        for at in range(2):
            made.submit(f"b{at}", other)
        made.ant("ant", 2)
        made.submit("a0", made.define(job("a")))
        assert asked(made)[-1] in ("b0", "b1")
        assert sum(len(one.at_once) for one in seen) == at_once


def test_queues_above_their_guarantee_do_not_take_from_each_other_by_turns() -> None:
    """4.2 and 2.8 of 7 places are 5 and 2, or 4 and 3: what runs is not stopped for part of a task."""
    names = {"x": 30, "y": 20, "idle": 50}
    queues = ", ".join(
        f"{{name: {name}, guaranteed: {share}, match: {{job_types: [{name}]}}}}" for name, share in names.items()
    )
    made = colony(f"policy: capacity\nset: {{reclaim: graceful}}\nqueues: [{queues}]\n")
    made.ant("ant", 7)
    for name in "xy":
        kind = made.define(job(name))
        for at in range(10):
            made.submit(f"{name}{at}", kind)
    stopped = 0
    for _ in range(6):
        made.settle()
        gone = asked(made)
        stopped += len(gone)
        give_way(made, *gone)
    assert stopped <= 3


def test_overload_sheds_by_value_and_keeps_the_others() -> None:
    """Three jobs of 40 s are due in 100 s: the one of least value is given up, whichever came first."""
    made = colony("policy: edf\nset: {overload: shed}\n")
    for name, priority in (("first", 1), ("worth", 9), ("last", 5)):
        made.submit(name, made.define(job(name, f"priority: {priority}; estimated_runtime: 40s; deadline: 100s")))
    made.ant("ant", 1)
    assert started(made) == ["worth"]
    assert made.job("first").state == life.CANCELLED
    assert "its deadline cannot be kept (overload: shed)" in str(made.job("first").error_message)
    made.ok("worth", "a")
    assert started(made) == ["last"]


def test_overload_demotes_behind_all_that_can_be_kept() -> None:
    made = colony("policy: edf\nset: {overload: demote}\n")
    for name, deadline in (("lost", 20), ("kept", 100), ("also", 110)):
        made.submit(name, made.define(job(name, f"estimated_runtime: 40s; deadline: {deadline}s")))
    made.submit("free", made.define(job("free")))
    made.ant("ant", 1)
    order = started(made)
    while made.core.jobs:
        made.ok(order[-1], "a")
        order += started(made)
    assert order == ["kept", "also", "lost", "free"]


def test_overload_rejects_what_comes_too_late() -> None:
    made = colony("policy: edf\nset: {overload: reject}\n")
    definition = made.define(job("work", "estimated_runtime: 40s; deadline: 100s"))
    made.ant("ant", 1)
    queueing = made.core.queueing
    assert queueing is not None
    found = made.core.definitions[definition]
    assert queueing.overload.refusal(found, "", 0) is None
    made.submit("one", definition)
    made.submit("two", definition)
    why = queueing.overload.refusal(found, "", 9)
    assert why is not None and "40.0 s of work are due in 100.0 s, 1 jobs with deadlines wait for 1 slots" in why


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("policy: multilevel\nset: {quantum: 5}\n", "UNKNOWN_PARAMETER"),
        ("policy: multilevel\nset: {mode: weighted, preemptive: true}\n", "BAD_VALUE"),
        ("policy: multilevel\nset: {mode: feedback, quantum: 0}\n", "OUT_OF_RANGE"),
        ("policy: edf\nset: {overload: drop}\n", "UNKNOWN_VALUE"),
        ("policy: edf\nset: {preemptive: 1}\n", "WRONG_TYPE"),
        ("policy: fcfs\nset: {preemptive: true}\n", "UNKNOWN_PARAMETER"),
    ],
)
def test_mistakes(source: str, code: str) -> None:
    assert [one.code for one in read_queues(source).violations] == [code]


def test_what_waits_for_a_virtual_resource_preempts_nobody() -> None:
    """Two slots, one held with the lock; of three more urgent jobs the one without the lock alone makes room."""
    made = colony("policy: priority\nset: {preemptive: true}\n")
    made.ant("ant", 2)
    lock = "resources: {resource_type: door, value: 1}"
    made.submit("holder", made.define(job("holder", f"priority: 3; {lock}")))
    made.submit("low", made.define(job("low", "priority: 1")))
    started(made)
    made.submit("first", made.define(job("waits", f"priority: 8; {lock}")))
    made.submit("second", made.define(job("waits", f"priority: 8; {lock}")))
    assert asked(made) == [], "neither of them could start in the place"
    made.submit("plain", made.define(job("plain", "priority: 7")))
    assert asked(made) == ["low"]


def test_no_more_give_way_than_a_free_lock_lets_start() -> None:
    made = colony("policy: priority\nset: {preemptive: true}\n")
    made.ant("ant", 3)
    for number in range(3):
        made.submit(f"l{number}", made.define(job("low", "priority: 1")))
    started(made)
    lock = made.define(job("locks", "priority: 8; resources: {resource_type: door, value: 1}"))
    for number in range(3):
        made.submit(f"h{number}", lock)
    assert asked(made) == ["l2"]
    give_way(made, "l2")
    assert started(made) == ["h0"] and asked(made) == []


def test_nobody_gives_way_to_who_stands_behind_one_that_wants_more_of_a_resource() -> None:
    made = colony("policy: priority\nset: {preemptive: true}\n")
    made.core.locking.put(("org", "seats"), 3.0, "", "me")
    made.ant("ant", 2)
    made.submit("holder", made.define(job("holder", "priority: 9; resources: {resource_type: seats, value: 2}")))
    made.submit("low", made.define(job("low", "priority: 1")))
    started(made)
    made.submit("large", made.define(job("large", "priority: 8; resources: {resource_type: seats, value: 3}")))
    made.submit("small", made.define(job("small", "priority: 7; resources: {resource_type: seats, value: 1}")))
    assert asked(made) == [], "one seat is free, and it waits for the large one"
