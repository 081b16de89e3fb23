"""The core under limits of tenants: what waits, what is charged and when, and that a restart changes nothing."""

from __future__ import annotations

from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.explaining import explain
from formicary.engine.scheduling.queues.limits import period_of
from formicary.engine.scheduling.queues.reading import read_queues
from tests.unit.core.colony import ORG, Colony
from tests.unit.core.test_queues import colony, job, started

HOUR = 3600.0


def limited(text: str, **options: object) -> Colony:
    return colony(f"tenant_limits: {{{text}}}\n", **options)


def used(made: Colony, name: str, user: str = "") -> float:
    queueing = made.core.queueing
    assert queueing is not None
    return next(one.used for one in queueing.quotas.usage() if (one.name, one.user) == (name, user))


def why(made: Colony, job_id: str) -> str:
    return explain(made.core, made.core.jobs[job_id]).summary


def test_concurrent_jobs_of_organisation_and_user() -> None:
    made = limited("org: {max_concurrent_jobs: 3, users: {ann: {max_concurrent_jobs: 1}}}")
    definition = made.define(job("work"))
    for name, user in (("a1", "ann"), ("a2", "ann"), ("b1", "bob"), ("b2", "bob"), ("b3", "bob")):
        made.submit(name, definition, user=user)
    made.ant("ant", 8)
    assert started(made) == ["a1", "b1", "b2"]
    assert why(made, "a2") == "the organisation org has 3 of at most 3 (max_concurrent_jobs)"
    made.ok("b1", "a")
    assert started(made) == ["b3"], "ann has hers already"
    made.ok("b2", "a")
    assert why(made, "a2") == "the user ann has 1 of at most 1 (max_concurrent_jobs)"
    made.ok("a1", "a")
    assert started(made) == ["a2"]
    made.restart()
    assert (used(made, "max_concurrent_jobs"), used(made, "max_concurrent_jobs", "ann")) == (2, 1)


def test_cpu_hours_are_charged_once_by_the_end_of_an_attempt_and_outlive_a_restart() -> None:
    made = limited("'*': {max_cpu_hours_per_day: 2}")
    definition = made.define(job("work", task="  resources: {cpu: 2}\n  max_lost_attempts: 9\n"))
    for name in ("j1", "j2", "j3"):
        made.submit(name, definition)
    made.ant("ant", 1, resources={"cpu": 4})
    assert started(made) == ["j1"]
    begun, token = made.wall, made.token("j1", "a")
    made.advance(HOUR / 2)
    made.core.result(
        made.workers["ant"].session, ends.Outcome(token, ends.COMPLETED, 0, started_at=begun, ended_at=made.wall)
    )
    made.settle()
    made.core.result(
        made.workers["ant"].session, ends.Outcome(token, ends.COMPLETED, 0, started_at=begun, ended_at=made.wall)
    )
    made.settle()
    assert used(made, "max_cpu_hours_per_day") == 1.0, "two processors for half an hour, once"
    assert started(made) == ["j2"]
    made.advance(HOUR / 4)
    made.die("ant")
    made.advance(5)
    assert used(made, "max_cpu_hours_per_day") > 1.5, "a lost attempt has used its time, too"
    made.restart()
    assert 1.5 < used(made, "max_cpu_hours_per_day") < 1.51
    made.join("ant")
    assert started(made) == ["j2"], "what has begun goes on"
    made.advance(HOUR / 4)
    made.ok("j2", "a")
    made.advance(0)
    assert started(made) == [] or used(made, "max_cpu_hours_per_day") < 2


def test_a_limit_by_day_opens_at_midnight_though_nothing_happens() -> None:
    made = limited("org: {max_cpu_hours_per_day: 1}")
    definition = made.define(job("work"))
    made.submit("j1", definition)
    made.submit("j2", definition)
    made.ant("ant", 1)
    assert started(made) == ["j1"]
    begun = made.wall
    made.advance(HOUR)
    token = made.token("j1", "a")
    made.core.result(
        made.workers["ant"].session, ends.Outcome(token, ends.COMPLETED, 0, started_at=begun, ended_at=made.wall)
    )
    made.settle()
    assert started(made) == []
    assert "has 1 of at most 1 (max_cpu_hours_per_day); it goes on at" in why(made, "j2")
    left_s = period_of("day", made.wall)[1] - made.wall
    made.advance(left_s - 1)
    assert started(made) == []
    made.advance(2)
    assert started(made) == ["j2"]


