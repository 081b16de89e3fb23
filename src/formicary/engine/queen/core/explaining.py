"""Why a job does not run now: each gate with its figures, its place in the order, what placement lacks.

Read only: it asks the same view that scheduling decides on, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.amounts import show_amount
from formicary.engine.scheduling.devices import in_words
from formicary.engine.scheduling.placing import has_room
from formicary.engine.scheduling.queues.gangs import ants_to_keep
from formicary.lifecycle.breaker import HALF_OPEN, Breaker

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core
    from formicary.engine.queen.core.records import Ant, Job, TaskRun
    from formicary.engine.scheduling.candidates import OrderKey
    from formicary.engine.scheduling.demand import Demand
    from formicary.engine.scheduling.pipeline import AntView

MOST_ANTS = 5
"""Ants whose lacks are told one by one."""


class Reason(msgspec.Struct, frozen=True):
    """One gate on the way to an ant."""

    gate: str
    """`state`, `time`, `work`, `concurrency`, `breaker`, `queue`, `quota`, `lock`, `class`, `gang`, `order`,
    `affinity`, `device` or `place`."""
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


def explain(core: Core, job: Job, never: str = "") -> Explanation:
    """Says why a live job does not run, or that it does.

    Args:
        core: Its queen's.
        job: Live.
        never: Why its gang could not start though nothing else ran (`fitting.never_starts`); empty where it could.
    """
    if job.state == life.PENDING:
        reasons = _pending(core, job, never)
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


def _pending(core: Core, job: Job, never: str) -> list[Reason]:
    due = job.timer_at if job.timer_at is not None else job.scheduled_at
    if job.timer is not None and due is not None and due > core.wall:
        why = "the delay before its next execution" if job.retries else "its scheduled start"
        return [_until(core, f"waits for {why}", due)]
    demand = core.waiting.pending_demand(job)
    reasons = [Reason("time", True, "its time has come"), *_named(core, job)]
    if never:
        reasons.append(Reason("gang", False, never))
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
    return [*reasons, *_queued(core, demand, core.waiting.order_key(job, 0), "", job)]


def _breaker(core: Core, job: Job) -> list[Reason]:
    """The circuit breaker that the job has to pass."""
    found = core.breaking.of_job(job)
    if found is None:
        return []
    return [_breaker_reason(core, found[0][1], found[1], "")]


def _breaker_reason(core: Core, name: str, breaker: Breaker, task_type: str) -> Reason:
    """What a circuit breaker says."""
    permits, due = breaker.permits(core.wall), breaker.half_open_at
    figures = {"opened": float(breaker.opened)}
    if due is not None:
        text = f"the circuit breaker {name} is OPEN after too many failures; it lets a trial through"
        until = _until(core, text, due, task_type)
        return msgspec.structs.replace(until, gate="breaker", figures={**figures, **until.figures})
    if breaker.state == HALF_OPEN and not permits:
        tried = ", ".join(str(key) for key in breaker.trials) or "earlier ones"
        text = f"the circuit breaker {name} is HALF_OPEN and waits for the end of its trials: {tried}"
        return Reason("breaker", False, text, figures, task_type)
    return Reason("breaker", True, f"the circuit breaker {name} is {breaker.state}", figures, task_type)


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
        more = ", and is asked to make room" if run.preempting else ""
        return [Reason("work", True, f"{name} {what} {ant}, attempt {run.attempts}{more}", {}, name)]
    if run.state == life.READY:
        if core.gangs.holds(run):
            return _gang(core, run, name)
        demand = core.waiting.ready_demand(run)
        key = core.breaking.key_of(demand.gate) if demand.gate is not None else None
        breaker = core.breaking.known.get(key) if key is not None else None
        held = [_breaker_reason(core, key[1], breaker, name)] if key is not None and breaker is not None else []
        return [*held, *_queued(core, demand, core.waiting.order_key(run.job, run.position), name, run.job)]
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


def _queued(core: Core, demand: Demand, key: OrderKey, task_type: str, job: Job) -> list[Reason]:
    """Order and placement of what waits for an ant."""
    queue = core.queues.get(demand)
    ahead = queue.ahead(key) if queue is not None else 0
    everywhere = sum(other.ahead(key) for other in core.queues.values())
    line = f"place {ahead + 1} among those that need the same, {everywhere + 1} of all"
    text = f"{line} ({_rule(core, job)})"
    order = Reason("order", ahead == 0, text, {"ahead": ahead, "ahead_of_all": everywhere}, task_type)
    place = _place(core, demand, task_type)
    gates = [*_gates(core, demand, task_type), *_class(core, demand, task_type)]
    if place.passed:
        return [*gates, order, place]
    # With no ant at all no gate and no place in the line matters; ants that are only busy will be free again, and what
    # keeps the job from them then is named before.
    return [*gates, place, order] if "places" in place.figures else [place, *gates, order]


def _place(core: Core, demand: Demand, task_type: str) -> Reason:
    ants = list(core.leases.ants.values())
    if not ants:
        return Reason("place", False, "no ant is connected", {"ants": 0}, task_type)
    fit = [ant for ant in ants if demand.fits(ant)]
    figures: dict[str, float] = {"ants": len(ants), "ants_that_fit": len(fit)}
    if not fit:
        told = "; ".join(f"{ant.id} lacks {' and '.join(demand.lacks(ant))}" for ant in ants[:MOST_ANTS])
        more = f"; {len(ants) - MOST_ANTS} more" if len(ants) > MOST_ANTS else ""
        return Reason("place", False, f"none of {len(ants)} ants fits: {told}{more}", figures, task_type)
    able = [ant for ant in fit if ant.connected and not ant.draining]
    if not able:
        gone = sum(not ant.connected for ant in fit)
        text = f"all {len(fit)} ants that fit are away: {gone} disconnected, {len(fit) - gone} draining"
        return Reason("place", False, text, figures, task_type)
    taken, room = sum(len(ant.held) for ant in able), sum(core.waiting.places(ant) for ant in able)
    figures |= {"taken": taken, "places": room, "slots": sum(ant.slots for ant in able)}
    if taken >= room:
        text = f"all {len(able)} ants that fit are full: {taken} of {room} places taken"
        return Reason("place", False, text, figures, task_type)
    if not any(has_room(ant, demand, core.waiting.places(ant)) for ant in able):
        if demand.affinity and any(has_room(ant, demand.beside(""), core.waiting.places(ant)) for ant in able):
            return _apart(core, demand, able, figures, task_type)
        if demand.devices and not any(ant.devices.could(ant.key, (demand.devices,)) for ant in able):
            text = f"no ant has devices {in_words(demand.devices)} free now: {_devices_taken(able)}"
            return Reason("device", False, text, figures, task_type)
        told = ", ".join(f"{name} {show_amount(amount)}" for name, amount in demand.needs)
        most = "; ".join(f"{ant.id} has {_free(ant, demand)}" for ant in able[:MOST_ANTS])
        return Reason("place", False, f"no ant has {told} free now: {most}", figures, task_type)
    return Reason("place", True, f"{room - taken} of {room} places are free on {len(able)} ants", figures, task_type)


def _devices_taken(ants: list[Ant]) -> str:
    """How many devices are in use, by ant."""
    return "; ".join(
        f"{ant.id} has {len(ant.devices.holders(ant.id))} of {len(ant.devices.of(ant.key))} in use"
        for ant in ants[:MOST_ANTS]
    )


def _apart(core: Core, demand: Demand, ants: list[Ant], figures: dict[str, float], task_type: str) -> Reason:
    """Some have room, and none of them is where the task has to be."""
    why: dict[str, list[str]] = {}
    for ant in ants:
        full = "it is full" if len(ant.held) >= core.waiting.places(ant) else "its resources are in use"
        why.setdefault(ant.neighbours.refusal(demand.affinity, ant) or full, []).append(ant.id)
    told = "; ".join(f"{_named_ants(names)}: {one}" for one, names in list(why.items())[:MOST_ANTS])
    return Reason("affinity", False, f"no ant suits its affinity now: {told}", figures, task_type)


def _named_ants(names: list[str]) -> str:
    more = f" and {len(names) - MOST_ANTS} more" if len(names) > MOST_ANTS else ""
    return ", ".join(names[:MOST_ANTS]) + more


def _free(ant: Ant, demand: Demand) -> str:
    return " and ".join(
        f"{show_amount(ant.resources.get(name, 0.0) - ant.used.get(name, 0.0))} of "
        f"{show_amount(ant.resources.get(name, 0.0))} {name}"
        for name, _ in demand.needs
    )


# --- queues -----------------------------------------------------------------------------------------------------------


def _rule(core: Core, job: Job) -> str:
    """The order that holds for a job, in words."""
    if core.queueing is None:
        return f"priority {job.priority}, then first come"
    config, leaf = core.queueing.config, core.queueing.leaf(job)
    rule = config.within(leaf)
    words = f"queue {leaf}, policy {rule.policy}"
    if rule.policy == "priority":
        words += f" {core.queueing.priority(job)}" + (f", aging {rule.aging:g}/s" if rule.aging else "")
        words += f", {rule.floor:g} % to the oldest" if rule.floor else ""
        words += f", falls while it waits (degrade {rule.degrade})" if rule.degrade != "none" else ""
    if rule.fair_by:
        user = core.queueing.user(job)
        words += f", fair by {rule.fair_by}: {user[1]} has missed {core.queueing.deciding.misses.ratio(user):.0%}"
    return words + (f", {config.rule.policy} between queues" if config.apart else "")


def _named(core: Core, job: Job) -> list[Reason]:
    """Whether the queue that a job names is there."""
    name = job.definition.model.queue
    if core.queueing is None or not name or core.waiting.given is None or core.queueing.leaf(job) == name:
        return []
    leaf = core.queueing.leaf(job)
    return [Reason("queue", True, f"it names the queue {name}, which there is not: it waits in {leaf}")]


def _gates(core: Core, demand: Demand, task_type: str, tasks: int = 1) -> list[Reason]:
    """What the configured queues say of it."""
    if core.queueing is None:
        return []
    found = core.queueing.refusal(demand, tasks)
    if found is None:
        return [Reason("queue", True, f"the queue {demand.queue} lets it start", {}, task_type)]
    gate, why = found
    return [] if gate in ("concurrency", "breaker") else [Reason(gate, False, why, {}, task_type)]


def _class(core: Core, demand: Demand, task_type: str) -> list[Reason]:
    """What its quality of service means for it, where that counts."""
    if core.queueing is None or not core.queueing.config.quality_of_service:
        return []
    if demand.best_effort:
        others = sum(queue.count_at_most(1 << 62) for other, queue in core.queues.items() if not other.best_effort)
        text = f"it is best-effort, and takes what the {others} that ask for amounts leave"
        return [Reason("class", True, text, {"others": others}, task_type)]
    runs = list(filter(core.queueing.is_best_effort, core.leases.tokens.values()))
    leaving = sum(1 for run in runs if run.preempting or run.cancelling)
    text = f"it asks for amounts, {len(runs)} best-effort tasks run that give way, {leaving} of them do"
    return [Reason("class", True, text, {"best_effort": len(runs), "giving_way": leaving}, task_type)]


def _gang(core: Core, run: TaskRun, name: str) -> list[Reason]:
    """Why a member of a gang does not run."""
    execution, gang = run.job.run, run.job.definition.gang
    if core.queueing is None or execution is None or gang is None:
        return []
    found = execution.gang
    if found is None or found.state != life.READY:
        missing = [
            run.job.definition.model.tasks[position].task_type
            for position in sorted(gang.members)
            if (one := execution.runs.get(position)) is None or one.state not in (life.READY, *life.TASK_ENDED)
        ]
        return [Reason("gang", False, f"{name} starts together with {', '.join(missing)}: not ready yet", {}, name)]
    ants, needed = core.all_ants(), found.least
    free = sum(max(0, ant.slots - len(ant.held)) for ant in ants if ant.connected and not ant.draining)
    figures: dict[str, float] = {"members": len(found.runs), "needed": needed, "free_slots": free}
    if ants_to_keep(found.members, found.least, cast("Sequence[AntView]", ants)) is None:
        text = f"a gang of {needed} members does not fit on the {len(ants)} ants even when nothing else runs"
        return [Reason("gang", False, text, figures, name)]
    deciding = core.queueing.deciding
    kept = f"; {len(deciding.kept)} ants are kept for it" if deciding.reserved is found else ""
    near = "; its members ask for neighbours (affinity)" if any(one.affinity for one in found.members) else ""
    text = f"{name} starts in a gang of {needed} at once, {free} slots are free{kept}{near}"
    gates = _gates(core, core.waiting.gang_demand(found), name, needed)
    whole = Reason("gang", False, text, figures, name)
    return [whole, *gates] if all(gate.passed for gate in gates) else [*gates, whole]
