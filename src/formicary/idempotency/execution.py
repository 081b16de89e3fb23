"""One execution under a lease: begin, stay alive, pass recovery points, end. What every adapter is built on.

Theory of operation. `begin` claims the key. The caller that gets an :class:`Execution` is the only one that executes
until its lease is over; a heartbeat renews it in time, so that a slow handler keeps it and a dead process
loses it. Every change shows the fencing token. Once a renewal is refused (this process was away for longer than
its lease), the task that executes is cancelled and its caller is told LEASE_LOST: another one has the key. Nothing
else cancels it: a caller that goes away is no reason to stop half-way (:mod:`formicary.idempotency.uncancelled`).

Two commits frame the effect, so it is done at least once: a crash between effect and completion runs the operation
again after the lease. Recovery points bound what is repeated. For exactly once put the effect into the same
transaction:
:mod:`formicary.idempotency.transaction`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable
from typing import Any

from formicary.idempotency.counts import Counts
from formicary.idempotency.heartbeat import Heartbeat
from formicary.idempotency.model import (
    Acquired,
    Claim,
    Mismatch,
    Replay,
    StoredResponse,
    decode_response,
    encode_response,
)
from formicary.idempotency.policy import Rule
from formicary.idempotency.refusals import in_progress, key_reused, outcome_unknown, store_unavailable
from formicary.idempotency.store import Store
from formicary.problems import Problem

log = logging.getLogger("formicary.idempotency")
FIRST_LOOK_S = 0.05
"""A waiting duplicate looks again after this time, then after twice as long each time, at most LAST_LOOK_S."""
LAST_LOOK_S = 1.0
COMPLETE_TRIES = 4
COMPLETE_PAUSE_S = 0.1


class Execution:
    """The right to execute one operation. Made by :func:`begin`; ended by exactly one of complete, release, discard.

    Attributes:
        claim: What is executed.
        token: The fencing token: give it to outside systems that can refuse an old one.
        attempt: 1 = the first.
        point: The recovery point that an earlier attempt has passed; empty = none.
        data: What it kept there.
        first_beat: The beat of its heartbeat after which it began.
    """

    __slots__ = (
        "_alive",
        "_counts",
        "_store",
        "_task",
        "attempt",
        "claim",
        "data",
        "ended",
        "first_beat",
        "lost",
        "point",
        "token",
    )

    def __init__(self, store: Store, claim: Claim, acquired: Acquired, counts: Counts) -> None:
        self._store = store
        self._counts = counts
        self._task: asyncio.Task[Any] | None = None
        self._alive: dict[Execution, int] | None = None
        self.claim = claim
        self.token = acquired.token
        counts.taken_over += acquired.taken_over
        self.attempt = acquired.attempt
        self.point = acquired.point
        self.data = acquired.data
        self.lost = False
        self.ended = False
        self.first_beat = 0

    def keep_alive(self, heartbeat: Heartbeat, task: asyncio.Task[Any] | None = None) -> None:
        """Has the lease renewed while a task executes; that is cancelled when the lease is lost.

        Args:
            heartbeat: What renews it.
            task: What executes; None = the present one.
        """
        self._task = task = task or asyncio.current_task()
        assert task is not None, "an execution belongs to a task"
        self._alive = heartbeat.alive
        heartbeat.watch(self, task.get_loop())

    async def checkpoint(self, point: str, data: bytes = b"") -> None:
        """Notes that a phase is over: a later attempt finds `point` and `data`. Raises Problem LEASE_LOST."""
        await self._store.checkpoint(self.claim.id, self.token, point, data)
        self.point, self.data = point, data

    async def complete(self, response: StoredResponse) -> None:
        """Keeps the answer, also where the caller goes away meanwhile: what was done is not done again.

        Raises:
            Problem: LEASE_LOST, or after some tries IDEMPOTENCY_OUTCOME_UNKNOWN.
        """
        self._stop()
        stored = encode_response(response)
        try:
            await self._complete(stored)
        except asyncio.CancelledError:
            await asyncio.shield(self._complete_alone(stored))
            raise

    async def _complete_alone(self, stored: bytes) -> None:
        """Completes where nobody waits any more; an earlier try may have been applied."""
        try:
            await self._complete(stored, tries=2)
        except Problem as error:
            log.warning("the answer to a caller who has gone could not be kept: %s", error.detail)

    async def _complete(self, stored: bytes, tries: int = 1) -> None:
        claim = self.claim
        while True:
            try:
                await self._store.complete(claim.id, self.token, stored, claim.ttl_s)
                return
            except Problem as error:
                if error.code == "LEASE_LOST" and tries > 1 and await self._was_kept(stored):
                    return
                if error.code != "IDEMPOTENCY_STORE_UNAVAILABLE":
                    raise
                if tries == COMPLETE_TRIES:
                    raise outcome_unknown(error.detail) from error
                log.warning("an answer could not be kept, trying again: %s", error.detail)
            tries += 1
            await asyncio.sleep(COMPLETE_PAUSE_S)

    async def _was_kept(self, stored: bytes) -> bool:
        """Whether an earlier try was applied although the store said nothing."""
        record = await self._store.get(self.claim.id)
        return record is not None and record.token == self.token and record.response == stored

    async def answer_of_another(self) -> StoredResponse | None:
        """The answer that whoever took over has kept; None where there is none yet."""
        record = await self._store.get(self.claim.id)
        if record is None or record.response is None or record.fingerprint != self.claim.fingerprint:
            return None
        return _replayed(Replay(record.response, record.created_ms), record.id, self._counts)

    async def release(self) -> None:
        """It may be tried again at once. Where the store cannot be told so, the lease runs out instead."""
        await self._give_back(self._store.release(self.claim.id, self.token))

    async def discard(self) -> None:
        """It never began: nothing is kept."""
        await self._give_back(self._store.discard(self.claim.id, self.token))

    async def _give_back(self, change: Awaitable[None]) -> None:
        self._stop()
        self._counts.released += 1
        try:
            await change
        except Problem as error:
            log.warning("a claim could not be given back, its lease will run out: %s", error.detail)

    def _stop(self) -> None:
        self.ended = True
        if self._alive is not None:
            self._alive.pop(self, None)

    async def renew(self) -> bool:
        """Moves the lease's end; says whether it is to be renewed again. The heartbeat calls it."""
        claim = self.claim
        try:
            await self._store.renew(claim.id, self.token, claim.lease_s)
        except Problem as error:
            if error.code == "LEASE_LOST" and not self.ended:
                self.lost = True
                self._counts.leases_lost += 1
                if self._task is not None:
                    self._task.cancel("the lease of this operation is lost")
            if self.ended or self.lost:
                return False
            log.warning("a lease could not be renewed, trying again: %s", error.detail)
        return not self.ended


