"""How many bytes an organisation may still store: what is stored, and what is on its way.

Theory of operation. What comes is reserved before it is written: all of it where its size was said, else each piece as
it comes. So uploads that run at once cannot pass a limit together that each of them alone keeps. What is stored already
is counted when an upload begins, one count and one new row at a time for each organisation: a row that is stored
meanwhile is in the reservation until it is in the count. Organisations without a limit cost nothing of this.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from math import inf

from formicary.engine.queen.pump import Pump
from formicary.engine.storage.port import Store
from formicary.problems import problem


class StorageRoom:
    """The room of every organisation of one queen.

    Args:
        store: Knows what is stored.
        pump: Knows the limits.
    """

    def __init__(self, store: Store, pump: Pump) -> None:
        self._store = store
        self._pump = pump
        self._held: dict[str, int] = {}
        self._reserved: defaultdict[str, int] = defaultdict(int)
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def limit(self, org: str) -> float:
        """Bytes that an organisation may store; infinite = any."""
        queueing = self._pump.core.queueing
        return inf if queueing is None else queueing.quotas.storage_limit(org)

    async def reserve(self, org: str, name: str, size: int | None) -> Reservation:
        """Room for a file that is about to come; it is to be stored or released.

        Args:
            org: Whose it will be.
            name: What errors call it.
            size: Its bytes; None = nobody knows yet, each piece is reserved as it comes.

        Raises:
            Problem: RESOURCE_EXHAUSTED where there is no room for it; UNAVAILABLE.
        """
        found = Reservation(self, org, name, size)
        if self.limit(org) < inf:
            async with self._turns[org]:
                await self._count(org)
                found.grow(size or 0)
        return found

    async def count(self, org: str) -> None:
        """Looks how much an organisation stores, where it is limited. Raises Problem UNAVAILABLE."""
        if self.limit(org) < inf:
            async with self._turns[org]:
                await self._count(org)

    async def count_all(self) -> None:
        """Looks how much each organisation stores that is limited and has jobs or had some."""
        queueing = self._pump.core.queueing
        if queueing is not None:
            known = {org for org, _, _ in queueing.quotas.accounts} | {job.org for job in self._pump.core.jobs.values()}
            for org in known:
                await self.count(org)

    async def _count(self, org: str) -> None:
        self._tell(org, await self._pump.read(lambda: self._store.artifact_bytes(org)))

    def _tell(self, org: str, held: int) -> None:
        self._held[org] = held
        if self._pump.core.queueing is not None:  # another core may be there meanwhile
            self._pump.core.queueing.quotas.stored(org, held)

    def _take(self, org: str, size: int, name: str, offered: int | None, mine: int) -> None:
        room = self.limit(org) - self._held.get(org, 0) - self._reserved[org]
        if size > room:
            said = "" if offered is None else f" of {offered} bytes"
            raise problem(
                "RESOURCE_EXHAUSTED",
                f"The artifact {name[:200]!r}{said} would pass max_storage_gb of the organisation {org}, which has "
                f"room for {max(0.0, room + mine):.0f} bytes more. Let artifacts expire sooner, or raise the limit.",
            )
        self._reserved[org] += size

    def _give(self, org: str, size: int) -> None:
        self._reserved[org] -= size

    async def _stored(self, org: str, size: int, add: Callable[[], None]) -> None:
        async with self._turns[org]:
            await self._pump.read(add)
            self._tell(org, self._held.get(org, 0) + size)


class Reservation:
    """Room for one file: see :meth:`StorageRoom.reserve`."""

    def __init__(self, room: StorageRoom, org: str, name: str, offered: int | None) -> None:
        self._room = room
        self._org = org
        self._name = name
        self._offered = offered
        self._size = 0

    def grow(self, size: int) -> None:
        """Reserves more. Raises Problem RESOURCE_EXHAUSTED where there is no room for it."""
        if self._room.limit(self._org) < inf:
            self._room._take(self._org, size, self._name, self._offered, self._size)
            self._size += size

    async def store(self, add: Callable[[], None], size: int) -> None:
        """Stores what is known of the file, on a reader thread: from then on it is counted, and reserved no more.

        Args:
            add: Stores it.
            size: Its bytes.

        Raises:
            Problem: What `add` raises.
        """
        if self._size:
            await self._room._stored(self._org, size, add)
        else:
            await self._room._pump.read(add)
        self.release()

    def release(self) -> None:
        """Nothing is reserved any more; idempotent."""
        self._room._give(self._org, self._size)
        self._size = 0
