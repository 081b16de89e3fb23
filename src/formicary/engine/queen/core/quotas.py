"""Limits of tenants as the core keeps them: who has how much, what is written of it, what may start.

Theory of operation. An account belongs to an organisation or to a user of it that some limit holds for. The numbers of
jobs and tasks follow from what the core holds, so they are right after a reload. CPU time is charged where an attempt's
lease is released, and its row is in the same commit as that end: an end that is not committed is not charged either,
and one that is committed is charged once, whoever repeats it. What runs counts for a period's hours as it goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.amounts import Needs
from formicary.engine.queen.core.family import depth_of
from formicary.engine.queen.core.records import Job, Place, TaskRun
from formicary.engine.scheduling.demand import Payer
from formicary.engine.scheduling.queues.limits import (
    HOURS,
    STORAGE,
    Account,
    Burst,
    Limit,
    Refusal,
    Tenants,
    limits_of,
    period_of,
    refusal,
)
from formicary.engine.storage.port import Row

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

KIND = "usage"
"""Of the rows in the store."""
CPU = "cpu"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Usage(msgspec.Struct, frozen=True):
    """One limit of one tenant as people see it. Times are seconds since the epoch, 0 = none."""

    org: str
    user: str
    name: str
    used: float
    limit: Limit
    resets_at: float


class Quotas:
    """The accounts of one core under one configuration.

    Args:
        core: Whose they are.
        tenants: The limits.
    """

    def __init__(self, core: Core, tenants: Tenants) -> None:
        self._core = core
        self._tenants = tenants
        self.accounts: dict[tuple[str, str], Account] = {}
        self._of: dict[tuple[str, str], tuple[Account, ...]] = {}
        self._kept: dict[tuple[str, str], dict[str, Any]] = {}
        """Rows as they were read, or as an earlier configuration left them."""

    def follow(self, earlier: Quotas | None) -> None:
        """Begins in place of an earlier configuration, with all that lives."""
        if earlier is not None:
            self._kept = {**earlier._kept, **{key: _value(one) for key, one in earlier.accounts.items()}}
            for key, account in earlier.accounts.items():
                for mine in self._accounts(*key)[-1:] if self._tenants else ():
                    if (mine.org, mine.user) == key:
                        mine.storage_bytes = account.storage_bytes
        for key in self._kept:
            self._account(*key)
        for job in self._core.jobs.values():
            if job.run is not None and job.state != life.PENDING:
                self.count(job, +1)

    def recover(self, rows: Iterable[Row]) -> None:
        """What the store holds; before jobs are counted."""
        for kind, org, user, value, _ in rows:
            if kind == KIND and isinstance(value, bytes):
                self._kept[str(org), str(user)] = _decode(value)
                self._account(str(org), str(user))

    def payer(self, job: Job, *, begins: bool) -> Payer | None:
        """Who pays for a job; None where no limit holds for him."""
        user = job.submitted_by or ""
        begins = begins and not depth_of(job.id)  # what a running job forks is part of it: it would wait for itself
        return (job.org, user, begins) if self._tenants and self._accounts(job.org, user) else None

    # --- what starts and ends ---------------------------------------------------------------------------------------

    def count(self, job: Job, change: int) -> None:
        """A job has begun, or has ended."""
        for account in self._accounts(job.org, job.submitted_by or "") if self._tenants else ():
            account.jobs += change
            self._look(account)

    def take(self, run: TaskRun | Place, needs: Needs) -> None:
        """An ant holds an attempt from now on."""
        job, cores = run.job, _cores(needs)
        for account in self._accounts(job.org, job.submitted_by or "") if self._tenants else ():
            account.tasks += 1
            account.cores += cores
            account.started += cores * run.granted_at
            self._look(account)

    def give(self, run: TaskRun | Place, needs: Needs) -> None:
        """It holds it no more: the CPU time is charged."""
        job, cores, wall = run.job, _cores(needs), self._core.wall
        ran_s = run.ran_s if run.ran_s is not None else wall - run.granted_at
        for account in self._accounts(job.org, job.submitted_by or "") if self._tenants else ():
            account.tasks -= 1
            account.cores = account.cores - cores if account.tasks else 0.0
            account.started = account.started - cores * run.granted_at if account.tasks else 0.0
            account.charge(cores, wall - max(0.0, ran_s), wall)
            account.look(wall)
            self._keep(account)

    def stored(self, org: str, size_bytes: int) -> None:
        """How much the artifacts of an organisation take."""
        for account in self._accounts(org, "") if self._tenants else ():
            account.storage_bytes = size_bytes

    def storage_limit(self, org: str) -> float:
        """Bytes that the artifacts of an organisation may take; infinite = any."""
        limit = limits_of(self._tenants, org, "").get(STORAGE)
        return inf if limit is None else limit.hard * 1e9

    # --- what may start ---------------------------------------------------------------------------------------------

    def refusal(self, payer: Payer, wall: float, *, tasks: int = 1, soft: bool = True) -> Refusal | None:
        """Why something of this payer may not start now; None where it may."""
        org, user, begins = payer
        found = None
        for account in self._accounts(org, user):
            one = refusal(account, wall, begins=begins, tasks=tasks, soft=soft)
            if one is not None and not one.is_soft:
                return one
            found = found or one
        return found

    def of(self, org: str, user: str) -> tuple[Account, ...]:
        """The accounts that pay for the jobs of a user."""
        return self._accounts(org, user) if self._tenants else ()

    def usage(self) -> Iterator[Usage]:
        """Each limit that somebody has used, and what is used of it."""
        wall = self._core.wall
        for (org, user), account in sorted(self.accounts.items()):
            for name, limit in account.limits.items():
                resets_at = period_of(HOURS[name], wall)[1] if name in HOURS else 0.0
                yield Usage(org, user, name, account.has(name, wall), limit, resets_at)

    # --- rows -------------------------------------------------------------------------------------------------------

    def _accounts(self, org: str, user: str) -> tuple[Account, ...]:
        key = (org, user)
        found = self._of.get(key)
        if found is None:
            mine = [self._account(org, "")]
            mine += [self._account(org, user)] if user else []
            found = self._of[key] = tuple(one for one in mine if one is not None)
        return found

    def _account(self, org: str, user: str) -> Account | None:
        found = self.accounts.get((org, user))
        limits = limits_of(self._tenants, org, user)
        if found is None and limits:
            found = self.accounts[org, user] = Account(org, user, limits)
            kept = self._kept.get((org, user), {})
            found.used = {name: (begin, seconds) for name, (begin, seconds) in kept.get("used", {}).items()}
            found.bursts = {name: Burst(**one) for name, one in kept.get("bursts", {}).items() if name in limits}
        return found

    def _look(self, account: Account) -> None:
        if account.look(self._core.wall):
            self._keep(account)

    def _keep(self, account: Account) -> None:
        key, wall = (account.org, account.user), self._core.wall
        self._core.batch.changes.states[KIND, *key] = (KIND, *key, _encode(_value(account)), wall)


def _value(account: Account) -> dict[str, Any]:
    bursts = {
        name: {"left_s": one.left_s, "since": one.since, "is_above": one.is_above, "is_spent": one.is_spent}
        for name, one in account.bursts.items()
    }
    return {"used": {name: list(pair) for name, pair in account.used.items()}, "bursts": bursts}


def _cores(needs: Needs) -> float:
    """Processors of an attempt; one where it does not say."""
    return next((amount for name, amount in needs if name == CPU), 1.0)
