"""A colony without processes: the core over the memory store, ants that are names, time that is moved by hand.

After every event the core schedules, its batch is committed (the store checks every value) and its effects are kept for
the test to look at. Every commit is followed by a second look: a core that is recovered from the store must be the same
as the one that goes on (`twin`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, cast

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.fan_out import (
    definition_task,
    element_name,
    element_position,
    index_of,
    is_element,
    task_name,
)
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.jobs.parse import parse_source
from formicary.engine.queen.children import expand_child, find_children
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.approving import Vote
from formicary.engine.queen.core.batch import (
    Assignment,
    Batch,
    ChoreRequest,
    ExpandRequest,
    JobEnded,
    RenderRequest,
    Welcome,
)
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.core import Core
from formicary.engine.queen.core.leases import Hello
from formicary.engine.queen.core.outcome import Outcome
from formicary.engine.queen.core.records import Definition, Job, TaskRun
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.definitions import Definitions
from formicary.engine.queen.error_codes import ErrorCodes
from formicary.engine.queen.rendering import Prepared, render
from formicary.engine.storage.memory import MemoryStore
from formicary.engine.storage.port import Row
from formicary.problems import Problem

WALL = 1_700_000_000.0
ORG = "org"


class Middle(Random):
    """Random numbers that are always the middle: jitter and ranges without surprise."""

    def random(self) -> float:
        """The middle of [0, 1)."""
        return 0.5

    def uniform(self, a: float, b: float) -> float:
        """The middle of [a, b]."""
        return (a + b) / 2


@dataclass(slots=True)
class Worker:
    """An ant as the queen sees it: a name, a stream, and what it holds."""

    name: str
    slots: int = 1
    window: int = 0
    tags: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset({"SHELL", "PYTHON", "HTTP_GET"})
    resources: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    incarnation: int = 1
    session: int = 0
    streams: int = 0
    held: dict[int, Assignment] = field(default_factory=dict)
    acknowledged: list[int] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    welcome: Welcome | None = None


class Colony:
    """One queen's core and whoever talks to it."""

    def __init__(self, config: CoreConfig | None = None, *, check_twin: bool = True) -> None:
        self.config = config or CoreConfig()
        self.store = MemoryStore(strict=True)
        self.mono = 0.0
        self.jump = 0.0
        self.models: dict[str, JobDefinition] = {}
        self.workers: dict[str, Worker] = {}
        self.ended: list[JobEnded] = []
        self.closed: list[int] = []
        self.events: list[str] = []
        """What happened since somebody looked last, in words."""
        self.tokens: dict[tuple[str, str], list[int]] = {}
        """Every token of (job id, task), oldest first."""
        self.holds_rendering = False
        self.to_render: list[RenderRequest] = []
        """What `holds_rendering` has held back."""
        self.expands = True
        self.to_expand: list[ExpandRequest] = []
        self.chores: dict[tuple[str, str], ChoreRequest] = {}
        self.rules = ErrorCodes(self.store, lambda: WALL)
        self._check_twin = check_twin
        self._sessions = 0
        self._versions: dict[str, int] = {}
        self.core = self._new_core(self.store.acquire("test"))

    def _new_core(self, epoch: int, counter: int = 0) -> Core:
        core = Core(self.config, epoch, Middle(), counter=counter)
        core.error_rules = self.rules
        core.at(self.mono, self.wall)
        return core

    @property
    def wall(self) -> float:
        """Seconds since the epoch."""
        return WALL + self.mono + self.jump

    # --- clients ----------------------------------------------------------------------------------------------------

    def define(self, model: JobDefinition | str, **changes: Any) -> str:
        """A definition from YAML or as a value; returns its id."""
        if isinstance(model, str):
            parsed = parse_source(model)[0]
            assert parsed.definition is not None, [violation.message for violation in parsed.violations]
            errors = [violation.message for violation in parsed.violations if violation.is_error]
            assert not errors, errors
            model = parsed.definition
        model = replace(model, **changes) if changes else model
        version = self._versions[model.job_type] = self._versions.get(model.job_type, 0) + 1
        name = f"{model.job_type}:{version}"
        self.models[name] = model
        self.core.define(self._row(name), model)
        self.settle()
        return name

    def _row(self, name: str) -> Row:
        job_type, _, version = name.rpartition(":")
        return (name, ORG, job_type, int(version), "", b"{}", "", "", WALL)

    def submit(self, job_id: str, definition: str, *, after_s: float = 0.0, **options: Any) -> None:
        """One job; `options` are those of a Submission, with `params` as a mapping."""
        params = json.dumps(options.pop("params", {})).encode()
        start = self.wall + after_s if after_s else None
        found = self.core.definitions.get(definition)
        if found is None:
            found = self.core.define(self._row(definition), self.models[definition])
        self.core.submit(found, ORG, [Submission(job_id, params, scheduled_at=start, **options)])
        self.settle()

    def cancel(self, job_id: str) -> None:
        """Ends a job."""
        self.core.cancel(job_id, "asked to")
        self.settle()

    def resume(self, job_id: str) -> None:
        """A paused job goes on."""
        self.core.resume(job_id)
        self.settle()

    def vote(self, job_id: str, vote: Vote) -> str:
        """A user votes; says what is missing, or what was decided."""
        question = self.core.vote(job_id, vote)
        missing = "" if question.run not in self.core.approving.open else question.policy.missing(question.votes)
        self.settle()
        return f"missing: {missing}" if missing else "decided"

    def chore_done(self, job_id: str, task: str, removed: int, problem: str = "") -> None:
        """The queen has done what a task asks for."""
        request = self.chores.pop((job_id, task))
        self.core.chores.answered(request, removed, problem)
        self.settle()

    def job_type(self, job_id: str) -> str:
        """Of a job in the store."""
        row = self.store.job(ORG, job_id)
        assert row is not None
        return str(row[4])

    def retry(self, job_id: str, *, hard: bool = False, version: str = "") -> None:
        """Another execution of an ended job, of another version of its definition where one is given."""
        row = self.store.job(ORG, job_id)
        assert row is not None
        number, before = int(row[0] or 0), self._definition(str(row[3]))
        after = self._definition(version) if version else before
        params = self.store.params([number])[number][0]
        old = before.model if after is not before else None
        tasks = self.store.tasks(number, elements=True)
        left = self.store.checkpoints(number)
        self.core.retry(after, row, tasks, hard=hard, before=old, params=params, checkpoints=left)
        self.settle()

    # --- ants -------------------------------------------------------------------------------------------------------

    def ant(self, name: str, slots: int = 1, **options: Any) -> Worker:
        """An ant that says hello."""
        worker = self.workers[name] = Worker(name, slots, **options)
        self.join(name)
        return worker

    def join(self, name: str, *, claims: tuple[int, ...] | None = None) -> Welcome:
        """A new stream of the ant's process; it claims what it holds, or what it is told to claim."""
        worker = self.workers[name]
        self._sessions += 1
        worker.session = self._sessions
        worker.streams += 1
        worker.welcome = None
        held = tuple(worker.held) if claims is None else claims
        self.core.connect(
            worker.session,
            Hello(
                name,
                str(worker.incarnation),
                worker.methods,
                worker.tags,
                worker.slots,
                worker.window or worker.slots,
                held,
                worker.streams,
                worker.resources,
                worker.labels,
                worker.devices,
                {token: given.devices for token, given in worker.held.items() if given.devices},
            ),
        )
        for token in set(worker.held) - set(held):
            del worker.held[token]
        self.settle()
        welcome: Welcome | None = worker.welcome
        assert welcome is not None, "the welcome comes with the commit"
        return welcome

    def drop(self, name: str) -> None:
        """The ant's stream ends."""
        worker = self.workers[name]
        session, worker.session = worker.session, 0
        self.core.disconnect(session)
        self.settle()

    def die(self, name: str) -> None:
        """kill -9, seen as the end of the stream; the next process of that name is another one."""
        self.drop(name)
        worker = self.workers[name]
        worker.held.clear()
        worker.incarnation += 1
        worker.streams = 0

    def beat(self, name: str) -> None:
        """The ant is alive."""
        self.core.beat(self.workers[name].session)
        self.settle()

    def holder(self, token: int) -> Worker:
        """The ant that was granted the token."""
        return next(worker for worker in self.workers.values() if token in worker.held)

    def token(self, job_id: str, task: str, which: int = -1) -> int:
        """The newest token of a task, or an older one."""
        return self.tokens[job_id, task][which]

    def result(
        self, job_id: str, task: str, kind: int, *, exit_code: int | None = None, token: int = 0, **more: Any
    ) -> None:
        """The ant that holds the attempt reports its end."""
        token = token or self.token(job_id, task)
        worker = next((found for found in self.workers.values() if token in found.held), None)
        session = more.pop("session", worker.session if worker is not None else 0)
        outputs = json.dumps(more.pop("outputs")).encode() if "outputs" in more else b""
        self.core.result(
            session,
            Outcome(token, kind, exit_code, None, outputs, started_at=self.wall, ended_at=self.wall, **more),
        )
        self.settle()

    def ok(self, job_id: str, task: str, **more: Any) -> None:
        """The attempt has completed."""
        self.result(job_id, task, ends.COMPLETED, exit_code=0, **more)

    def fail(self, job_id: str, task: str, exit_code: int = 1, **more: Any) -> None:
        """The attempt has failed."""
        self.result(job_id, task, ends.FAILED, exit_code=exit_code, **more)

    def started(self, job_id: str, task: str) -> None:
        """The attempt is announced."""
        token = self.token(job_id, task)
        self.core.started(self.holder(token).session, token, self.wall)
        self.settle()

    def give_back(self, job_id: str, task: str) -> None:
        """The ant gives the attempt back."""
        token = self.token(job_id, task)
        worker = self.holder(token)
        del worker.held[token]
        self.core.returned(worker.session, token)
        self.settle()

    # --- time -------------------------------------------------------------------------------------------------------

    def advance(self, seconds: float, *, beats: bool = True) -> None:
        """Lets time pass, timer by timer; connected ants beat once a second unless told not to."""
        end, at_once = self.mono + seconds, 0
        while True:
            due = self.core.timers.next_due()
            before = self.mono
            self.mono = min(end, self.mono + 1.0, max(self.mono, due if due is not None else end))
            at_once = at_once + 1 if self.mono == before else 0
            assert at_once < 100, f"time stands still at {self.mono}"
            self.core.at(self.mono, self.wall)
            if beats:
                for worker in self.workers.values():
                    if worker.session:
                        self.core.beat(worker.session)
            self.core.tick()
            self.settle()
            next_due = self.core.timers.next_due()
            if self.mono >= end and (next_due is None or next_due > end):
                return

    def restart(self, *, counter: int | None = None) -> None:
        """The queen is killed and started again: streams end, everything is read from the store."""
        epoch = self.store.acquire("test") if counter is None else self.core.leases.epoch
        self.core = self.recovered(epoch, counter or 0)
        for worker in self.workers.values():
            worker.session = 0
        self.settle()

    def recovered(self, epoch: int, counter: int = 0) -> Core:
        """A core as a starting queen would build it."""
        core = self._new_core(epoch, counter)
        core.recover(self.store.load(), self.models)
        return core

    # --- commits ----------------------------------------------------------------------------------------------------

    def settle(self) -> list[Batch]:
        """Schedules and commits until nothing is left to do; answers what the core asks for."""
        batches = []
        while True:
            self.core.at(self.mono, self.wall)
            more = self.core.schedule()
            if not self.core.dirty():
                if more:
                    continue
                break
            batch = self.core.cut()
            batches.append(batch)
            if batch.changes:
                self.store.commit(self.core.leases.epoch, batch.changes)
            self.core.committed(batch)
            self._release(batch)
        if self._check_twin:
            self.twin()
        return batches

    def _release(self, batch: Batch) -> None:
        by_session = {worker.session: worker for worker in self.workers.values() if worker.session}
        for session, outgoing in batch.outgoing.items():
            worker = by_session.get(session)
            if worker is None:
                continue
            if outgoing.welcome is not None:
                self._welcomed(worker, outgoing.welcome)
            for token in outgoing.acknowledged:
                worker.held.pop(token, None)
                worker.acknowledged.append(token)
            for grant in outgoing.assignments:
                self._granted(worker, grant)
            for token in outgoing.cancelled:
                worker.cancelled.append(token)
                grant = worker.held[token]
                self.events.append(f"cancel {self._name(grant)} on {worker.name}")
        for session in batch.closing:
            self.closed.append(session)
            if session in by_session:
                by_session[session].session = 0
                self.events.append(f"close {by_session[session].name}")
        for end in batch.ended:
            self.ended.append(end)
            self.events.append(" ".join(word for word in ("end", end.id, end.state, end.error_code) if word))
        if batch.load:
            self.core.loaded(self.store.params(batch.load))
        self._render(batch)
        for chore in batch.chores:
            name = self.core.jobs[chore.job_id].definition.model.tasks[chore.position].task_type
            self.chores[chore.job_id, name] = chore
            self.events.append(f"chore {chore.job_id}/{name} {chore.method} attempt {chore.attempt}")
        for wanted in batch.children:
            self.core.found(wanted, find_children(self.store, lambda row: self.models[str(row[0])], wanted))
        self.to_expand += batch.expand
        if self.expands:
            self.expand()

    def expand(self) -> None:
        """Answers what forks of jobs whose template makes their tasks have asked for."""
        asked, self.to_expand = self.to_expand, []
        for request in asked:
            answer, why = None, ""
            try:
                answer = expand_child(Definitions(self.store), request)
                self.models[str(answer[0][0])] = answer[1]
            except Problem as error:
                why = error.detail
            self.core.composing.expanded(request, answer, why)

    def _welcomed(self, worker: Worker, welcome: Welcome) -> None:
        worker.welcome = welcome
        for token in welcome.kill:
            grant = worker.held.pop(token, None)
            self.events.append(f"kill {self._name(grant) if grant else 'unknown'} on {worker.name}")
        if welcome.keep:
            names = " ".join(self._name(worker.held[token]) for token in welcome.keep)
            self.events.append(f"keep {names} on {worker.name}")

    def _granted(self, worker: Worker, grant: Assignment) -> None:
        worker.held[grant.token] = grant
        task = self._task_name(grant)
        self.tokens.setdefault((grant.job_id, task), []).append(grant.token)
        text = f"grant {self._name(grant)} attempt {grant.attempt} to {worker.name}"
        self.events.append(text + (f" execution {grant.execution}" if grant.execution > 1 else ""))

    def _task_name(self, grant: Assignment) -> str:
        name = definition_task(self.models[grant.definition_id], grant.position).task_type
        return element_name(name, index_of(grant.position)) if is_element(grant.position) else name

    def _name(self, grant: Assignment) -> str:
        return f"{grant.job_id}/{self._task_name(grant)}"

    def _render(self, batch: Batch) -> None:
        if self.holds_rendering:
            self.to_render += batch.render
            return
        self._answer(batch.render)

    def render(self) -> None:
        """Renders what was held back."""
        held, self.to_render = self.to_render, []
        self._answer(held)
        self.settle()

    def _answer(self, requests: Sequence[RenderRequest]) -> None:
        for request in requests:
            answer = render(request, lambda: 0.0)
            if isinstance(answer, Prepared):
                self.core.prepared(request, answer.variables, skip=answer.skip, problem=answer.problem)
            else:
                self.core.rendered(request, answer.task, answer.problem)

    # --- looking ----------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job:
        """The job's committed row as a record."""
        row = self.store.job(ORG, job_id)
        assert row is not None
        return Job.from_row(row, self._definition(str(row[3])))

    def _definition(self, name: str) -> Definition:
        return self.core.definitions.get(name) or Definition(self._row(name), self.models[name])

    def task(self, job_id: str, task: str) -> TaskRun | None:
        """The task's committed row as a record, None if it has none."""
        job = self.job(job_id)
        position = job.definition.model.index[task_name(task)]
        if task != task_name(task):
            position = element_position(position, int(task.rpartition("[")[2][:-1]))
        for row in self.store.tasks(job.number, elements=True):
            if row[1] == position:
                return TaskRun.from_row(row, job)
        return None

    def states(self, job_id: str) -> Mapping[str, str]:
        """State of the job under its id and of each task that has one under its name."""
        job = self.job(job_id)
        names = [task.task_type for task in job.definition.model.tasks]
        found = {names[int(row[1] or 0)]: str(row[2]) for row in self.store.tasks(job.number)}
        return {job_id: job.state, **{name: found[name] for name in names if name in found}}

    def news(self) -> list[str]:
        """What happened since the last call, in order."""
        news, self.events = self.events, []
        return news

    def twin(self) -> None:
        """A core built from the store holds what this one holds: same rows, same leases, same flow, same timers."""
        other, leases = self.recovered(self.core.leases.epoch), self.core.leases
        kept = {job: place.holder for job, place in leases.places.items()}  # a core that begins keeps no room
        for job in kept:
            leases.leave(job)
        mine, theirs = picture(self.core), picture(other)
        assert mine == theirs, "\n".join(
            f"{key}: goes on as {mine.get(key)}, recovered as {theirs.get(key)}"
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        )
        for job, ant in kept.items():
            self.core.progress.keep_room(job, ant)


