"""Who holds what, and until when: ants, their sessions, leases and tokens.

Theory of operation. An ant process is one :class:`Ant` from its first hello to the end of its lease. Each granted
attempt has a token; the token is in the ant's `held` and in `tokens` until a result, a return or the lease's end takes
it out, and whoever comes later with that token is stale. A closed stream shortens the lease to the reconnect grace; a
stream of the same process (same incarnation) inside that goes on. After a restart of the queen the attempts that were
out get one fresh full lease, held for a process that has not yet said hello.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from formicary.engine.jobs.amounts import Needs
from formicary.engine.jobs.quality import holds
from formicary.engine.queen.core.batch import Batch, Welcome
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.records import EPOCH_SHIFT, Ant, Job, Place, TaskRun
from formicary.engine.queen.core.timers import TimerWheel
from formicary.engine.scheduling.affinity import Held, Neighbours
from formicary.engine.scheduling.demand import EPSILON, Demand
from formicary.engine.scheduling.devices import Devices
from formicary.engine.scheduling.locks import LockBook

MOST_DEMANDS = 65_536
"""Whose ants are kept at hand."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What an ant says first on a stream."""

    ant_id: str
    incarnation: str
    methods: frozenset[str]
    tags: frozenset[str]
    slots: int
    window: int
    held: tuple[int, ...] = ()
    stream: int = 0
    """Number of the stream among those of the process; what a later one has said holds."""
    resources: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Attributes by name."""
    devices_held: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Devices by token, of the attempts that have some."""

    @property
    def key(self) -> str:
        """Name of this very process."""
        return f"{self.ant_id}/{self.incarnation}"


