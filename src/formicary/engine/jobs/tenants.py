"""Limits of tenants as files say them: how much an organisation or a user of it may have at once or in a period.

A number is a *hard* limit. `soft` is passed only with what nobody within his own soft limits can use; `burst` may be
reached above `hard` for `burst_for` at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

JOBS, TASKS, STORAGE = "max_concurrent_jobs", "max_concurrent_tasks", "max_storage_gb"
HOURS: Mapping[str, str] = {
    "max_cpu_hours_per_day": "day",
    "max_cpu_hours_per_week": "week",
    "max_cpu_hours_per_month": "month",
}
"""Limits that begin anew, and with what."""
NAMES = (JOBS, TASKS, *HOURS, STORAGE)
PERIODS = tuple(HOURS.values())
EVERY = "*"
"""Tenants and users that are not named, each for himself."""
JobType = tuple[str, str]
"""Organisation that has a job type, and its name."""
ANY_TYPE: JobType = ("", "")
"""Of what counts jobs of every type."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit.

    Attributes:
        hard: Never passed, but by a burst.
        soft: Passed only with what nobody below his own can use.
        burst: Reached for a while; not below `hard`.
        burst_for_s: For so long.
    """

    hard: float = inf
    soft: float = inf
    burst: float = 0.0
    burst_for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """The limits of an organisation, or of each that is not named, and of its users."""

    limits: Mapping[str, Limit] = field(default_factory=dict)
    users: Mapping[str, Mapping[str, Limit]] = field(default_factory=dict)


Tenants = Mapping[str, Tenant]


def limits_of(tenants: Tenants, org: str, user: str) -> Mapping[str, Limit]:
    """The limits of a user of an organisation, or of the organisation where `user` is empty."""
    found = tenants.get(org) or tenants.get(EVERY)
    if found is None:
        return {}
    return found.limits if not user else found.users.get(user) or found.users.get(EVERY) or {}
