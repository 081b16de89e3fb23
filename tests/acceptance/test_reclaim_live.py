"""Who gives way on real ants: preemption, reclaim, overload, inversion and second copies, by the recorded attempts."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from formicary.problems import Problem
from tests.acceptance.server import REPOSITORY, until
from tests.acceptance.stage import Stage, at, most_at_once


@pytest.mark.parametrize(
    ("policy", "held", "behind", "before"),
    [
        ("edf", "deadline: 1h\n", "deadline: 2h\n", "deadline: 30m\n"),
        ("sjf", "estimated_runtime: 10m\n", "estimated_runtime: 20m\n", "estimated_runtime: 5s\n"),
        (
            "llf",
            "deadline: 1h\nestimated_runtime: 10m\n",
            "deadline: 2h\nestimated_runtime: 60m\n",
            "deadline: 65m\nestimated_runtime: 40m\n",
        ),
    ],
)
def test_a_running_task_gives_way_to_what_is_before_it_and_to_nothing_else(
    stage: Callable[..., Stage], policy: str, held: str, behind: str, before: str
) -> None:
    """Of two that come while one runs, the one that is before it gets its slot; the other waits for both."""
    one = stage(f"policy: {policy}\nset: {{preemptive: true}}\n", "--slots", "1")
    one.hold(more=held)
    one.submit("behind", one.work("behind", more=behind))
    until(lambda: bool(one.reason("behind")), 10, "it waits")
    one.submit("before", one.work("before", more=before))
    assert one.done("before")[0]["tasks"][0]["attempts"] == 1
    assert one.job("hold0")["state"] == "EXECUTING", "it has not ended before"
    assert one.job("behind")["tasks"][0]["started_at"] is None
    one.open()
    held_task, behind_task = (document["tasks"][0] for document in one.done("hold0", "behind"))
    assert (held_task["attempts"], behind_task["attempts"]) == (2, 1)
    assert at(behind_task["started_at"]) >= at(held_task["ended_at"])
    assert one.figure("formicary_attempts_preempted_total") == 1


def test_demoted_deadlines_go_behind_all_that_can_be_kept(stage: Callable[..., Stage]) -> None:
    """Not all three deadlines can be kept: what is worth least waits as if it had none, the others are in time."""
    one = stage("policy: edf\nset: {overload: demote}\n", "--slots", "1")
    one.hold()
    one.submit("plain", one.work("plain"))
    for name, deadline, priority in (("cheap", "70s", 1), ("dear", "75s", 9), ("far", "2h", 1)):
        more = f"priority: {priority}\nestimated_runtime: 40s\ndeadline: {deadline}\n"
        one.submit(name, one.work(name, more=more))
    one.open()
    assert one.order("plain", "cheap", "dear", "far") == ["dear", "far", "plain", "cheap"]


def test_running_tasks_give_way_by_priority_by_slices_and_at_once(stage: Callable[..., Stage]) -> None:
    """One slot and three configurations after each other; who gives way runs again and ends, nothing is retried."""
    one = stage("policy: priority\nset: {preemptive: true}\n", "--slots", "1")

    def gives_way(name: str, **options: Any) -> None:
        one.hold()
        one.submit(name, one.work(name, **options))
        assert one.done(name)[0]["tasks"][0]["attempts"] == 1
        assert one.job("hold0")["state"] == "EXECUTING", "it has not ended before"
        one.open()
        assert one.done("hold0")[0]["tasks"][0]["attempts"] == 2
        one.gate.unlink()

    def apply(text: str) -> None:
        one.file.write_text(text)
        one.up.cli("queues", "apply", str(one.file))

    one.submit("equal", one.work("equal", more="priority: 10\n"))
    one.done("equal")
    apply("policy: multilevel\nset: {mode: feedback, quantum: 3, preemptive: true}\n")
    gives_way("short")
    apply("policy: multilevel\nset: {preemptive: true}\nqueues: [{name: top, priority: 1}, low]\ndefault: low\n")
    gives_way("urgent", more="queue: top\n")
    apply(
        "policy: capacity\nset: {reclaim: aggressive}\ndefault: low\n"
        "queues: [{name: top, guaranteed: 100}, {name: low, guaranteed: 0}]\n"
    )
    gives_way("owner", more="queue: top\n")


def test_deadlines_under_overload_are_given_up_by_value(stage: Callable[..., Stage]) -> None:
    one = stage("policy: edf\nset: {overload: shed}\n", "--slots", "1")
    one.hold()
    for name, priority in (("cheap", 1), ("dear", 9)):
        more = f"priority: {priority}\nestimated_runtime: 40s\ndeadline: 70s\n"
        one.submit(name, one.work(name, more=more))
    one.open()
    one.done("dear")
    assert one.client.wait(one.names["cheap"], 90).state == "CANCELLED"
    assert "its deadline cannot be kept" in str(one.job("cheap")["error"])
    one.file.write_text("policy: edf\nset: {overload: reject}\n")
    one.up.cli("queues", "apply", str(one.file))
    with pytest.raises(Problem, match="The deadline cannot be kept: 40"):
        one.submit("late", one.work("late", more="estimated_runtime: 40s\ndeadline: 10s\n"))


def test_a_straggler_is_beaten_by_its_copy(stage: Callable[..., Stage]) -> None:
    """Five tasks take a tenth of a second; the sixth hangs on its first attempt, and its copy ends long before it."""
    one = stage("", "--ants", "2", "--slots", "2")
    slow = one.define(
        "job_type: slow\ntasks:\n- task_type: work\n  speculative_backup: {extra_work: 1, cap: 1}\n  script:\n"
        "  - if [ $FORMICARY_ATTEMPT = 1 ] && [ -n '{{.Hangs}}' ]; then sleep 60; else sleep 0.1; fi\n"
        '  - echo "::set-output name=attempt::$FORMICARY_ATTEMPT"\n',
    )
    for number in range(5):
        one.submit(f"s{number}", slow, params={"Hangs": ""})
    one.done(*(f"s{number}" for number in range(5)))
    one.submit("late", slow, params={"Hangs": "yes"})
    late = one.done("late")[0]
    task = late["tasks"][0]
    assert (late["outputs"]["attempt"], task["attempts"], task["state"]) == ("2", 2, "COMPLETED")
    assert at(task["ended_at"]) - at(task["started_at"]) < 30
    ants = one.up.page("/v1/ants")[1]["ants"]
    until(lambda: all(not ant.get("held") for ant in one.up.page("/v1/ants")[1]["ants"]), 20, f"the loser ends: {ants}")


def test_a_holder_of_the_only_place_inherits_the_priority_that_waits_for_it(stage: Callable[..., Stage]) -> None:
    """Inversion: without inheritance the medium jobs would run before the holder's second task."""
    one = stage("policy: priority\n", "--slots", "1")
    lock = one.define(
        "job_type: lock\nmax_concurrency: 1\ntasks:\n- task_type: a\n"
        f"  script: while [ ! -e {one.gate} ]; do sleep 0.02; done\n  on_completed: b\n"
        "- task_type: b\n  script: sleep 0.05\n"
    )
    one.submit("low", lock, priority=1)
    until(lambda: one.job("low")["tasks"][0]["state"] == "EXECUTING", 20, "low holds the place")
    medium = one.work("medium", more="priority: 5\n")
    for number in range(3):
        one.submit(f"m{number}", medium)
    one.submit("high", lock, priority=9)
    one.open()
    low, high, *mediums = one.done("low", "high", "m0", "m1", "m2")
    soonest = min(at(document["tasks"][0]["started_at"]) for document in mediums)
    assert at(low["tasks"][1]["started_at"]) < at(high["tasks"][0]["started_at"]) < soonest