class Leases:
    """Ants and the attempts they hold."""

    def __init__(self, config: CoreConfig, epoch: int, counter: int, timers: TimerWheel) -> None:
        self.config = config
        self.epoch = epoch
        self.counter = counter
        self.timers = timers
        self.ants: dict[str, Ant] = {}
        self.sessions: dict[int, Ant] = {}
        self.tokens: dict[int, TaskRun] = {}
        self.lost: Callable[[TaskRun], None] = _nobody
        """Told of each attempt whose ant is gone; set by the core."""
        self.undelivered: Callable[[TaskRun], None] = _nobody
        """Told of each attempt that never reached its ant."""
        self.credit: Callable[[TaskRun | Place], None] = _nobody
        """Told of each attempt that was charged and is released."""
        self.grace_of: Callable[[TaskRun], float | None] = _as_configured
        """Says what an attempt is left that makes room."""
        self.overcommit: Mapping[str, float] = {}
        """How often the amount of a resource that an ant has is given out."""
        self.counts: Callable[[Ant], None] | None = None
        """Says what is taken of an ant, where that is not the sum of what its tasks have asked for."""
        self.less: Callable[[Ant], None] = _nothing_less
        """Told of each ant of which less is taken than before."""
        self.locks = LockBook()
        """Who holds which virtual resources."""
        self.find: Callable[[str, str], Iterable[Held]] = _no_attempts
        """Says which attempts of an organisation, or of a job of it, are out; set by the core."""
        self.as_held: Callable[[TaskRun | Place, Ant], Held] = _no_held
        """Says what affinity has to know of an attempt, or of one that room is kept for; set by the core."""
        self.neighbours = Neighbours(lambda org, job: self.find(org, job))
        """Who is where."""
        self.devices = Devices()
        """Who has which."""
        self.version = self.members = 0
        """Grows when an ant comes, goes, changes or has less to do."""
        self.expiries = 0
        """Leases that ran out: ants that went silent or did not come back."""
        self._numbers = count(1 << 32)  # the names of places; those nearer to zero are for searches
        self.places: dict[Job, Place] = {}
        """Room that is kept for jobs whose first task is being rendered."""
        self._matching: dict[Demand, list[Ant]] = {}
        self._lists: dict[tuple[str, ...], list[Ant]] = {}
        """One list for all demands that the same ants serve."""

    def connect(self, session: int, hello: Hello, mono: float, batch: Batch) -> Welcome:
        """Takes a new stream; an earlier one of the same process is closed.

        The welcome is in the batch too, and goes out from there: what it takes away from the ant may rest on a result
        whose commit is still open, and the ant forgets that result when it is told so.
        """
        ant = self.ants.get(hello.key)
        if ant is None:
            ant = self.ants[hello.key] = Ant(hello.key, hello.ant_id, self.neighbours, self.devices)
        if hello.stream < ant.stream:  # overtaken by the hello of a later stream
            batch.closing.append(session)
            return Welcome(self.epoch, (), ())
        ant.stream = hello.stream
        if ant.session:
            self.sessions.pop(ant.session, None)
            batch.closing.append(ant.session)
        ant.session, ant.connected, ant.draining = session, True, False
        self.neighbours.move(ant.held, lambda: self._announce(ant, hello))
        self.devices.announce(ant.key, hello.devices)
        self.sessions[session] = ant
        self._renew(ant, mono, self.config.lease_s)
        self._unmatch()
        claimed = frozenset(hello.held)
        for token in ant.held.keys() & hello.devices_held.keys():
            self.devices.claim(token, hello.devices_held[token])
        for run in ant.attempts():
            if run.token not in claimed:
                self.undelivered(run)
        keep = tuple(token for token in hello.held if token in ant.held)
        welcome = Welcome(self.epoch, keep, tuple(token for token in hello.held if token not in ant.held))
        out = batch.to(session)
        out.welcome = welcome
        out.observe = True if self.counts is not None else None
        out.cancelled += [token for token in keep if ant.held[token].cancelling or ant.held[token].preempting]
        for token in out.cancelled:
            asked = ant.held.get(token)
            if isinstance(asked, TaskRun) and asked.preempting:
                out.leave(token, self.grace_of(asked))
        return welcome

    def _announce(self, ant: Ant, hello: Hello) -> None:
        ant.methods, ant.tags, ant.labels, ant.announced = hello.methods, hello.tags, hello.labels, hello.resources
        ant.resources = self._given_out(ant.announced)
        ant.slots, ant.window = max(1, hello.slots), max(hello.window, hello.slots, 1)

    def give_out(self, overcommit: Mapping[str, float]) -> None:
        """Amounts of resources count so many times from now on; what is held beyond that stays held."""
        if overcommit != self.overcommit:
            self.overcommit = overcommit
            for ant in self.ants.values():
                ant.resources = self._given_out(ant.announced)
            self._unmatch()

    def _given_out(self, announced: Mapping[str, float]) -> Mapping[str, float]:
        if not self.overcommit:
            return announced
        return {name: amount * self.overcommit.get(name, 1.0) for name, amount in announced.items()}

    def disconnect(self, session: int, mono: float) -> None:
        """The stream has ended; the process may come back within the grace."""
        ant = self.sessions.pop(session, None)
        if ant is None:
            return
        ant.session, ant.connected = 0, False
        self._unmatch()
        if ant.draining and not ant.held:
            self._forget(ant)
            return
        ant.lease_until = min(ant.lease_until, mono + self.config.reconnect_grace_s)
        if ant.timer is not None:
            ant.timer.cancel()
        ant.timer = self.timers.set(ant.lease_until, ant)

    def beat(self, session: int, mono: float) -> None:
        """Renews the lease, in memory only."""
        ant = self.sessions.get(session)
        if ant is not None:
            ant.lease_until = mono + self.config.lease_s

    def expire(self, ant: Ant, mono: float, batch: Batch) -> None:
        """The lease's timer: ends the lease, or looks again later if it was renewed meanwhile."""
        ant.timer = None
        if self.ants.get(ant.key) is not ant:
            return
        if mono < ant.lease_until:
            ant.timer = self.timers.set(ant.lease_until, ant)
            return
        self.expiries += 1
        self.bury(ant, batch)

    def bury(self, ant: Ant, batch: Batch) -> None:
        """The process is gone or fenced off: each of its attempts is lost."""
        if ant.session:
            self.sessions.pop(ant.session, None)
            batch.closing.append(ant.session)
            ant.session, ant.connected = 0, False
        self._forget(ant)
        for run in ant.attempts():
            self.lost(run)

    def adopt(self, run: TaskRun, mono: float) -> None:
        """After a restart: the attempt is out with a process that has yet to say hello."""
        key = run.ant or ""
        ant = self.ants.get(key)
        if ant is None:
            ant = self.ants[key] = Ant(key, key.partition("/")[0], self.neighbours, self.devices)
            self._renew(ant, mono, self.config.lease_s)
        ant.held[run.token] = run
        run.holder = ant
        self.tokens[run.token] = run
        self._take(run, ant, holds(run.task))
        self._lock(run)
        self._count(ant)
        self._place(run, ant)
        if run.task.devices:
            self.devices.adopt(run.token, ant.id)

    def follow(self, earlier: Leases) -> None:
        """After a reload in the same process: a hello that the earlier core would have seen as overtaken still is."""
        for key, ant in self.ants.items():
            before = earlier.ants.get(key)
            if before is not None:
                ant.stream = before.stream

    def grant(self, run: TaskRun, ant: Ant, devices: tuple[str, ...] = ()) -> int:
        """A new token for this run on this ant, and devices of it: these, or any that are free and suit it."""
        self.counter += 1
        token = self.epoch << EPOCH_SHIFT | self.counter
        run.token, run.ant, run.holder = token, ant.key, ant
        ant.held[token] = run
        self.tokens[token] = run
        if run.task.resources is not None or run.task.container is not None:
            self._take(run, ant, holds(run.task))
            self._lock(run)
            self._count(ant)
        self._place(run, ant)
        if run.task.devices:
            self.devices.reserve(token, ant.id, devices or self.devices.plan(ant.key, [run.demand.devices])[0])
        return token

    def _place(self, run: TaskRun, ant: Ant) -> None:
        if run.task.affinity is not None or self.neighbours.is_used:
            self.neighbours.take(self.as_held(run, ant))

    def keep(self, job: Job, ant: Ant, wall: float) -> Place:
        """Keeps the room on an ant that a job has begun for, until `leave`."""
        self.leave(job)  # there is none, by all that is known; two would never come free again
        place = self.places[job] = Place(job, ant, -next(self._numbers), wall)
        ant.held[place.token] = place
        self._take(place, ant, place.needs)
        self._count(ant)
        first = job.definition.first
        if first.locks:
            self.locks.take((job, job.definition.start), first.locks)
        if first.devices and self.devices.could(ant.key, (first.devices,)):
            self.devices.reserve(place.token, ant.id, self.devices.plan(ant.key, (first.devices,))[0])
        if first.method and (first.affinity or self.neighbours.is_used):
            self.neighbours.take(self.as_held(place, ant), is_expected=True)
        return place

    def leave(self, job: Job) -> Ant | None:
        """Ends what `keep` began, if anything: the ant, which has the room now."""
        place = self.places.pop(job, None)
        if place is None:
            return None
        ant = place.holder
        self._give_back(place, ant)
        self.devices.release(place.token)
        self.neighbours.leave(place.token)
        del ant.held[place.token]
        self._count(ant)
        self.version += 1
        if place.charge is not None:
            self.credit(place)
        if job.definition.first.locks:
            self.locks.give((job, job.definition.start))
        return ant

    def release(self, run: TaskRun) -> None:
        """Takes the attempt's token out: nobody can change anything with it any more."""
        self.tokens.pop(run.token, None)
        self.neighbours.leave(run.token)
        if run.task.devices:
            self.devices.release(run.token)
        if run.holder is not None:
            if run.needs:
                self._give_back(run, run.holder)
            run.holder.held.pop(run.token, None)
            self._count(run.holder)
        self.version += 1
        if run.charge is not None:
            self.credit(run)
            run.charge = None
        run.holder = None
        if run.task.resources is not None:
            self.locks.give((run.job, run.position))

    def _count(self, ant: Ant) -> None:
        if self.counts is not None:
            self.counts(ant)

    def has_less(self, ant: Ant) -> None:
        """Less is taken of the ant than before, though nothing of it has ended."""
        self.version += 1
        self.less(ant)

    def _lock(self, run: TaskRun) -> None:
        if locks := run.demand.locks:
            self.locks.take((run.job, run.position), locks)

    def _take(self, run: TaskRun | Place, ant: Ant, needs: Needs) -> None:
        run.needs = needs
        for name, amount in needs:
            ant.used[name] = ant.used.get(name, 0.0) + amount

    def _give_back(self, run: TaskRun | Place, ant: Ant) -> None:
        for name, amount in run.needs:
            left = ant.used.get(name, 0.0) - amount
            if left > EPSILON:
                ant.used[name] = left
            else:  # sums of fractions do not come back to zero by themselves
                ant.used.pop(name, None)
        run.needs = ()

    def held_by(self, session: int, token: int) -> TaskRun | None:
        """The run that this session holds under this token, or None: the token is stale."""
        run = self.tokens.get(token)
        if run is None or run.holder is None or run.holder.session != session:
            return None
        return run

    def ants_for(self, demand: Demand) -> list[Ant]:
        """Connected ants that serve the demand, in order of arrival."""
        found = self._matching.get(demand)
        if found is None:
            found = [ant for ant in self.ants.values() if ant.connected and demand.fits(ant)]
            found = self._lists.setdefault(tuple(ant.key for ant in found), found)
            if len(self._matching) > MOST_DEMANDS:
                self._matching.clear()
            self._matching[demand] = found
        return found

    def _unmatch(self) -> None:
        self.version += 1
        self.members += 1
        self._matching.clear()
        self._lists.clear()

    def by_id(self, ant_id: str) -> Sequence[Ant]:
        """Processes of this ant id."""
        return [ant for ant in self.ants.values() if ant.id == ant_id]

    def _renew(self, ant: Ant, mono: float, lease_s: float) -> None:
        ant.lease_until = mono + lease_s
        if ant.timer is not None:
            ant.timer.cancel()
        ant.timer = self.timers.set(ant.lease_until, ant)

    def _forget(self, ant: Ant) -> None:
        self.ants.pop(ant.key, None)
        self.devices.forget(ant.key)
        self._unmatch()
        if ant.timer is not None:
            ant.timer.cancel()
            ant.timer = None


def _nothing_less(_ant: Ant) -> None:
    """Where there are no queues."""


def _as_configured(_run: TaskRun) -> None:
    """Where there are no queues."""


def _nobody(_run: TaskRun | Place) -> None:
    """Before the core has said who wants to know."""


def _no_attempts(_org: str, _job: str) -> Iterable[Held]:
    """Before the core has said which there are."""
    return ()


def _no_held(run: TaskRun | Place, ant: Ant) -> Held:
    """The same."""
    return Held(run.token, run.job.org, {}, "", ant)