async def begin(
    store: Store, claim: Claim, rule: Rule, counts: Counts, *, header: str = "Idempotency-Key"
) -> Execution | StoredResponse:
    """Claims a key.

    Args:
        store: Where the record is.
        claim: What the caller wants to execute.
        rule: What a duplicate gets.
        counts: Figures of the adapter.
        header: Name of the key, for errors.

    Returns:
        The right to execute, or the answer of the one that did.

    Raises:
        Problem: IDEMPOTENCY_KEY_REUSED; IDEMPOTENT_REQUEST_IN_PROGRESS with the time to wait;
            IDEMPOTENCY_STORE_UNAVAILABLE, and then nothing may be executed.
    """
    give_up: float | None = None
    pause = FIRST_LOOK_S
    while True:
        try:
            outcome = await store.acquire(claim)
        except Problem:
            counts.store_failures += 1
            raise
        if isinstance(outcome, Acquired):
            counts.executed += 1
            return Execution(store, claim, outcome, counts)
        if isinstance(outcome, Replay):
            return _replayed(outcome, claim.id, counts)
        if isinstance(outcome, Mismatch):
            counts.reused += 1
            raise key_reused(header)
        now = asyncio.get_running_loop().time()
        if give_up is None:
            give_up = now + rule.wait_s if rule.on_busy == "wait" else now
        if now >= give_up:
            counts.busy += 1
            raise in_progress(outcome.retry_after_s, rule.busy_retry_s)
        await asyncio.sleep(min(give_up - now, pause * random.uniform(0.5, 1.0)))
        pause = min(2 * pause, LAST_LOOK_S)


def _replayed(outcome: Replay, record_id: bytes, counts: Counts) -> StoredResponse:
    try:
        found = decode_response(outcome.response)
    except ValueError as error:
        counts.store_failures += 1
        raise store_unavailable(str(error)) from error
    counts.replay(record_id, outcome.created_ms)
    return found
