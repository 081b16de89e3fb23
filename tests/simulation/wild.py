"""Random job definitions: every combination of routes, dependencies and actions that validation would let through.

How such a job ends is not foretold; it has to end, and on the way nothing that must hold may be broken.
"""

from __future__ import annotations

from random import Random
from typing import Any

from formicary.engine.jobs.model import JobDefinition, TaskDefinition
from formicary.engine.queen.core.outcome import CANCELLED, COMPLETED, FAILED, LOST, TIMED_OUT
from tests.simulation.jobs import OK, Deed, Does, Kind

ACTIONS = ("COMPLETED", "FAILED", "FATAL", "EXECUTING", "RESTART_JOB", "RESTART_TASK", "PAUSE_JOB", "ERR_DISK")
DECIDED = ("COMPLETED", "FAILED", "FATAL", "RESTART_TASK", "ERR_DISK")
EXIT_CODES = ("1", "2", "3")


def wild_definition(rng: Random, name: str, most_tasks: int = 6, *, people: bool = True) -> JobDefinition:
    """A definition without cycles: routes lead forward, dependencies backward; with questions to people, or without."""
    size = rng.randint(1, most_tasks)
    tasks = tuple(_task(rng, position, size, people) for position in range(size))
    return JobDefinition(
        job_type=name,
        tasks=tasks,
        retry=rng.choice((None, 0, 1, 2)),
        timeout_s=rng.choice((4.0, 30.0, 100.0)),
        delay_between_retries_s=(0.0, 0.3),
        pause_time_s=(0.1, 0.8),
        hard_reset_after_retries=rng.choice((0, 1, 3)),
        max_concurrency=rng.choice((None, None, 1, 2)),
        variables_templated=rng.random() < 0.1,
        skip_if="true" if rng.random() < 0.03 else None,
    )


def _task(rng: Random, position: int, size: int, people: bool) -> TaskDefinition:
    later = [f"t{other}" for other in range(position + 1, size)]
    fields: dict[str, Any] = {"on_exit_code": {}}
    for code in EXIT_CODES:
        if rng.random() < 0.25:
            fields["on_exit_code"][code] = rng.choice((*ACTIONS, *(("WAIT_FOR_APPROVAL",) if people else ()), *later))
    for field in ("on_completed", "on_failed"):
        if later and rng.random() < 0.35:
            fields[field] = rng.choice(later)
        elif rng.random() < 0.05:
            fields[field] = rng.choice(("COMPLETED", "FAILED", "EXECUTING", "PAUSE_JOB"))
    earlier = [f"t{other}" for other in range(position)]
    if earlier and rng.random() < 0.5:
        fields["dependencies"] = tuple(sorted(rng.sample(earlier, rng.randint(1, min(2, len(earlier))))))
    fields.update(_composing(rng, earlier))
    retry = rng.choice((None, None, 1, 2))
    if people and rng.random() < 0.1 and not fields.keys() & {"method", "fan_out"}:
        fields.update(_manual(rng, later))
        retry = 2  # bounds how often people are asked again: meanwhile no clock runs
    if people and rng.random() < 0.3:
        fields["approval_policy"] = _policy(rng)
    return TaskDefinition(
        task_type=f"t{position}",
        allow_failure=rng.random() < 0.15,
        always_run=position > 0 and rng.random() < 0.2,
        allow_start_if_completed=rng.random() < 0.1,
        retry=retry,
        delay_s=rng.choice((None, None, None, 0.2)),
        delay_between_retries_s=rng.choice(((0.0, 0.0), (0.1, 0.3))),
        total_timeout_s=rng.choice((None, None, 3.0)),
        max_lost_attempts=rng.choice((1, 3, 1000)),
        is_static=rng.random() < 0.85,
        except_="true" if rng.random() < 0.05 else None,
        **fields,
    )


def _manual(rng: Random, later: list[str]) -> dict[str, Any]:
    """A task that waits for people."""
    codes = {code: rng.choice((*DECIDED, *later)) for code in ("APPROVED", "REJECTED") if rng.random() < 0.4}
    more = {"on_completed": rng.choice(later)} if later and rng.random() < 0.4 else {"on_completed": None}
    return {"method": "MANUAL", "on_exit_code": codes, "on_failed": None, **more, "approval_policy": _policy(rng)}


def _policy(rng: Random) -> dict[str, Any]:
    """Who decides: always somebody who is there."""
    policy: dict[str, Any] = {"min_approvals": rng.choice((1, 1, 2))}
    if rng.random() < 0.6:
        policy |= {"allowed_users": ["ann", "bob", "cid"], "require_unanimous": rng.random() < 0.3}
    if rng.random() < 0.4:
        actions = ("AUTO_APPROVE", "AUTO_REJECT", "ESCALATE")
        policy |= {"sla_deadline": rng.choice(("200ms", "1s")), "timeout_action": rng.choice(actions)}
    return policy


def _composing(rng: Random, earlier: list[str]) -> dict[str, Any]:
    """Now and then a task that forks jobs or waits for what an earlier task may have forked."""
    draw, job_type = rng.random(), rng.choice(("one", "failed", "retried", "paused"))
    if draw < 0.05:
        return {"method": "FORK_JOB", "fork_job_type": job_type}
    if draw < 0.1:
        return {"method": "FORK_JOB", "fork_job_type": job_type, "sub_workflow": {"wait_for_completion": True}}
    if draw < 0.14:
        spec: dict[str, Any] = {"source": [1, 2, 3], "fail_fast": rng.random() < 0.5, "fork_job_type": job_type}
        return {"method": "FAN_OUT_JOB", "fan_out": spec, "timeout_s": rng.choice((None, 1.0))}
    if draw > 0.9:
        at_once, fast = rng.choice((0, 1, 2)), rng.random() < 0.5
        return {"fan_out": {"source": [1, 2, 3, 4], "max_parallel": at_once, "fail_fast": fast}}
    if draw < 0.2 and earlier:
        return {"method": "AWAIT_FORKED_JOB", "await_forked_tasks": (rng.choice(earlier),)}
    return {}


def wild_does(salt: int, position: int) -> Does:
    """Outcomes that look random and are the same each time they are asked for."""

    def does(attempt: int, execution: int) -> Deed:
        rng = Random(f"{salt}/{position}/{attempt}/{execution}")
        draw = rng.random()
        if draw < 0.5 or attempt > 12:
            return OK
        if draw < 0.9:
            return FAILED, rng.choice((1, 2, 3))
        return rng.choice(((TIMED_OUT, None), (LOST, None), (CANCELLED, None), (COMPLETED, 2)))

    return does


def wild_kinds(count: int) -> list[Kind]:
    """Kinds whose end is anybody's guess."""
    kinds = []
    for salt in range(count):
        definition = wild_definition(Random(salt), f"wild{salt}")
        does = tuple(wild_does(salt, position) for position in range(len(definition.tasks)))
        kinds.append(Kind(definition, does, "", tuple(None for _ in does), children=-1))
    return kinds
