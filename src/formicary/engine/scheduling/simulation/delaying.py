"""Delay scheduling: a job lets places pass for a while, to run on an ant that holds its data.

First come, first served; whose turn it is and finds no place at its data is passed over, and after `max_wait`, or what
it would save if that is less, takes any place. Its patience begins when it is passed over for the first time.

Source: Zaharia, Borthakur, Sen Sarma, Elmeleegy, Shenker, Stoica, "Delay Scheduling: A Simple Technique for Achieving
Locality and Fairness in Cluster Scheduling", EuroSys 2010, algorithm 3, with every job a task of its own.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from random import Random

from formicary.engine.scheduling.policies.delay import worth_waiting_s
from formicary.engine.scheduling.simulation.policy import Decision, Start
from formicary.engine.scheduling.simulation.rooms import Rooms
from formicary.engine.scheduling.simulation.state import INFINITY, TINY, ClusterState, Entry, Shape

Item = tuple[float, int, Entry]
"""Submission, number of the job, the job."""


class _Waiting:
    """Jobs of one demand."""

    __slots__ = ("anywhere", "at", "near", "untried")

    def __init__(self) -> None:
        self.anywhere: list[Item] = []
        """Those that take any place, in order."""
        self.near: list[Item] = []
        """Those that wait for a place at their data, in order."""
        self.at: dict[int, list[Item]] = {}
        """The same by ant that holds the data."""
        self.untried: list[Item] = []
        """Of them those that were never passed over, in order."""

    def __bool__(self) -> bool:
        return bool(self.anywhere or self.near)


class Delayed:
    """Jobs with data wait for a place there for a while.

    Args:
        max_wait: Seconds.
    """

    def __init__(self, max_wait: float) -> None:
        self.max_wait = max_wait
        self._waiting: dict[Shape, _Waiting] = {}
        self._holders: dict[tuple[Shape, frozenset[str]], tuple[int, ...]] = {}
        self._patience: list[tuple[float, int, Entry]] = []
        """When a job that was passed over takes any place."""
        self._since: dict[int, float] = {}
        """When a job was passed over for the first time, by its number, while it waits for a place at its data."""

    def bind(self, state: ClusterState, rng: Random) -> None:
        """See Policy."""
        self.state = state
        self._rooms = Rooms(state)

    def started(self, entry: Entry, now: float) -> None:
        """See Policy."""
        self._rooms.note(entry)

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy."""
        self._rooms.note(entry)

    def holders(self, entry: Entry) -> tuple[int, ...]:
        """Numbers of the ants that could run the job at its data, in order of the file."""
        name = (entry.shape, entry.job.data)
        found = self._holders.get(name)
        if found is None:
            found = tuple(ant.number for ant in entry.shape.eligible if ant.holds(entry.job.data))
            self._holders[name] = found
        return found

    def patience_s(self, entry: Entry) -> float:
        """How long the job may be passed over."""
        slow = entry.job.remote_runtime
        return self.max_wait if slow is None else worth_waiting_s(slow - entry.job.runtime, self.max_wait)

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        waiting = self._waiting.setdefault(entry.shape, _Waiting())
        item = (entry.job.submit, entry.number, entry)
        holders = self.holders(entry) if entry.job.data else ()
        if not holders or self.patience_s(entry) <= 0:
            insort(waiting.anywhere, item)
            return
        insort(waiting.near, item)
        insort(waiting.untried, item)
        for number in holders:
            insort(waiting.at.setdefault(number, []), item)

    def _leave(self, waiting: _Waiting, item: Item) -> None:
        """The job waits for a place at its data no more."""
        for items in (waiting.near, waiting.untried, *(waiting.at[number] for number in self.holders(item[2]))):
            at = bisect_left(items, item)
            if at < len(items) and items[at] == item:
                del items[at]

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        while self._patience and self._patience[0][0] <= now + TINY:
            _, _, entry = heapq.heappop(self._patience)
            if self._since.pop(entry.number, None) is not None:
                waiting, item = self._waiting[entry.shape], (entry.job.submit, entry.number, entry)
                self._leave(waiting, item)
                insort(waiting.anywhere, item)
        while True:
            rooms = {shape: able for shape, one in self._waiting.items() if one and (able := self._rooms.able(shape))}
            found = [(self._next(self._waiting[shape], able), shape) for shape, able in rooms.items()]
            heads = [(item, shape) for item, shape in found if item is not None]
            if not heads:
                break
            item, shape = min(heads, key=_order)
            entry, waiting = item[2], self._waiting[shape]
            near = [number for number in self.holders(entry) if number in rooms[shape]] if entry.job.data else []
            number = near[0] if near else rooms[shape][0]
            self._pass_over(item, number, rooms, now)
            if waiting.anywhere and waiting.anywhere[0] == item:
                del waiting.anywhere[0]
            else:
                self._since.pop(entry.number, None)
                self._leave(waiting, item)
            yield Start(entry, self.state.ants[number])
        self._pass_over(None, None, rooms, now)

    def _next(self, waiting: _Waiting, able: list[int]) -> Item | None:
        """The first job that may start on one of these ants."""
        first = waiting.anywhere[0] if waiting.anywhere else None
        if len(able) <= len(waiting.near):
            heads = [items[0] for number in able if (items := waiting.at.get(number))]
            near = min(heads, default=None)
        else:
            there = set(able)
            near = next((item for item in waiting.near if not there.isdisjoint(self.holders(item[2]))), None)
        if first is None or near is None:
            return first or near
        return min(first, near)

    def _pass_over(self, chosen: Item | None, number: int | None, rooms: Mapping[Shape, list[int]], now: float) -> None:
        """Notes who could have had the place before the one that was chosen; where none was, any place that is free."""
        for shape, able in rooms.items():
            untried = self._waiting[shape].untried
            if not untried or (number is not None and number not in able):
                continue
            count = len(untried) if chosen is None else bisect_left(untried, chosen)
            for _, _, entry in untried[:count]:
                self._since[entry.number] = now
                heapq.heappush(self._patience, (now + self.patience_s(entry), entry.number, entry))
            del untried[:count]

    def time_slice(self, entry: Entry) -> float:
        """See Policy."""
        return INFINITY

    def expired(self, entry: Entry, now: float) -> bool:
        """See Policy."""
        return False

    def next_look(self, now: float) -> float:
        """See Policy: when the first who was passed over is not to wait any longer."""
        while self._patience and self._patience[0][1] not in self._since:
            heapq.heappop(self._patience)
        return self._patience[0][0] if self._patience else INFINITY


def _order(head: tuple[Item, Shape]) -> tuple[float, int]:
    return head[0][:2]
