"""Multilevel queues: strict between queues, or with feedback (a job that uses up its slice sinks one level)."""

from __future__ import annotations

from collections.abc import Iterator

from formicary.engine.scheduling.simulation.policy import Decision
from formicary.engine.scheduling.simulation.queueing import INFINITY, Ordered
from formicary.engine.scheduling.simulation.state import Entry


class Feedback(Ordered):
    """Multilevel feedback queue: round robin on each level, upper levels first and at once.

    Who is pushed aside goes to the head of his level and has the rest of his slice (as in POSIX.1-2017, 2.8.4,
    SCHED_RR); who has used it up goes to the end of the next one.

    Source: Corbató, Merwin-Daggett, Daley, "An Experimental Time-Sharing System", 1962; Silberschatz, Galvin, Gagne,
    "Operating System Concepts", 5.3.6; Stallings, "Operating Systems", table 9.5. One level is round robin.

    Args:
        quanta: Slice of each level in seconds; infinity on the last is first come, first served.
        boost: Seconds after which everybody who waits is on the top level again; infinity = never.
    """

    def __init__(self, quanta: list[float], boost: float = INFINITY) -> None:
        super().__init__(lambda entry, now: float(entry.level), preemptive=True)
        self.quanta = quanta
        self.boost = boost
        self._boosted = 0.0
        self._announced = INFINITY

    def key(self, entry: Entry, now: float) -> tuple[float, ...]:
        """By level, then who has begun his slice, then who has waited longest."""
        begun = 0.0 if entry.used_slice > 0 else 1.0
        return (float(entry.level), begun, entry.arrived, entry.number if entry.run == 0 else 1e9 + entry.run)

    def time_slice(self, entry: Entry) -> float:
        """See Policy: what is left of the slice of its level."""
        return self.quanta[entry.level] - entry.used_slice

    def stopped(self, entry: Entry, now: float) -> None:
        """See Policy: who was pushed aside keeps what is left of the slice."""
        super().stopped(entry, now)
        entry.used_slice += now - entry.since
        if entry.used_slice >= self.quanta[entry.level] - 1e-9:
            entry.used_slice = 0.0
            entry.level = min(entry.level + 1, len(self.quanta) - 1)

    def expired(self, entry: Entry, now: float) -> bool:
        """See Policy."""
        return True

    def decide(self, now: float) -> Iterator[Decision]:
        """See Policy."""
        if now - self._boosted >= self.boost:
            self._boosted = now
            for group in self.groups.values():
                waiting = group.in_order()
                group.heap.clear()
                for entry in waiting:
                    entry.level, entry.used_slice = 0, 0.0
                    group.push(self.key(entry, now), entry)
        yield from super().decide(now)

    def next_look(self, now: float) -> float:
        """See Policy."""
        due = self._boosted + self.boost
        if due < INFINITY and any(group.heap for group in self.groups.values()):
            self._announced = due
        return self._announced if self._announced > now else INFINITY
