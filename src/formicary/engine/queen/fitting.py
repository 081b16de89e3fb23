"""Whether the ants that are connected, and the queues, could ever let a job run, if nothing else ran."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, cast

from formicary.engine.jobs.model import QUEEN_METHODS
from formicary.engine.queen.core.preempting import amount
from formicary.engine.queen.core.records import Ant, Definition, Job
from formicary.engine.scheduling.demand import EPSILON
from formicary.engine.scheduling.pipeline import AntView
from formicary.engine.scheduling.queues.gangs import ants_to_keep
from formicary.engine.scheduling.queues.groups import WHOLE

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core
    from formicary.engine.scheduling.demand import Demand

MOST_ANTS = 3
"""Ants whose lacks are told one by one."""


def unfit(core: Core, definition: Definition, user: str = "") -> list[str]:
    """What could never run, by task, and a gang that is too large, for the ants or for its queue; empty with no ant.

    Ants may come later, so this refuses nothing. Tasks that no ant runs (people decide, other jobs do the work) are
    left out, and those whose needs are known only once they are rendered.

    Args:
        core: With the ants and the queues.
        definition: Of the job.
        user: Who would submit it.
    """
    ants = _able(core)
    if not ants:
        return []
    found = []
    for task, demand in zip(definition.model.tasks, definition.demands, strict=True):
        if demand is not None and task.method not in QUEEN_METHODS and not any(demand.fits(ant) for ant in ants):
            told = "; ".join(f"{ant.id} lacks {' and '.join(demand.lacks(ant))}" for ant in ants[:MOST_ANTS])
            more = f"; {len(ants) - MOST_ANTS} more" if len(ants) > MOST_ANTS else ""
            found.append(f"task {task.task_type}: none of the {len(ants)} connected ants fits: {told}{more}")
    limits = [*_large_gang(core, definition), *_beyond_its_queue(core, definition, user)]
    return (found or limits) + _hopeless_locks(core, definition)


def never_starts(core: Core, definition: Definition, user: str = "") -> str:
    """Why the first task of a job could never start though an ant fits it; empty where it could."""
    starts = set(definition.plan.starts or definition.plan.finals)
    gang = definition.gang
    large = _large_gang(core, definition) if gang is not None and starts & gang.members else []
    beyond = [*_beyond_its_queue(core, definition, user, starts), *_hopeless_locks(core, definition, starts)]
    return next(iter([*large, *beyond]), "")


def unknown_queue(core: Core, definition: Definition, user: str = "") -> list[str]:
    """Where jobs wait that name a queue which there is not."""
    name, queueing = definition.model.queue, core.queueing
    if not name or queueing is None or core.waiting.given is None:
        return []
    leaf = _leaf(core, definition, user)
    return [] if leaf == name else [f"there is no queue {name} for jobs: those of {definition.job_type} go to {leaf}"]


def _able(core: Core) -> list[Ant]:
    return [ant for ant in core.leases.ants.values() if ant.connected and not ant.draining]


def _leaf(core: Core, definition: Definition, user: str) -> str:
    assert core.queueing is not None, "asked where there are queues"
    probe = Job(0, "", definition.org, definition, definition.model.priority, core.wall)
    probe.submitted_by = user or None
    return core.queueing.leaf(probe)


def _members(definition: Definition) -> list[Demand]:
    """What the members of its gang need; empty without one, or where that is known only once they are rendered."""
    positions = sorted(definition.gang.members) if definition.gang is not None else []
    found = [demand for position in positions if (demand := definition.demands[position]) is not None]
    return found if len(found) == len(positions) else []


def _large_gang(core: Core, definition: Definition) -> list[str]:
    ants, gang, members = _able(core), definition.gang, _members(definition)
    if gang is None or not members or ants_to_keep(members, gang.least, cast("Sequence[AntView]", ants)) is not None:
        return []
    slots = sum(ant.slots for ant in ants)
    return [
        f"the gang of {gang.least} tasks is larger than the cluster: {len(ants)} connected ants have {slots} slots, "
        "and it does not fit on them even when nothing else runs"
    ]


def _hopeless_locks(core: Core, definition: Definition, positions: Collection[int] | None = None) -> list[str]:
    """The job or tasks that ask for more of a virtual resource than there is."""
    asked = {"the job": definition.own_locks} | {
        f"task {task.task_type}": demand.locks
        for at, (task, demand) in enumerate(zip(definition.model.tasks, definition.demands, strict=True))
        if demand is not None and (positions is None or at in positions)
    }
    book = core.leases.locks
    return [
        f"{who} needs {amount:g} of {name}, and there are only {book.capacities[org, name]:g}"
        for who, locks in asked.items()
        for org, name, amount in locks
        if book.is_hopeless((org, name, amount))
    ]


def _beyond_its_queue(
    core: Core, definition: Definition, user: str, positions: Collection[int] | None = None
) -> list[str]:
    """Tasks that are more than the whole share of their queue, and a gang of more tasks than it may run at a time."""
    queueing, gang, found = core.queueing, definition.gang, []
    if queueing is None:
        return []
    name = _leaf(core, definition, user)
    limit = queueing.config.named(name).limit
    if gang is not None and limit is not None and gang.least > limit:
        found.append(
            f"the gang of {gang.least} tasks can never start: the queue {name} runs at most {limit} at a time (limit)"
        )
    if queueing.config.rule.policy != "capacity":
        return found
    totals, most = queueing.totals(), queueing.deciding.tree.ceiling(name, WHOLE)
    asked = {
        f"task {task.task_type} needs": amount(demand, totals)
        for at, (task, demand) in enumerate(zip(definition.model.tasks, definition.demands, strict=True))
        if demand is not None and task.method not in QUEEN_METHODS and (positions is None or at in positions)
    }
    if gang is not None:
        needed = sum(amount(member, totals) for member in _members(definition)[: gang.least])
        asked[f"the gang of {gang.least} tasks needs"] = needed
    return found + [
        f"{what} {share:.4g} % of all that the ants have, and the queue {name} may have {most:.4g} % (maximum)"
        for what, share in asked.items()
        if most + EPSILON < share <= WHOLE  # of more there is not enough for anybody, which is told by then
    ]
