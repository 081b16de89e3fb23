"""Limits of tenants: how much an organisation or a user may have at once or in a period. Pure.

A number is a *hard* limit. `soft` is passed only with what nobody within his own soft limits can use; `burst` may be
reached above `hard` for `burst_for` at most: that time is used up above `hard` and comes back at or below it, and once
it is used up nothing goes above `hard` before all of it has come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from formicary.engine.jobs.tenants import ANY_TYPE, HOURS, JOBS, PERIODS, STORAGE, TASKS, JobType, Limit

GIGABYTE = 1e9
HOUR_S = 3600.0


def period_of(name: str, wall: float) -> tuple[float, float]:
    """Begin and end of the day, the week (from Monday) or the month around a time, UTC.

    Args:
        name: One of PERIODS.
        wall: Seconds since the epoch.
    """
    now = datetime.fromtimestamp(wall, UTC)
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if name == "day":
        end = begin + timedelta(days=1)
    elif name == "week":
        begin -= timedelta(days=begin.weekday())
        end = begin + timedelta(days=7)
    else:
        begin = begin.replace(day=1)
        end = (begin + timedelta(days=31)).replace(day=1)
    return begin.timestamp(), end.timestamp()


@dataclass(slots=True)
class Burst:
    """How much of a burst's time is left.

    Attributes:
        left_s: Of it, at `since`.
        since: Seconds since the epoch.
        is_above: The tenant is above `hard`.
        is_spent: It has been used up and has not come back yet.
    """

    left_s: float
    since: float
    is_above: bool = False
    is_spent: bool = False

    def look(self, limit: Limit, count: float, wall: float) -> bool:
        """Moves on to a time at which the tenant has so much; True where something is to be remembered."""
        passed_s, self.since = max(0.0, wall - self.since), wall
        self.left_s += -passed_s if self.is_above else passed_s
        before = (self.is_above, self.is_spent)
        if self.left_s <= 0.0:
            self.left_s, self.is_spent = 0.0, True
        elif self.left_s >= limit.burst_for_s:
            self.left_s, self.is_spent = limit.burst_for_s, False
        self.is_above = count > limit.hard
        return before != (self.is_above, self.is_spent)


@dataclass(slots=True)
class Account:
    """What one tenant has, beside its limits.

    Attributes:
        org: Organisation.
        user: Of it; empty = the organisation as a whole.
        limits: By name.
        job_type: Whose jobs alone it counts, as its definition says; ANY_TYPE = all.
        jobs: That have begun and not ended.
        tasks: That ants hold.
        cores: Processors that those take.
        started: Sum of cores times the time at which each began.
        used: CPU seconds of ended attempts by period, with the period's begin.
        bursts: By name of the limit.
        storage_bytes: Of its artifacts, as far as is known.
    """

    org: str
    user: str
    limits: Mapping[str, Limit]
    jobs: int = 0
    tasks: int = 0
    cores: float = 0.0
    started: float = 0.0
    used: dict[str, tuple[float, float]] = field(default_factory=dict)
    bursts: dict[str, Burst] = field(default_factory=dict)
    storage_bytes: int = 0
    job_type: JobType = ANY_TYPE

    def charge(self, cores: float, began: float, ended: float) -> None:
        """An attempt has ended: its CPU seconds within each period that goes on count."""
        for name in PERIODS:
            begin, _ = period_of(name, ended)
            before = self.used.get(name, (begin, 0.0))
            seconds = before[1] if before[0] == begin else 0.0
            self.used[name] = (begin, seconds + cores * max(0.0, ended - max(began, begin)))

    def cpu_hours(self, period: str, wall: float) -> float:
        """CPU hours of a period, those of attempts that run included (right after its begin at most too many)."""
        begin, _ = period_of(period, wall)
        before, seconds = self.used.get(period, (begin, 0.0))
        running = min(self.cores * wall - self.started, self.cores * (wall - begin))
        return ((seconds if before == begin else 0.0) + max(0.0, running)) / HOUR_S

    def has(self, name: str, wall: float) -> float:
        """How much of a limit is in use."""
        if name == JOBS:
            return self.jobs
        if name == TASKS:
            return self.tasks
        return self.storage_bytes / GIGABYTE if name == STORAGE else self.cpu_hours(HOURS[name], wall)

    def most(self, name: str, wall: float) -> float:
        """What may not be passed now: the hard limit, or the burst while there is time for it."""
        limit = self.limits[name]
        if limit.burst <= limit.hard:
            return limit.hard
        burst = self.bursts.setdefault(name, Burst(limit.burst_for_s, wall))
        burst.look(limit, self.has(name, wall), wall)
        return limit.hard if burst.is_spent else limit.burst

    def opens_at(self, name: str, wall: float) -> float | None:
        """When a limit that is reached lets something through though nothing ends; None = it does not."""
        if name in HOURS:
            return period_of(HOURS[name], wall)[1]
        burst = self.bursts.get(name)
        if burst is not None and burst.is_spent and not burst.is_above:
            return wall + self.limits[name].burst_for_s - burst.left_s
        return None

    def look(self, wall: float) -> bool:
        """Its numbers have changed: the times of bursts go on; True where something is to be remembered."""
        changed = False
        for name, limit in self.limits.items():
            if limit.burst > limit.hard:
                burst = self.bursts.setdefault(name, Burst(limit.burst_for_s, wall))
                changed = burst.look(limit, self.has(name, wall), wall) or changed
        return changed

    def holds_for(self, org: str, user: str, job_type: JobType = ANY_TYPE) -> bool:
        """Whether it pays for the jobs of this user and type."""
        return self.org == org and self.user in ("", user) and self.job_type in (ANY_TYPE, job_type)

    @property
    def key(self) -> tuple[str, str, JobType]:
        """What tells it from all others."""
        return self.org, self.user, self.job_type

    def told(self, name: str) -> str:
        """The name of a limit of it, with what it counts."""
        return f"{name} of the job type {self.job_type[1]}" if self.job_type != ANY_TYPE else name

    @property
    def who(self) -> str:
        """In words."""
        return f"the user {self.user}" if self.user else f"the organisation {self.org}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something may not start.

    Attributes:
        message: In words, with the figures.
        until: When that may change though nothing ends, in seconds since the epoch; None = it does not.
        is_soft: Only as long as somebody else can use what is free.
    """

    message: str
    until: float | None = None
    is_soft: bool = False


