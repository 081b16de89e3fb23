"""The core under `tenant_limits` of job types: what waits, what is charged, and that a restart changes nothing."""

from __future__ import annotations

import pytest

from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.explaining import explain
from formicary.engine.queen.core.submission import Submission
from formicary.engine.scheduling.queues.limits import period_of
from tests.unit.core.colony import Colony
from tests.unit.core.test_queues import colony, job, started

HOUR = 3600.0


def limited(text: str, name: str = "work", task: str = "") -> str:
    return job(name, f"tenant_limits: {{{text}}}", task)


def used(made: Colony, name: str, user: str = "", org: str = "org") -> float:
    assert made.core.queueing is not None
    usage = made.core.queueing.quotas.usage()
    return next(one.used for one in usage if (one.org, one.name, one.user, one.job_type) == (org, name, user, "work"))


def why(made: Colony, job_id: str) -> str:
    return explain(made.core, made.core.jobs[job_id]).summary


def submit_of(made: Colony, org: str, definition: str, *ids: str) -> None:
    """Jobs of another organisation, of a type that is public."""
    made.core.submit(made.core.definitions[definition], org, [Submission(one, b"{}") for one in ids])
    made.settle()


def ran(made: Colony, job_id: str, seconds: float) -> None:
    """Its attempt has run for so long."""
    token, begun = made.token(job_id, "a"), made.wall
    made.advance(seconds)
    report = ends.Outcome(token, ends.COMPLETED, 0, started_at=begun, ended_at=made.wall)
    for _ in range(2):  # the second time the acknowledgement was lost
        made.core.result(made.workers["ant"].session, report)
        made.settle()


@pytest.mark.parametrize("queues", ["", "policy: fcfs\n", "tenant_limits: {org: {max_concurrent_jobs: 9}}\n"])
def test_a_type_holds_back_its_own_jobs_alone_with_queues_and_without(queues: str) -> None:
    made = colony(queues)
    work, other = made.define(limited("max_concurrent_jobs: 2")), made.define(job("other"))
    made.ant("ant", 8)
    for name in ("w1", "w2", "w3"):
        made.submit(name, work)
    for name in ("o1", "o2", "o3"):
        made.submit(name, other)
    assert started(made) == ["w1", "w2", "o1", "o2", "o3"]
    assert why(made, "w3") == "the organisation org has 2 of at most 2 (max_concurrent_jobs of the job type work)"
    made.restart()
    made.join("ant")
    assert started(made) == [] and used(made, "max_concurrent_jobs") == 2
    made.ok("w1", "a")
    assert started(made) == ["w3"]


def test_each_organisation_and_each_user_has_limits_of_his_own() -> None:
    made = colony()
    work = made.define(limited("max_concurrent_jobs: 2, users: {ann: {max_concurrent_jobs: 1}}"))
    made.ant("ant", 8)
    for name, user in (("a1", "ann"), ("a2", "ann"), ("b1", "bob"), ("b2", "bob")):
        made.submit(name, work, user=user)
    submit_of(made, "acme", work, "c1", "c2", "c3")
    assert started(made) == ["a1", "b1", "c1", "c2"]
    assert used(made, "max_concurrent_jobs", org="acme") == 2
    made.ok("b1", "a")
    assert started(made) == ["b2"]
    assert why(made, "a2") == "the organisation org has 2 of at most 2 (max_concurrent_jobs of the job type work)"
    made.ok("b2", "a")
    assert why(made, "a2") == "the user ann has 1 of at most 1 (max_concurrent_jobs of the job type work)"


def test_organisations_that_are_named_and_every_other() -> None:
    made = colony()
    work = made.define(limited("org: {max_concurrent_jobs: 1}, '*': {max_concurrent_jobs: 2}"))
    made.ant("ant", 8)
    made.submit("o1", work)
    made.submit("o2", work)
    submit_of(made, "acme", work, "c1", "c2", "c3")
    assert started(made) == ["o1", "c1", "c2"]


def test_it_only_tightens_what_the_file_of_queues_allows() -> None:
    made = colony("tenant_limits: {org: {max_concurrent_jobs: 1}}\n")
    work = made.define(limited("max_concurrent_jobs: 5"))
    made.ant("ant", 8)
    made.submit("w1", work)
    made.submit("w2", work)
    assert started(made) == ["w1"]
    assert why(made, "w2") == "the organisation org has 1 of at most 1 (max_concurrent_jobs)"


def test_cpu_hours_of_a_type_are_charged_once_and_outlive_restarts_without_any_job_of_it() -> None:
    made = colony()
    work = made.define(limited("max_cpu_hours_per_day: 1", task="  resources: {cpu: 2}\n"))
    made.ant("ant", 1, resources={"cpu": 4})
    made.submit("w1", work)
    started(made)
    ran(made, "w1", HOUR / 2)
    assert used(made, "max_cpu_hours_per_day") == 1.0
    made.restart()
    assert not made.core.definitions, "no live job has brought the definition back"
    made.join("ant")
    made.submit("w2", work)
    assert started(made) == [] and used(made, "max_cpu_hours_per_day") == 1.0
    assert "has 1 of at most 1 (max_cpu_hours_per_day of the job type work); it goes on at" in why(made, "w2")
    made.submit("o1", made.define(job("other")))
    assert started(made) == ["o1"]
    made.ok("o1", "a")
    left_s = period_of("day", made.wall)[1] - made.wall
    made.advance(left_s + 1)
    assert started(made) == ["w2"]


