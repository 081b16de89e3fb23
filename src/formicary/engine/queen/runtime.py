"""The queen: one colony's coordinator, as an object that lives on one event loop.

It puts the pump, the definitions and the sessions together and is what servers, the embedded runner and tests use.
Everything that changes state answers after its commit; everything that is read is committed state.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.fan_out import index_of, is_element
from formicary.engine.jobs.lifecycle import IllegalTransition
from formicary.engine.jobs.model import task_to_json
from formicary.engine.queen import documents, task_children
from formicary.engine.queen.approvals import Approvals
from formicary.engine.queen.artifacts import Artifacts
from formicary.engine.queen.children import find_version
from formicary.engine.queen.configs import Configs
from formicary.engine.queen.core import explaining
from formicary.engine.queen.core.batch import ChoreRequest, JobEnded, Welcome
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.explaining import Explanation
from formicary.engine.queen.core.family import joins
from formicary.engine.queen.core.leases import Hello
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.dead_letters import DeadLetters
from formicary.engine.queen.error_codes import ErrorCodes
from formicary.engine.queen.events import EventStream
from formicary.engine.queen.fitting import never_starts
from formicary.engine.queen.forecasting import Estimate, Forecasting
from formicary.engine.queen.keyring import Keyring
from formicary.engine.queen.notify.config import NotifyConfig
from formicary.engine.queen.notify.outbox import Outbox
from formicary.engine.queen.pump import Peer, Pump
from formicary.engine.queen.restarting import restart
from formicary.engine.queen.retention import Retention
from formicary.engine.queen.schedules import Schedules
from formicary.engine.queen.sessions import AntSession, ClientSession
from formicary.engine.queen.sources.supervisor import Sources
from formicary.engine.queen.submitting import Submitting
from formicary.engine.queen.tracing import AttemptTracer
from formicary.engine.queen.triggers import Triggers
from formicary.engine.queen.uploads import Uploads
from formicary.engine.storage.artifacts import ArtifactStore
from formicary.engine.storage.log_port import ENGINE, LogRecord, LogStore
from formicary.engine.storage.port import Row, Store, StoreError
from formicary.problems import FieldError, problem
from formicary.v1 import ants_pb2 as ants
from formicary.v1 import jobs_pb2 as jobs

log = logging.getLogger("formicary.queen")
SWITCH_INTERVAL_S = 0.0005
"""The interpreter's thread switch interval while a queen runs: the journal's thread gives the lock away at each
statement and must get it back quickly even while the loop is busy."""

GC_THRESHOLD = (5_000, 4, 2_500)
"""While a queen runs: ended jobs leave no cycles, so full collections over every live job would be wasted work. A young
one looks at so many objects in a turn of the loop: 5,000 cost 1 ms, 50,000 cost 12."""


@dataclass(frozen=True, slots=True)
class QueenConfig:
    """What a queen is told.

    Attributes:
        core: Leases and memory.
        org: Organisation of requests that name none.
        log_flush_s: Seconds between flushes of log lines; a crash may lose that much of them.
        methods: Method replacements for every definition that is registered; those of a request come first.
        events_kept: Events that are kept for watchers that come back or are slow, 1 or more; some 300 bytes each.
        schedules: Jobs with a `cron_trigger` start by themselves; without, the field has no effect.
        queue_url: Where triggers find their messages, ``nats://…`` or ``redis://…``; empty = each says so itself.
        purges: Jobs that have ended are removed once their retention is over.
        notify: How notices are delivered; None = they wait in the store for a queen that does.
        events_linger_s: Seconds for which events are recorded after the last watcher has left.
    """

    core: CoreConfig = field(default_factory=CoreConfig)
    org: str = "local"
    log_flush_s: float = 1.0
    methods: Mapping[str, str] = field(default_factory=dict)
    events_kept: int = 65_536
    events_linger_s: float = 600.0
    schedules: bool = False
    queue_url: str = ""
    purges: bool = False
    notify: NotifyConfig | None = None


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task as an ant gets it, once per stream.

    Attributes:
        task: JSON of the definition.
        job_type: Of the job.
        path: Folder of the job file.
        inputs: Tasks whose artifacts it needs.
    """

    task: bytes
    job_type: str
    path: str
    inputs: tuple[str, ...]


