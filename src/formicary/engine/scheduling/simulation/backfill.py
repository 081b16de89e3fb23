"""Backfill: jobs that wait have reservations, later ones may start now where they do not delay those.

EASY gives a reservation to the first that waits, conservative backfill to every one.

Source: Lifka, "The ANL/IBM SP Scheduling System", JSSPP 1995; Mu'alem and Feitelson, "Utilization, Predictability,
Workloads, and User Runtime Estimates in Scheduling the IBM SP2 with Backfilling", IEEE TPDS 12(6), 2001.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from formicary.engine.scheduling.simulation.policy import Decision, SortedGroup, Start
from formicary.engine.scheduling.simulation.queueing import INFINITY, Ordered, Rank, find, seconds_left
from formicary.engine.scheduling.simulation.state import TINY, AntState, Entry, Need, Shape


class Backfill(Ordered):
    """One queue with one reservation.

    Args:
        rank: Order of the queue.
        depth: How many jobs behind the first are looked at in a round.
    """

    def __init__(self, rank: Rank, depth: int) -> None:
        super().__init__(rank)
        self.depth = depth
        self.queue = SortedGroup("")
        self.groups[""] = self.queue

    def group_of(self, entry: Entry) -> SortedGroup:
        """All jobs are one queue."""
        return self.queue

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        queue = self.queue
        while queue.heap:
            ant = find(self.state, queue.head().shape, set(), None)
            if ant is None:
                break
            yield Start(queue.pop(), ant)
        if len(queue.heap) < 2 or not any(self._room()):
            return
        head = queue.head()
        shadow, reserved, spare = self._reservation(head, now)
        failed: set[Shape] = set()
        for item in queue.heap[1 : self.depth + 1]:
            entry = item[2]
            if entry.shape in failed:
                continue
            short = now + entry.expected_left <= shadow + TINY
            place, fits_anywhere = None, False
            for ant in entry.shape.eligible:
                if ant.fits(entry.need):
                    fits_anywhere = True
                    if short or ant is not reserved or all(spare[i] + TINY >= amount for i, amount in entry.need):
                        place = ant
                        break
            if not fits_anywhere:
                failed.add(entry.shape)
            if place is None:
                continue
            if place is reserved and not short:
                for index, amount in entry.need:
                    spare[index] -= amount
            queue.remove_item(item)
            yield Start(entry, place)

    def _room(self) -> Iterator[bool]:
        for ant in self.state.ants:
            yield all(free > 0 for free, most in zip(ant.free, ant.capacity, strict=True) if most > 0)

    def _reservation(self, head: Entry, now: float) -> tuple[float, AntState | None, list[float]]:
        """The earliest time at which the head fits, where, and what is free there then beside it."""
        best: tuple[float, AntState | None, list[float]] = (INFINITY, None, [])
        for ant in head.shape.eligible:
            free = list(ant.free)
            ends = sorted((now + seconds_left(one, now), number) for number, one in ant.running.items())
            fits_at = None
            for end, number in ends:
                if fits_at is not None and end > fits_at:
                    break
                for index, amount in ant.running[number].need:
                    free[index] += amount
                if fits_at is None and all(free[index] + TINY >= amount for index, amount in head.need):
                    fits_at = end
            if fits_at is not None and fits_at < best[0] - TINY:
                for index, amount in head.need:
                    free[index] -= amount
                best = (fits_at, ant, free)
        return best


class Conservative(Backfill):
    """Every job that waits has a reservation: nobody is ever delayed by who came later.

    A job gets its reservation when it comes, in the first hole that is long enough beside all others. When something
    ends earlier than expected reservations are brought forward one by one, the next one first; none is put back.

    Args:
        rank: Order in which jobs that come together are planned.
        depth: How many jobs have reservations; those behind them wait.
    """

    def __init__(self, rank: Rank, depth: int) -> None:
        super().__init__(rank, depth)
        self.reserved: dict[int, tuple[float, int]] = {}
        """Start and ant by number of the job."""

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        if not self.queue.heap or not any(self._room()):
            return
        held: dict[int, dict[int, _Held]] = {
            ant.number: {
                number: (now, max(now + TINY, now + seconds_left(one, now)), one.need)
                for number, one in ant.running.items()
            }
            for ant in self.state.ants
        }
        items = self.queue.heap[: self.depth]
        for _, number, entry in items:
            if number in self.reserved:
                at, place = self.reserved[number]
                held[place][number] = (at, at + entry.expected_left, entry.need)
        for item in sorted(items, key=lambda one: (self.reserved.get(one[1], (INFINITY, 0))[0], one)):
            number, entry = item[1], item[2]
            if number in self.reserved:
                del held[self.reserved[number][1]][number]
            start, ant = min(
                ((_earliest(one, held[one.number].values(), entry, now), one) for one in entry.shape.eligible),
                key=lambda pair: (pair[0], pair[1].number),
            )
            held[ant.number][number] = (start, start + entry.expected_left, entry.need)
            self.reserved[number] = (start, ant.number)
            if start <= now + TINY and ant.fits(entry.need):
                self.queue.remove_item(item)
                del self.reserved[number]
                yield Start(entry, ant)


_Held = tuple[float, float, Need]
"""From, until and how much of an ant is taken or reserved."""


def _earliest(ant: AntState, held: Collection[_Held], entry: Entry, now: float) -> float:
    """The first moment from which the job fits beside all that is taken and reserved, for as long as it runs."""
    for at in sorted({now, *(end for _, end, _ in held if end > now)}):
        until = at + entry.expected_left
        steps = [at, *(start for start, _, _ in held if at < start < until - TINY)]
        if all(_fits(ant, held, entry.need, step) for step in steps):
            return at
    return now


def _fits(ant: AntState, held: Collection[_Held], need: Need, at: float) -> bool:
    taken = dict.fromkeys((index for index, _ in need), 0.0)
    for start, end, amounts in held:
        if start <= at + TINY < end:
            for index, amount in amounts:
                if index in taken:
                    taken[index] += amount
    return all(taken[index] + amount <= ant.capacity[index] + TINY for index, amount in need)
