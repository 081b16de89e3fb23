"""Decisions by configured queues: gates -> order -> place, as `pipeline` says, with the policies of each queue.

Theory of operation. A round looks at each demand that waits once, forms groups (`groups`) and then asks: whose turn is
it between them, who goes first within, may it (hours, limits, shares, concurrency), and where (`placing`, `gangs`)? A
demand that may not or cannot is closed for the round, so what cannot run costs one look and nothing more; what no ant
has room for not even that in later rounds (`full`). The ranking of ants stays as long as ants have only been given
more.

With quality of service a round has two parts. First come those that ask for amounts, as if there were no others: what
best-effort tasks hold counts neither for shares nor for guarantees. Then best-effort ones take what is left; as soon as
somebody joins who goes before them the round begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Protocol, TypeVar

import msgspec

from formicary.engine.scheduling.affinity import Neighbours
from formicary.engine.scheduling.breakers import TASK_MARK
from formicary.engine.scheduling.candidates import Candidate, Entry
from formicary.engine.scheduling.demand import Demand, Payer
from formicary.engine.scheduling.locks import LockBook, Name
from formicary.engine.scheduling.pipeline import AntView, Decision, View
from formicary.engine.scheduling.placing import RANKS, Ranking
from formicary.engine.scheduling.policies.capacity_tree import TreeTurns
from formicary.engine.scheduling.policies.deadline_fairness import Misses
from formicary.engine.scheduling.policies.delay import ANY, NODE, LocalityWait
from formicary.engine.scheduling.policies.fair import StartTags, Stride
from formicary.engine.scheduling.queues.full import Full
from formicary.engine.scheduling.queues.gangs import ants_to_keep, places_for
from formicary.engine.scheduling.queues.groups import Between, Group, Moment, between
from formicary.engine.scheduling.queues.ledger import SLOTS, Ledger
from formicary.engine.scheduling.queues.limits import Refusal
from formicary.engine.scheduling.queues.model import Queues
from formicary.engine.scheduling.queues.optimal import WIDTH, Plan, first_in_line
from formicary.engine.scheduling.requirements import best_score, patience_s, requirements

TICKETS = 1000
"""Of a queue of weight 1."""
LOOKS = 20
"""Ants that can be looked at in the time of a decision."""
LOOKS_OF_REFUSAL = 5
DEMANDS = 10
"""Demands that can be taken into groups in the time of a decision."""
A = TypeVar("A", bound=AntView)


class GangCandidate(Candidate, Protocol):
    """A gang that waits."""

    waited: bool
    """It did not fit when its turn came; set by the decisions."""

    @property
    def members(self) -> Sequence[Demand]:
        """What each needs."""
        ...

    @property
    def least(self) -> int:
        """How many are enough to start."""
        ...


class GangDecision(msgspec.Struct, frozen=True, gc=False):
    """Start the members on these ants, in their order, all at once."""

    candidate: GangCandidate
    ants: tuple[AntView, ...]


class QueueView(View[A], Protocol[A]):
    """The state that these decisions are made of."""

    def all_ants(self) -> Sequence[A]:
        """Every ant, in order of arrival."""
        ...

    @property
    def versions(self) -> tuple[int, int]:
        """Both grow when an ant comes, goes or changes; the first also when it has less to do."""
        ...


class Accounts(Protocol):
    """What tenants have, and their limits."""

    def refusal(self, payer: Payer, wall: float, *, tasks: int = 1, soft: bool = True) -> Refusal | None:
        """Why something of this payer may not start now; None where it may."""
        ...


class Deciding:
    """Decides for one configuration, as long as it holds.

    Args:
        config: The queues.
        ledger: Who holds what; kept by the caller.
        accounts: Limits of tenants and what they have; kept by the caller too.
        locks: Who holds which virtual resources; kept by the caller.
        promised: Who holds what without best-effort tasks, kept by the caller; None = as `ledger`.
        expected: Says how many tasks come within a moment that go before best-effort ones.
    """

    def __init__(
        self,
        config: Queues,
        ledger: Ledger,
        accounts: Accounts | None = None,
        locks: LockBook | None = None,
        promised: Ledger | None = None,
        expected: Callable[[], int] = lambda: 0,
    ) -> None:
        self.config = config
        self.ledger = ledger
        self.promised = ledger if promised is None else promised
        self._expected = expected
        self.accounts = accounts
        self._softly_refused = False
        self.gangs_waited = 0
        """Gangs that did not fit at once when their turn came."""
        self.locks = locks if locks is not None else LockBook()
        self._awaited: set[Name] = set()
        """Virtual resources that somebody waits for in this pass: nobody behind takes of them."""
        self.wake_at: float | None = None
        """When to look again though nothing happens, in seconds since the epoch; of the last round."""
        self.reserved: GangCandidate | None = None
        self.kept: frozenset[AntView] = frozenset()
        """Ants that are kept for the reserved gang."""
        self._kept_best_effort = False
        """That gang is a best-effort one: others take no notice."""
        self._first: GangCandidate | None = None
        """The gang whose turn came first in the round: where it does not fit, the reservation is its own."""
        self._queues = {queue.name: queue for queue in config.queues}
        self._stride = Stride()
        self._starts: dict[str, int] = {}
        self._tags: dict[str, StartTags] = {}
        self._turns: TreeTurns = {}
        self.misses = Misses()
        """Which part of their deadlines tenants have missed, by (order, tenant)."""
        self.tree = config.tree()
        self._passed: dict[tuple[int, int], float] = {}
        """When a candidate was first passed over for a better ant, by its number and position."""
        self._ranking: Ranking | None = None
        self._ranked = (-1, frozenset[AntView]())
        self._totals: dict[str, float] = {}
        self._counted = -1
        self._plan = Plan() if config.placement == "optimal" else None
        self._full = Full()
        self._near: dict[Demand, list[AntView]] = {}
        """Ants that alone may have room for a demand, of this round."""
        self._refused_at: tuple[Neighbours, int] | None = None
        """Who is where, and its state when the first that asks for it was refused in this pass."""
        self._looks = 0
        """Since the last decision or pause."""

    def turns_of(self, order: str | None) -> StartTags:
        """A copy of the turns that tenants have had under an order; None = queues beside each other."""
        found = self._turns.get(None) if order is None else self._tags.get(order)
        return StartTags() if found is None else deepcopy(found)

    def given_back(self, ant: AntView) -> None:
        """To be told of each ant that has less to do than before."""
        self._full.given_back(ant)

    def decide(self, view: QueueView[AntView], wall: float, rng: Random) -> Iterator[Decision | GangDecision | None]:
        """Yields decisions, each carried out before the next is drawn, until nothing more can start.

        None is a pause: it took the time of a decision to find none.
        """
        self._full.begin(view.versions[1], len(view.queues))
        self._near.clear()
        self._looks = 0
        self.wake_at = self._first = None
        if self.reserved is not None and self.reserved.state != "READY":
            self._unreserve()
        parts = (False, True) if self.config.quality_of_service else (None,)
        at, self._refused_at = 0, None
        while at < len(parts):
            ledger = self.promised if parts[at] is False else self.ledger
            moment = Moment(wall, rng, self.totals(view), ledger, self._starts, self._tags, self._turns, self.misses)
            self._softly_refused = False
            is_overtaken = yield from self._pass(view, moment, parts[at], soft=True)
            if self._softly_refused and not is_overtaken:  # what those within their soft limits cannot use is anybody's
                is_overtaken = yield from self._pass(view, moment, parts[at], soft=False)
            at = 0 if is_overtaken else at + 1
            if at == len(parts) and self._was_opened():  # somebody may go where others have just been granted
                self._near.clear()
                at, self._refused_at = 0, None

    def _was_opened(self) -> bool:
        """Whether something was granted since, that somebody who was refused may want to be near to."""
        return self._refused_at is not None and self._refused_at[0].opened != self._refused_at[1]

    def _pass(
        self, view: QueueView[AntView], moment: Moment, best_effort: bool | None, *, soft: bool
    ) -> Generator[Decision | GangDecision | None, None, bool]:
        """Those that are best-effort, or those that are not, or all; True where somebody has joined who goes before."""
        view.fresh.clear()
        self._awaited.clear()
        groups = self._groups(view, moment, best_effort)
        for _ in range(sum(group.waiting for group in groups.values()) // DEMANDS):
            yield None
        turns = between(self.config, moment, self._stride, self.tree)
        replanned = False
        while True:
            while self._looks >= LOOKS:  # here nothing is known that an event meanwhile could change
                self._looks -= LOOKS
                yield None
            while view.fresh:
                joined, _ = view.fresh.popitem()
                if joined in view.queues:
                    if best_effort is not None and joined.best_effort != best_effort:
                        if best_effort:
                            return True
                        continue  # its part comes
                    self._joined(joined.queue)
                    self._group(groups, joined, moment).add(joined, view.queues[joined])
            group = turns.pick(groups)
            if group is None or (best_effort and self._is_spoken_for(view)):
                return False
            head = group.draw()
            if head is None:
                continue
            demand, queue, entry = head[5], head[6], head[7]
            if self._plan is not None and not replanned and self._has_a_choice(view, demand):
                yield from self._plan.make(
                    demand,
                    lambda: self._in_line(view, moment),
                    lambda one: self._open_to(view, one),
                    lambda: view.versions[0],
                )
                replanned = True
                continue  # and much may have happened meanwhile
            replanned = False
            found = self._find(view, moment, turns, group, demand, entry, soft=soft)
            if found is None:
                self._looks += LOOKS_OF_REFUSAL
                group.close()
                continue
            queue.pop()
            yield found
            group.served()
            turns.served(group)

    def _is_spoken_for(self, view: QueueView[AntView]) -> bool:
        """Whether no more slots are free than tasks come that go before best-effort ones."""
        expected = self._expected()
        if not expected:
            return False
        able = (ant for ant in view.all_ants() if ant.connected and not ant.draining)
        return sum(max(0, ant.slots - len(ant.held)) for ant in able) <= expected

    def totals(self, view: QueueView[AntView]) -> dict[str, float]:
        """What all ants that take work have together."""
        if self._counted != view.versions[1]:
            self._counted = view.versions[1]
            found = self._totals = {SLOTS: 0.0}
            for ant in view.all_ants():
                if ant.connected and not ant.draining:
                    found[SLOTS] += ant.slots
                    for name, amount in ant.resources.items():
                        found[name] = found.get(name, 0.0) + amount
        return self._totals

    # --- order ------------------------------------------------------------------------------------------------------

    def _groups(self, view: QueueView[AntView], moment: Moment, best_effort: bool | None) -> dict[str, Group]:
        groups: dict[str, Group] = {}
        if self.config.apart:
            for queue in self.config.leaves():  # ties go to the order of the file
                groups[queue.name] = Group(queue.name, queue.rule, moment)
        is_open: dict[int, bool] = {}  # by identity of the list of ants, which the view keeps
        for demand, waiting in view.queues.items():
            if best_effort is not None and demand.best_effort != best_effort:
                continue
            if not demand.gang:
                ants = view.ants_for(demand)
                if demand in self._full:
                    near = self._full.candidates(demand, ants)
                    if not near:
                        self._note_refusal(demand, ants)
                        continue
                    self._near[demand] = near
                known = is_open.get(id(ants))
                if known is None:
                    known = is_open[id(ants)] = any(len(ant.held) < ant.slots and not ant.draining for ant in ants)
                if not known:  # and room only shrinks while decisions are made
                    continue
            self._group(groups, demand, moment).add(demand, waiting)
        if self.config.rule.policy == "multilevel" and self.config.apart:
            self._join({demand.queue for demand, waiting in view.queues.items() if waiting})
        return groups

    def _group(self, groups: dict[str, Group], demand: Demand, moment: Moment) -> Group:
        name = demand.queue if self.config.apart else ""
        found = groups.get(name)
        if found is None:
            found = groups[name] = Group(name, self.config.within(name) if name else self.config.rule, moment)
        return found

    def _join(self, waiting: set[str]) -> None:
        """Queues in which nobody waits save no turns up."""
        for queue in self.config.leaves():
            name = queue.name
            if name in waiting:
                self._joined(name)
            elif name not in waiting and self._stride.has(name):
                self._stride.leave(name)

    def _joined(self, name: str) -> None:
        """Somebody waits in a queue: it has turns."""
        if self.config.rule.policy == "multilevel" and self.config.apart and not self._stride.has(name):
            weight = self.config.rule.weights.get(name, self._queues[name].weight)
            self._stride.join(name, max(1, round(weight * TICKETS)))

    # --- gates ------------------------------------------------------------------------------------------------------

    def refusal(
        self, view: QueueView[AntView], demand: Demand, wall: float, *, tasks: int = 1, soft: bool = True
    ) -> tuple[str, str] | None:
        """The gate that holds a demand up and why, with its figures; None where it may start now.

        Args:
            view: The state.
            demand: What waits.
            wall: Seconds since the epoch.
            tasks: That would start.
            soft: Soft limits of tenants hold.
        """
        queue = self._queues[demand.queue]
        if wait_s := self.opens_in(demand, wall):
            self._wake(wall + wait_s)
            return "hours", f"the queue {queue.name} starts jobs again in {wait_s:.0f} s (hours)"
        running = self.ledger.running.get(queue.name, 0)
        if queue.limit is not None and running + tasks > queue.limit:
            more = f", {tasks} would start together" if tasks > 1 else ""
            text = f"{running} of at most {queue.limit} tasks of the queue {queue.name} are running (limit){more}"
            return "limit", text
        gate = demand.gate
        if gate is not None and view.running_of(gate) >= view.limit_of(gate):
            most = view.limit_of(gate)
            return "concurrency", f"{most} of at most {most} executions of {gate[1]} are running (max_concurrency)"
        if gate is not None and not view.permits(gate):
            return "breaker", f"the circuit breaker of {gate[1].removeprefix(TASK_MARK)} lets nothing through"
        if demand.payer is not None and (over := self._over(demand.payer, wall, tasks, soft=soft)) is not None:
            return over
        why = self.locks.refusal(demand.locks) if demand.locks else None
        return None if why is None else ("lock", why)

    def opens_in(self, demand: Demand, wall: float) -> float:
        """Seconds until the hours of its queue begin; 0 where it may start now."""
        hours = self._queues[demand.queue].hours
        return hours.opens_in(wall) if hours is not None else 0.0

    def _over(self, payer: Payer, wall: float, tasks: int, *, soft: bool) -> tuple[str, str] | None:
        """The limit of its tenant that holds a demand up."""
        found = self.accounts.refusal(payer, wall, tasks=tasks, soft=soft) if self.accounts is not None else None
        if found is None:
            return None
        self._softly_refused = self._softly_refused or found.is_soft
        if found.until is not None:
            self._wake(found.until)
        return "quota", found.message

    def _stands_behind(self, demand: Demand) -> bool:
        """Whether somebody before it waits for one of its virtual resources."""
        return any((org, name) in self._awaited for org, name, _ in demand.locks)

    def _wake(self, wall: float) -> None:
        self.wake_at = wall if self.wake_at is None else min(self.wake_at, wall)

    # --- place ------------------------------------------------------------------------------------------------------

    def _find(
        self,
        view: QueueView[AntView],
        moment: Moment,
        turns: Between,
        group: Group,
        demand: Demand,
        entry: Entry,
        *,
        soft: bool,
    ) -> Decision | GangDecision | None:
        gang: GangCandidate = entry[4]  # type: ignore[assignment]  # what waits for the demand of a gang is one
        tasks = gang.least if demand.gang else 1
        refusal = self.refusal(view, demand, moment.wall, tasks=tasks, soft=soft)
        if refusal is not None or (demand.locks and self._stands_behind(demand)):
            if refusal is not None and refusal[0] == "lock" and not any(map(self.locks.is_hopeless, demand.locks)):
                self._awaited.update((org, name) for org, name, _ in demand.locks)
            return None
        if demand.gang:
            most = self._most_members(view, moment, turns, group, demand, gang, soft=soft)
            return self._find_gang(view, gang, most, best_effort=demand.best_effort) if most else None
        if turns.refuses(group, moment.amount(demand)):
            return None
        kept = self._kept_from(best_effort=demand.best_effort)
        ranking = self._ranking_of(view, kept)
        before = ranking.looked
        planned = self._plan.take(demand, kept) if self._plan is not None else None
        ant = planned or ranking(self._near.get(demand) or view.ants_for(demand), demand)
        self._looks += ranking.looked - before
        if ant is None:
            self._refused(demand, view.ants_for(demand), kept)
            return None
        if demand.match and self._waits_for_better(ant, demand, entry, moment.wall):
            return None
        return Decision(entry[4], ant)

    def _has_a_choice(self, view: QueueView[AntView], demand: Demand) -> bool:
        """Whether a plan has to be made for it: several ants have a free place, and no plan knows of it."""
        assert self._plan is not None, "asked where there are plans"
        return not demand.gang and self._plan.is_due(demand, view.versions[0]) and len(self._open_to(view, demand)) > 1

    def _open_to(self, view: QueueView[AntView], demand: Demand) -> list[AntView]:
        """Ants with a free place for a demand."""
        ranking = self._ranking_of(view, self._kept_from(best_effort=demand.best_effort))
        return ranking.open_ants(view.ants_for(demand))

    def _in_line(self, view: QueueView[AntView], moment: Moment) -> list[Demand]:
        """The demands of those that wait and may start, in order."""
        hot = [one for one in view.queues.items() if one[1].has_ready and not one[0].gang and one[0] not in self._full]
        queues = [one for one in hot if self.refusal(view, one[0], moment.wall) is None]
        return first_in_line(queues, WIDTH)

    def _refused(self, demand: Demand, ants: list[AntView], kept: frozenset[AntView]) -> None:
        """None of these ants, which serve the demand, has room for it."""
        if not (kept or demand.locks or demand.devices):  # ants that are kept, places and devices, may come free
            self._full.add(demand, ants)
        self._note_refusal(demand, ants)

    def _note_refusal(self, demand: Demand, ants: list[AntView]) -> None:
        """A grant of this round may yet open the ants to somebody who has to be near to it."""
        if demand.affinity and self._refused_at is None and ants:
            self._refused_at = (ants[0].neighbours, ants[0].neighbours.opened)

    def _ranking_of(self, view: QueueView[AntView], kept: frozenset[AntView]) -> Ranking:
        if self._ranking is None or self._ranked != (view.versions[0], kept):
            self._ranked = (view.versions[0], kept)
            self._ranking = Ranking(RANKS[self.config.placement], lambda ant: ant.slots, kept)
        return self._ranking

    @property
    def kept_for_promised(self) -> bool:
        """Ants are kept for a gang that is not best-effort."""
        return self.reserved is not None and not self._kept_best_effort

    def _kept_from(self, *, best_effort: bool) -> frozenset[AntView]:
        """Ants that are kept for a gang which goes before."""
        return frozenset() if self._kept_best_effort and not best_effort else self.kept

    def _waits_for_better(self, ant: AntView, demand: Demand, entry: Entry, wall: float) -> bool:
        """Delay scheduling: the candidate is passed over for a while to run where it prefers to."""
        patience = patience_s(demand.match)
        key = (entry[1], entry[2])
        level = NODE if requirements(demand.match).score(ant) >= best_score(demand.match) else ANY
        since = self._passed.setdefault(key, wall) if patience else wall
        if LocalityWait(patience, 0.0, patience).accepts(level, wall - since):
            self._passed.pop(key, None)
            return False
        self._wake(since + patience)
        return True

    def _most_members(
        self,
        view: QueueView[AntView],
        moment: Moment,
        turns: Between,
        group: Group,
        demand: Demand,
        gang: GangCandidate,
        *,
        soft: bool,
    ) -> int:
        """How many of a gang the gates let start together; 0 where they are fewer than have to."""
        for count in range(len(gang.members), gang.least - 1, -1):
            amount = sum(map(moment.amount, gang.members[:count]))
            if not turns.refuses(group, amount) and (
                count == gang.least or self.refusal(view, demand, moment.wall, tasks=count, soft=soft) is None
            ):
                return count
        return 0

    def _find_gang(
        self, view: QueueView[AntView], gang: GangCandidate, most: int, *, best_effort: bool
    ) -> GangDecision | None:
        if self._first is None:
            self._first = gang
        mine = gang in (self._first, self.reserved)
        ants = view.all_ants()
        others = frozenset[AntView]() if mine else self._kept_from(best_effort=best_effort)
        found = places_for(gang.members, gang.least, ants, kept=others)
        if found is not None:
            if self.reserved is gang:
                self._unreserve()
            return GangDecision(gang, tuple(found[:most]))
        if not gang.waited:
            gang.waited = True
            self.gangs_waited += 1
        if self.reserved is None or mine:
            is_new = self.reserved is not gang or self._is_stale()
            kept = ants_to_keep(gang.members, gang.least, ants) if is_new else self.kept
            if kept is not None:
                self.reserved, self.kept, self._kept_best_effort = gang, kept, best_effort
            elif self.reserved is gang:
                self._unreserve()
            if kept is None and gang is self._first:
                self._first = None  # it fits nowhere: the next one counts as the first
        return None

    def _is_stale(self) -> bool:
        """Some of the ants that are kept have gone."""
        return not all(ant.connected and not ant.draining for ant in self.kept)

    def _unreserve(self) -> None:
        self.reserved, self.kept, self._kept_best_effort = None, frozenset(), False
