"""Limits of tenants under any events: never passed, every attempt charged once, the same after a restart."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.queen.core import outcome as ends
from formicary.engine.scheduling.queues.reading import read_queues
from tests.unit.core.colony import Colony

LIMITS = (
    "tenant_limits: {'*': {max_concurrent_jobs: 3, max_concurrent_tasks: 3, max_cpu_hours_per_month: 1000,"
    " users: {'*': {max_concurrent_jobs: 2}}}}\n"
)
OF_TYPE = "tenant_limits: {max_concurrent_jobs: 1, users: {b: {max_cpu_hours_per_month: 1000}}}\n"
JOB = "job_type: {name}\n{limits}tasks:\n- task_type: a\n  script: x\n  retry: 1\n  resources: {{cpu: {cpu}}}\n{more}"
TWO = "- task_type: b\n  script: x\n"
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from("ab"), st.sampled_from(["one", "two"])),
        st.tuples(st.sampled_from(["ok", "fail", "again"]), st.integers(0, 5), st.integers(1, 50)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_limits_hold_and_every_attempt_is_charged_once(events: list[tuple[str, object, object]]) -> None:
    made = Colony(check_twin=False)
    config = read_queues(LIMITS).queues
    assert config is not None
    made.core.waiting.take(LIMITS, config, "test")
    one = made.define(JOB.format(name="one", limits="", cpu=1, more=""))
    two = made.define(JOB.format(name="two", limits=OF_TYPE, cpu=2, more="  on_completed: b\n" + TWO))
    made.ant("ant", 8, resources={"cpu": 64})
    charged, of_type, submitted, reported = 0.0, 0.0, 0, []
    for event, first, second in events:
        if event == "submit":
            submitted += 1
            made.submit(f"j{submitted}", one if second == "one" else two, user=str(first))
        elif event in ("ok", "fail"):
            held = sorted(made.workers["ant"].held)
            if held:
                assert isinstance(first, int) and isinstance(second, int)
                token = held[first % len(held)]
                run = made.core.leases.tokens[token]
                cores = 1.0 if run.task.resources is None else float(dict(run.needs).get("cpu", 1.0))
                kind = ends.COMPLETED if event == "ok" else ends.FAILED
                report = ends.Outcome(token, kind, 0, started_at=made.wall - second, ended_at=made.wall)
                reported.append(report)
                charged += cores * second
                of_type += cores * second if (run.job.definition.job_type, run.job.submitted_by) == ("two", "b") else 0
                made.core.result(made.workers["ant"].session, report)
        elif event == "again" and reported:
            made.core.result(made.workers["ant"].session, reported[-1])  # the acknowledgement was lost
        elif event == "restart":
            made.restart()
            made.join("ant")
        made.settle()
        queueing = made.core.queueing
        assert queueing is not None
        running = [job for job in made.core.jobs.values() if job.state != "PENDING"]
        assert len(running) <= 3 and len(made.core.leases.tokens) <= 3
        assert all(sum(job.submitted_by == user for job in running) <= 2 for user in "ab")
        usage = list(queueing.quotas.usage())
        used = {(item.user, item.name): item.used for item in usage if not item.job_type}
        typed = {(item.user, item.name): item.used for item in usage if item.job_type}
        running_of_type = sum(job.definition.job_type == "two" for job in running)
        assert running_of_type <= 1
        assert typed.get(("", "max_concurrent_jobs"), 0) == running_of_type
        assert typed.get(("b", "max_cpu_hours_per_month"), 0.0) * 3600 == pytest.approx(of_type, abs=1e-6)
        assert used.get(("", "max_concurrent_jobs"), 0) == len(running)
        assert used.get(("", "max_cpu_hours_per_month"), 0.0) * 3600 == pytest.approx(charged, abs=1e-6)