class Watcher(Protocol):
    """Who wants to know when a job has ended."""

    def job_ended(self, end: JobEnded) -> None:
        """Called once per watched job, on the loop."""
        ...


class Queen:
    """One colony's coordinator."""

    def __init__(
        self,
        store: Store,
        logs: LogStore,
        config: QueenConfig | None = None,
        contents: ArtifactStore | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self.config = config or QueenConfig()
        self.store = store
        self.logs = logs
        self.pump = Pump(store, logs, self.config.core, random.Random())
        self.pump.on_ended = self._tell_ended
        self.pump.on_touched = self._tell_touched
        self.events = EventStream(self.config.events_kept, self.config.events_linger_s, self._observe)
        self.pump.on_occurred = self.events.occurred
        self.schedules = Schedules(self)
        self.configs = Configs(store, keyring)
        self.triggers = Triggers(self)
        self.sources = Sources(self.triggers, self.config.queue_url)
        self.pump.on_reloaded = self._reloaded
        self.artifacts = Artifacts(store, contents, self.pump)
        self.uploads = Uploads(self.artifacts, store, self.pump)
        self.error_codes = ErrorCodes(store)
        self.pump.on_chore = self._chore
        self.pump.core.configs, self.pump.core.error_rules = self.configs, self.error_codes
        self.pump.on_acquired = self._acquired
        self.submitting = Submitting(self)
        self.approvals = Approvals(self)
        self.pump.on_settled = self.submitting.keys.settle
        self.reviving = asyncio.Lock()
        """Held by whoever revives or removes ended jobs."""
        self.retention = Retention(self)
        self.dead_letters = DeadLetters(self)
        self.forecasting = Forecasting(self)
        self.outbox = Outbox(self, self.config.notify or NotifyConfig())
        self._watchers: dict[str, list[Watcher]] = {}
        self._followers: dict[str, list[asyncio.Event]] = {}
        self._progress: dict[str, dict[int, tuple[float, str]]] = {}
        self._specs: dict[tuple[str, int], TaskSpec] = {}
        self.tracer: AttemptTracer | None = None
        """Who follows attempts; set before the start."""
        self._flusher: asyncio.Task[None] | None = None
        self._switch_interval = sys.getswitchinterval()
        self._gc_threshold = gc.get_threshold()
        self.encode = msgspec.json.Encoder().encode

    @property
    def ready(self) -> bool:
        """True while the queen accepts work."""
        return self.pump.ready

    @property
    def epoch(self) -> int:
        """The epoch this queen leads."""
        return self.pump.epoch

    async def start(self) -> None:
        """Takes the colony, recovers it, begins to serve. Raises StoreError."""
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._gc_threshold = gc.get_threshold()
        gc.set_threshold(*GC_THRESHOLD)
        await self.pump.start(f"{socket.gethostname()} process {os.getpid()}")
        self.events.begin(self.epoch)
        self.submitting.begin()
        if self.config.schedules:
            await self.schedules.load()
            await self.triggers.load()
            self.sources.start()
        self._flusher = asyncio.create_task(self._flush_logs())
        self.artifacts.start()
        if self.config.purges:
            self.retention.start()
        self.forecasting.start()
        if self.config.notify is not None:
            self.outbox.start()

    async def _chore(self, _request: ChoreRequest) -> int:
        """EXPIRE_ARTIFACTS, the one chore there is: files that have expired are removed now, not within the hour."""
        return await self.artifacts.purge()

    async def _acquired(self) -> None:
        await self.configs.load()
        await self.error_codes.load()

    async def stop(self) -> None:
        """Commits what is open, closes sessions and the store."""
        self.events.close()
        await self.sources.stop()
        await self.outbox.stop()
        for peer in list(self.pump.peers.values()):
            peer.shut()
        if self._flusher is not None:
            self._flusher.cancel()
        if self.tracer is not None:  # what was lost since the last sweep
            self.tracer.sweep(self.pump.core.leases.tokens)
        await self.retention.stop()
        await self.forecasting.stop()
        await self.artifacts.stop()
        await self.configs.stop()
        await self.pump.stop()
        await asyncio.to_thread(self.logs.close)
        await asyncio.to_thread(self.store.close)
        sys.setswitchinterval(self._switch_interval)
        gc.set_threshold(*self._gc_threshold)

    def counters(self) -> dict[str, Any]:
        """Figures for health pages and benchmarks."""
        core, journal = self.pump.core, self.pump._journal
        return {
            "epoch": self.epoch,
            "ready": self.ready,
            "commits": journal.commits,
            "rows": journal.rows,
            "tasks_completed": core.stats.tasks_ended,
            "jobs_ended": core.stats.jobs_ended,
            "submitted": core.stats.submitted,
            "granted": core.stats.granted,
            "lost_attempts": core.stats.lost,
            "stale_results": core.stats.stale,
            "live_jobs": len(core.jobs),
            "recoveries": self.pump.recoveries,
            "ants": [
                {
                    "id": ant.id,
                    "slots": ant.slots,
                    "held": len(ant.held),
                    "connected": ant.connected,
                    "tags": sorted(ant.tags),
                    "labels": dict(ant.labels),
                    "resources": dict(ant.resources),
                    "used": dict(ant.used),
                    "devices": ant.shown_devices(),
                }
                for ant in core.leases.ants.values()
            ],
        }

    # --- definitions and submissions --------------------------------------------------------------------------------

    async def register(
        self,
        source: str,
        *,
        methods: Mapping[str, str] | None = None,
        path: str = "",
        filename: str = "",
        org: str = "",
    ) -> str:
        """Stores a definition and returns its id. Raises Problem with every violation."""
        definition = await self.submitting.register(source, methods or {}, path, filename, org or self.config.org)
        return definition.id

    async def submit(
        self,
        definition_id: str,
        submissions: Sequence[Submission],
        *,
        org: str = "",
        watcher: Watcher | None = None,
        also: Callable[[Sequence[Submission]], None] | None = None,
    ) -> list[str]:
        """Accepts jobs and returns their ids after the commit; see :meth:`Submitting.submit`. Raises Problem."""
        return await self.submitting.submit(definition_id, submissions, org or self.config.org, watcher, also)

    async def submit_request(
        self,
        request: jobs.SubmitJobsRequest,
        org: str,
        watcher: Watcher | None,
        *,
        asked: str = "",
        user: str = "",
        repeated: set[str] | None = None,
    ) -> list[str]:
        """The same as it comes over the wire: see :meth:`Submitting.request`."""
        return await self.submitting.request(
            request, org or self.config.org, watcher, asked=asked, repeated=repeated, user=user
        )

    # --- commands ---------------------------------------------------------------------------------------------------

    async def cancel(self, job_id: str, reason: str = "", *, org: str = "") -> None:
        """Cancels a job; one that has ended stays as it is. Raises Problem NOT_FOUND."""
        core = self.pump.now()
        if self._is_live(job_id, org):
            core.cancel(job_id, reason or "cancelled by request")
            await self.pump.commit()
        else:
            await self._row(job_id, org)

    async def pause(self, job_id: str, *, org: str = "") -> None:
        """A job that has begun pauses until it is resumed. Raises Problem NOT_FOUND, FAILED_PRECONDITION."""
        core = self.pump.now()
        if not self._is_live(job_id, org):
            row = await self._row(job_id, org)
            raise problem("FAILED_PRECONDITION", f"job {job_id} is {row[5]!s}: only a job that runs can pause")
        try:
            core.pause(job_id)
        except IllegalTransition as error:
            raise problem("FAILED_PRECONDITION", f"job {job_id}: {error}") from error
        await self.pump.commit()

    async def resume(self, job_id: str, *, org: str = "") -> None:
        """A paused job goes on. Raises Problem NOT_FOUND, FAILED_PRECONDITION."""
        core = self.pump.now()
        if not self._is_live(job_id, org):
            row = await self._row(job_id, org)
            raise problem("FAILED_PRECONDITION", f"job {job_id} is {row[5]!s}: only a paused job can go on")
        try:
            core.resume(job_id)
        except IllegalTransition as error:
            raise problem("FAILED_PRECONDITION", f"job {job_id}: {error}") from error
        await self.pump.commit()

    async def retry(self, job_id: str, *, hard: bool = False, version: str = "", key: str = "", org: str = "") -> bool:
        """Runs an ended job again; False where its key says that this was done before. See :func:`restart`."""
        return await restart(self, job_id, hard=hard, version=version, key=key, org=org or self.config.org)

    # --- reading ----------------------------------------------------------------------------------------------------

    async def document(self, job_id: str, *, org: str = "") -> dict[str, Any]:
        """The whole document of a job. Raises Problem NOT_FOUND."""
        row = await self._row(job_id, org)
        number = int(row[0] or 0)
        definition = await self.submitting.definition(str(row[3]))
        tasks, params, left = await self.pump.read(
            lambda: (self.store.tasks(number), self.store.params([number]), self.store.checkpoints(number))
        )
        children: dict[int, dict[str, Any]] = {}
        if task_children.has_children(definition.model):
            live = task_children.live_jobs(self.pump.core, job_id)
            children = await self.pump.read(
                lambda: task_children.read_children(self.store, str(row[2]), number, tasks, definition.model, live)
            )
        given, variables = params.get(number, (b"", None))
        make = partial(documents.full, row, tasks, definition.model, given, variables)
        document = await self.pump.read(make) if documents.is_large(tasks, given, variables) else make()
        document["definition_id"], document["definition_version"] = definition.id, abs(int(definition.row[3] or 0))
        for position, found in children.items():
            document["tasks"][position]["children"] = found
        if any(task.asks_people for task in definition.model.tasks) or any(task[2] == life.APPROVAL for task in tasks):
            await self.approvals.add_to(document, number, str(row[2]))
        documents.add_checkpoints(document, left)
        for position, (fraction, message) in self._progress.get(job_id, {}).items():
            if not is_element(position) and document["tasks"][position]["state"] in (life.DISPATCHED, life.EXECUTING):
                document["tasks"][position]["progress"] = {"fraction": fraction, "message": message}
        return document

    async def elements(
        self,
        job_id: str,
        task_type: str,
        *,
        states: Iterable[str] = (),
        size: int = 100,
        after: int = -1,
        org: str = "",
    ) -> list[tuple[int, dict[str, Any]]]:
        """At most `size` elements of a task that have begun, with their index, from above the index `after`.

        Raises:
            Problem: NOT_FOUND of the job or the task; VALIDATION_FAILED naming every unknown state.
        """
        row = await self._row(job_id, org)
        definition = await self.submitting.definition(str(row[3]))
        wanted = task_children.known_states(states)
        position = definition.model.index.get(task_type)
        if position is None:
            raise task_children.no_such_task(job_id, task_type, definition.model)
        number = int(row[0] or 0)

        def read() -> list[tuple[int, dict[str, Any]]]:
            rows = self.store.elements(number, position, after=after, limit=size, states=wanted)
            return [(index_of(int(one[1] or 0)), documents.element(task_type, one)) for one in rows]

        return await self.pump.read(read)

    async def page(
        self, *, states: Iterable[str] = (), job_type: str = "", size: int = 100, before: int = 0, org: str = ""
    ) -> list[Row]:
        """At most `size` rows of jobs, newest first, from below the number `before` (0 = from the newest).

        Raises:
            Problem: VALIDATION_FAILED naming every unknown state.
        """
        wanted = [life.ALIASES.get(state.upper(), state.upper()) for state in states]
        known = ", ".join(life.JOB_STATES)
        unknown = [
            FieldError(f"states[{at}]", "UNKNOWN_VALUE", f"{state[:40]} is no state of a job; one of {known}.")
            for at, state in enumerate(wanted)
            if state not in life.JOB_STATES
        ]
        if unknown:
            raise problem("VALIDATION_FAILED", unknown[0].message, errors=unknown)
        pages = self.store.jobs(
            org or self.config.org, states=wanted, job_type=job_type, limit=size, page=size, before=before
        )
        return await self.pump.read(lambda: next(pages, []))

    async def definitions(
        self,
        *,
        job_type: str = "",
        after: tuple[str, int] = ("", 0),
        size: int = 100,
        with_source: bool = False,
        org: str = "",
    ) -> list[Row]:
        """At most `size` rows of definitions by job type, newest version first, from behind `after`."""
        wanted = org or self.config.org
        return await self.pump.read(
            lambda: self.store.definitions(wanted, job_type=job_type, after=after, limit=size, with_source=with_source)
        )

    async def version(self, job_type: str, version: str, *, org: str = "") -> Row:
        """The row of a definition by number, ``latest``, `sem_version` or id. Raises Problem NOT_FOUND."""
        model, of = self.pump.definitions.model, org or self.config.org
        row = await self.pump.read(lambda: find_version(self.store, model, of, job_type, version))
        if row is None:
            raise problem("NOT_FOUND", f"there is no version {version[:60]!r} of {job_type[:100]!r}")
        return row

    async def follow(self, job_id: str, *, org: str = "") -> AsyncIterator[dict[str, Any]]:
        """The document now and after each change, until the job has ended. Raises Problem NOT_FOUND."""
        with self.touches(job_id) as changed:
            await self.pump.settle()  # a batch that was cut before would end without telling this follower
            while True:
                changed.clear()
                document = await self.document(job_id, org=org)
                yield document
                if document["state"] in life.JOB_ENDED:
                    return
                await changed.wait()

    @contextmanager
    def touches(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at each commit that changes the job or its tasks, and at each of their log lines."""
        changed = asyncio.Event()
        self._followers.setdefault(job_id, []).append(changed)
        self.pump.core.followed.add(job_id)
        try:
            yield changed
        finally:
            rest = self._followers[job_id]
            rest.remove(changed)
            if not rest:
                del self._followers[job_id]
                self.pump.core.followed.discard(job_id)

    async def ended(self, ids: Sequence[str]) -> dict[str, JobEnded]:
        """Waits until all of these jobs have ended. Raises Problem NOT_FOUND."""
        waiter = _Waiter(set(ids))
        await self.watch(list(ids), waiter)
        await waiter.done.wait()
        return waiter.found

    def log_lines(self, job_id: str, *, task_type: str = "", offset: int = 0) -> tuple[list[LogRecord], int]:
        """Log lines from `offset` on and the next offset; blocking."""
        return self.logs.read(job_id, task_type=task_type, offset=offset)

    async def explain(self, job_id: str, *, org: str = "") -> Explanation:
        """Why a job does not run now. Raises Problem NOT_FOUND."""
        core = self.pump.now()
        if self._is_live(job_id, org):
            job = core.jobs[job_id]
            gang = job.definition.gang  # of what a single task lacks each gate tells
            never = never_starts(core, job.definition, job.submitted_by or "") if gang is not None else ""
            return explaining.explain(core, job, never)
        document = documents.summary(await self._row(job_id, org))
        error = document["error"] or {}
        return explaining.ended(job_id, document["state"], error.get("code", ""), error.get("detail", ""))

    async def estimate(self, job_id: str, *, deadline_at: float = 0.0, org: str = "") -> Estimate | None:
        """When a job that waits will start; None where it does not wait. Raises Problem NOT_FOUND."""
        self.pump.now()
        if self._is_live(job_id, org):
            return await self.forecasting.of_job(job_id, deadline_at)
        await self._row(job_id, org)
        return None

    async def row(self, job_id: str, *, org: str = "") -> Row:
        """The committed row of a job (JOB_COLUMNS). Raises Problem NOT_FOUND."""
        return await self._row(job_id, org)

    def _is_live(self, job_id: str, org: str) -> bool:
        job = self.pump.core.jobs.get(job_id)
        return job is not None and job.org == (org or self.config.org)

    async def _row(self, job_id: str, org: str) -> Row:
        row = await self.pump.read(lambda: self.store.job(org or self.config.org, job_id))
        if row is None:
            raise problem("NOT_FOUND", f"there is no job {job_id[:40]!r}; `formicary list` shows those that are")
        return row

    def _observe(self, wanted: bool) -> None:
        self.pump.core.observed = wanted

    # --- watching ---------------------------------------------------------------------------------------------------

    def watch_new(self, ids: Iterable[str], watcher: Watcher) -> None:
        """Watches jobs that are being submitted in this very event."""
        watchers = self._watchers
        for job_id in ids:
            watchers.setdefault(job_id, []).append(watcher)

    async def watch(self, ids: list[str], watcher: Watcher, *, org: str = "") -> None:
        """Watches jobs; those that have ended are told at once. Raises Problem NOT_FOUND."""
        unknown = [job_id for job_id in ids if not self._is_live(job_id, org)]
        for job_id in unknown:
            if job_id in self.pump.core.jobs:
                await self._row(job_id, org)  # of another organisation: not found
        self.watch_new(ids, watcher)
        if unknown:
            await self.pump.settle()
        for job_id in unknown:
            row = await self._row(job_id, org)
            if row[5] in life.JOB_ENDED:
                self._tell_ended([await self._end_of(row)])

    async def _end_of(self, row: Row) -> JobEnded:
        tasks = await self.pump.read(lambda: self.store.tasks(int(row[0] or 0)))
        merged: dict[str, Any] = {}
        for task in sorted((task for task in tasks if task[14]), key=lambda task: int(task[21] or 0)):
            merged.update(documents.decode_outputs(task[14]))
        outputs = self.encode(merged) if merged else b""
        return JobEnded(str(row[1]), str(row[5]), outputs, str(row[18] or ""), str(row[19] or ""))

    def unwatch(self, watcher: Watcher) -> None:
        """Forgets a watcher that has gone."""
        gone = [job_id for job_id, found in self._watchers.items() if watcher in found]
        for job_id in gone:
            rest = [other for other in self._watchers[job_id] if other is not watcher]
            if rest:
                self._watchers[job_id] = rest
            else:
                del self._watchers[job_id]

    def _reloaded(self) -> None:
        """The store was read again: a commit may have counted that nobody here was told of."""
        self.submitting.begin()
        self.events.interrupted()
        self.outbox.wake()
        if self.config.schedules:
            self.schedules.reloaded()
            self.triggers.reloaded()

    def _tell_ended(self, ended: list[JobEnded]) -> None:
        watchers, progress = self._watchers, self._progress
        self.submitting.ended(ended)
        for end in ended:
            if progress:
                progress.pop(end.id, None)
            for watcher in watchers.pop(end.id, ()):
                watcher.job_ended(end)

    def _tell_touched(self, ids: set[str]) -> None:
        for job_id in ids:
            for changed in self._followers.get(job_id, ()):
                changed.set()

    # --- ants -------------------------------------------------------------------------------------------------------

    async def serve_ant(
        self, messages: AsyncIterator[ants.AntMessage], send: Callable[[ants.QueenMessage], Awaitable[None]]
    ) -> None:
        """Serves one stream of an ant to its end, whatever carries it. Raises Problem."""
        await AntSession(self, send).run(messages)

    async def serve_client(
        self,
        messages: AsyncIterator[jobs.ClientMessage],
        send: Callable[[jobs.ServerMessage], Awaitable[None]],
        *,
        org: str = "",
        user: str = "",
    ) -> None:
        """Serves one stream of a client to its end."""
        await ClientSession(self, org or self.config.org, send, user).run(messages)

    def ant_joined(self, session: int, peer: Peer, hello: Hello) -> Welcome:
        """A stream of an ant has begun."""
        welcome = self.pump.now().connect(session, hello)
        self.pump.peers[session] = peer
        self.pump.wake()
        return welcome

    def ant_left(self, session: int) -> None:
        """A stream of an ant has ended."""
        self.pump.peers.pop(session, None)
        if self.ready:
            self.pump.now().disconnect(session)
            self.pump.wake()

    def bury_ant(self, ant_id: str) -> None:
        """The ant's process is known to be dead: its tasks go to others at once."""
        if self.ready:
            self.pump.now().bury(ant_id)
            self.pump.wake()

    def task_spec(self, definition_id: str, position: int) -> TaskSpec:
        """A task as an ant gets it."""
        key = (definition_id, position)
        found = self._specs.get(key)
        if found is None:
            definition = self.pump.core.definitions[definition_id]
            task, others = definition.model.tasks[position], definition.model.tasks
            needed = [other for other in others if other.task_type in task.dependencies]
            inputs = [other.task_type for other in needed if other.artifacts or joins(other)]
            path = str(definition.row[6] or "")
            found = self._specs[key] = TaskSpec(task_to_json(task), definition.job_type, path, tuple(inputs))
        return found

    def progressed(self, session: int, token: int, fraction: float, message: str) -> None:
        """An attempt says how far it is; shown, never stored."""
        run = self.pump.core.leases.held_by(session, token)
        if run is not None:
            run.fraction = fraction
            self._progress.setdefault(run.job.id, {})[run.position] = (fraction, message)
            self._tell_touched({run.job.id})

    def checkpointed(self, session: int, token: int, value: bytes) -> None:
        """An attempt leaves something for the next one; why it is not kept stands in the task's log."""
        core = self.pump.now()
        run = core.leases.held_by(session, token)
        refusal = core.checkpoint(session, token, value)
        if refusal and run is not None:
            line = LogRecord(run.task.task_type, run.attempts, core.wall, ENGINE, refusal)
            self.logged(run.job.id, [line])

    def logged(self, job_id: str, records: list[LogRecord]) -> None:
        """Log lines of an attempt."""
        self.logs.append(job_id, records)
        if job_id in self._followers:
            self._tell_touched({job_id})

    async def _flush_logs(self) -> None:
        while True:
            await asyncio.sleep(self.config.log_flush_s)
            if self.tracer is not None:
                self.tracer.sweep(self.pump.core.leases.tokens)
            if self.logs.pending():
                try:
                    await asyncio.to_thread(self.logs.flush)
                except StoreError as error:
                    log.warning("log lines are kept in memory for now: %s", error)


class _Waiter:
    """Collects the ends of a set of jobs."""

    def __init__(self, ids: set[str]) -> None:
        self.left = ids
        self.found: dict[str, JobEnded] = {}
        self.done = asyncio.Event()
        if not ids:
            self.done.set()

    def job_ended(self, end: JobEnded) -> None:
        """One of them has ended."""
        self.found[end.id] = end
        self.left.discard(end.id)
        if not self.left:
            self.done.set()
