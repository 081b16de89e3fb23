"""Jobs that come after others: who may begin, and who never will.

A job begins to wait for a place when all that it comes after have ended. Where one of those will never run, neither
will it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from formicary.engine.scheduling.simulation.state import Entry


class Precedence:
    """Who waits for whom, as jobs come and end.

    Args:
        entries: All jobs.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._left: dict[int, int] = {}
        """By number of a job: how many of those that it comes after have not ended."""
        self._behind: dict[str, list[Entry]] = {}
        """By id: who comes after it."""
        self._here: set[int] = set()
        """Numbers of those that have come and wait for others."""
        self._known = {entry.job.id for entry in entries} if any(entry.job.after for entry in entries) else set[str]()
        for entry in entries:
            if entry.job.after:
                self._left[entry.number] = len(entry.job.after)
                for name in sorted(entry.job.after):
                    self._behind.setdefault(name, []).append(entry)

    def may_begin(self, entry: Entry) -> bool:
        """The job has come: whether nobody is before it any more; else `ended` names it in time."""
        if entry.dropped or not self._left.get(entry.number):
            return not entry.dropped
        missing = sorted(entry.job.after - self._known)
        if missing:
            entry.dropped = f"comes after {missing[0]!r}, which is not in the workload"
            self.dropped(entry)
        self._here.add(entry.number)
        return False

    def ended(self, entry: Entry) -> list[Entry]:
        """The job has ended; returns those that have come and waited for it last."""
        found = []
        for other in self._behind.get(entry.job.id, ()) if self._left else ():
            self._left[other.number] -= 1
            if not self._left[other.number] and other.number in self._here and not other.dropped:
                found.append(other)
        return found

    def dropped(self, entry: Entry) -> None:
        """The job will never end: nor will those behind it."""
        names = [entry.job.id]
        while names:
            name = names.pop()
            for other in self._behind.get(name, ()):
                if not other.dropped:
                    other.dropped = f"comes after {name!r}, which never ends"
                    names.append(other.job.id)


def cycle(before: Mapping[str, Iterable[str]]) -> list[str]:
    """Names of a circle, each of which has to end before the next one; empty where there is none.

    Args:
        before: Whom each comes after.
    """
    try:
        TopologicalSorter(before).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []
