"""The queen's queues as people see and change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from formicary.engine.queen.core.queueing import PLAIN
from formicary.engine.queen.core.quotas import Usage
from formicary.engine.scheduling.policies.drf import dominant_share
from formicary.engine.scheduling.queues.model import Queues
from formicary.engine.scheduling.queues.reading import Read, read_queues
from formicary.problems import FieldError, problem

if TYPE_CHECKING:
    from formicary.engine.queen.core.core import Core
    from formicary.engine.queen.runtime import Queen


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue now.

    Attributes:
        name: Of the queue.
        running: Tasks that run in it and the queues below it.
        waiting: Jobs and tasks of it that wait for an ant.
        share: Per cent of the colony that it holds.
    """

    name: str
    running: int
    waiting: int
    share: float


@dataclass(frozen=True, slots=True)
class Shown:
    """The configuration that holds, the state of each queue of it, and what limited tenants use."""

    source: str
    config: Queues
    states: tuple[QueueState, ...]
    updated_at: float
    updated_by: str
    usage: tuple[Usage, ...] = ()


def checked(source: str, filename: str = "") -> Queues:
    """The queues of a file. Raises Problem VALIDATION_FAILED with every violation."""
    found: Read = read_queues(source)
    if found.queues is not None:
        return found.queues
    name = filename or "queues"
    lines = [f"{name}:{one.line}:{one.column}: {one.message}" for one in found.violations]
    errors = [FieldError(one.path or "source", one.code, one.message) for one in found.violations]
    raise problem("VALIDATION_FAILED", "\n".join(lines), errors=errors)


class QueueBook:
    """Shows and changes the queues of one queen."""

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def put(self, source: str, *, by: str, filename: str = "") -> Shown:
        """Takes another configuration, after its commit. Raises Problem VALIDATION_FAILED, UNAVAILABLE."""
        config = checked(source, filename)
        core = self._queen.pump.now()
        if core.waiting.given is None or core.waiting.given.source != source:
            core.waiting.take(source, config, by)
            await self._queen.pump.commit()
        return self.shown()

    def shown(self) -> Shown:
        """What holds now. Raises Problem UNAVAILABLE."""
        core = self._queen.pump.now()
        given = core.waiting.given
        config = core.queueing.config if core.queueing is not None else PLAIN
        states = _states(core, config)
        usage = tuple(core.queueing.quotas.usage()) if core.queueing is not None else ()
        if given is None:
            return Shown("", config, states, 0.0, "", usage)
        return Shown(given.source, config, states, given.updated_at, given.by, usage)


def _states(core: Core, config: Queues) -> tuple[QueueState, ...]:
    waiting: dict[str, int] = {}
    for demand, queue in core.queues.items():
        name = demand.queue or config.default
        waiting[name] = waiting.get(name, 0) + queue.count_at_most(1 << 62)
    queueing = core.queueing
    totals = queueing.totals() if queueing is not None else {}
    children: dict[str | None, list[str]] = {}
    for one in config.queues:
        children.setdefault(one.parent, []).append(one.name)

    def leaves(name: str) -> list[str]:
        below = children.get(name)
        return [leaf for child in below for leaf in leaves(child)] if below else [name]

    found = []
    for one in config.queues:
        names = leaves(one.name)
        running, share = 0, 0.0
        for name in names:
            if queueing is not None:
                running += queueing.ledger.running.get(name, 0)
                share += 100 * dominant_share(queueing.ledger.of_queue(name), totals)
            elif name == config.default:
                running += len(core.leases.tokens)
        found.append(QueueState(one.name, running, sum(waiting.get(name, 0) for name in names), share))
    return tuple(found)