def test_capacity_lends_and_takes_back(stage: Callable[..., Stage]) -> None:
    """Batch borrows all four slots; production gets its half back, and who gave way runs again without a retry."""
    one = stage(
        "policy: capacity\nset: {reclaim: graceful}\ndefault: batch\nqueues:\n"
        "- {name: prod, guaranteed: 50, match: {job_types: [prod]}}\n- {name: batch, guaranteed: 50}\n",
        "--slots",
        "4",
    )
    text = "while [ ! -e {gate} ]; do sleep 0.05; done"
    batch = one.define(f"job_type: batch\ntasks:\n- task_type: work\n  script: {text.format(gate=one.gate)}\n")
    for number in range(4):
        one.submit(f"b{number}", batch)
    names = [f"b{number}" for number in range(4)]
    until(lambda: all(one.job(name)["tasks"][0]["state"] == "EXECUTING" for name in names), 20, "all is lent")
    go_on = one.gate.with_name("go-on")  # what is reclaimed comes one after the other
    wait = f"while [ ! -e {go_on} ]; do sleep 0.02; done; sleep 0.3"
    prod = one.define(f"job_type: prod\ntasks:\n- task_type: work\n  script: {wait}\n")
    for number in range(3):
        one.submit(f"p{number}", prod)
    until(lambda: one.running("p0", "p1", "p2") == 2, 20, "production has its half")
    go_on.touch()
    production = one.done("p0", "p1", "p2")
    assert most_at_once(production) == 2
    one.open()
    attempts = sorted(document["tasks"][0]["attempts"] for document in one.done(*names))
    assert attempts == [1, 1, 2, 2]


def test_one_that_makes_less_progress_than_its_siblings_gets_a_copy(stage: Callable[..., Stage]) -> None:
    """Nothing of its kind has ended yet: the rates of progress alone say which of six lags behind."""
    one = stage("", "--ants", "2", "--slots", "4")
    kind = one.client.register(
        "job_type: kind\ntasks:\n- task_type: work\n  method: PYTHON\n  function: tests.acceptance.effects:lag\n"
        "  variables: {lags: '{{.Lags}}', gate: GATE}\n"
        "  speculative_backup: {extra_work: 1, cap: 1}\n".replace("GATE", str(one.gate)),
        path=str(REPOSITORY),
    )
    one.submit("slow", kind, params={"Lags": "yes"})
    until(lambda: one.job("slow")["tasks"][0].get("progress") is not None, 30, "it has told its progress")
    others = [f"o{number}" for number in range(5)]
    for name in others:
        one.submit(name, kind, params={"Lags": "no"})
    slow = one.done("slow")[0]
    assert (slow["outputs"]["result"], slow["tasks"][0]["attempts"]) == (2, 2)
    assert {one.job(name)["state"] for name in others} == {"EXECUTING"}, "none of its kind had ended before"
    assert one.figure("formicary_backups_started_total") >= one.figure("formicary_backups_won_total") >= 1
    one.open()
    one.done(*others)


def test_best_effort_tasks_take_what_is_left_and_give_way_first(stage: Callable[..., Stage]) -> None:
    """Two best-effort tasks fill both slots, then what asks for amounts comes: it starts before either has ended."""
    one = stage("policy: priority\nquality_of_service: true\n", "--slots", "2", "--resources", "cpu=2")
    free = one.gated("free", more="priority: 10\n")
    for name in ("f0", "f1"):
        one.submit(name, free)
    until(lambda: one.running("f0", "f1") == 2, 20, "they have what nobody else wants")
    one.submit("asks", one.work("asks", task="  resources: {cpu: 1}\n"))
    one.submit("sure", one.gated("sure", task="  resources: {limits: {cpu: 2}}\n"))
    assert one.done("asks")[0]["tasks"][0]["attempts"] == 1
    until(lambda: one.figure('formicary_running_by_class{class="guaranteed"}') == 1, 20, "its two processors are free")
    assert {one.job(name)["state"] for name in ("f0", "f1")} == {"EXECUTING"}, "none has ended before"
    one.open()
    first, second = sorted(document["tasks"][0]["attempts"] for document in one.done("f0", "f1", "sure")[:2])
    assert first <= 2 and second == 2
    assert one.figure("formicary_attempts_preempted_total") >= 1


def test_what_is_not_used_is_given_out_again_and_a_busy_task_keeps_others_off(stage: Callable[..., Stage]) -> None:
    """Two ants with a processor each, and four tasks that ask for one: beside the idle one another begins, beside the
    busy one nothing; and no more than twice what there is.
    """
    policy = "policy: fcfs\novercommit: {cpu: {observed: 0.9, after: 100ms}}\n"
    one = stage(policy, "--ants", "2", "--slots", "3", "--resources", "cpu=1")
    os.mkfifo(one.gate)
    text = "job_type: {}\ntasks:\n- task_type: work\n  resources: {{cpu: 1}}\n  script: {}\n"
    idle = one.define(text.format("idle", f"cat {one.gate}"))
    busy = one.define(text.format("busy", "'while :; do :; done'"))
    one.submit("busy", busy)
    for name in ("i0", "i1", "i2"):
        one.submit(name, idle)
    until(lambda: one.running("i0", "i1", "i2") == 2, 20, "two idle ones share a processor")
    assert "no ant has cpu 1 free now" in one.reason("i2")
    assert one.figure('formicary_observed_use{resource="cpu"}') > 0.03, "others may take most of the machine"
    assert sorted(ant["held"] for ant in one.up.page("/v1/ants")[1]["ants"]) == [1, 2]
    for name in ("busy", "i0", "i1", "i2"):
        one.client.cancel(one.names[name])
