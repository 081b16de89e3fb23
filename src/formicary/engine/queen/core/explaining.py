"""Why a job does not run now: each gate with its figures, its place in the order, what placement lacks.

Read only: it asks the same view that scheduling decides on, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.scheduling.demand import EVERY_TAG
from formicary.engine.scheduling.fcfs import fcfs_within_priority
from formicary.lifecycle.breaker import HALF_OPEN

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core
    from formicary.engine.queen.core.records import Ant, Job, TaskRun
    from formicary.engine.scheduling.candidates import OrderKey
    from formicary.engine.scheduling.demand import Demand

MOST_ANTS = 5
"""Ants whose lacks are told one by one."""


class Reason(msgspec.Struct, frozen=True):
    """One gate on the way to an ant."""

    gate: str
    """`state`, `time`, `work`, `concurrency`, `breaker`, `order` or `place`."""
    passed: bool
    """False: this holds the job up."""
    message: str
    figures: Mapping[str, float] = {}
    task_type: str = ""
    """Empty: of the job as a whole."""


class Explanation(msgspec.Struct, frozen=True):
    """All reasons of one job; the summary is the first that holds it up."""

    id: str
    state: str
    summary: str
    reasons: tuple[Reason, ...]


def explain(core: Core, job: Job) -> Explanation:
    """Says why a live job does not run, or that it does."""
    if job.state == life.PENDING:
        reasons = _pending(core, job)
    elif job.state in (life.EXECUTING, life.APPROVAL):
        reasons = _executing(core, job)
    else:
        reasons = [_stopped(core, job)]
    held_up = next((one for one in reasons if not one.passed), None)
    summary = held_up.message if held_up is not None else "nothing holds it up"
    return Explanation(job.id, job.state, summary, tuple(reasons))


def ended(job_id: str, state: str, code: str, message: str) -> Explanation:
    """The explanation of a job that is over."""
    text = f"it has ended: {state}" + (f" ({code}: {message})" if code else "")
    return Explanation(job_id, state, text, (Reason("state", False, text),))


def _pending(core: Core, job: Job) -> list[Reason]:
    due = job.timer_at if job.timer_at is not None else job.scheduled_at
    if job.timer is not None and due is not None and due > core.wall:
        why = "the delay before its next execution" if job.retries else "its scheduled start"
        return [_until(core, f"waits for {why}", due)]
    demand = job.definition.demand
    reasons = [Reason("time", True, "its time has come")]
    if demand.gate is not None:
        running, limit = core.running_of(demand.gate), core.limit_of(demand.gate)
        reasons.append(
            Reason(
                "concurrency",
                running < limit,
                f"{running} of at most {limit} executions of {demand.gate[1]} are running (max_concurrency)",
                {"running": running, "limit": limit},
            )
        )
    reasons += _breaker(core, job)
    return [*reasons, *_queued(core, demand, fcfs_within_priority(job.priority, job.number, 0), "")]


def _breaker(core: Core, job: Job) -> list[Reason]:
    """The circuit breaker that the job has to pass."""
    found = core.breaking.of_job(job)
    if found is None:
        return []
    (_, name), breaker = found
    permits, due = breaker.permits(core.wall), breaker.half_open_at
    figures = {"opened": float(breaker.opened)}
    if due is not None:
        text = f"the circuit breaker {name} is OPEN after too many failures; it lets a trial through"
        until = _until(core, text, due)
        return [msgspec.structs.replace(until, gate="breaker", figures={**figures, **until.figures})]
    if breaker.state == HALF_OPEN and not permits:
        tried = ", ".join(str(key) for key in breaker.trials) or "earlier ones"
        text = f"the circuit breaker {name} is HALF_OPEN and waits for the end of its trials: {tried}"
        return [Reason("breaker", False, text, figures)]
    return [Reason("breaker", True, f"the circuit breaker {name} is {breaker.state}", figures)]


def _stopped(core: Core, job: Job) -> Reason:
    if job.state == life.PAUSED and job.timer_at is not None:
        return _until(
            core, "a task has paused the job; `formicary resume` lets it go on at once, or it goes on", job.timer_at
        )
    return Reason("state", False, f"the job is {job.state}")


def _until(core: Core, what: str, due: float, task_type: str = "") -> Reason:
    left = max(0.0, due - core.wall)
    at = datetime.fromtimestamp(due, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Reason("time", False, f"{what}: {at}, in {left:.1f} s", {"left_s": round(left, 3)}, task_type)


def _executing(core: Core, job: Job) -> list[Reason]:
    execution = job.run
    if execution is None or execution.preparing:
        return [Reason("work", False, "the job's variables are being rendered")]
    reasons = []
    if job.verdict is not None:
        reasons.append(Reason("state", False, f"the job is being ended ({job.verdict}): only what runs still ends"))
    for run in execution.runs.values():
        if run.state not in life.TASK_ENDED and run.state != life.PENDING:
            reasons += _task(core, run)
    return reasons or [Reason("work", True, "the next task is being chosen")]


def _task(core: Core, run: TaskRun) -> list[Reason]:
    name = run.name
    if run.state in (life.DISPATCHED, life.EXECUTING):
        ant = run.holder.id if run.holder is not None else run.ant or "an ant"
        what = "is running on" if run.state == life.EXECUTING else "has been given to"
        return [Reason("work", True, f"{name} {what} {ant}, attempt {run.attempts}", {}, name)]
    if run.state == life.READY:
        return _queued(core, run.demand, fcfs_within_priority(run.job.priority, run.job.number, run.position), name)
    if run.state == life.APPROVAL:
        return [Reason("state", False, f"{name} waits for people to decide: `formicary approve`", {}, name)]
    if run.awaits and run.fans:
        return _elements(core, run)
    if run.awaits:
        return [Reason("work", False, f"{name} waits for other jobs", {}, name)]
    if run.rendering:
        return [Reason("work", False, f"{name} is being rendered", {}, name)]
    if run.timer_at is not None:
        why = "its next poll" if run.polls else "its next attempt" if run.attempts else "its delay"
        return [_until(core, f"{name} waits for {why}", run.timer_at, name)]
    return [Reason("state", False, f"{name} is {run.state}", {}, name)]


def _elements(core: Core, run: TaskRun) -> list[Reason]:
    """How far a fan-out is, and why the first of its elements that waits does so."""
    family, name = core.fanning.families[run], run.task.task_type
    begun = [element for _, element in family.begun()]
    running = sum(element.state in (life.DISPATCHED, life.EXECUTING) for element in begun)
    figures = {"elements": len(family.items), "open": len(family.open), "running": running, "limit": family.limit}
    text = f"{name} runs {running} of {len(family.items)} elements, at most {family.limit} at a time"
    waiting = next((element for element in begun if element.state in (life.READY, life.WAITING)), None)
    found = [Reason("work", bool(running), text, figures, name)]
    return found if waiting is None else [*found, *_task(core, waiting)]


def _queued(core: Core, demand: Demand, key: OrderKey, task_type: str) -> list[Reason]:
    """Order and placement of what waits for an ant."""
    queue = core.queues.get(demand)
    ahead = queue.ahead(key) if queue is not None else 0
    everywhere = sum(other.ahead(key) for other in core.queues.values())
    line = f"place {ahead + 1} among those that need the same, {everywhere + 1} of all"
    text = f"{line} (priority {-key[0]}, then first come)"
    order = Reason("order", ahead == 0, text, {"ahead": ahead, "ahead_of_all": everywhere}, task_type)
    place = _place(core, demand, task_type)
    # What stands at the head of the line is named first: with no ant at all, a place in the line explains nothing.
    return [order, place] if place.passed else [place, order]


def _place(core: Core, demand: Demand, task_type: str) -> Reason:
    ants = list(core.leases.ants.values())
    if not ants:
        return Reason("place", False, "no ant is connected", {"ants": 0}, task_type)
    fit = [ant for ant in ants if demand.fits(ant.methods, ant.tags)]
    figures: dict[str, float] = {"ants": len(ants), "ants_that_fit": len(fit)}
    if not fit:
        told = "; ".join(f"{ant.id} {_lacks(demand, ant)}" for ant in ants[:MOST_ANTS])
        more = f"; {len(ants) - MOST_ANTS} more" if len(ants) > MOST_ANTS else ""
        return Reason("place", False, f"none of {len(ants)} ants fits: {told}{more}", figures, task_type)
    able = [ant for ant in fit if ant.connected and not ant.draining]
    if not able:
        gone = sum(not ant.connected for ant in fit)
        text = f"all {len(fit)} ants that fit are away: {gone} disconnected, {len(fit) - gone} draining"
        return Reason("place", False, text, figures, task_type)
    taken, room = sum(len(ant.held) for ant in able), sum(ant.window for ant in able)
    figures |= {"taken": taken, "places": room, "slots": sum(ant.slots for ant in able)}
    if taken >= room:
        text = f"all {len(able)} ants that fit are full: {taken} of {room} places taken"
        return Reason("place", False, text, figures, task_type)
    return Reason("place", True, f"{room - taken} of {room} places are free on {len(able)} ants", figures, task_type)


def _lacks(demand: Demand, ant: Ant) -> str:
    lacks = [f"method {demand.method}"] if demand.method and demand.method not in ant.methods else []
    missing = sorted(demand.tags - ant.tags) if EVERY_TAG not in ant.tags else []
    if missing:
        lacks.append(f"tag{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    return f"lacks {' and '.join(lacks)}"
