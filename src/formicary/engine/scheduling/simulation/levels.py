"""Levels whose jobs take turns in slices: with feedback (who uses up his slice sinks one level), or without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count

from formicary.engine.scheduling.simulation.policy import Decision, Preempt, Renew
from formicary.engine.scheduling.simulation.queueing import INFINITY, Ordered
from formicary.engine.scheduling.simulation.state import Entry


class Feedback(Ordered):
    """Multilevel feedback queue: round robin on each level, upper levels first and at once.

    Who is pushed aside goes to the head of his level and has the rest of his slice (as in POSIX.1-2017, 2.8.4,
    SCHED_RR); who has used it up goes to the end of the next one.

    Source: Corbató, Merwin-Daggett, Daley, "An Experimental Time-Sharing System", 1962; Silberschatz, Galvin, Gagne,
    "Operating System Concepts", 5.3.6; Stallings, "Operating Systems", table 9.5. One level is round robin. Boosts are
    rule 5 of Arpaci-Dusseau, "Operating Systems: Three Easy Pieces", 8.3: who runs is on the top level again, too.

    Args:
        quanta: Slice of each level in seconds; infinity on the last is first come, first served.
        boost: After every so many seconds all are on the top level again, in order, with a new slice; infinity = never.
        keeps: Who is pushed aside keeps his place and slice; else he goes to the end of his level with a new one.
        preemptive: Upper levels go first at once, not when a slice or a job ends.
        blocking: See Ordered.
    """

    def __init__(
        self,
        quanta: Sequence[float],
        boost: float = INFINITY,
        *,
        keeps: bool = True,
        preemptive: bool = True,
        blocking: bool = True,
    ) -> None:
        super().__init__(lambda entry, now: float(entry.level), preemptive=preemptive, blocking=blocking)
        self.quanta = quanta
        self.boost = boost
        self.keeps = keeps
        self._due = boost
        """When the next boost is."""
        self._boosted: Entry | None = None
        """Who is boosted while running."""
        self._serial = count()
        self._places: dict[int, int] = {}
        """Who joined a level before whom, of those that have run, by number."""

    def key(self, entry: Entry, now: float) -> tuple[float, ...]:
        """By level, then who has begun his slice, then who has waited longest."""
        begun = 0.0 if entry.used_slice > 0 else 1.0
        place = self._places.get(entry.number)
        return (float(entry.level), begun, entry.arrived, entry.number if place is None else 1e9 + place)

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        if entry.run:
            self._places[entry.number] = next(self._serial)
        super().queued(entry, now)

    def time_slice(self, entry: Entry) -> float:
        """See Policy: what is left of the slice of its level."""
        return self.quanta[entry.level] - entry.used_slice

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy: who was pushed aside keeps what is left of the slice."""
        super().stopped(entry, now)
        if entry is self._boosted:
            entry.level, entry.used_slice = 0, 0.0
            return
        entry.used_slice += now - entry.since
        if entry.used_slice >= self.quanta[entry.level] - 1e-9:
            entry.used_slice = 0.0
            entry.level = self.after(entry)
        elif not self.keeps:
            entry.used_slice = 0.0

    def after(self, entry: Entry) -> int:
        """The level of who has used up his slice."""
        return min(entry.level + 1, len(self.quanta) - 1)

    def expired(self, entry: Entry, now: float) -> bool:
        """See Policy."""
        return True

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        if now >= self._due:
            self._due = (now // self.boost + 1) * self.boost
            yield from self._boost(now)
        yield from super().decide(now)

    def _boost(self, now: float) -> Iterator[Decision]:
        some_came = any(group.heap and group.head().level == 0 for group in self.groups.values())
        for ant in self.state.ants:
            for entry in list(ant.running.values()):
                self._boosted = entry
                yield Preempt(entry) if some_came and entry.level > 0 else Renew(entry)
        self._boosted = None
        for group in self.groups.values():
            waiting = group.in_order()
            group.heap.clear()
            for entry in waiting:
                if entry.level > 0:  # to the end of the top level
                    entry.arrived, self._places[entry.number] = now, next(self._serial)
                entry.level, entry.used_slice = 0, 0.0
                group.push(self.key(entry, now), entry)

    def next_look(self, now: float) -> float:
        """See Policy."""
        if self._due <= now:  # nobody was there
            self._due = (now // self.boost + 1) * self.boost
        return self._due if self.state.running or any(group.heap for group in self.groups.values()) else INFINITY


class Turns(Feedback):
    """Levels that jobs stay on, each round robin or, with an endless slice, first come, first served.

    Source: Silberschatz, Galvin, Gagne, "Operating System Concepts", 5.3.5: foreground and background.

    Args:
        level_of: The level of a job; 0 goes first.
        quanta: Slice of each level in seconds.
        keeps: See Feedback.
        preemptive: See Feedback.
        blocking: See Ordered.
    """

    def __init__(
        self,
        level_of: Callable[[Entry], int],
        quanta: Sequence[float],
        *,
        keeps: bool = True,
        preemptive: bool = False,
        blocking: bool = True,
    ) -> None:
        super().__init__(quanta, keeps=keeps, preemptive=preemptive, blocking=blocking)
        self.level_of = level_of

    def queued(self, entry: Entry, now: float) -> None:
        """See Policy."""
        entry.level = self.level_of(entry)
        super().queued(entry, now)

    def after(self, entry: Entry) -> int:
        """See Feedback."""
        return entry.level
