"""`tenant_limits` of job types, as the newest version of each says them.

A version may be registered, and hold for older ones, though no live job is of it: what holds is a row of its own kind,
written when it changes. A type that has lost its limits keeps its row: an older version does not bring them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from math import inf
from typing import Any

import msgspec

from formicary.engine.jobs.tenants import ANY_TYPE, JobType, Limit, Tenant, Tenants
from formicary.engine.queen.core.records import Definition, Job
from formicary.engine.storage.port import Row

KIND = "type_limits"
"""Of the rows in the store: one by type, by its organisation and its name."""
NO_LIMITS: Tenants = {}


class Stored(msgspec.Struct, frozen=True):
    """The limits of a type, and the version that has said them first."""

    version: int
    tenants: dict[str, Tenant]


_decode = msgspec.json.Decoder(Stored).decode


class TypeLimits:
    """The limits by job type. Types without limits cost an entry here, and their jobs nothing while no type has any."""

    def __init__(self) -> None:
        self._limits: dict[JobType, Tenants] = {}
        self._versions: dict[JobType, int] = {}

    def recover(self, rows: Iterable[Row]) -> None:
        """The limits as they are stored."""
        for kind, org, name, value, _ in rows:
            if kind == KIND and isinstance(value, bytes):
                key, found = (str(org), str(name)), _decode(value)
                self._versions[key] = found.version
                if found.tenants:
                    self._limits[key] = found.tenants

    def row(self, definition: Definition, wall: float) -> tuple[tuple[str, str, str], Row]:
        """What is stored of the limits of a type: key and row."""
        key = (definition.org, definition.job_type)
        tenants = {
            org: {"limits": _plain(one.limits), "users": {user: _plain(of) for user, of in one.users.items()}}
            for org, one in self.of(key).items()
        }
        value = msgspec.json.encode({"version": self._versions[key], "tenants": tenants})
        return (KIND, *key), (KIND, *key, value, wall)

    def admit(self, definition: Definition) -> bool:
        """Takes a definition in; True where other limits hold from now on."""
        key, version = (definition.org, definition.job_type), abs(int(definition.row[3] or 0))
        if version < self._versions.get(key, 0):
            return False
        self._versions[key] = version
        before, now = self._limits.get(key, NO_LIMITS), definition.model.tenant_limits or NO_LIMITS
        if now:
            self._limits[key] = now
        elif before:
            del self._limits[key]
        return before != now

    def type_of(self, job: Job) -> JobType:
        """The type of a job where it has limits, else ANY_TYPE."""
        if not self._limits:
            return ANY_TYPE
        key = (job.definition.org, job.definition.job_type)
        return key if key in self._limits else ANY_TYPE

    def of(self, job_type: JobType) -> Tenants:
        """The limits of a type."""
        return self._limits.get(job_type, NO_LIMITS)

    def holds_for(self, definition: Definition) -> bool:
        """Whether the type of a definition has limits."""
        return (definition.org, definition.job_type) in self._limits


def _plain(limits: Mapping[str, Limit]) -> dict[str, dict[str, Any]]:
    """Without what is infinite, which JSON has no word for."""
    return {
        name: {part: value for part, value in asdict(limit).items() if value != inf} for name, limit in limits.items()
    }
