"""The coordinator's state machine: events in, row images and effects out; no I/O, no clock, no randomness of its own.

Theory of operation. Every event is one method. It changes the records in memory and marks what it changed; `cut` turns
the marks into one :class:`Batch` (one image per row, however often it changed) and the runtime commits it. What is in a
batch's effects (assignments, acknowledgements, ends) may be let out only after that commit. When a commit fails the
whole core is thrown away and built again from the store, so records may run ahead of what is committed.

Time comes in with `at`: `mono` for leases and timers, `wall` for records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, cast

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.configs import ConfigSource, ConfigView, NoConfigs
from formicary.engine.jobs.error_rules import ErrorRules, NoErrorRules
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.queen.core.approving import Approving, Question, Vote
from formicary.engine.queen.core.backups import Backup, Backups
from formicary.engine.queen.core.batch import (
    Assignment,
    Batch,
    Children,
    ChildrenRequest,
    RenderRequest,
    TemplateJob,
    Welcome,
)
from formicary.engine.queen.core.breaking import Breaking
from formicary.engine.queen.core.checkpoints import NONE, Checkpoints
from formicary.engine.queen.core.chores import Chores
from formicary.engine.queen.core.composing import Composing, to_reset
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.fanning import Fanning
from formicary.engine.queen.core.gangs import Gangs
from formicary.engine.queen.core.leases import Hello, Leases
from formicary.engine.queen.core.locking import Locking
from formicary.engine.queen.core.neighbouring import Neighbouring
from formicary.engine.queen.core.notifying import Notifying
from formicary.engine.queen.core.observing import Observing
from formicary.engine.queen.core.occurrences import in_order, of_ant
from formicary.engine.queen.core.outcome import COMPLETED, Outcome, task_variables
from formicary.engine.queen.core.pausing import Pausing
from formicary.engine.queen.core.progress import Progress
from formicary.engine.queen.core.queueing import Queueing
from formicary.engine.queen.core.records import Ant, Definition, Job, TaskRun, runs_of
from formicary.engine.queen.core.recovering import rebuild, recover
from formicary.engine.queen.core.repinning import repinned
from formicary.engine.queen.core.slices import Slices, freed
from formicary.engine.queen.core.stats import Stats
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.core.time_limits import attempt_timeout
from formicary.engine.queen.core.timers import Alarm, TimerWheel
from formicary.engine.queen.core.waiting import Waiting
from formicary.engine.scheduling.breakers import breaker_permits
from formicary.engine.scheduling.candidates import CandidateQueue
from formicary.engine.scheduling.capacity import LeastLoaded
from formicary.engine.scheduling.concurrency import UNLIMITED, below_limit
from formicary.engine.scheduling.demand import Demand, Gate
from formicary.engine.scheduling.estimate_book import EstimateBook
from formicary.engine.scheduling.fcfs import fcfs_within_priority
from formicary.engine.scheduling.pipeline import Policy, View, decide
from formicary.engine.storage.port import Row, Snapshot

if TYPE_CHECKING:
    from formicary.engine.jobs.rendering import RenderedTask

NO_SECRETS: frozenset[str] = frozenset()
POLICY = Policy(gates=(below_limit, breaker_permits), order=fcfs_within_priority, place=LeastLoaded)


class Core:
    """One colony's jobs, tasks and leases."""

    def __init__(self, config: CoreConfig, epoch: int, rng: Random, *, counter: int = 0) -> None:
        self.config = config
        self.rng = rng
        self.mono = 0.0
        self.wall = 0.0
        self.number = 0
        self.order = 0
        self.jobs: dict[str, Job] = {}
        self.definitions: dict[str, Definition] = {}
        self.queues: dict[Demand, CandidateQueue] = {}
        self.fresh: dict[Demand, None] = {}
        """View: demands whose queue somebody has joined."""
        self.timers = TimerWheel()
        self.leases = Leases(config, epoch, counter, self.timers)
        self.leases.lost = self._lost
        self.leases.undelivered = self._undelivered
        self.leases.grace_of = self.grace_of
        self.neighbouring = Neighbouring(self)
        self.slices = Slices()
        self.progress = Progress(self)
        self.composing = Composing(self)
        self.fanning = Fanning(self)
        self.approving = Approving(self)
        self.pausing = Pausing(self)
        self.breaking = Breaking(self)
        self.locking = Locking(self)
        self.observing = Observing(self)
        self.gangs = Gangs(self)
        self.backups = Backups(self)
        self.queueing: Queueing | None = None
        """Configured queues; None = by priority and submission alone."""
        self.holders: dict[Gate, dict[Job, None]] = {}
        """Running jobs of job types with a limit."""
        self.waiting = Waiting(self)
        self.notifying = Notifying(self)
        self.chores = Chores(self)
        self.checkpoints = Checkpoints(self)
        self.batch = Batch()
        self.dirty_jobs: dict[Job, None] = {}
        self.dirty_tasks: dict[TaskRun, None] = {}
        self.running: dict[Gate, int] = {}
        self._limits: dict[Gate, tuple[int, int]] = {}
        self.keys: dict[tuple[str, str], tuple[str, str]] = {}
        """Idempotency keys of batches that are not committed yet: (fingerprint, job id)."""
        self.leaving: set[str] = set()
        """Ids of jobs that have ended, and their ends are not committed yet."""
        self.followed: set[str] = set()
        self.configs: ConfigSource = NoConfigs()
        """What jobs see of the configurations; set by the runtime."""
        self.error_rules: ErrorRules = NoErrorRules()
        """What names failures; set by the runtime."""
        self.book = EstimateBook()
        """What estimates of waits are made of."""
        self.observed = False
        """Somebody watches: batches say what has changed."""
        """Ids of jobs whose every change is wanted; kept by the runtime."""
        self.stats = Stats()
        self._hot_bytes = 0
        self._over: list[Job] = []
        self.wanted: dict[int, CandidateQueue] = {}

    def at(self, mono: float, wall: float) -> None:
        """Says what time it is for the events that follow."""
        self.mono = mono
        self.wall = wall

    # --- clients ----------------------------------------------------------------------------------------------------

    def define(self, row: Row, model: JobDefinition) -> Definition:
        """Takes a definition in; the same id twice is the same definition."""
        found = self.definitions.get(str(row[0]))
        if found is None:
            found = self.admit(row, model)
            self.batch.changes.definitions[found.id] = row
        return found

    def admit(self, row: Row, model: JobDefinition) -> Definition:
        """Takes in a definition that the store has."""
        definition = self.definitions[str(row[0])] = Definition(row, model)
        self.waiting.admit(definition)
        if definition.gate is not None:
            version = abs(int(row[3] or 0))
            if version >= self._limits.get(definition.gate, (0, 0))[0]:
                self._limits[definition.gate] = (version, model.max_concurrency or UNLIMITED)
        self.breaking.admit(definition)
        return definition

    def _own(self, definition: Definition) -> Definition:
        """The definition as this core knows it; one from before a reload is taken in again, its row with it."""
        found = self.definitions.get(definition.id)
        return found if found is not None else self.define(definition.row, definition.model)

    def submit(self, definition: Definition, org: str, submissions: Iterable[Submission]) -> None:
        """Accepts jobs. Ids and keys were checked by the caller against the store, and by `known` against memory."""
        changes = self.batch.changes
        definition = self._own(definition)
        default = definition.model.priority
        for submission in submissions:
            self.number += 1
            priority = default if submission.priority is None else submission.priority
            job = Job(self.number, submission.id, org, definition, priority, self.wall)
            job.submitted_by = submission.user or None
            self.jobs[job.id] = job
            changes.params[job.number] = (job.number, submission.params, None)
            self.dirty_jobs[job] = None
            if submission.key:
                pair = (org, submission.key)
                self.keys[pair] = (submission.fingerprint, job.id)
                changes.keys[pair] = (org, submission.key, submission.fingerprint, job.number, job.id, self.wall)
                self.batch.keys.append(pair)
            start = submission.scheduled_at if submission.scheduled_at is not None else definition.model.scheduled_at
            if start is not None and start > self.wall:
                job.scheduled_at = start
                self.set_job_timer(job, start)
            else:
                self.enqueue(job, submission.params)
            self.stats.submitted += 1
            self.book.arrived.append((job.priority, org, definition.job_type, self.wall))

    def cancel(self, job_id: str, reason: str) -> None:
        """Ends a live job. Raises KeyError for one that is not live; a second cancel changes nothing."""
        job = self.jobs[job_id]
        if job.state == life.PENDING and job.params is not None:
            self._hot_bytes -= len(job.params)
        if job.verdict != life.CANCELLED:
            self.progress.cancel(job, reason)

    def pause(self, job_id: str) -> None:
        """A job pauses until it is resumed. Raises KeyError (not live), IllegalTransition."""
        self.pausing.begin(self.jobs[job_id])

    def vote(self, job_id: str, vote: Vote) -> Question:
        """Counts the vote of a user. Raises KeyError (not live), CannotVote."""
        return self.approving.vote(self.jobs[job_id], vote)

    def resume(self, job_id: str) -> None:
        """A paused job goes on. Raises KeyError (not live), IllegalTransition."""
        self.pausing.resume(self.jobs[job_id])

    def retry(
        self,
        definition: Definition,
        row: Row,
        tasks: Sequence[Row],
        *,
        hard: bool,
        before: JobDefinition | None = None,
        params: bytes = b"{}",
        key: tuple[str, str] = ("", ""),
        start_at: float = 0.0,
        checkpoints: Sequence[Row] = (),
    ) -> None:
        """Another execution of an ended job, as read from the store; keeps completed tasks unless `hard`.

        Args:
            definition: Of the new execution.
            row: The job.
            tasks: Of its last execution.
            hard: Every task runs again.
            before: The definition of that execution, where it is another one.
            params: Of the job; looked at with `before` only.
            key: Idempotency key and fingerprint of the request, empty = none.
            start_at: When it begins, in seconds since the epoch; 0 = at once.
            checkpoints: What its tasks have left; another definition and `hard` drop it.
        """
        job = Job.from_row(row, self._own(definition))
        job.state = life.job_state(job.state, "retry")
        job.ended_at = job.error_code = job.error_message = job.scheduled_at = None
        job.dead_letter = 0
        job.retries += 1
        if before is not None:
            runs, rest = repinned(job, before, tasks)
            self.dirty_tasks.update(dict.fromkeys((*runs, *rest)))
            self.batch.changes.params[job.number] = (job.number, params, None)  # its variables are rendered anew
        else:
            runs = runs_of(job, tasks)
        for run in to_reset(runs, hard=hard):
            run.reset(hard=hard)
            self.dirty_tasks[run] = None
        self.checkpoints.recover(checkpoints)
        if hard or before is not None:
            self.checkpoints.drop_all(job)
        if key[0]:
            pair = (job.org, key[0])
            self.keys[pair] = (key[1], job.id)
            self.batch.changes.keys[pair] = (job.org, *key, job.number, job.id, self.wall)
            self.batch.keys.append(pair)
        rebuild(self, job, runs)
        self.jobs[job.id] = job
        self.dirty_jobs[job] = None
        if start_at > self.wall:
            job.timer_at = start_at
            self.set_job_timer(job, start_at)
        else:
            self.enqueue(job, None)

    # --- ants -------------------------------------------------------------------------------------------------------

    def connect(self, session: int, hello: Hello) -> Welcome:
        """A stream has begun; says which of the attempts it lists the ant may go on with."""
        welcome = self.leases.connect(session, hello, self.mono, self.batch)
        if self.observed and (ant := self.leases.sessions.get(session)) is not None:
            self._met(ant, "CONNECTED")
        return welcome

    def disconnect(self, session: int) -> None:
        """A stream has ended."""
        ant = self.leases.sessions.get(session)
        self.leases.disconnect(session, self.mono)
        if self.observed and ant is not None:
            self._met(ant, "DISCONNECTED")

    def _met(self, ant: Ant, state: str) -> None:
        self.batch.occurrences.append(of_ant(ant, state, self.wall))

    def beat(self, session: int) -> None:
        """The ant is alive."""
        self.leases.beat(session, self.mono)

    def set_window(self, session: int, window: int) -> None:
        """How many granted tasks the ant wants to hold from now on."""
        ant = self.leases.sessions.get(session)
        if ant is not None:
            ant.window = max(window, ant.slots)

    def drain(self, session: int) -> None:
        """The ant is stopping: nothing more is granted to it."""
        ant = self.leases.sessions.get(session)
        if ant is not None:
            ant.draining = True
            self.leases.version += 1
            self.leases.members += 1

    def bury(self, ant_id: str) -> None:
        """The ant's processes are known to be dead (their supervisor says so): no need to wait for the lease."""
        for ant in self.leases.by_id(ant_id):
            self.leases.bury(ant, self.batch)
            if self.observed:
                self._met(ant, "LOST")

    def result(self, session: int, outcome: Outcome) -> None:
        """An attempt has ended. A stale token changes nothing and is acknowledged, so that the ant forgets it."""
        run = self.leases.held_by(session, outcome.token)
        if run is None:
            self.stats.stale += 1
            if outcome.token in self.leases.tokens:
                return  # of a stream that was replaced: the ant sends it again on the new one
        self.batch.to(session).acknowledged.append(outcome.token)
        if run is None:
            return
        if run.task.speculative_backup is not None and (run := self.backups.ended(run, outcome)) is None:
            return
        if self.queueing is not None and outcome.started_at and outcome.ended_at:
            self.queueing.ran(run, outcome.ended_at - outcome.started_at, completed=outcome.outcome == COMPLETED)
        self.leases.release(run)
        if run.task.circuit_breaker is not None:
            self.breaking.attempt_ended(run, outcome)
        self.progress.result(run, outcome)

    def started(self, session: int, token: int, started_at: float) -> None:
        """An attempt has been running for a while."""
        run = self.leases.held_by(session, token)
        if run is not None and run.state == life.DISPATCHED and not isinstance(run, Backup):
            run.state = life.task_state(run.state, "begin")
            if run.started_at is None:
                run.started_at = started_at
            self.book.began(run.job.id, min(started_at, self.wall))
            self.dirty_tasks[run] = None

    def checkpoint(self, session: int, token: int, value: bytes) -> str:
        """An attempt leaves something for the next one; a stale token leaves nothing. Says why it is not kept."""
        run = self.leases.held_by(session, token)
        return "" if run is None else self.checkpoints.write(run, value)

    def returned(self, session: int, token: int) -> None:
        """An attempt never began and is given back."""
        run = self.leases.held_by(session, token)
        if run is not None and run.state == life.DISPATCHED and not self._goes_on(run):
            run.ran_s = 0.0
            self.leases.release(run)
            self._uncounted(run)
            self.progress.returned(run, is_unstarted=True)

    def _lost(self, run: TaskRun) -> None:
        self.stats.lost += 1
        if self._goes_on(run):
            return
        self.leases.release(run)
        self._uncounted(run)
        self.progress.lost(run)

    def _uncounted(self, run: TaskRun) -> None:
        """An attempt is gone that says nothing about what it called."""
        if run.task.circuit_breaker is not None:
            self.breaking.attempt_gone(run)

    def _goes_on(self, run: TaskRun) -> bool:
        """An attempt is gone, and the task goes on as its copy; or it was the copy that is gone."""
        return run.task.speculative_backup is not None and self.backups.left(run)

    def _undelivered(self, run: TaskRun) -> None:
        if self._goes_on(run):
            return
        self.leases.release(run)
        self._uncounted(run)
        if run.state == life.EXECUTING:
            self.progress.lost(run)
        else:
            self.progress.returned(run, is_unstarted=False)

    # --- answers to effects -----------------------------------------------------------------------------------------

    def loaded(self, params: Mapping[int, tuple[bytes, bytes | None]]) -> None:
        """Parameters that were asked for in `Batch.load`."""
        for number, (found, variables) in params.items():
            queue = self.wanted.pop(number, None)
            candidate = queue.loaded(number) if queue is not None else None
            if candidate is not None:
                job = cast(Job, candidate)
                job.params, job.variables = found, variables
                self._hot_bytes += len(found)

    def rendered(
        self,
        request: RenderRequest,
        answer: RenderedTask | None,
        problem: str | None,
        jobs: Sequence[TemplateJob] = (),
    ) -> None:
        """A task's text was rendered and parsed, or could not be; `jobs` are those that its templates submit."""
        job = self.jobs.get(request.job_id)
        if job is None or job.run is None or job.execution != request.execution or request.position is None:
            return
        run = job.run.at(request.position)
        if run is not None and run.rendering and run.attempts == request.attempt:
            if jobs and answer is not None and not answer.skipped and (refusal := self.composing.submit(job, jobs)):
                answer, problem = None, refusal
            self.progress.rendered(run, answer, problem)

    def prepared(
        self,
        request: RenderRequest,
        variables: bytes,
        *,
        skip: bool,
        problem: str | None,
        jobs: Sequence[TemplateJob] = (),
    ) -> None:
        """A job's variables and `skip_if` were rendered, or could not be; `jobs` are those that they submit."""
        job = self.jobs.get(request.job_id)
        if job is None or job.execution != request.execution or job.run is None or not job.run.preparing:
            return
        if jobs and problem is None and not skip and job.state == life.EXECUTING:
            problem = self.composing.submit(job, jobs) or None
        self.progress.prepared(job, variables, skip, problem)

    def found(self, request: ChildrenRequest, answer: Children) -> None:
        """What a task that composes jobs has asked for."""
        job = self.jobs.get(request.job_id)
        if job is None or job.run is None or job.execution != request.execution:
            return
        run = job.run.runs.get(request.position)
        if run is not None and run.attempts == request.attempt:
            self.composing.found(run, answer)

    # --- time -------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Fires what is due."""
        for what in self.timers.due(self.mono):
            if isinstance(what, TaskRun):
                what.timer = what.timer_at = None
                if what.awaits:
                    (self.fanning if what.fans else self.composing).timed_out(what)
                elif what.state == life.APPROVAL:
                    self.approving.due(what)
                else:
                    self.progress.proceed(what)
            elif isinstance(what, Ant):
                self.leases.expire(what, self.mono, self.batch)
                if self.observed and self.leases.ants.get(what.key) is not what:
                    self._met(what, "LOST")
            elif isinstance(what, Alarm):
                what.ring()
            else:
                self._job_timer(cast(Job, what))

    def _job_timer(self, job: Job) -> None:
        job.timer = None
        if job.state == life.PENDING:
            job.timer_at = None
            self.dirty_jobs[job] = None
            self.enqueue(job, job.params)
        elif job.state == life.PAUSED:
            self.pausing.resume(job)
        elif job.state == life.EXECUTING:
            self.progress.timed_out(job)

    def set_job_timer(self, job: Job, due_wall: float) -> None:
        """The job's one timer: start, time-out, end of a pause or of a retry delay, whichever its state means."""
        if job.timer is not None:
            job.timer.cancel()
        job.timer = self.timers.set(self.mono + max(0.0, due_wall - self.wall), job)

    # --- scheduling -------------------------------------------------------------------------------------------------

    def ants_for(self, demand: Demand) -> list[Ant]:
        """View: ants that serve the demand."""
        return self.leases.ants_for(demand)

    def running_of(self, gate: Gate) -> int:
        """View: running executions of a job type with a limit."""
        return self.running.get(gate, 0)

    def limit_of(self, gate: Gate) -> int:
        """View: the limit of the job type's newest version."""
        return self._limits.get(gate, (0, UNLIMITED))[1]

    def permits(self, gate: Gate) -> bool:
        """View: whether the circuit breaker of a job type lets another of its jobs begin."""
        return self.breaking.permits(gate)

    def schedule(self) -> bool:
        """One slice of decisions, and of what else goes on in slices; True where there may be more to do at once."""
        waits = self.slices.go_on()
        return self._decide() or waits or self.slices.has_begun

    def _decide(self) -> bool:
        book = self.leases.neighbours
        if book.news:
            self.neighbouring.refresh()
        if self.queueing is not None:
            more = self.queueing.schedule(max(1, self.config.slice_decisions // 4))  # they cost more each
            return more or self._round_over()
        left = self.config.slice_decisions
        for decision in decide(cast("View[Ant]", self), POLICY):  # type: ignore[arg-type]  # Core is the View of Ant
            candidate, ant = decision.candidate, cast(Ant, decision.ant)
            if isinstance(candidate, Job):
                self.begin(candidate, ant)
            else:
                self.grant(cast(TaskRun, candidate), ant)
            left -= decision.cost
            if left <= 0 or book.news:
                return True
        return self._round_over()

    def begin(self, job: Job, ant: Ant) -> None:
        """The decision to start a pending job."""
        self._hot_bytes -= len(job.params or b"")
        self.progress.start(job, ant)

    def _round_over(self) -> bool:
        """Nothing more can be placed now."""
        self.waiting.fetch()
        self.neighbouring.prune()
        if not self.queues:
            self.stats.idle_rounds += 1
        return False

    def enqueue(self, job: Job, params: bytes | None) -> None:
        """Queues a pending job; its parameters stay in memory only while there is room and nobody waits before it."""
        queue = self.waiting.queue_of(self.waiting.pending_demand(job))
        hot = params is not None and not queue.has_cold and self._hot_bytes < self.config.hot_params_bytes
        job.params = params if hot else None
        if hot and params is not None:
            self._hot_bytes += len(params)
        self.waiting.queue_job(job, is_cold=not hot)

    def all_ants(self) -> list[Ant]:
        """View: every ant, in order of arrival."""
        return list(self.leases.ants.values())

    @property
    def versions(self) -> tuple[int, int]:
        """View: both grow when an ant comes, goes or changes; the first also when it has less to do."""
        return self.leases.version, self.leases.members

    def grant(self, run: TaskRun, ant: Ant, devices: tuple[str, ...] = ()) -> None:
        """Leases the attempt to the ant; it is sent after the commit."""
        run.state = life.task_state(run.state, "grant")
        run.attempts += 1
        run.cancelling = run.preempting = False
        run.error_message = run.traceback = run.error_code = None
        run.ended_at = run.exit_code = run.signal = run.outputs = None
        self.lease(run, ant, devices)
        self.dirty_tasks[run] = None
        if run.task.speculative_backup is not None:
            self.backups.watch(run)
        if run.task.circuit_breaker is not None:
            self.breaking.attempt_begun(run)

    def lease(self, run: TaskRun, ant: Ant, devices: tuple[str, ...] = ()) -> None:
        """A new token for an attempt, and what the ant is told of it after the commit."""
        run.granted_at, run.fraction = self.wall, None
        token, job = self.leases.grant(run, ant, devices), run.job
        if self.queueing is not None:
            self.queueing.take(run)
        self.stats.granted += 1
        view = self.view(job)
        self.batch.to(ant.session).assignments.append(
            Assignment(
                token,
                job.definition.id,
                run.position,
                run.rendered,
                job.id,
                job.execution,
                run.attempts,
                task_variables(run, view),
                attempt_timeout(run, self.wall),
                frozenset(view.secrets.values()) if view.secrets else NO_SECRETS,
                self.checkpoints.of(run) if self.checkpoints.kept else NONE,
                self.leases.devices.of_token(token) if run.task.devices else (),
            )
        )

    def view(self, job: Job) -> ConfigView:
        """What a job sees of the configurations."""
        return self.configs.view(job.org, job.submitted_by or "", job.definition.job_type)

    def grace_of(self, run: TaskRun) -> float | None:
        """Seconds that an attempt is left when it has to make room; None = as its ant is configured."""
        if self.queueing is None or run.charge is None:
            return None
        return self.queueing.config.grace_of(run.charge[0])

    def cancel_attempt(self, run: TaskRun) -> None:
        """Asks the ant to end the attempt; its answer, or the lease's end, ends it."""
        if run.task.speculative_backup is not None:
            self.backups.drop(run)
        run.cancelling = True
        if run.holder is not None and run.holder.session:
            self.batch.to(run.holder.session).cancelled.append(run.token)

    def count_running(self, job: Job, change: int) -> None:
        """Keeps the number of running executions of a limited job type and of a limited tenant."""
        self.locking.count(job, change)
        if self.queueing is not None:
            self.queueing.counted(job, change)
        gate = job.definition.gate
        if gate is not None:
            self.running[gate] = self.running.get(gate, 0) + change
            holders = self.holders.setdefault(gate, {})
            if change > 0:
                holders[job] = None
                return
            holders.pop(job, None)
        if change < 0 and self.queueing is not None:
            self.queueing.inherited.pop(job, None)

    def forget(self, job: Job) -> None:
        """An ended job leaves memory."""
        self.jobs.pop(job.id, None)
        if self.checkpoints.kept:
            self.checkpoints.forget(job)
        self._over.append(job)
        self.stats.jobs_ended += 1
        self.book.over(job.id, job.org, job.definition.job_type, self.wall)
        key = (job.org, job.state)
        self.stats.ended[key] = self.stats.ended.get(key, 0) + 1

    # --- batches ----------------------------------------------------------------------------------------------------

    def dirty(self) -> bool:
        """True where there is something to commit or to let out."""
        return bool(self.dirty_jobs or self.dirty_tasks or self.batch)

    def cut(self) -> Batch:
        """Takes the open batch: images of all that changed, and the effects that wait for its commit."""
        batch, self.batch = self.batch, Batch()
        self.slices.cut()
        changes = batch.changes
        changes.jobs = {job.number: job.row() for job in self.dirty_jobs}
        changes.tasks = {(run.job.number, run.position): run.row() for run in self.dirty_tasks}
        changes.counter = self.leases.counter
        if self.observed:
            batch.occurrences += in_order(self.dirty_jobs, self.dirty_tasks, self.wall)
        if self.followed:
            batch.touched = {job.id for job in self.dirty_jobs if job.id in self.followed}
            batch.touched |= {run.job.id for run in self.dirty_tasks if run.job.id in self.followed}
        self.dirty_jobs = {}
        self.dirty_tasks = {}
        for job in self._over:
            run, job.run = job.run, None  # no cycles: ended jobs are freed at once, without the garbage collector
            if run is not None and run.elements:
                self.slices.drive(("freed", job.number), freed(run.elements))
        self._over = []
        return batch

    def committed(self, batch: Batch) -> None:
        """The batch is durable: its keys and the ends of its jobs can be found in the store from now on."""
        for pair in batch.keys:
            self.keys.pop(pair, None)
        for end in batch.ended:
            self.leaving.discard(end.id)

    # --- recovery ---------------------------------------------------------------------------------------------------

    def recover(self, snapshot: Snapshot, models: Mapping[str, JobDefinition]) -> None:
        """Takes over what the store holds; open leases get one fresh full lease from now."""
        recover(self, snapshot, models)