def test_a_new_version_has_its_limits_at_once_and_knows_what_runs() -> None:
    made = colony()
    first = made.define(job("work"))
    made.ant("ant", 8)
    for name in ("w1", "w2", "w3"):
        made.submit(name, first)
    made.advance(HOUR)
    second = made.define(limited("max_concurrent_jobs: 3, max_cpu_hours_per_month: 100"))
    assert used(made, "max_concurrent_jobs") == 3
    assert used(made, "max_cpu_hours_per_month") == pytest.approx(3.0)
    made.submit("w4", second)
    made.submit("w5", first)
    assert started(made) == ["w1", "w2", "w3"]
    made.define(limited("max_concurrent_jobs: 4"))
    assert started(made) == ["w4"], "one more, and those that wait are looked at again"
    made.define(job("work"))
    assert started(made) == ["w5"], "no limits any more"
    made.advance(HOUR)
    made.define(limited("max_cpu_hours_per_month: 100"))
    assert used(made, "max_cpu_hours_per_month") == pytest.approx(8.0), "3 of them for two hours, the others for one"


def test_what_waits_is_put_anew_where_limits_come_while_the_queen_runs() -> None:
    made = colony("policy: fcfs\n")
    first = made.define(job("work"))
    made.submit("w1", first)
    made.submit("w2", first)
    made.define(limited("max_concurrent_jobs: {soft: 1}, users: {ann: {max_concurrent_jobs: 1}}"))
    assert [demand.payer is not None for demand in made.core.queues if made.core.queues[demand]] == [True]


@pytest.mark.parametrize("queues", ["", "policy: fcfs\n"])
def test_limits_hold_for_what_waits_already_when_they_come(queues: str) -> None:
    made = colony(queues)
    first = made.define(job("work"))
    for name in ("w1", "w2", "w3"):
        made.submit(name, first)
    made.define(limited("max_concurrent_jobs: {hard: 1, burst: 2, burst_for: 1s}"))
    made.restart()
    made.ant("ant", 8)
    assert started(made) == ["w1", "w2"], "though no live job is of the version that says so"
    made.define(job("work"))
    made.restart()
    made.join("ant")
    assert started(made) == ["w3"]


def test_an_older_version_that_comes_again_does_not_bring_its_limits_back() -> None:
    made = colony()
    first = made.define(limited("max_concurrent_jobs: 1"))
    second = made.define(limited("max_concurrent_jobs: 3"))
    made.restart()
    made.ant("ant", 8)
    made.submit("w1", second)
    for name in ("w2", "w3", "w4"):
        made.submit(name, first)
    assert started(made) == ["w1", "w2", "w3"]


def test_a_gang_of_a_type_waits_until_there_is_room_for_all_of_it() -> None:
    made = colony()
    gang = "job_type: work\ngang: job\ntenant_limits: {max_concurrent_tasks: 3}\n"
    work = made.define(gang + "tasks:\n- task_type: x\n  script: x\n- task_type: y\n  script: y\n")
    made.ant("ant", 8)
    made.submit("g1", work)
    made.submit("g2", work)
    assert started(made) == ["g1", "g1"]
    reasons = " ".join(one.message for one in explain(made.core, made.core.jobs["g2"]).reasons)
    assert "has 2 of at most 3 (max_concurrent_tasks of the job type work)" in reasons
    made.ok("g1", "x")
    made.ok("g1", "y")
    assert started(made) == ["g2", "g2"]


FORKING = (
    "- task_type: f\n  method: FORK_JOB\n  fork_job_type: {child}\n  on_completed: w\n"
    "- task_type: w\n  method: AWAIT_FORKED_JOB\n  await_forked_tasks: [f]\n"
)


def test_what_a_job_forks_of_another_type_waits_at_the_limits_of_that_type() -> None:
    made = colony()
    made.define(limited("max_concurrent_jobs: 1"))
    parent = made.define("job_type: parent\ntasks:\n" + FORKING.format(child="work"))
    made.ant("ant", 8)
    made.submit("p1", parent)
    made.submit("p2", parent)
    assert [one.partition(".")[0] for one in started(made)] == ["p1"]
    made.ok(next(one for one in made.core.jobs if one.startswith("p1.")), "a")
    assert [one.partition(".")[0] for one in started(made)] == ["p2"]


def test_what_a_job_forks_of_its_own_type_does_not_wait_for_its_place() -> None:
    made = colony()
    text = "job_type: work\ntenant_limits: {max_concurrent_jobs: 1}\ntasks:\n"
    leaf = "- task_type: a\n  script: x\n"
    first = made.define(text + leaf)
    forks = made.define(text + FORKING.format(child="work").replace("fork_job_type: work", "fork_job_type: between"))
    made.define("job_type: between\ntasks:\n" + FORKING.format(child="work"))
    made.define(text + leaf)
    made.ant("ant", 2)
    made.submit("p", forks)
    made.submit("q", first)
    assert [one.partition(".")[0] for one in started(made)] == ["p"], "the child of its child has begun; q waits"
    assert used(made, "max_concurrent_jobs") == 2
    assert "has 2 of at most 1" in why(made, "q")


def test_nothing_is_asked_of_types_without_limits() -> None:
    made = colony()
    made.submit("o1", made.define(job("other")))
    assert made.core.queueing is None
    made.define(limited("max_concurrent_jobs: 1"))
    made.submit("o2", made.define(job("other")))
    demands = [demand for demand in made.core.queues if demand.payer is not None]
    assert len(made.core.queues) == 1 and not demands, "they still wait in one line"
