"""The store of the simulation: the memory store, with commits of unknown fate and writers that come too late."""

from __future__ import annotations

from collections.abc import Callable

from formicary.engine.storage.memory import MemoryStore
from formicary.engine.storage.port import Changes, Fenced, StoreUnavailable
from tests.simulation.loop import Loop

GOOD, REFUSED, UNKNOWN = range(3)
"""Fates of a commit: written; not written and said so; the writer only hears that the connection is gone."""


class SimulatedStore:
    """One disk that outlives the queens.

    A commit of unknown fate may lie with the database for a while (a connection that was lost while the server was at
    it). It is decided at the latest by the next write, which waits for it; a mere read does not see it and does not
    wait. That is what row locks do in a real database.
    """

    def __init__(self, loop: Loop, on_commit: Callable[[Changes], None], *, strict: bool = False) -> None:
        self.inner = MemoryStore(strict=strict)
        self._loop = loop
        self._on_commit = on_commit
        self._limbo: list[tuple[int, Changes]] = []
        self.broken_until = 0.0
        """Every read and write fails until then."""

    def commit(self, epoch: int, changes: Changes, fate: int) -> None:
        """One transaction. Raises Fenced, StoreUnavailable."""
        self._check()
        self.settle()
        if fate == REFUSED:
            raise StoreUnavailable("nothing was written")
        if fate == UNKNOWN:
            self._limbo.append((epoch, changes))
            if self._loop.chance(0.6):
                self.settle()
            raise StoreUnavailable("the outcome is unknown")
        self._write(epoch, changes)

    def abandon(self, epoch: int, changes: Changes) -> None:
        """The writer died in the middle of a commit."""
        self._limbo.append((epoch, changes))
        if self._loop.chance(0.5):
            self.settle()

    def settle(self) -> None:
        """Decides what lies in limbo."""
        limbo, self._limbo = self._limbo, []
        for epoch, changes in limbo:
            if self._loop.chance(0.5):
                try:
                    self._write(epoch, changes)
                except Fenced:
                    self._loop.note("store: a late commit was fenced")

    def acquire(self) -> int:
        """Takes the colony for a new queen."""
        self._check()
        self.settle()
        return self.inner.acquire("queen")

    def probe(self, epoch: int) -> None:
        """An empty commit. Raises Fenced, StoreUnavailable."""
        self._check()
        self.settle()
        self.inner.commit(epoch, Changes())

    def check_read(self) -> None:
        """Raises StoreUnavailable while the store is gone."""
        self._check()

    def _check(self) -> None:
        if self.broken_until > self._loop.now:
            raise StoreUnavailable("the store is gone")

    def _write(self, epoch: int, changes: Changes) -> None:
        self.inner.commit(epoch, changes)
        self._on_commit(changes)
