"""The port to a store: an atomic compare-and-set on one key, on the store's own clock.

A store that cannot do that (a cache that may lose or evict keys, a replica that may be behind) must not be written for
it: the contract suite in tests/contract/idempotency fails on one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from formicary.idempotency.model import Claim, Outcome, Record, State


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can do.

    Attributes:
        durable: Survives the end of the process (and, as the store is set up, a power cut).
        shared: Several processes may use it at once.
        grouped: Runs functions inside a shared commit, see :meth:`formicary.idempotency.sqlite.SqliteStore.run`.
        isolation: The guarantee that makes `acquire` atomic, in one sentence.
    """

    durable: bool
    shared: bool
    grouped: bool
    isolation: str


class Store(Protocol):
    """Where records are. Every method raises Problem IDEMPOTENCY_STORE_UNAVAILABLE where the store cannot be asked, and
    the caller then runs nothing: whether a change happened is not known.

    `renew`, `checkpoint`, `complete`, `release` and `discard` raise Problem LEASE_LOST where `token` is not the present
    one or the record is not IN_PROGRESS, and change nothing.
    """

    @property
    def name(self) -> str:
        """The kind, for metrics: ``memory``, ``sqlite`` and so on."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    async def open(self) -> None:
        """Connects and makes what is missing (a table); may be called again."""
        ...

    async def close(self) -> None:
        """Releases everything; may be called again."""
        ...

    async def now_ms(self) -> int:
        """The store's time."""
        ...

    async def acquire(self, claim: Claim) -> Outcome:
        """Decides as :func:`formicary.idempotency.deciding.decide` says, in one atomic step."""
        ...

    async def renew(self, record_id: bytes, token: int, lease_s: float) -> None:
        """The holder is alive: its lease ends `lease_s` from now."""
        ...

    async def checkpoint(self, record_id: bytes, token: int, point: str, data: bytes) -> None:
        """The holder has passed a recovery point."""
        ...

    async def complete(self, record_id: bytes, token: int, response: bytes, ttl_s: float) -> None:
        """It is done: every later claim is answered with `response` until `ttl_s` from now."""
        ...

    async def release(self, record_id: bytes, token: int) -> None:
        """It failed in a way that may be tried again at once, with point and data as they are."""
        ...

    async def discard(self, record_id: bytes, token: int) -> None:
        """It never began: nothing is kept."""
        ...

    async def get(self, record_id: bytes) -> Record | None:
        """The record as it is, even one whose time is over."""
        ...

    async def records(
        self,
        *,
        tenant: str | None = None,
        state: State | None = None,
        parent: str | None = None,
        key: str | None = None,
        after: bytes = b"",
        limit: int = 100,
    ) -> Sequence[Record]:
        """Records in the order of their ids, from after the id `after` on; None = any."""
        ...

    async def purge(self, limit: int = 1000) -> int:
        """Deletes at most `limit` records whose time is over, never one under a live lease; says how many."""
        ...
