"""Whose turn comes before a job that waits: by one order, or as the configured queues and tenants share. Read only.

Theory of operation. Without queues, and under one order for all, what goes before is what has a smaller place in it.
Where queues or tenants share, each has a line in its own order, and the lines are merged as their shares say
(`scheduling.queues.merging`) from what runs now up to the job that is asked about. Later arrivals are not in it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from math import inf
from typing import TYPE_CHECKING, TypeAlias, cast

from formicary.engine.queen.core.holding import held
from formicary.engine.queen.core.preempting import amount
from formicary.engine.queen.core.records import Job
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.estimate_book import kind_of
from formicary.engine.scheduling.estimating import Ahead, Limit
from formicary.engine.scheduling.queues.groups import WHOLE
from formicary.engine.scheduling.queues.merging import by_rank, by_shares, by_weights
from formicary.engine.scheduling.queues.model import SHARES

if TYPE_CHECKING:
    from formicary.engine.queen.core.asking import Wanted
    from formicary.engine.queen.core.core import Core
    from formicary.engine.queen.core.gangs import GangRun
    from formicary.engine.queen.core.queueing import Queueing
    from formicary.engine.queen.core.records import Ant, TaskRun
    from formicary.engine.scheduling.candidates import CandidateQueue, Entry

MOST_SORTED = 5000
"""Jobs ahead that are put in order; of more, the order counts little."""
MOST_MERGED = 20_000
"""Turns that are played at most."""
MEASURED = frozenset({"drf", "capacity"})
"""Policies that share the colony as a whole, not tasks."""
Place: TypeAlias = "tuple[float, int, int]"
Line: TypeAlias = "list[tuple[Place, float, Ahead | None]]"
"""What waits, with its place and what it will hold; None is the job that is asked about."""
Name: TypeAlias = tuple[str, str]
"""Of a line: queue and tenant; empty where there is one for all."""
Turn: TypeAlias = "tuple[float, Name, Ahead | None]"
"""What somebody will hold, whose line he is from, and who he is."""


def ahead(core: Core, asked: Wanted, ants: Sequence[Ant], limits: dict[Limit, int]) -> list[Ahead]:
    """What waits before the asked job for some of these ants, in order; `limits` is given those that hold for it."""
    own = {ant.key for ant in ants}
    merges = core.queueing is not None and _merges(core.queueing)
    lines: dict[Name, Line] = {}
    name = _line_of(core, asked.demand)
    mine = _place(core, asked.demand, asked.key, asked.job.waiting_since)
    for demand, queue in core.queues.items():
        gang = _gang(demand, queue)
        share = shared(core, demand if gang is None else gang.members[0], own)
        holds = held(core, demand)
        if demand.best_effort and not asked.demand.best_effort:
            continue
        if not share or holds.ready_in_s == inf:
            continue
        if holds.limit:
            limits[holds.limit] = holds.places
        cost = _cost(core, demand if gang is None else gang.members[0])
        line = lines.setdefault(_line_of(core, demand), [])
        is_mine = _line_of(core, demand) == name
        is_first = asked.demand.best_effort and not demand.best_effort
        alike: dict[str, Ahead] = {}  # by definition: a hundred thousand jobs are of few kinds
        for entry in queue.entries():
            if entry[4].state != entry[5] or (job := job_of(entry[4])) is asked.job:
                continue
            place = _place(core, demand, entry[:3], entry[4].waiting_since)
            if not is_first and (place >= mine if is_mine else not merges):
                continue
            one = alike.get(job.definition.id)
            if one is None:
                kind, places = kind_of(job.org, job.definition.job_type), gang.least if gang is not None else 1
                one = alike[job.definition.id] = Ahead(kind, holds.ready_in_s, places, share, holds.limit)
            line.append((place, cost, one))
    if not merges or core.queueing is None:
        whole = [place_and_one for line in lines.values() for place_and_one in line]
        if len(whole) <= MOST_SORTED:
            whole.sort(key=lambda one: one[0])
        return [one for _, _, one in whole if one is not None]
    line = lines.setdefault(name, [])
    line.append((mine, _cost(core, asked.demand), None))
    return _until_asked(_merged(core.queueing, lines, ants), name, len(line))


def _until_asked(turns: Iterable[Turn], name: Name, line: int) -> list[Ahead]:
    """All turns before the asked job's; after very many the rest is taken to be a mixture like the first ones.

    Args:
        turns: In order.
        name: Of the asked job's line.
        line: How long that is, with the asked job.
    """
    found: list[Ahead] = []
    passed = 0
    for _, whose, one in islice(turns, MOST_MERGED):
        if one is None:
            return found
        found.append(one)
        passed += whose == name
    more = int(len(found) * (line - 1 - passed) / passed) if passed else 0
    return found + list(islice(cycle(found), more))


def _merges(queueing: Queueing) -> bool:
    """Whether queues or tenants have lines of their own."""
    config = queueing.config
    return config.apart or config.rule.policy in SHARES


def _line_of(core: Core, demand: Demand) -> Name:
    """Queue and tenant whose line a demand waits in; empty where there is one for all."""
    queueing = core.queueing
    if queueing is None:
        return "", demand.tenant
    shares = queueing.config.within(demand.queue).policy in SHARES  # others may look at tenants, and have one line
    return (demand.queue if queueing.config.apart else "", demand.tenant if shares else "")


def _place(core: Core, demand: Demand, key: tuple[float, int, int], since: float) -> Place:
    """Where something stands in its line; with aging its key alone does not say."""
    if core.queueing is None:
        return key
    rule = core.queueing.config.within(demand.queue)
    if rule.policy != "priority" or not (rule.aging or rule.floor):
        return key
    reached = min(rule.cap, demand.level + rule.aging * max(0.0, core.wall - since))
    return (-max(float(demand.level), reached), *key[1:])


def _cost(core: Core, demand: Demand) -> float:
    """What it will hold, in the measure of the shares: tasks, or per cent of the colony."""
    queueing = core.queueing
    if queueing is None:
        return 1.0
    config = queueing.config
    is_measured = bool(MEASURED & {config.rule.policy, config.within(demand.queue).policy})
    return amount(demand, queueing.totals()) if is_measured else 1.0


def _gang(demand: Demand, queue: CandidateQueue) -> GangRun | None:
    head: Entry | None = queue.head() if demand.gang else None
    return None if head is None else cast("GangRun", head[4])


def _merged(queueing: Queueing, lines: Mapping[Name, Line], ants: Sequence[Ant]) -> Iterator[Turn]:
    """All lines as one, as tenants share within queues and queues among each other."""
    config = queueing.config
    running = _running(queueing, ants)
    slots = sum(ant.slots for ant in ants)
    of_queues: dict[str, list[tuple[float, Turn]]] = {}
    for queue in dict.fromkeys(queue for queue, _ in lines):
        tenants = {
            name[1]: [(cost, (cost, name, one)) for _, cost, one in _first(line)]
            for name, line in lines.items()
            if name[0] == queue
        }
        rule = config.within(queue) if config.apart else config.rule
        here = [(tenant, cost) for held_by, tenant, cost in running if held_by == queue]
        if rule.policy == "lottery":
            turns = by_weights(tenants, rule.weights)
        else:
            places = max(1, len(here)) if config.apart else slots
            turns = by_shares(tenants, rule.weights, here, places, turns=queueing.deciding.turns_of(queue))
        of_queues[queue] = [(turn[0], turn) for turn in islice(turns, MOST_MERGED)]
    if not config.apart:
        return (turn for _, turn in of_queues.get("", ()))
    return _between(queueing, of_queues, [(queue, cost) for queue, _, cost in running], slots)


def _first(line: Line) -> Line:
    """The first ones in order, as many as may have a turn."""
    return heapq.nsmallest(MOST_MERGED, line, key=lambda one: one[0])


def _between(
    queueing: Queueing,
    lines: Mapping[str, Sequence[tuple[float, Turn]]],
    running: Sequence[tuple[str, float]],
    slots: int,
) -> Iterator[Turn]:
    """The lines of queues beside each other."""
    config, tree = queueing.config, queueing.deciding.tree
    weights = {queue.name: config.rule.weights.get(queue.name, queue.weight) for queue in config.leaves()}
    policy = config.rule.policy
    if policy == "multilevel" and config.rule.mode == "strict":
        ranks = {queue.name: queue.priority for queue in config.leaves()}  # ties in the order of the file
        return by_rank({name: lines[name] for name in ranks if name in lines}, ranks)
    if policy in ("multilevel", "lottery"):
        return by_weights(lines, weights)
    if policy == "capacity":
        guarantees = {name: tree.guarantee(name, WHOLE) for name in weights}
        most = {name: tree.ceiling(name, WHOLE) for name in weights}
        return by_shares(lines, guarantees, running, slots, most, queueing.deciding.turns_of(None))
    return by_shares(lines, weights, running, slots, turns=queueing.deciding.turns_of(None))


def _running(queueing: Queueing, ants: Iterable[Ant]) -> list[tuple[str, str, float]]:
    """Queue, tenant and cost of what runs on these ants, the oldest first."""
    runs = sorted((run for ant in ants for run in ant.held.values()), key=lambda run: (run.granted_at, run.token))
    totals, config = queueing.totals(), queueing.config
    found = []
    for run in runs:
        if run.charge is not None:
            queue, group, tenant, needs = run.charge
            is_measured = bool(MEASURED & {config.rule.policy, config.within(queue).policy})
            cost = amount(Demand("", frozenset(), needs=needs), totals) if is_measured else 1.0
            found.append((group, tenant, cost))
    return found


def shared(core: Core, demand: Demand, own: set[str]) -> float:
    """Part of the slots for a demand that are on these ants."""
    able = [ant for ant in core.ants_for(demand) if not ant.draining]
    found = sum(ant.slots for ant in able if ant.key in own)
    return found / sum(ant.slots for ant in able) if found else 0.0


def job_of(candidate: object) -> Job:
    """The job of a candidate: itself, or that of a task or a gang."""
    return candidate if isinstance(candidate, Job) else cast("TaskRun | GangRun", candidate).job
