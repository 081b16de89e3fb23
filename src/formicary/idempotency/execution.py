"""One execution under a lease: begin, stay alive, pass recovery points, end. What every adapter is built on.

Theory of operation. `begin` claims the key. The caller that gets an :class:`Execution` is the only one that executes
until its lease is over; a timer renews the lease after each third of it, so that a slow handler keeps it and a dead
process loses it. Every change shows the fencing token. Once a renewal is refused (this process was away for longer than
its lease), the task that executes is cancelled and its caller is told LEASE_LOST: another one has the key.

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
from typing import TypeVar

from formicary.idempotency.counts import Counts
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
from formicary.idempotency.refusals import in_progress, key_reused, store_unavailable
from formicary.idempotency.store import Store
from formicary.problems import Problem

log = logging.getLogger("formicary.idempotency")
T = TypeVar("T")
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
    """

    __slots__ = ("_counts", "_store", "_task", "_timer", "attempt", "claim", "data", "ended", "lost", "point", "token")

    def __init__(self, store: Store, claim: Claim, acquired: Acquired, counts: Counts) -> None:
        self._store = store
        self._counts = counts
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.claim = claim
        self.token = acquired.token
        self.attempt = acquired.attempt
        self.point = acquired.point
        self.data = acquired.data
        self.lost = False
        self.ended = False

    def keep_alive(self) -> None:
        """Renews the lease from now on while the present task executes; cancels that task when the lease is lost."""
        self._task = asyncio.current_task()
        self._schedule(self.claim.lease_s / 3)

    async def checkpoint(self, point: str, data: bytes = b"") -> None:
        """Notes that a phase is over: a later attempt finds `point` and `data`. Raises Problem LEASE_LOST."""
        await self._store.checkpoint(self.claim.id, self.token, point, data)
        self.point, self.data = point, data

    async def complete(self, response: StoredResponse) -> None:
        """Keeps the answer. Raises Problem LEASE_LOST, or IDEMPOTENCY_STORE_UNAVAILABLE after some tries."""
        self._stop()
        stored, claim = encode_response(response), self.claim
        for left in range(COMPLETE_TRIES - 1, -1, -1):
            try:
                await self._store.complete(claim.id, self.token, stored, claim.ttl_s)
                return
            except Problem as error:
                if error.code != "IDEMPOTENCY_STORE_UNAVAILABLE" or not left:
                    raise
                log.warning("an answer could not be kept, trying again: %s", error.detail)
            await asyncio.sleep(COMPLETE_PAUSE_S)

    async def answer_of_another(self) -> StoredResponse | None:
        """The answer that whoever took over has kept; None where there is none yet."""
        record = await self._store.get(self.claim.id)
        if record is None or record.response is None or record.fingerprint != self.claim.fingerprint:
            return None
        return _replayed(Replay(record.response, record.created_ms), self._counts)

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
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._renew_soon)

    def _renew_soon(self) -> None:
        renewal = asyncio.ensure_future(self._renew())
        renewal.add_done_callback(_log_failure)

    async def _renew(self) -> None:
        claim = self.claim
        try:
            await self._store.renew(claim.id, self.token, claim.lease_s)
        except Problem as error:
            if error.code == "LEASE_LOST" and not self.ended:
                self.lost = True
                self._counts.leases_lost += 1
                if self._task is not None:
                    self._task.cancel("the lease of this operation is lost")
                return
            log.warning("a lease could not be renewed, trying again: %s", error.detail)
        if not self.ended:
            self._schedule(claim.lease_s / 3)


def _log_failure(renewal: asyncio.Future[None]) -> None:
    if not renewal.cancelled() and (error := renewal.exception()) is not None:
        log.error("renewing a lease failed", exc_info=error)


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
    give_up = asyncio.get_running_loop().time() + rule.wait_s if rule.on_busy == "wait" else 0.0
    pause = FIRST_LOOK_S
    while True:
        try:
            outcome = await store.acquire(claim)
        except Problem:
            counts.store_failures += 1
            raise
        if isinstance(outcome, Acquired):
            counts.executed += 1
            counts.taken_over += outcome.taken_over
            return Execution(store, claim, outcome, counts)
        if isinstance(outcome, Replay):
            return _replayed(outcome, counts)
        if isinstance(outcome, Mismatch):
            counts.reused += 1
            raise key_reused(header)
        left = give_up - asyncio.get_running_loop().time()
        if left <= 0:
            counts.busy += 1
            raise in_progress(outcome.retry_after_s)
        await asyncio.sleep(min(left, pause * random.uniform(0.5, 1.0)))
        pause = min(2 * pause, LAST_LOOK_S)


def _replayed(outcome: Replay, counts: Counts) -> StoredResponse:
    try:
        found = decode_response(outcome.response)
    except ValueError as error:
        counts.store_failures += 1
        raise store_unavailable(str(error)) from error
    counts.replayed += 1
    if outcome.created_ms:
        counts.replay_age(outcome.created_ms)
    return found
