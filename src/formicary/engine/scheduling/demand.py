"""What a task needs of an ant, as a value: candidates of equal demand wait in one queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol

from formicary.engine.jobs.amounts import Needs, show_amount
from formicary.engine.jobs.tenants import ANY_TYPE, JobType
from formicary.engine.scheduling.affinity import missing_keys
from formicary.engine.scheduling.devices import Devices, in_words
from formicary.engine.scheduling.requirements import requirements

EVERY_TAG = "*"
"""What an ant that takes tasks of any tags offers."""

Gate = tuple[str, str]
"""(organisation, job type) of a definition with `max_concurrency`."""


class Payer(NamedTuple):
    """Whose limits hold.

    Attributes:
        org: Organisation.
        user: Of it; empty = nobody is known.
        begins: It is for a job that has not begun, and that limits of all jobs of a tenant may hold up.
        job_type: Type whose own limits hold too, with its organisation; ANY_TYPE = it has none.
        begins_of_type: As `begins`, for those of the type.
    """

    org: str
    user: str
    begins: bool
    job_type: JobType = ANY_TYPE
    begins_of_type: bool = False


Lock = tuple[str, str, float]
"""Organisation, name and amount of a virtual resource."""
EPSILON = 1e-9


class Offer(Protocol):
    """What an ant offers."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def key(self) -> str:
        """Name of this very process."""
        ...

    @property
    def is_known(self) -> bool:
        """It has said what it offers."""
        ...

    @property
    def devices(self) -> Devices:
        """Those of the whole colony."""
        ...

    @property
    def methods(self) -> frozenset[str]:
        """Methods that it runs."""
        ...

    @property
    def tags(self) -> frozenset[str]:
        """Names that it carries."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Values by name."""
        ...

    @property
    def resources(self) -> Mapping[str, float]:
        """All that it has."""
        ...


@dataclass(frozen=True, slots=True)
class Demand:
    """Method and tags an ant must have; `gate` names the concurrency limit that starting a job has to pass.

    An empty method fits every ant (a job whose first task is not rendered yet).

    Attributes:
        method: Of the task.
        tags: The ant has all of them.
        gate: Of a job that has not begun.
        needs: What is held of the ant while the task runs.
        match: Requirements and preferences beside them, as `requirements` reads them; empty = none.
        queue: Leaf of the configured queues; empty = there are none.
        tenant: Who shares in that queue; empty where it is not shared.
        level: Priority of all its candidates, where waiting raises it.
        gang: Candidates are whole gangs of tasks.
        payer: Whose limits hold; None where there are none.
        locks: Virtual resources that it takes, sorted by name.
        best_effort: It takes only what others leave, and gives way to them.
        devices: Of the ant, that it uses alone, as `devices` reads it; empty = none.
        affinity: Which tasks it has to be near to or apart from, as `affinity` reads it; empty = none.
    """

    method: str
    tags: frozenset[str]
    gate: Gate | None = None
    needs: Needs = ()
    match: str = ""
    queue: str = ""
    tenant: str = ""
    level: int = 0
    gang: bool = False
    payer: Payer | None = None
    locks: tuple[Lock, ...] = ()
    best_effort: bool = False
    affinity: str = ""
    devices: str = ""
    is_plain: bool = field(init=False, repr=False, compare=False)
    """Any ant with the method, the tags and a free slot will do, and all of those alike."""
    _hash: int = field(init=False, repr=False, compare=False)
    """Demands are looked up for every decision."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_plain", not (self.needs or self.match or self.affinity or self.devices))
        key = (self.method, self.tags, self.gate, self.needs, self.match, self.queue, self.tenant, self.level)
        more = (self.gang, self.payer, self.locks, self.affinity, self.devices, self.best_effort)
        object.__setattr__(self, "_hash", hash((key, more)))

    def __hash__(self) -> int:
        """As the fields say."""
        return self._hash

    @staticmethod
    @lru_cache(maxsize=65_536)
    def of(
        method: str,
        tags: frozenset[str],
        gate: Gate | None = None,
        needs: Needs = (),
        match: str = "",
        locks: tuple[Lock, ...] = (),
        affinity: str = "",
        devices: str = "",
    ) -> Demand:
        """The demand, the same object for equal ones as long as it is in use: looking it up compares nothing then."""
        return Demand(method, tags, gate, needs, match, locks=locks, affinity=affinity, devices=devices)

    def gated(self, gate: Gate | None) -> Demand:
        """The same demand behind a concurrency limit."""
        if gate == self.gate:
            return self
        return self._with(gate, self.locks, self.affinity)

    def locking(self, locks: tuple[Lock, ...]) -> Demand:
        """The same demand with other virtual resources."""
        if locks == self.locks:
            return self
        return self._with(self.gate, locks, self.affinity)

    def beside(self, affinity: str) -> Demand:
        """The same demand with other neighbours."""
        if affinity == self.affinity:
            return self
        return self._with(self.gate, self.locks, affinity)

    def _with(self, gate: Gate | None, locks: tuple[Lock, ...], affinity: str) -> Demand:
        return Demand.of(self.method, self.tags, gate, self.needs, self.match, locks, affinity, self.devices)

    def fits(self, ant: Offer) -> bool:
        """True where an ant can serve the demand when nothing else runs on it."""
        if (self.method and self.method not in ant.methods) or not (self.tags <= ant.tags or EVERY_TAG in ant.tags):
            return False
        if self.is_plain:
            return True
        if self.affinity and missing_keys(self.affinity, ant):
            return False
        if self.devices and not ant.devices.has(ant.key, self.devices):
            return False
        return all(amount <= ant.resources.get(name, 0.0) + EPSILON for name, amount in self.needs) and (
            not self.match or not requirements(self.match).unmet(ant)
        )

    def lacks(self, ant: Offer) -> list[str]:
        """What the ant does not have, in words; empty where it fits."""
        found = [f"method {self.method}"] if self.method and self.method not in ant.methods else []
        missing = sorted(self.tags - ant.tags) if EVERY_TAG not in ant.tags else []
        if missing:
            found.append(f"tag{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
        for name, amount in self.needs:
            offered = ant.resources.get(name, 0.0)
            if amount > offered + EPSILON:
                found.append(f"{name} {show_amount(amount)} (offers {show_amount(offered)})")
        if self.devices and not ant.devices.has(ant.key, self.devices):
            found.append(f"devices {in_words(self.devices)} (has {len(ant.devices.of(ant.key)) or 'none'})")
        found += [f"label {key}" for key in (missing_keys(self.affinity, ant) if self.affinity else ())]
        return found + (requirements(self.match).unmet(ant) if self.match else [])
