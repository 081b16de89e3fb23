"""Jobs that start by themselves: cron schedules, each a row, each with one timer in the queen's wheel.

Theory of operation. Registering a definition with `cron_trigger` writes the schedule's row in the same commit; a newer
version replaces it. A row says what is due next. When that time comes, one event submits the job and moves the row on,
and both are one commit: a queen that is killed has either started the run and remembers it, or has done neither and
does it after its restart. The job also carries an idempotency key made from the schedule and the planned time. After a
restart the rows are read and the timers set; what fell due meanwhile follows the schedule's policy.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from formicary.engine.jobs.cron import MOST_MISSED, Cron
from formicary.engine.queen import edge
from formicary.engine.queen.core.batch import JobEnded
from formicary.engine.queen.core.records import Definition
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.core.timers import Alarm, Timer
from formicary.engine.queen.submitting import check_against
from formicary.engine.storage.port import Row, StoreError
from formicary.problems import Problem, problem

if TYPE_CHECKING:
    from formicary.engine.queen.runtime import Queen

log = logging.getLogger("formicary.schedules")
NAME: Final = "cron"
"""Name of the trigger that `cron_trigger` makes."""
MISSED_AFTER_S: Final = 5.0
"""A run that is so late has been missed, and the policy says what becomes of it; any other is only late."""
LONGEST_SLEEP_S: Final = 3600.0
"""Timers are set no farther ahead: what they mean is a time of day, and clocks are put right now and then."""
READ_AGAIN_S: Final = 0.5
AHEAD_S: Final = 2.0
"""So long before a run its definition is looked up, should it not be in memory: many may be due at one moment."""
AT_ONCE: Final = 32
"""Runs that start before anybody else has a turn of the loop."""

Key = tuple[str, str, str]
"""(organisation, job type, name)."""
_encode = msgspec.json.Encoder().encode
_cron = msgspec.json.Decoder(Cron).decode
_times = msgspec.json.Decoder(list[float]).decode


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule as its row says it.

    Attributes:
        org: Organisation.
        job_type: What is started.
        name: Name of the trigger.
        definition_id: The version that is started.
        version: Number of that version.
        cron: When; None = the newest version has no trigger.
        next_at: Planned time of the next run, in seconds since the epoch; None = there is none.
        paused: Nothing starts by itself.
        last_at: Planned time of the last run that was due, whatever became of it.
        last_job: Id of the last job that was started; empty = none.
        waiting: Planned times that wait for that job's end.
    """

    org: str
    job_type: str
    name: str
    definition_id: str
    version: int
    cron: Cron | None
    next_at: float | None = None
    paused: bool = False
    last_at: float | None = None
    last_job: str = ""
    waiting: tuple[float, ...] = field(default=())

    @property
    def key(self) -> Key:
        """What identifies it."""
        return self.org, self.job_type, self.name

    def row(self) -> Row:
        """The row (SCHEDULE_COLUMNS)."""
        spec = _encode(self.cron) if self.cron is not None else None
        which = (self.definition_id, self.version, spec)
        return (*self.key, *which, self.next_at, int(self.paused), self.last_at, self.last_job, _encode(self.waiting))

    def moved(self, now: float) -> Schedule:
        """The same with the next time after now, and after every time that was due already."""
        if self.cron is None or self.paused:
            return replace(self, next_at=None)
        return replace(self, next_at=self.cron.next(max(now, self.last_at or 0.0)))

    def due(self, now: float) -> list[float]:
        """Planned times that count now, by the policy for missed ones, in order."""
        if self.cron is None or self.next_at is None or self.next_at > now:
            return []
        if now - self.next_at <= MISSED_AFTER_S:
            second = self.cron.next(self.next_at)
            if second is None or second > now:
                return [self.next_at]
            return self.cron.between(self.next_at, now)
        if self.cron.missed == "skip":
            return self.cron.between(now - MISSED_AFTER_S, now)
        return self.cron.between(self.next_at, now, 1 if self.cron.missed == "last" else MOST_MISSED)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Runs of a schedule that could start no job since the server has started.

    Attributes:
        count: How many.
        reason: Why the last one could not; empty = a later one has started its job.
    """

    count: int
    reason: str


def from_row(row: Row) -> Schedule:
    """The schedule that a row holds."""
    org, job_type, name, definition_id, version, spec, next_at, paused, last_at, last_job, waiting = row
    return Schedule(
        str(org),
        str(job_type),
        str(name),
        str(definition_id),
        int(version or 0),
        _cron(spec) if isinstance(spec, bytes | str) else None,
        float(next_at) if next_at is not None else None,
        bool(paused),
        float(last_at) if last_at is not None else None,
        str(last_job),
        tuple(_times(waiting)) if isinstance(waiting, bytes | str) else (),
    )


class Schedules:
    """The schedules of one queen.

    Args:
        queen: Whose core holds the timers.
    """

    def __init__(self, queen: Queen) -> None:
        self._queen = queen
        self._known: dict[Key, Schedule] = {}
        self._timers: dict[Key, Timer] = {}
        self._due: dict[Key, None] = {}
        self._soon: dict[Key, None] = {}
        self._awaited: dict[str, Key] = {}
        self._firing = False
        self._preparing = False
        self._loaded = asyncio.Event()
        self.refusals: dict[Key, Refusal] = {}
        """Of the schedules that have had some."""

    # --- life -------------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Reads the rows and sets the timers: at the start, and whenever the core was built again. Raises StoreError,
        Problem UNAVAILABLE.
        """
        rows = await self._queen.pump.read(self._queen.store.schedules)
        self._queen.pump.now()
        self._known = {schedule.key: schedule for schedule in map(from_row, rows)}
        self._timers.clear()  # they belonged to a core that is gone
        self._awaited.clear()
        for schedule in self._known.values():
            self._arm(schedule)
            if schedule.waiting:
                self._await_end(schedule)
        self._loaded.set()

    def reloaded(self) -> None:
        """The core was built again from the store: what is known here may never have been committed."""
        self._loaded.clear()
        self._due.clear()
        self._soon.clear()
        self._queen.pump.spawn(self._load_again())

    async def _load_again(self) -> None:
        loads = self._queen.pump.loads
        while self._queen.ready and loads == self._queen.pump.loads:
            try:
                await self.load()
                return
            except (StoreError, Problem) as error:
                log.warning("the schedules cannot be read yet: %s", error)
                await asyncio.sleep(READ_AGAIN_S)

    async def loaded(self) -> None:
        """Returns when the rows have been read."""
        await self._loaded.wait()

    def registered(self, definition: Definition) -> None:
        """A definition is being stored in this event: its schedule goes into the same commit."""
        org, cron = str(definition.row[1]), definition.model.cron_trigger
        version = int(definition.row[3] or 0)
        found = self._known.get((org, definition.job_type, NAME))
        if (found is None and cron is None) or (found is not None and found.version >= version):
            return
        if found is None:
            found = Schedule(org, definition.job_type, NAME, definition.id, version, cron)
        wanted = replace(found, definition_id=definition.id, version=version, cron=cron)
        self._keep(wanted.moved(self._queen.pump.core.wall))

    # --- commands ---------------------------------------------------------------------------------------------------

    def of(self, org: str, job_type: str = "") -> list[Schedule]:
        """The schedules of an organisation, of one job type where it is given."""
        found = [one for one in self._known.values() if one.org == org and job_type in ("", one.job_type)]
        return sorted((one for one in found if one.cron is not None), key=lambda one: one.key)

    def get(self, org: str, job_type: str, name: str = NAME) -> Schedule:
        """One schedule. Raises Problem NOT_FOUND."""
        name = name or NAME
        found = self._known.get((org, job_type, name))
        if found is None or found.cron is None:
            raise problem(
                "NOT_FOUND",
                f"the job {job_type[:100]!r} has no trigger {name[:40]!r}; `formicary triggers list` shows all",
            )
        return found

    async def pause(self, org: str, job_type: str, name: str = NAME) -> Schedule:
        """Nothing starts by itself until it is resumed; a second pause changes nothing. Raises Problem NOT_FOUND."""
        await self.loaded()
        self._queen.pump.now()
        found = self.get(org, job_type, name)
        return await self._changed(replace(found, paused=True, waiting=()))

    async def resume(self, org: str, job_type: str, name: str = NAME) -> Schedule:
        """Goes on with the next time; what fell into the pause is not made up for. Raises Problem NOT_FOUND."""
        await self.loaded()
        self._queen.pump.now()
        found = self.get(org, job_type, name)
        return found if not found.paused else await self._changed(replace(found, paused=False))

    async def fire(
        self, org: str, job_type: str, name: str, params: bytes, key: str = "", repeated: set[str] | None = None
    ) -> str:
        """Starts the job now, whatever its policies say, and returns its id. Raises Problem.

        Args:
            org: Organisation.
            job_type: Whose trigger.
            name: Name of the trigger.
            params: JSON object.
            key: Idempotency key of the caller; empty = none.
            repeated: Gets the id where an earlier request with the key has started the job.
        """
        await self.loaded()
        found = self.get(org, job_type, name)
        params = edge.check_params(params)
        mark = edge.fingerprint(found.definition_id, params, None, None) if key else ""
        item = Submission(edge.new_id(), params, None, None, edge.check_key(key) if key else "", mark)
        (job_id,) = await self._queen.submit(found.definition_id, [item], org=org)
        if repeated is not None and job_id != item.id:
            repeated.add(job_id)
        return job_id

    async def _changed(self, schedule: Schedule) -> Schedule:
        moved = schedule.moved(self._queen.pump.core.wall)
        self._keep(moved)
        await self._queen.pump.commit()
        return moved

    # --- time -------------------------------------------------------------------------------------------------------

    def _keep(self, schedule: Schedule) -> None:
        self._known[schedule.key] = schedule
        self._queen.pump.core.batch.changes.schedules[schedule.key] = schedule.row()
        self._arm(schedule)

    def _arm(self, schedule: Schedule) -> None:
        timer = self._timers.pop(schedule.key, None)
        if timer is not None:
            timer.cancel()
        if schedule.next_at is None or schedule.paused:
            return
        core = self._queen.pump.core
        delay = max(0.0, schedule.next_at - core.wall)
        if delay > AHEAD_S:
            delay = min(delay - AHEAD_S, LONGEST_SLEEP_S)
        self._timers[schedule.key] = core.timers.set(core.mono + delay, Alarm(partial(self._ring, schedule.key)))
        self._queen.pump.wake()

    def _ring(self, key: Key) -> None:
        schedule = self._known.get(key)
        if schedule is None or schedule.next_at is None:
            return
        core = self._queen.pump.core
        if schedule.next_at > core.wall:
            self._arm(schedule)  # only part of the way, or the clock was put back
            if schedule.next_at - core.wall <= AHEAD_S and schedule.definition_id not in core.definitions:
                self._soon[key] = None
                if not self._preparing:
                    self._preparing = True
                    self._queen.pump.spawn(self._prepare())
            return
        self._due[key] = None
        self._fire_soon()

    async def _prepare(self) -> None:
        """Has the definitions of what is due soon in memory; one that cannot be had now is looked up when it is due."""
        try:
            while self._soon:
                schedule = self._known.get(self._soon.popitem()[0])
                if schedule is not None:
                    await self._queen.submitting.definition(schedule.definition_id, schedule.org)
        except (StoreError, Problem) as error:
            log.info("the definitions of what is due soon cannot be looked up ahead: %s", error)
            self._soon.clear()
        finally:
            self._preparing = False

    def _fire_soon(self) -> None:
        if not self._firing:
            self._firing = True
            self._queen.pump.spawn(self._fire_due())

    async def _fire_due(self) -> None:
        try:
            while self._due:
                keys, self._due = list(self._due), {}
                try:
                    await self._fire(keys)
                except StoreError as error:
                    log.warning("what is due cannot be looked up yet: %s", error)
                    await asyncio.sleep(READ_AGAIN_S)
                    if self._loaded.is_set():  # else the rows are read again, and say what is due
                        self._due.update(dict.fromkeys(keys))
        finally:
            self._firing = False
            if self._due and self._queen.ready:
                self._fire_soon()

    async def _fire(self, keys: list[Key]) -> None:
        """Starts what is due. Raises StoreError, after which a run may be tried again: its row says what is done."""
        asked = await self._ask([self._known[key] for key in keys if key in self._known])
        for number, key in enumerate(keys, 1):
            try:
                await self._run(key, asked)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)
            except Problem as error:
                if error.code != "UNAVAILABLE":
                    raise
                return  # the rows are read again when the store is back

    async def _ask(self, schedules: list[Schedule]) -> dict[tuple[str, str], bool]:
        """(organisation, idempotency key) of the runs that are due next -> whether their jobs exist; one read each."""
        names: dict[str, list[str]] = {}
        for one in schedules:
            if one.next_at is not None:
                names.setdefault(one.org, []).append(_job_key(one, one.next_at))
        asked: dict[tuple[str, str], bool] = {}
        for org, wanted in names.items():
            found = await self._queen.pump.read(partial(self._queen.store.find_keys, org, wanted))
            asked.update(((org, name), name in found) for name in wanted)
        return asked

    async def _run(self, key: Key, asked: dict[tuple[str, str], bool]) -> None:
        """Whatever of one schedule is due. Raises Problem."""
        pump = self._queen.pump
        core = pump.now()
        before = self._known[key]
        wall = core.wall
        late = before.next_at is not None and wall - before.next_at > MISSED_AFTER_S
        due = await pump.read(partial(before.due, wall)) if late else before.due(wall)
        first = [] if self._is_running(before) else [*before.waiting, *due][:1]
        wanted = first if before.cron is not None and before.cron.overlap != "allow" else due
        definition, items = await self._startable(before, wanted, asked)
        core = pump.now()
        if not self._loaded.is_set() or self._known.get(key) is not before:
            return  # it was paused, replaced or read again meanwhile; its new timer says what is due
        passed = before.next_at if before.next_at is not None and before.next_at <= wall else before.last_at
        after = replace(before, last_at=max(due, default=passed))
        after = _queued(after, due, wanted)
        if definition is not None and items:
            if not definition.model.dynamic_template_tasks:
                core.submit(definition, before.org, items)
                if self._queen.tracer is not None:
                    self._queen.tracer.submitted([item.id for item in items])
            after = replace(after, last_job=items[-1].id)
        self._keep(after.moved(wall))  # not after now: what has fallen due since `due` was looked up comes next
        if after.waiting:
            self._await_end(after)
        pump.wake()

    async def _startable(
        self, schedule: Schedule, wanted: list[float], asked: dict[tuple[str, str], bool]
    ) -> tuple[Definition | None, list[Submission]]:
        """The jobs of the runs that are to start, without those that exist and those that cannot.

        A run that is refused is over, like one that has started: what has made it so holds for the very moment, and
        those behind it are looked at in their own turn. Raises StoreError, Problem UNAVAILABLE.
        """
        if not wanted:
            return None, []
        submitting, read = self._queen.submitting, self._queen.pump.read
        try:
            definition = await submitting.definition(schedule.definition_id, schedule.org)
            names = [_job_key(schedule, at) for at in wanted]
            done = {name for name in names if asked.get((schedule.org, name))}
            if others := [name for name in names if (schedule.org, name) not in asked]:
                done.update(await read(partial(self._queen.store.find_keys, schedule.org, others)))
            items = [item for at in wanted if (item := _item(schedule, definition, at)).key not in done]
            configs = self._queen.configs.view(schedule.org, "", schedule.job_type)
            check_against(definition, items, configs.names)
        except Problem as error:
            self._refused(schedule, len(wanted), error)
            return None, []
        started = []
        for item in items if definition.model.dynamic_template_tasks else ():
            try:  # its tasks are made first; the key counts then
                await self._queen.submit(definition.id, [item], org=schedule.org)
                started.append(item)
            except Problem as error:
                self._refused(schedule, 1, error)
        if not definition.model.dynamic_template_tasks:
            started = items
        if started and (known := self.refusals.get(schedule.key)) is not None:
            self.refusals[schedule.key] = replace(known, reason="")
        return definition, started

    def _refused(self, schedule: Schedule, count: int, error: Problem) -> None:
        """Remembers for those who list triggers that runs cannot start. Raises the Problem where it is UNAVAILABLE."""
        if error.code == "UNAVAILABLE":
            raise error
        known = self.refusals.get(schedule.key)
        self.refusals[schedule.key] = Refusal((known.count if known else 0) + count, error.detail[:500])
        log.warning("the schedule %s of %s cannot start its job: %s", schedule.name, schedule.job_type, error.detail)

    # --- runs that wait for the one before --------------------------------------------------------------------------

    def _is_running(self, schedule: Schedule) -> bool:
        return schedule.last_job in self._queen.pump.core.jobs

    def _await_end(self, schedule: Schedule) -> None:
        if not self._is_running(schedule):
            self._due[schedule.key] = None
            self._fire_soon()
        elif schedule.last_job not in self._awaited:
            self._awaited[schedule.last_job] = schedule.key
            self._queen.watch_new([schedule.last_job], self)

    def job_ended(self, end: JobEnded) -> None:
        """A job has ended for which another run waits."""
        key = self._awaited.pop(end.id, None)
        schedule = self._known.get(key) if key is not None else None
        if schedule is not None and schedule.waiting:
            self._due[schedule.key] = None
            self._fire_soon()


def _item(schedule: Schedule, definition: Definition, planned: float) -> Submission:
    """The job of one run."""
    mark = edge.fingerprint(definition.id, b"{}", None, planned)
    return Submission(edge.new_id(), b"{}", None, planned, _job_key(schedule, planned), mark)


def _job_key(schedule: Schedule, planned: float) -> str:
    """The idempotency key of one run."""
    return f"{schedule.name}:{schedule.job_type}:{planned:.0f}"


def _queued(schedule: Schedule, due: Iterable[float], started: Iterable[float]) -> Schedule:
    """The schedule with the runs that have to wait: those that are due and do not start now, where its policy is so."""
    if schedule.cron is None or schedule.cron.overlap != "queue":
        return replace(schedule, waiting=())
    gone = set(started)
    rest = [at for at in (*schedule.waiting, *due) if at not in gone]
    if len(rest) > MOST_MISSED:
        log.warning("%s: %d runs wait already, later ones are left out", schedule.job_type, MOST_MISSED)
    return replace(schedule, waiting=tuple(rest[:MOST_MISSED]))