def test_an_attempt_that_never_began_costs_nothing() -> None:
    made = limited("org: {max_cpu_hours_per_week: 1}")
    made.submit("j1", made.define(job("work")))
    made.ant("ant", 1)
    made.advance(HOUR / 2)
    made.give_back("j1", "a")
    assert used(made, "max_cpu_hours_per_week") < 0.001


def test_soft_limits_give_way_to_those_within_theirs() -> None:
    made = limited("org: {users: {ann: {max_concurrent_jobs: {soft: 1, hard: 3}}}}")
    definition = made.define(job("work"))
    for name, user in (("a1", "ann"), ("a2", "ann"), ("b1", "bob"), ("a3", "ann"), ("a4", "ann")):
        made.submit(name, definition, user=user)
    made.ant("ant", 2)
    assert started(made) == ["a1", "b1"], "a2 came first and waits for those within their limits"
    made.ok("b1", "a")
    assert started(made) == ["a2"], "nobody else wants it"
    made.ant("more", 4)
    assert started(made) == ["a3"]
    assert "has 3 of at most 3" in why(made, "a4")


def test_a_burst_is_remembered_over_a_restart() -> None:
    made = limited("org: {max_concurrent_jobs: {hard: 1, burst: 2, burst_for: 1m}}")
    definition = made.define(job("work"))
    for number in range(3):
        made.submit(f"j{number}", definition)
    made.ant("ant", 4)
    assert started(made) == ["j0", "j1"]
    made.advance(40)
    made.restart()
    made.join("ant")
    made.advance(30)
    made.ok("j0", "a")
    assert started(made) == [], "70 seconds above the limit: the burst is over"
    made.advance(58)
    assert started(made) == []
    made.advance(4)
    assert started(made) == ["j2"]


def test_a_gang_waits_until_the_limit_has_room_for_all_of_it() -> None:
    made = limited("org: {max_concurrent_tasks: 3}")
    gang = "job_type: gang\ngang: job\ntasks:\n- task_type: x\n  script: x\n- task_type: y\n  script: y\n"
    single = made.define(job("single"))
    made.submit("s0", single)
    made.submit("s1", single)
    made.ant("ant", 8)
    made.submit("g", made.define(gang))
    assert started(made) == ["s0", "s1"]
    assert "has 2 of at most 3 (max_concurrent_tasks)" in " ".join(
        one.message for one in explain(made.core, made.core.jobs["g"]).reasons
    )
    made.ok("s0", "a")
    assert started(made) == ["g", "g"]


def test_jobs_that_a_running_job_forks_do_not_wait_for_it() -> None:
    made = limited("org: {max_concurrent_jobs: 1}")
    made.define(job("child"))
    parent = "job_type: parent\ntasks:\n- task_type: f\n  method: FORK_JOB\n  fork_job_type: child\n  on_completed: w\n"
    made.submit("p", made.define(parent + "- task_type: w\n  method: AWAIT_FORKED_JOB\n  await_forked_tasks: [f]\n"))
    made.ant("ant", 2)
    assert [one.partition(".")[0] for one in started(made)] == ["p"]
    assert used(made, "max_concurrent_jobs") == 2


def test_limits_that_come_and_go_at_run_time_know_what_runs() -> None:
    made = colony("policy: fcfs\n")
    definition = made.define(job("work"))
    made.submit("j0", definition)
    made.submit("j1", definition)
    made.ant("ant", 1)

    def follow(source: str) -> None:
        found = read_queues(source).queues
        assert found is not None
        made.core.waiting.take(source, found, "me")
        made.settle()

    follow("tenant_limits: {org: {max_concurrent_jobs: 1, max_cpu_hours_per_day: 5}}\n")
    assert (used(made, "max_concurrent_jobs"), ORG) == (1, "org")
    made.advance(HOUR)
    made.die("ant")
    made.advance(10)
    follow("policy: fcfs\n")
    assert made.core.queueing is not None and not list(made.core.queueing.quotas.usage())
    follow("tenant_limits: {org: {max_cpu_hours_per_day: 5}}\n")
    made.join("ant")
    assert used(made, "max_cpu_hours_per_day") > 1.0, "what was charged before is not forgotten"
