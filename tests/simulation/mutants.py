"""Deliberate one-line breaks. Each must be caught: that is the proof that the simulation can fail.

`python -m tests.simulation.run --mutant NAME` runs with one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from formicary.engine.queen.core.approving import Approving
from formicary.engine.queen.core.backups import Backup, Backups
from formicary.engine.queen.core.batch import Batch, Outgoing, Welcome
from formicary.engine.queen.core.checkpoints import Checkpoints
from formicary.engine.queen.core.core import Core
from formicary.engine.queen.core.fanning import Fanning
from formicary.engine.queen.core.gangs import GangRun, Gangs
from formicary.engine.queen.core.leases import Hello, Leases
from formicary.engine.queen.core.outcome import Outcome
from formicary.engine.queen.core.preempting import Preempting
from formicary.engine.queen.core.records import Ant, TaskRun
from formicary.engine.scheduling.affinity import Neighbours
from formicary.engine.scheduling.demand import Demand
from formicary.engine.scheduling.devices import Devices
from formicary.engine.scheduling.locks import LockBook
from formicary.engine.storage.port import Row
from tests.simulation.ant import SimulatedAnt
from tests.simulation.queen import QueenHost
from tests.simulation.store import SimulatedStore

Swap = tuple[type, str, Callable[..., Any]]


def broken_fence() -> list[Swap]:
    """A token that was valid once stays valid: the result of a lost attempt counts for the task it was granted for."""
    grant = Leases.grant
    once: dict[int, TaskRun] = {}

    def remember(self: Leases, run: TaskRun, ant: Ant, *more: Any) -> int:
        token = grant(self, run, ant, *more)
        once[token] = run
        return token

    def held_by(self: Leases, _session: int, token: int) -> TaskRun | None:
        run = self.tokens.get(token) or once.get(token)
        return run if run is not None and run.holder is not None else None

    return [(Leases, "grant", remember), (Leases, "held_by", held_by)]


def stale_checkpoint() -> list[Swap]:
    """A token that was valid once stays valid for checkpoints."""
    grant = Leases.grant
    once: dict[int, TaskRun] = {}

    def remember(self: Leases, run: TaskRun, ant: Ant, *more: Any) -> int:
        token = grant(self, run, ant, *more)
        once[token] = run
        return token

    def checkpoint(self: Core, _session: int, token: int, value: bytes) -> str:
        run = once.get(token)
        return "" if run is None or run.job.id not in self.jobs else self.checkpoints.write(run, value)

    return [(Leases, "grant", remember), (Core, "checkpoint", checkpoint)]


def forgotten_checkpoints() -> list[Swap]:
    """After a restart of the queen nobody is given what an earlier attempt has left."""
    return [(Checkpoints, "recover", lambda _self, _rows: None)]


def kept_checkpoints() -> list[Swap]:
    """A task that has completed leaves its checkpoint to the next execution."""
    return [(Checkpoints, "drop", lambda _self, _run: None)]


def half_gang() -> list[Swap]:
    """The members of a gang are granted one by one, as ants come free."""

    def start(self: Gangs, gang: GangRun, ants: Sequence[Ant]) -> None:
        gang.started = True
        self.core.grant(gang.runs[0], ants[0])
        for run in gang.runs[1:]:
            run.alone = True
            self.core.waiting.queue_task(run, run.demand)

    return [(Gangs, "start", start)]


def lock_for_all() -> list[Swap]:
    """There is always room in a lock."""
    return [(LockBook, "has_room", lambda _self, _lock: True)]


def copy_not_fenced() -> list[Swap]:
    """The end of a copy counts for the task, whose row holds the token of the other attempt."""
    ended = Backups.ended

    def any_of_them(self: Backups, run: TaskRun, outcome: Outcome) -> TaskRun | None:
        if isinstance(run, Backup) and run.of in self.copies:
            self._forget(run)
            return run.of
        return ended(self, run, outcome)

    return [(Backups, "ended", any_of_them)]


def lost_ack() -> list[Swap]:
    """The queen acknowledges a result when it comes, not when it is committed: a crash in between loses it."""
    result = Core.result

    def too_soon(self: Core, session: int, outcome: Outcome) -> None:
        result(self, session, outcome)
        out = self.batch.to(session)
        if out.acknowledged:
            acknowledged, out.acknowledged = out.acknowledged, []
            HOSTS[-1].say_at_once(session, Outgoing(acknowledged=acknowledged))

    return [(Core, "result", too_soon), (QueenHost, "__init__", _with_host(QueenHost.__init__))]


def never_acknowledged() -> list[Swap]:
    """The queen forgets to acknowledge."""
    result = Core.result

    def silent(self: Core, session: int, outcome: Outcome) -> None:
        result(self, session, outcome)
        self.batch.to(session).acknowledged.clear()

    return [(Core, "result", silent)]


def no_self_fence() -> list[Swap]:
    """The ant lets its tasks run on when its lease has ended."""
    return [(SimulatedAnt, "fence", lambda self: None)]


def early_welcome() -> list[Swap]:
    """The welcome goes out before the commits that it rests on."""
    connect = Leases.connect

    def at_once(self: Leases, session: int, hello: Hello, mono: float, batch: Batch) -> Welcome:
        welcome = connect(self, session, hello, mono, batch)
        out = batch.to(session)
        if out.welcome is not None:
            out.welcome = None
            HOSTS[-1].say_at_once(session, Outgoing(welcome=welcome))
        return welcome

    return [(Leases, "connect", at_once), (QueenHost, "__init__", _with_host(QueenHost.__init__))]


def overtaken_hello() -> list[Swap]:
    """Streams have no number: a hello that was overtaken takes the session over."""
    connect = Leases.connect

    def unnumbered(self: Leases, session: int, hello: Hello, mono: float, batch: Batch) -> Welcome:
        for ant in self.ants.values():
            ant.stream = 0
        return connect(self, session, hello, mono, batch)

    return [(Leases, "connect", unnumbered)]


def reused_tokens() -> list[Swap]:
    """After a failed commit the counter of tokens begins again."""
    load = QueenHost._load

    def from_zero(self: QueenHost, _counter: int) -> None:
        load(self, 0)

    return [(QueenHost, "_load", from_zero)]


def forgotten_votes() -> list[Swap]:
    """After a restart of the queen the votes on open questions are gone."""
    recover = Approving.recover

    def without(self: Approving, questions: Iterable[Row], _votes: Iterable[Row]) -> None:
        recover(self, questions, ())

    return [(Approving, "recover", without)]


def hasty_reload() -> list[Swap]:
    """After a commit of unknown fate the queen reads the store without waiting for what is still on its way."""
    return [(SimulatedStore, "probe", lambda self, _epoch: self.check_read())]


def one_too_many() -> list[Swap]:
    """After a restart of the queen a fan-out forgets that elements are running already: it begins one more."""
    resume = Fanning.resume

    def generous(self: Fanning, run: TaskRun) -> None:
        resume(self, run)
        family = self.families.get(run)
        if family is not None:
            family.limit += 1
            self._go_on(family)

    return [(Fanning, "resume", generous)]


def forgotten_elements() -> list[Swap]:
    """Another execution of a job runs elements again that had completed."""
    kept = TaskRun.kept
    return [(TaskRun, "kept", lambda self: kept(self) and not self.is_element)]


def shared_devices() -> list[Swap]:
    """What another task has is free all the same."""
    return [(Devices, "_free_of", lambda self, ant: self._sorted(ant))]


def forgotten_devices() -> list[Swap]:
    """After a restart of the queen the devices of what still runs are free."""
    return [(Devices, "adopt", lambda _self, _token, _ant: None)]


def good_neighbours() -> list[Swap]:
    """Anti-affinity is not asked about."""
    return [(Neighbours, "admits", lambda _self, _text, _place: True)]


def forgotten_neighbours() -> list[Swap]:
    """After a restart of the queen nobody is kept off what still runs."""
    return [(Leases, "adopt", _without_neighbours(Leases.adopt))]


def deep_ants() -> list[Swap]:
    """An ant has room for whatever is asked for."""
    return [(Leases, "_take", lambda _self, run, _ant, needs: setattr(run, "needs", needs))]


def promises_broken() -> list[Swap]:
    """Best-effort tasks go before those that were promised something."""

    def comes_before(self: Preempting, _mine: Any, _theirs: Any, demand: Demand, run: TaskRun, _margin: float) -> bool:
        return demand.best_effort and not self._queueing.is_best_effort(run)

    return [(Preempting, "_comes_before", comes_before)]


HOSTS: list[QueenHost] = []
MUTANTS: dict[str, Callable[[], list[Swap]]] = {
    mutant.__name__: mutant
    for mutant in (
        broken_fence,
        lost_ack,
        no_self_fence,
        never_acknowledged,
        early_welcome,
        overtaken_hello,
        reused_tokens,
        hasty_reload,
        forgotten_votes,
        one_too_many,
        forgotten_elements,
        half_gang,
        lock_for_all,
        copy_not_fenced,
        stale_checkpoint,
        forgotten_checkpoints,
        kept_checkpoints,
        shared_devices,
        forgotten_devices,
        good_neighbours,
        forgotten_neighbours,
        deep_ants,
        promises_broken,
    )
}
PLACED = frozenset(list(MUTANTS)[-6:])
"""Those that need jobs which say where they run."""


def _without_neighbours(adopt: Callable[..., None]) -> Callable[..., None]:
    def forget(self: Leases, run: TaskRun, *more: Any) -> None:
        adopt(self, run, *more)
        self.neighbours.leave(run.token)

    return forget


def _with_host(init: Callable[..., None]) -> Callable[..., None]:
    def remember(self: QueenHost, *arguments: Any) -> None:
        init(self, *arguments)
        HOSTS[:] = [self]

    return remember


@contextmanager
def applied(name: str) -> Iterator[None]:
    """The break is in force inside; an empty name breaks nothing."""
    swaps = MUTANTS[name]() if name else []
    kept = [(owner, attribute, owner.__dict__[attribute]) for owner, attribute, _ in swaps]
    for owner, attribute, replacement in swaps:
        setattr(owner, attribute, replacement)
    try:
        yield
    finally:
        for owner, attribute, original in kept:
            setattr(owner, attribute, original)
        HOSTS.clear()