def refusal(account: Account, wall: float, *, begins: bool, tasks: int, soft: bool) -> Refusal | None:
    """Whether a tenant may have more.

    Args:
        account: Of the tenant.
        wall: Seconds since the epoch.
        begins: It is a job that has not begun.
        tasks: That would start.
        soft: Soft limits hold.
    """
    for name, limit in account.limits.items():
        if name == TASKS:
            more = float(tasks)
        elif begins:
            more = 1.0 if name == JOBS else 0.0
        else:
            continue
        used = account.has(name, wall)
        most = account.most(name, wall)
        if _is_over(name, used, more, most):
            until = account.opens_at(name, wall)
            return Refusal(_told(account, name, used, most, wall, until), until)
        if soft and _is_over(name, used, more, limit.soft):
            told = _told(account, name, used, limit.soft, wall, None)
            return Refusal(f"{told}, a soft limit: what nobody else needs is its own", is_soft=True)
    return None


def _is_over(name: str, used: float, more: float, most: float) -> bool:
    return used + more > most if name in (JOBS, TASKS) else used >= most


def _told(account: Account, name: str, used: float, most: float, wall: float, until: float | None) -> str:
    text = f"{account.who} has {used:.4g} of at most {most:.4g} ({account.told(name)})"
    if until is None:
        return text
    when = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"{text}; it goes on at {when}, in {max(0.0, until - wall):.0f} s"
