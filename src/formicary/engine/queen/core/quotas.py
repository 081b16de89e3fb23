"""Limits of tenants as the core keeps them: who has how much, what is written of it, what may start.

Theory of operation. An account belongs to an organisation or to a user of it that some limit holds for: of all its
jobs, by the file of queues, or of those of one type, by that type's definition. A job is charged to each account that
counts it. The numbers of jobs and tasks follow from what the core holds, so they are right after a reload. CPU time is
charged where an attempt's lease is released, and its row is in the same commit as that end: an end that is not
committed is not charged either, and one that is committed is charged once, whoever repeats it. What runs counts for a
period's hours as it goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.amounts import Needs
from formicary.engine.jobs.tenants import ANY_TYPE, HOURS, STORAGE, JobType, Limit, Tenants, limits_of
from formicary.engine.queen.core.family import depth_of
from formicary.engine.queen.core.records import Job, Place, TaskRun
from formicary.engine.scheduling.demand import Payer
from formicary.engine.scheduling.queues.limits import (
    Account,
    Burst,
    Refusal,
    period_of,
    refusal,
)
from formicary.engine.storage.port import Row

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core

KIND, KIND_OF_TYPE = "usage", "usage_of_type"
"""Of the rows in the store: of all jobs, by the user; of a job type, by the user and the type as JSON."""
AccountKey = tuple[str, str, JobType]
"""Organisation, user (empty = all of it) and job type."""
CPU = "cpu"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_name = msgspec.json.Decoder(tuple[str, str, str]).decode


class Usage(msgspec.Struct, frozen=True):
    """One limit of one tenant as people see it. Times are seconds since the epoch, 0 = none."""

    org: str
    user: str
    name: str
    used: float
    limit: Limit
    resets_at: float
    job_type: str = ""
    """Whose jobs alone are counted; empty = all."""


class Quotas:
    """The accounts of one core under one configuration.

    Args:
        core: Whose they are.
        tenants: The limits.
    """

    def __init__(self, core: Core, tenants: Tenants) -> None:
        self._core = core
        self._tenants = tenants
        self._types = core.waiting.limits
        self.accounts: dict[AccountKey, Account] = {}
        self._of: dict[AccountKey, tuple[Account, ...]] = {}

    def follow(self, earlier: Quotas | None) -> None:
        """Begins in place of an earlier configuration, with all that lives."""
        used = self._core.waiting.used
        if earlier is not None:
            for key, account in earlier.accounts.items():
                used[key] = _value(account)
                if (mine := self._account(*key)) is not None:
                    mine.storage_bytes = account.storage_bytes
        for key in used:
            self._account(*key)
        for job in self._core.jobs.values():
            if job.run is not None and job.state != life.PENDING:
                self.count(job, +1)

    def payer(self, job: Job, *, begins: bool) -> Payer | None:
        """Who pays for a job; None where no limit holds for him."""
        user, job_type = job.submitted_by or "", self._types.type_of(job)
        if not (self._tenants or job_type != ANY_TYPE) or not self._accounts(job.org, user, job_type):
            return None
        # What a running job forks is part of it: it would wait for itself. A type's limits do not count another type's.
        of_tenant = begins and not depth_of(job.id)
        of_type = begins and job_type != ANY_TYPE and not self._has_ancestor(job)
        return Payer(job.org, user, of_tenant, job_type, of_type)

    def _has_ancestor(self, job: Job) -> bool:
        """Whether a job of its own type that has begun, and has not ended, has forked it or what has forked it."""
        above = job.id.rpartition(".")[0]
        while above:
            found = self._core.jobs.get(above)
            if found is not None and found.org == job.org and self._types.type_of(found) == self._types.type_of(job):
                return True
            above = above.rpartition(".")[0]
        return False

    # --- what starts and ends ---------------------------------------------------------------------------------------

    def count(self, job: Job, change: int) -> None:
        """A job has begun, or has ended."""
        for account in self._payers(job):
            account.jobs += change
            self._look(account)

    def take(self, run: TaskRun | Place, needs: Needs) -> None:
        """An ant holds an attempt from now on."""
        job, cores = run.job, _cores(needs)
        for account in self._payers(job):
            account.tasks += 1
            account.cores += cores
            account.started += cores * run.granted_at
            self._look(account)

    def give(self, run: TaskRun | Place, needs: Needs) -> None:
        """It holds it no more: the CPU time is charged."""
        job, cores, wall = run.job, _cores(needs), self._core.wall
        ran_s = run.ran_s if run.ran_s is not None else wall - run.granted_at
        for account in self._payers(job):
            account.tasks -= 1
            account.cores = account.cores - cores if account.tasks else 0.0
            account.started = account.started - cores * run.granted_at if account.tasks else 0.0
            account.charge(cores, wall - max(0.0, ran_s), wall)
            account.look(wall)
            self._keep(account)

    def stored(self, org: str, size_bytes: int) -> None:
        """How much the artifacts of an organisation take."""
        for account in self.of(org, ""):
            account.storage_bytes = size_bytes

    def storage_limit(self, org: str) -> float:
        """Bytes that the artifacts of an organisation may take; infinite = any."""
        limit = limits_of(self._tenants, org, "").get(STORAGE)
        return inf if limit is None else limit.hard * 1e9

    # --- what may start ---------------------------------------------------------------------------------------------

    def refusal(self, payer: Payer, wall: float, *, tasks: int = 1, soft: bool = True) -> Refusal | None:
        """Why something of this payer may not start now; None where it may."""
        found = None
        for account in self._accounts(payer.org, payer.user, payer.job_type):
            one = refusal(account, wall, begins=begins(payer, account), tasks=tasks, soft=soft)
            if one is not None and not one.is_soft:
                return one
            found = found or one
        return found

    def of(self, org: str, user: str, job_type: JobType = ANY_TYPE) -> tuple[Account, ...]:
        """The accounts that pay for the jobs of a user: all that count every type, and those of one type."""
        return self._accounts(org, user, job_type) if self._tenants or job_type != ANY_TYPE else ()

    def _payers(self, job: Job) -> tuple[Account, ...]:
        return self.of(job.org, job.submitted_by or "", self._types.type_of(job))

    def usage(self) -> Iterator[Usage]:
        """Each limit that somebody has used, and what is used of it."""
        wall = self._core.wall
        for (org, user, job_type), account in sorted(self.accounts.items()):
            for name, limit in account.limits.items():
                resets_at = period_of(HOURS[name], wall)[1] if name in HOURS else 0.0
                yield Usage(org, user, name, account.has(name, wall), limit, resets_at, job_type[1])

    # --- rows -------------------------------------------------------------------------------------------------------

    def _accounts(self, org: str, user: str, job_type: JobType) -> tuple[Account, ...]:
        key = (org, user, job_type)
        found = self._of.get(key)
        if found is None:
            users, types = ("", user) if user else ("",), (ANY_TYPE, job_type) if job_type != ANY_TYPE else (ANY_TYPE,)
            mine = [self._account(org, one, kind) for kind in types for one in users]
            found = self._of[key] = tuple(one for one in mine if one is not None)
        return found

    def _account(self, org: str, user: str, job_type: JobType) -> Account | None:
        key = (org, user, job_type)
        found = self.accounts.get(key)
        limits = limits_of(self._tenants if job_type == ANY_TYPE else self._types.of(job_type), org, user)
        if found is None and limits:
            found = self.accounts[key] = Account(org, user, limits, job_type=job_type)
            kept = self._core.waiting.used.get(key, {})
            found.used = {name: (begin, seconds) for name, (begin, seconds) in kept.get("used", {}).items()}
            found.bursts = {name: Burst(**one) for name, one in kept.get("bursts", {}).items() if name in limits}
        return found

    def _look(self, account: Account) -> None:
        if account.look(self._core.wall):
            self._keep(account)

    def _keep(self, account: Account) -> None:
        key, wall = _row_key(account), self._core.wall
        self._core.batch.changes.states[key] = (*key, _encode(_value(account)), wall)


def begins(payer: Payer, account: Account) -> bool:
    """Whether what is paid for is a job that an account's limits may keep from beginning."""
    return payer.begins if account.job_type == ANY_TYPE else payer.begins_of_type


def used_before(rows: Iterable[Row]) -> Iterator[tuple[AccountKey, dict[str, Any]]]:
    """What tenants have used, by the rows of the store."""
    for kind, org, name, value, _ in rows:
        if kind == KIND and isinstance(value, bytes):
            yield (str(org), str(name), ANY_TYPE), _decode(value)
        elif kind == KIND_OF_TYPE and isinstance(value, bytes):
            user, type_org, job_type = _decode_name(str(name))
            yield (str(org), user, (type_org, job_type)), _decode(value)


def _row_key(account: Account) -> tuple[str, str, str]:
    if account.job_type == ANY_TYPE:
        return KIND, account.org, account.user
    return KIND_OF_TYPE, account.org, _encode((account.user, *account.job_type)).decode()


def _value(account: Account) -> dict[str, Any]:
    bursts = {
        name: {"left_s": one.left_s, "since": one.since, "is_above": one.is_above, "is_spent": one.is_spent}
        for name, one in account.bursts.items()
    }
    return {"used": {name: list(pair) for name, pair in account.used.items()}, "bursts": bursts}


def _cores(needs: Needs) -> float:
    """Processors of an attempt; one where it does not say."""
    return next((amount for name, amount in needs if name == CPU), 1.0)
