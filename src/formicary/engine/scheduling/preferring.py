"""Place: the best ant for tasks that would rather be near to others, or away from them, over many decisions.

Each grant may change what ants are worth to the next task: all of one domain, and of no other. So ants lie in groups:
those of equal domains and equal preferences of other kinds, which are always worth the same. Domains in which nobody is
who matters are one, until somebody comes. In each group ants lie by rank, and the groups by what they are worth and by
their first ant. A grant moves the groups of its domain.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence

from formicary.engine.scheduling.affinity import domain
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.pipeline import AntView
from formicary.engine.scheduling.requirements import requirements

Domains = tuple[str | None, ...]
"""Of an ant, by preferred term."""
Fits = Callable[[AntView], bool]
Ranked = tuple[float, int, AntView]
"""Rank, place in the order of arrival."""


class _Group:
    """Ants that are worth the same."""

    __slots__ = ("ants", "base", "domains", "version", "worth")

    def __init__(self, base: float, domains: Domains) -> None:
        self.base = base
        """What they are worth whatever runs where."""
        self.domains = domains
        self.ants: list[Ranked] = []
        self.worth = 0.0
        self.version = 0
        """Its entry among the groups is void once this has changed."""


class Board:
    """Ants of one list for one demand with preferred terms, while they are only ever given more.

    Args:
        ants: The list, kept, so that no other gets its identity.
        able: Those that may have room, and where they stand in it.
        demand: Of the tasks.
        rank: Smaller is better, between ants that are worth the same.
    """

    __slots__ = (
        "_demand",
        "_found",
        "_groups",
        "_keys",
        "_of",
        "_rank",
        "_seen",
        "_serial",
        "_settled",
        "_top",
        "ants",
        "caught_up",
        "stamp",
    )

    def __init__(
        self,
        ants: list[AntView],
        able: Sequence[tuple[int, AntView]],
        demand: Demand,
        rank: Callable[[AntView, Demand], float],
    ) -> None:
        book = ants[0].neighbours
        self.ants, self._demand, self._rank = ants, demand, rank
        self.stamp = book.stamp(demand.affinity)
        """State of what admits ants when this was made."""
        self.caught_up = 0
        """How many changed ants it has been told of; kept by the caller."""
        self._seen, self._serial = book.clock, 0
        self._keys = book.preferred_keys(demand.affinity)
        self._of: dict[AntView, tuple[_Group, int]] = {}
        """The group of each, and where it stands in the list; what lies in another group is void."""
        self._groups: list[dict[str | None, list[_Group]]] = [{} for _ in self._keys]
        """By term and domain, without those in which nobody was."""
        self._settled: list[dict[str | None, list[AntView]]] = []
        """Ants by term and domain, once somebody has come to where nobody was."""
        self._found: dict[tuple[float, Domains], _Group] = {}
        match = requirements(demand.match) if demand.match else None
        terms = [(key, book.occupied(demand.affinity, term)) for term, key in enumerate(self._keys)]
        for at, ant in able:
            where = tuple([one if (one := domain(ant, key)) in occupied else None for key, occupied in terms])
            group = self._group(float(match.score(ant)) if match is not None else 0.0, where)
            group.ants.append((rank(ant, demand), at, ant))
            self._of[ant] = group, at
        self._top: list[tuple[float, float, int, int, _Group]] = []
        for group in self._found.values():
            heapq.heapify(group.ants)
            self._top.append((-group.worth, *group.ants[0][:2], 0, group))
        heapq.heapify(self._top)

    def _group(self, base: float, where: Domains) -> _Group:
        group = self._found.get((base, where))
        if group is None:
            group = self._found[base, where] = _Group(base, where)
            group.worth = base + self.ants[0].neighbours.worth(self._demand.affinity, where)
            for groups, one in zip(self._groups, where, strict=True):
                if one is not None:
                    groups.setdefault(one, []).append(group)
        return group

    def follow(self) -> bool:
        """Takes over what was granted since; False where that is not known, or may have let other ants in."""
        book, text = self.ants[0].neighbours, self._demand.affinity
        if book.stamp(text) != self.stamp:
            return False
        if book.clock == self._seen:
            return True
        changed = book.changed(text, self._seen)
        if changed is None:
            return False
        self._seen = book.clock
        for term, where in changed:
            self._settle(term, where)
            for group in self._groups[term].get(where, ()):
                worth = group.base + book.worth(text, group.domains)
                if worth != group.worth:
                    group.worth = worth
                    self._put(group)
        return True

    def _settle(self, term: int, where: str) -> None:
        """Ants of a domain in which nobody was have groups of their own from now on."""
        if not self._settled:
            self._settled = [{} for _ in self._keys]
            for ants, key in zip(self._settled, self._keys, strict=True):
                for ant in self._of:
                    ants.setdefault(domain(ant, key), []).append(ant)
        moved: dict[_Group, None] = {}
        for ant in self._settled[term].pop(where, ()):
            group, at = self._of[ant]
            if group.domains[term] is None:
                domains = (*group.domains[:term], where, *group.domains[term + 1 :])
                other = self._group(group.base, domains)
                heapq.heappush(other.ants, (self._rank(ant, self._demand), at, ant))
                self._of[ant] = other, at
                moved[other] = None
        for group in moved:
            self._put(group)

    def ranked_anew(self, changed: Iterable[AntView]) -> None:
        """The rank of these may be smaller than it was."""
        for ant in self._of.keys() & changed:
            group, at = self._of[ant]
            heapq.heappush(group.ants, (self._rank(ant, self._demand), at, ant))
            self._put(group)

    def _put(self, group: _Group) -> None:
        self._serial += 1
        group.version = self._serial
        if group.ants:
            heapq.heappush(self._top, (-group.worth, *group.ants[0][:2], group.version, group))

    def best(self, fits: Fits, *, rises: bool) -> AntView | None:
        """The best ant that fits, None where none does.

        Args:
            fits: Whether an ant has room; one that has not is not asked about again.
            rises: Ranks only grow; else who has another rank was, or will be, told of by `ranked_anew`.
        """
        top = self._top
        while top:
            worth, rank, at, version, group = top[0]
            if version != group.version:
                heapq.heappop(top)
                continue
            first = self._first(group, fits, rises=rises)
            if first is None:
                heapq.heappop(top)
            elif first[:2] != (rank, at):
                heapq.heapreplace(top, (worth, *first[:2], version, group))
            else:
                return first[2]
        return None

    def _first(self, group: _Group, fits: Fits, *, rises: bool) -> Ranked | None:
        ants = group.ants
        while ants:
            rank, at, ant = ants[0]
            if self._of[ant][0] is not group or not fits(ant):
                heapq.heappop(ants)
                continue
            now = self._rank(ant, self._demand)
            if rank == now:
                return ants[0]
            if rises:
                heapq.heapreplace(ants, (now, at, ant))
            else:
                heapq.heappop(ants)
        return None
