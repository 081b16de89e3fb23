"""Whether the ants that are connected could ever run a job, if nothing else ran on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from formicary.engine.jobs.model import QUEEN_METHODS
from formicary.engine.queen.core.records import Definition
from formicary.engine.scheduling.pipeline import AntView
from formicary.engine.scheduling.queues.gangs import ants_to_keep

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

MOST_ANTS = 3
"""Ants whose lacks are told one by one."""


def unfit(core: Core, definition: Definition) -> list[str]:
    """What no connected ant could do, by task, and a gang that is larger than all of them; empty with no ant at all.

    Ants may come later, so this refuses nothing. Tasks that no ant runs (people decide, other jobs do the work) are
    left out, and those whose needs are known only once they are rendered.
    """
    ants = [ant for ant in core.leases.ants.values() if ant.connected and not ant.draining]
    if not ants:
        return []
    found = []
    for task, demand in zip(definition.model.tasks, definition.demands, strict=True):
        if demand is not None and task.method not in QUEEN_METHODS and not any(demand.fits(ant) for ant in ants):
            told = "; ".join(f"{ant.id} lacks {' and '.join(demand.lacks(ant))}" for ant in ants[:MOST_ANTS])
            more = f"; {len(ants) - MOST_ANTS} more" if len(ants) > MOST_ANTS else ""
            found.append(f"task {task.task_type}: none of the {len(ants)} connected ants fits: {told}{more}")
    gang = definition.gang
    members = [definition.demands[position] for position in sorted(gang.members)] if gang is not None else []
    if gang is not None and not found and None not in members:
        demands = [demand for demand in members if demand is not None]
        if ants_to_keep(demands, gang.least, cast("Sequence[AntView]", ants)) is None:
            slots = sum(ant.slots for ant in ants)
            found.append(
                f"the gang of {gang.least} tasks is larger than the cluster: {len(ants)} connected ants have {slots}"
                " slots, and it does not fit on them even when nothing else runs"
            )
    return found