def picture(core: Core) -> dict[str, object]:
    """What of a core decides how it goes on, without what a restart may change (whose stream is open, parameters)."""
    seen: dict[str, object] = {"checkpoints": (core.checkpoints.kept, core.checkpoints.size_bytes)}
    for job in core.jobs.values():
        seen[f"{job.id} row"] = job.row()
        execution = job.run if job.state != "PENDING" else None
        due = job.timer.due if job.timer is not None and job.timer.what is job else None
        is_void = execution is not None and execution.final  # the job's time-out means nothing any more
        if not is_void and due is not None and due > core.mono + 1e-3:
            seen[f"{job.id} timer"] = True
        if execution is None:
            continue
        seen[f"{job.id} execution"] = (
            execution.active,
            execution.final,
            execution.preparing,
            list(execution.outputs.items()),
        )
        begun = ((position, execution.at(position)) for position in execution.parked)
        # One that was cancelled while its job was paused is passed over when the job goes on.
        seen[f"{job.id} parked"] = sorted(at for at, run in begun if run is None or run.state not in life.TASK_ENDED)
        for run in (*execution.runs.values(), *execution.elements.values()):
            if run in core.fanning.families:
                family = core.fanning.families[run]
                seen[f"{job.id} {run.position} elements"] = (
                    sorted(family.open),
                    family.items,
                    family.stopped,
                    family.kills,
                )
            if run.is_element and run.is_active():
                seen[f"{job.id} {run.position} element"] = run.element
            seen[f"{job.id} {run.position} row"] = run.row()
            timer = run.timer.due if run.timer is not None and run.timer.what is run else None
            seen[f"{job.id} {run.position} goes on"] = (
                run.holder.key if run.holder is not None else None,
                run.cancelling and run.holder is not None,
                run.rendering,
                timer is not None,
            )
    seen["tokens"] = sorted(core.leases.tokens)
    seen["running"] = {gate: count for gate, count in core.running.items() if count}
    return seen | allocations(core)


def allocations(core: Core) -> dict[str, object]:
    """What of ants, locks and limits is given out."""
    seen: dict[str, object] = {}
    for ant in core.leases.ants.values():
        if ant.held or ant.used:  # an ant that holds nothing is not known again before it says hello
            seen[f"{ant.key} used"] = sorted((name, round(amount, 6)) for name, amount in ant.used.items())
    for name, holders in core.leases.locks.holders.items():
        named = cast("dict[tuple[Job, int], float]", holders)
        seen[f"{name} held"] = sorted((job.id, position, amount) for (job, position), amount in named.items())
    if core.queueing is not None and core.waiting.given is not None:  # plain queues are there while a job needs them
        ledger = core.queueing.ledger
        for what, books in (("queue", ledger.queues), ("tenant", ledger.tenants), ("tasks of queue", ledger.running)):
            seen |= {f"{what} {key}": held for key, held in cast("dict[object, object]", books).items() if held}
        for key, account in core.queueing.quotas.accounts.items():
            if account.jobs or account.tasks:
                seen[f"{key} account"] = (account.jobs, account.tasks, round(account.cores, 6))
    return seen
