"""Counters of a mapping: what happened to the values of each rule, per process, from every thread."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

MAPPED, DEFAULTED, MISSING, REJECTED, UNTRUSTED, DROPPED, KEPT = range(7)
KINDS = ("mapped", "defaulted", "missing", "rejected", "untrusted", "dropped", "kept")
KIND_COUNT = len(KINDS)
MOST_PATTERNS = 256


@dataclass(frozen=True, slots=True)
class RuleCount:
    """What happened to one rule in one direction so far.

    Attributes:
        header: Name of the header.
        metadata: Metadata key.
        direction: ``incoming`` or ``outgoing``.
        counts: Calls by kind: mapped, defaulted, missing, rejected, untrusted, dropped, kept.
    """

    header: str
    metadata: str
    direction: str
    counts: dict[str, int]


class Tally:
    """Counts calls to which the same things happen; :attr:`hit` counts one, exactly and without a lock.

    Args:
        events: What happens in each.

    Attributes:
        events: The same.
        hit: Counts a call; whoever calls it looks at ``kept`` afterwards.
        kept: Whether the counters still look here; if not, :meth:`Statistics.late` is due.
    """

    __slots__ = ("_from", "events", "hit", "kept")

    def __init__(self, events: Iterable[int]) -> None:
        self.events = tuple(events)
        self.kept = True
        self.hit: Callable[[], int] = itertools.count().__next__
        self._from = 0

    def taken(self) -> int:
        """Calls since it was asked last; to be asked by one thread at a time."""
        now = self.hit()  # asking counts too
        calls, self._from = now - self._from, now + 1
        return calls


class Statistics:
    """The counters of one compiled mapping; safe for threads."""

    __slots__ = ("_counts", "_labels", "_lock", "_patterns", "_tallies")

    def __init__(self, labels: Sequence[tuple[str, str, str]]) -> None:
        self._labels = tuple(labels)
        self._counts = [0] * (len(labels) * KIND_COUNT)
        self._patterns: dict[tuple[int, ...], int] = {}
        self._tallies: set[Tally] = set()
        self._lock = threading.Lock()

    def tally(self, events: Iterable[int]) -> Tally:
        """Returns a tally for calls in which this happens."""
        made = Tally(events)
        with self._lock:
            self._tallies.add(made)
        return made

    def retire(self, tally: Tally) -> None:
        """Forgets a tally, not what it has counted."""
        with self._lock:
            tally.kept = False
            self._take(tally)
            self._tallies.discard(tally)

    def late(self, tally: Tally) -> None:
        """Takes what a tally has counted since it was forgotten."""
        with self._lock:
            self._take(tally)

    def _take(self, tally: Tally) -> None:
        calls = tally.taken()
        for event in tally.events:
            self._counts[event] += calls

    def add(self, events: Iterable[int]) -> None:
        """Counts what happened in one call: ``slot * KIND_COUNT + kind`` each."""
        # Calls are alike: one count for all that happened in a call, taken apart when somebody reads.
        pattern = tuple(events)
        with self._lock:
            patterns = self._patterns
            patterns[pattern] = patterns.get(pattern, 0) + 1
            if len(patterns) > MOST_PATTERNS:
                self._fold()

    def _fold(self) -> None:
        for pattern, calls in self._patterns.items():
            for event in pattern:
                self._counts[event] += calls
        self._patterns.clear()

    def read(self) -> list[RuleCount]:
        """Returns the counters of every rule at one moment."""
        with self._lock:
            self._fold()
            for tally in self._tallies:
                self._take(tally)
            counts = list(self._counts)
        return [
            RuleCount(*label, dict(zip(KINDS, counts[n * KIND_COUNT : (n + 1) * KIND_COUNT], strict=True)))
            for n, label in enumerate(self._labels)
        ]

    def exposition(self) -> str:
        """Returns the counters in the text format that Prometheus reads."""
        lines = [
            "# HELP formicary_headers_total Headers by rule and by what happened to them.",
            "# TYPE formicary_headers_total counter",
        ]
        for rule in self.read():
            for kind, count in rule.counts.items():
                labels = f'header="{rule.header}",metadata="{rule.metadata}",direction="{rule.direction}"'
                lines.append(f'formicary_headers_total{{{labels},outcome="{kind}"}} {count}')
        return "\n".join(lines) + "\n"
