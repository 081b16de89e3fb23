"""Quality of service in the core: best-effort tasks take what is left, count for nothing, and give way first."""

from __future__ import annotations

import pytest

from formicary.engine.queen.core.explaining import explain
from tests.unit.core.test_preempting import asked, give_way
from tests.unit.core.test_queues import colony, job, started

ON = "quality_of_service: true\n"
ASKS = "  resources: {cpu: 1}\n"


def test_best_effort_takes_what_is_left_whatever_the_order_says() -> None:
    made = colony(f"policy: priority\n{ON}")
    made.submit("free", made.define(job("free", "priority: 10")))
    for name in ("low", "low2"):
        made.submit(name, made.define(job("low", task=ASKS)))
    made.ant("ant", 2, resources={"cpu": 2})
    assert started(made) == ["low", "low2"]
    reasons = {one.gate: one.message for one in explain(made.core, made.core.jobs["free"]).reasons}
    assert reasons["class"] == "it is best-effort, and takes what the 0 that ask for amounts leave"
    made.ok("low", "a")
    assert started(made) == ["free"]


def test_without_the_option_the_class_means_nothing() -> None:
    made = colony("policy: priority\n")
    made.submit("free", made.define(job("free", "priority: 10")))
    made.submit("asks", made.define(job("asks", task=ASKS)))
    made.ant("ant", 1, resources={"cpu": 1})
    assert started(made) == ["free"] and asked(made) == []


def test_best_effort_gives_way_the_latest_first_and_only_where_that_helps() -> None:
    made = colony(f"policy: fcfs\n{ON}")
    made.ant("ant", 3, resources={"cpu": 2})
    for name in ("f1", "f2", "f3"):
        made.submit(name, made.define(job("free")))
    assert started(made) == ["f1", "f2", "f3"]
    for name in ("a1", "a2", "a3"):
        made.submit(name, made.define(job("asks", task=ASKS)))
    assert asked(made) == ["f3", "f2"], "a third would find no cpu"
    reasons = {one.gate: one.message for one in explain(made.core, made.core.jobs["a1"]).reasons}
    assert reasons["class"] == "it asks for amounts, 3 best-effort tasks run that give way, 2 of them do"
    text = explain(made.core, made.core.jobs["f3"]).reasons[0].message
    assert text.endswith("attempt 1, and is asked to make room")
    give_way(made, "f3", "f2")
    assert started(made) == ["a1", "a2"]
    run = made.core.jobs["f3"].run
    assert run is not None and (run.runs[0].state, run.runs[0].failures, run.runs[0].lost) == ("READY", 0, 0)
    made.ok("a1", "a")
    assert started(made) == ["a3"], "before those that gave way"


def test_a_job_that_is_rendered_later_gets_its_place_too() -> None:
    made = colony(f"policy: fcfs\n{ON}")
    made.ant("ant", 1, resources={"cpu": 2})
    made.submit("free", made.define(job("free")))
    made.news()
    made.submit("asks", made.define(job("asks", task="  resources: {cpu: '{{.Cpu}}'}\n")), params={"Cpu": 2})
    assert asked(made) == ["free"]
    give_way(made, "free")
    assert started(made) == ["asks"]


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        ("policy: capacity\nset: {reclaim: graceful}\n", "queues: [{name: a, guaranteed: 50}, {name: b}]\n"),
        ("policy: multilevel\n", "queues: [{name: a, priority: 1}, {name: b, priority: 2}]\n"),
        ("policy: fair\nset: {by: queue}\n", "queues: [a, b]\n"),
        ("policy: priority\nset: {preemptive: true}\n", "queues: [a, b]\n"),
    ],
)
def test_what_best_effort_holds_counts_for_nothing_under_every_policy(policy: str, more: str) -> None:
    """Queue b fills the slots with best-effort tasks; those of it that ask for amounts get all the same."""
    made = colony(f"{policy}{more}default: b\n{ON}")
    made.ant("ant", 4, resources={"cpu": 4})
    for number in range(4):
        made.submit(f"f{number}", made.define(job("free", "queue: b; priority: 9")))
    started(made)
    for number in range(4):
        queue = "a" if number % 2 else "b"
        made.submit(f"a{number}", made.define(job(f"asks-{queue}", f"queue: {queue}", ASKS)))
    assert sorted(asked(made)) == ["f0", "f1", "f2", "f3"]
    give_way(made, "f0", "f1", "f2", "f3")
    assert sorted(started(made)) == ["a0", "a1", "a2", "a3"]
    made.submit("late", made.define(job("free", "queue: a; priority: 10")))
    assert asked(made) == [], "a best-effort task takes nobody's place"


def test_nobody_gives_way_for_more_than_limits_and_locks_let_start() -> None:
    made = colony(f"policy: fcfs\n{ON}queues: [{{name: one, limit: 1}}, rest]\ndefault: rest\n")
    made.ant("ant", 4, resources={"cpu": 4})
    for number in range(4):
        made.submit(f"f{number}", made.define(job("free")))
    started(made)
    for number in range(2):
        made.submit(f"l{number}", made.define(job("limited", "queue: one", ASKS)))
        made.submit(f"c{number}", made.define(job("alone", "max_concurrency: 1", ASKS)))
    assert asked(made) == ["f3", "f2"]


def test_a_gang_that_asks_for_amounts_has_best_effort_tasks_leave_its_ants() -> None:
    made = colony(f"policy: fcfs\n{ON}")
    made.ant("ant", 3, resources={"cpu": 2})
    for name in ("f1", "f2", "f3"):
        made.submit(name, made.define(job("free")))
    started(made)
    members = "".join(f"- task_type: {name}\n  script: x\n  resources: {{cpu: 1}}\n" for name in "ab")
    made.submit("gang", made.define(f"job_type: gang\ngang: job\ntasks:\n{members}"))
    assert asked(made) == ["f3"], "a place for the job to begin"
    give_way(made, "f3")
    assert asked(made) == ["f2"], "and one more for its gang"
    give_way(made, "f2")
    assert started(made) == ["gang", "gang"]


def test_a_best_effort_gang_gives_way_as_a_whole_and_keeps_no_ant_from_others() -> None:
    made = colony(f"policy: fcfs\n{ON}")
    made.ant("ant", 2, resources={"cpu": 2})
    members = "".join(f"- task_type: {name}\n  script: x\n" for name in "ab")
    gang = made.define(f"job_type: gang\ngang: job\ntasks:\n{members}")
    made.submit("gang", gang)
    assert started(made) == ["gang", "gang"]
    made.submit("asks", made.define(job("asks", task=ASKS)))
    assert asked(made) == ["gang"]
    stopped = next(name for name in "ab" if made.core.leases.tokens[made.token("gang", name)].preempting)
    made.result("gang", stopped, 4)
    assert {text for text in made.news() if text.startswith(("grant", "cancel"))} == {
        f"cancel gang/{'ab'.replace(stopped, '')} on ant",
        "grant asks/a attempt 1 to ant",
    }
