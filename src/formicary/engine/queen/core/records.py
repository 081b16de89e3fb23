"""What the core keeps in memory, and the row images it is written as.

A pending job is one :class:`Job` of a few hundred bytes: its parameters stay in the store until its first task is about
to start. An :class:`Execution` exists only while a job runs; ended jobs leave memory at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.engine.jobs import lifecycle as life
from formicary.engine.jobs.amounts import Needs
from formicary.engine.jobs.fan_out import (
    as_element,
    definition_position,
    definition_task,
    element_name,
    element_routes,
    fans_out,
    index_of,
    is_element,
    task_name,
    whole_routes,
)
from formicary.engine.jobs.flow import Flow, Plan, Routes
from formicary.engine.jobs.gang import gang_of
from formicary.engine.jobs.locks import Locks, beyond, locks_of, together
from formicary.engine.jobs.model import COMPOSING_METHODS, QUEEN_METHODS, JobDefinition, TaskDefinition, task_to_json
from formicary.engine.jobs.notices import Channel, read_channels
from formicary.engine.jobs.quality import asks, holds
from formicary.engine.queen.core.task_breakers import task_gate
from formicary.engine.queen.core.timers import Timer
from formicary.engine.scheduling.affinity import JOB, JOB_LABEL, Neighbours, affinity_text, labels_text
from formicary.engine.scheduling.demand import Demand, Lock
from formicary.engine.scheduling.devices import Devices
from formicary.engine.scheduling.devices import as_text as devices_text
from formicary.engine.scheduling.queues.ledger import Charge
from formicary.engine.scheduling.requirements import as_text
from formicary.engine.storage.port import Row

if TYPE_CHECKING:
    from formicary.engine.queen.core.gangs import GangRun

_NAME = b'{"task_type":'
"""How the JSON of a task begins."""
EPOCH_SHIFT = 40
"""A lease token is `epoch << EPOCH_SHIFT | counter`: one integer that only grows."""


class Notices:
    """Who is told of the ends of a definition's jobs and tasks."""

    __slots__ = ("job", "tasks")

    def __init__(self, job: tuple[Channel, ...], tasks: tuple[tuple[Channel, ...], ...]) -> None:
        self.job = job
        self.tasks = tasks


def notices_of(model: JobDefinition) -> Notices | None:
    """Who is told, None where nobody is."""
    job = read_channels(model.notify, model.webhook)
    tasks = tuple(
        read_channels(task.notify, task.webhook, of_task=True) if task.notify or task.webhook else ()
        for task in model.tasks
    )
    return Notices(job, tasks) if job or any(tasks) else None


class Definition:
    """A definition as the core uses it: the plan and what decides where its tasks may run."""

    __slots__ = (
        "_elements",
        "asks",
        "demand",
        "demands",
        "first",
        "gang",
        "gate",
        "id",
        "job_type",
        "locks",
        "model",
        "needs_preparation",
        "notices",
        "org",
        "plan",
        "repels_its_own",
        "row",
        "simple",
        "start",
    )

    def __init__(self, row: Row, model: JobDefinition) -> None:
        self.row = row
        self.id, self.org = str(row[0]), str(row[1])
        self.model = model
        self.locks = locks_of(model.resources)
        """What its jobs hold from their start to their end."""
        self.job_type = model.job_type
        self.plan = Plan(model)
        self.notices = notices_of(model)
        self.gate = (self.org, model.job_type) if model.max_concurrency or model.circuit_breaker else None
        self.gang = gang_of(model.gang, model.index)
        self.repels_its_own = any(map(_repels_its_own, model.tasks))
        """Some of its tasks keep others of the same job off."""
        self.demands = tuple(self.demand_of(task) if task.is_static else None for task in model.tasks)
        starts = self.plan.starts or self.plan.finals
        self.asks = any(asks(model.tasks[at]) for at in starts)
        """Its first tasks name amounts that they hold."""
        self.needs_preparation = bool(model.skip_if) or model.variables_templated
        self.start = starts[0] if starts else 0
        """Position of its first task."""
        task = model.tasks[self.start] if starts else None
        is_known = task is not None and task.is_placed and task.method not in QUEEN_METHODS
        self.first = first = self.demand_of(task) if task is not None and is_known else Demand.of("", frozenset())
        """What an ant must have for its first task, as far as that is known before it is rendered."""
        self.demand = first.gated(self.gate).locking(self._owned(together(self.locks, _unowned(first.locks))))
        # One static task that sees nothing but the request's parameters: they travel as the bytes they came in.
        task = model.tasks[0] if self.plan.single else None  # none at all before its template has made them
        seen = task is None or model.variables or task.variables or task.arguments or task.fan_out
        self._elements: dict[int, tuple[TaskDefinition, bytes]] = {}
        self.simple = task is not None and task.is_static and not seen

    def demand_of(self, task: TaskDefinition) -> Demand:
        """What an ant must have to run this task, and which virtual resources it takes beside those of its job."""
        locks = () if task.method in QUEEN_METHODS else beyond(locks_of(task.resources), self.locks)
        demand = demand_of(task).beside(self._affinity(task))
        return demand.gated(task_gate(self.org, self.model, task)).locking(self._owned(locks))

    def _affinity(self, task: TaskDefinition) -> str:
        if not (task.affinity or self.repels_its_own) or task.method in QUEEN_METHODS or task.method == "KUBERNETES":
            return ""
        labels = {**labels_of(self.model, task), JOB_LABEL: JOB}
        own = affinity_text(self.org, labels, task.affinity)
        return own or (labels_text(self.org, labels) if self.repels_its_own else "")

    def _owned(self, locks: Locks) -> tuple[Lock, ...]:
        return tuple((self.org, name, amount) for name, amount in locks)

    @property
    def own_locks(self) -> tuple[Lock, ...]:
        """What its jobs hold from their start to their end, with the organisation."""
        return self._owned(self.locks)

    def element(self, position: int) -> tuple[TaskDefinition, bytes]:
        """What an element of a task without templates runs, and its JSON as it is sent; that is made once."""
        home = definition_position(position)
        name = self.model.tasks[home].task_type
        found = self._elements.get(home)
        if found is None:
            task = as_element(self.model.tasks[home], 0)
            start = len(_NAME + msgspec.json.encode(task.task_type))
            found = self._elements[home] = (task, task_to_json(task)[start:])
        return found[0], _NAME + msgspec.json.encode(element_name(name, index_of(position))) + found[1]


def demand_of(task: TaskDefinition) -> Demand:
    """What an ant must have to run this task."""
    affinity = task.affinity if task.method != "KUBERNETES" else None
    match, devices = as_text(task.placement, affinity), devices_text(task.devices)
    return Demand.of(task.method, task.tags, needs=holds(task), match=match, devices=devices)


def labels_of(model: JobDefinition, task: TaskDefinition) -> dict[str, str]:
    """Labels by which affinity finds a task: those of its job, its own and those of its pod."""
    labels = {"job_type": model.job_type, "task_type": task_name(task.task_type)}
    return {**labels, **model.labels, **task.labels, **task.pod_labels}


def _repels_its_own(task: TaskDefinition) -> bool:
    away = (task.affinity or {}).get("podAntiAffinity")
    return away is not None and msgspec.json.encode(JOB_LABEL) in msgspec.json.encode(away)


def _unowned(locks: tuple[Lock, ...]) -> Locks:
    return tuple((name, amount) for _, name, amount in locks)


class Job:
    """One job request."""

    __slots__ = (
        "clock_left_s",
        "dead_letter",
        "deadline_at",
        "definition",
        "ended_at",
        "error_code",
        "error_message",
        "execution",
        "id",
        "number",
        "org",
        "params",
        "pauses",
        "priority",
        "retries",
        "run",
        "scheduled_at",
        "started_at",
        "state",
        "submitted_at",
        "submitted_by",
        "timer",
        "timer_at",
        "variables",
        "verdict",
    )

    def __init__(self, number: int, job_id: str, org: str, definition: Definition, priority: int, wall: float) -> None:
        self.number = number
        self.id = job_id
        self.org = org
        self.definition = definition
        self.priority = priority
        self.submitted_at = wall
        self.state = life.PENDING
        self.scheduled_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.execution = 0
        self.retries = 0
        self.pauses = 0
        self.timer_at: float | None = None
        self.deadline_at: float | None = None
        self.clock_left_s: float | None = None
        self.verdict: str | None = None
        self.error_code: str | None = None
        self.error_message: str | None = None
        self.dead_letter = 0
        self.submitted_by: str | None = None
        self.params: bytes | None = None
        self.variables: bytes | None = None
        self.run: Execution | None = None
        self.timer: Timer | None = None

    @property
    def waiting_since(self) -> float:
        """When it could have begun, in seconds since the epoch."""
        return max(self.submitted_at, self.scheduled_at or 0.0)

    def row(self) -> Row:
        """The image in the order of JOB_COLUMNS."""
        definition = self.definition
        return (
            self.number,
            self.id,
            self.org,
            definition.id,
            definition.job_type,
            self.state,
            self.priority,
            self.submitted_at,
            self.scheduled_at,
            self.started_at,
            self.ended_at,
            self.execution,
            self.retries,
            self.pauses,
            self.timer_at,
            self.deadline_at,
            self.clock_left_s,
            self.verdict,
            self.error_code,
            self.error_message,
            self.dead_letter,
            self.submitted_by,
        )

    @classmethod
    def from_row(cls, row: Row, definition: Definition) -> Job:
        """The job that a row of JOB_COLUMNS describes, without parameters."""
        job = cls(int(row[0] or 0), str(row[1]), str(row[2]), definition, int(row[6] or 0), float(row[7] or 0.0))
        values: Any = row
        job.state = values[5]
        (job.scheduled_at, job.started_at, job.ended_at, job.execution, job.retries, job.pauses) = values[8:14]
        (job.timer_at, job.deadline_at, job.clock_left_s, job.verdict) = values[14:18]
        (job.error_code, job.error_message, job.dead_letter, job.submitted_by) = values[18:22]
        return job


class TaskRun:
    """One task of one execution, or one element of a task that fans out, over all its attempts."""

    __slots__ = (
        "alone",
        "ant",
        "attempts",
        "cancelling",
        "charge",
        "element",
        "ended_at",
        "ended_order",
        "error_code",
        "error_message",
        "exit_code",
        "failures",
        "fraction",
        "granted_at",
        "holder",
        "is_element",
        "job",
        "lost",
        "needs",
        "outputs",
        "polls",
        "position",
        "preempting",
        "ran_s",
        "rendered",
        "rendering",
        "routed_to",
        "signal",
        "skipped",
        "started_at",
        "state",
        "task",
        "timer",
        "timer_at",
        "token",
        "traceback",
    )

    def __init__(self, job: Job, position: int, task: TaskDefinition) -> None:
        self.job = job
        self.position = position
        self.is_element = is_element(position)
        """It is one element of a task that fans out."""
        self.task = task
        self.attempts = self.token = 0
        self.element: dict[str, object] | None = None
        """Of an element: the variables that hold it."""
        self.needs: Needs = ()
        """What the present attempt holds of its ant."""
        self.charge: Charge | None = None
        """Whom it is charged to, where there are queues."""
        self.fraction: float | None = None
        """How far the attempt is, 0 to 1, where it says so."""
        self.ran_s: float | None = None
        """How long the attempt that has just ended ran, as its ant says."""
        self.granted_at = 0.0
        self.reset()

    def reset(self, *, hard: bool = False) -> None:
        """As before its first attempt, for another execution; the number of attempts goes on.

        A task that composes jobs has no lease: its `token` is the attempt behind which completed children count again.
        That of a task that fans out tells its list, so that what has completed counts for the same list only.
        """
        if self.fans:
            self.token = 0 if hard else self.token
        elif not self.composes:
            self.token = 0
        elif hard:
            self.token = self.attempts
        self.state: str = life.PENDING
        self.failures = 0
        self.lost = 0
        self.polls = 0
        self.ant: str | None = None
        self.holder: Ant | None = None
        self.timer: Timer | None = None
        self.timer_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.outputs: bytes | None = None
        self.error_code: str | None = None
        self.error_message: str | None = None
        self.traceback: str | None = None
        self.rendered: bytes | None = None
        self.rendering = False
        self.skipped = 0
        self.routed_to: int | None = None
        self.ended_order: int | None = None
        self.cancelling = False
        self.preempting = False
        """The ant is asked to end the attempt, so that it begins again later."""
        self.alone = False
        """Of a gang that has started without it."""

    def clear_timer(self) -> None:
        """It waits for no time any more."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.timer_at = None

    @property
    def waiting_since(self) -> float:
        """As its job."""
        return self.job.waiting_since

    def row(self) -> Row:
        """The image in the order of TASK_COLUMNS."""
        return (
            self.job.number,
            self.position,
            self.state,
            self.attempts,
            self.failures,
            self.lost,
            self.polls,
            self.token,
            self.ant,
            self.timer_at,
            self.started_at,
            self.ended_at,
            self.exit_code,
            self.signal,
            self.outputs,
            self.error_code,
            self.error_message,
            self.traceback,
            self.rendered,
            self.skipped,
            self.routed_to,
            self.ended_order,
        )

    @classmethod
    def from_row(cls, row: Row, job: Job) -> TaskRun:
        """The run that a row of TASK_COLUMNS describes; a rendered task is decoded by the caller."""
        values: Any = row
        run = cls(job, values[1], definition_task(job.definition.model, values[1]))
        (run.state, run.attempts, run.failures, run.lost, run.polls, run.token, run.ant, run.timer_at) = values[2:10]
        (run.started_at, run.ended_at, run.exit_code, run.signal, run.outputs) = values[10:15]
        (run.error_code, run.error_message, run.traceback, run.rendered) = values[15:19]
        (run.skipped, run.routed_to, run.ended_order) = values[19:22]
        return run

    @property
    def composes(self) -> bool:
        """It forks jobs or waits for them."""
        return self.task.method in COMPOSING_METHODS

    @property
    def fans(self) -> bool:
        """It runs once per element of a list."""
        return self.task.fan_out is not None and not self.is_element and fans_out(self.task)

    @property
    def source(self) -> TaskDefinition:
        """The task as its definition has it; of an element: the task that fans out."""
        return definition_task(self.job.definition.model, self.position)

    @property
    def name(self) -> str:
        """What it is called: its `task_type`, with its index where it is an element."""
        if self.is_element:
            return element_name(self.source.task_type, index_of(self.position))
        return self.task.task_type

    @property
    def demand(self) -> Demand:
        """What an ant must have to run it."""
        position = definition_position(self.position) if self.is_element else self.position
        return self.job.definition.demands[position] or self.job.definition.demand_of(self.task)

    @property
    def routes(self) -> Routes:
        """Where it leads, as rendered for this execution if there are templates."""
        job = self.job
        own = job.run.routes.get(self.position) if job.run is not None else None
        if self.task.fan_out is None and not self.is_element:
            return own if own is not None else job.definition.plan.routes[self.position]
        routes = own if own is not None else job.definition.plan.routes[definition_position(self.position)]
        return element_routes(routes) if self.is_element else whole_routes(routes) if self.fans else routes

    @property
    def awaits(self) -> bool:
        """It has begun and waits for jobs or its elements; what it waits for is in its rendered task."""
        waits = self.state == life.WAITING and self.rendered is not None and not self.rendering
        return waits and (self.composes or self.fans)

    def is_active(self) -> bool:
        """It has begun and not ended."""
        return self.state != life.PENDING and self.state not in life.TASK_ENDED

    def kept(self) -> bool:
        """It COMPLETED and does not run again when its job is restarted softly."""
        return self.state == life.COMPLETED and not self.task.always_run and not self.task.allow_start_if_completed

    def failed_hard(self) -> bool:
        """It FAILED (or was cancelled) and that is not allowed."""
        return (self.state == life.FAILED and not self.task.allow_failure) or self.state == life.CANCELLED


def runs_of(job: Job, rows: Iterable[Row]) -> list[TaskRun]:
    """The tasks of a job; rows of an earlier version with more tasks are left out."""
    size = len(job.definition.model.tasks)
    return [TaskRun.from_row(row, job) for row in rows if definition_position(int(row[1] or 0)) < size]


class Execution:
    """A job that is running: its graph and its tasks that have begun."""

    __slots__ = (
        "active",
        "asking",
        "children",
        "elements",
        "final",
        "flow",
        "gang",
        "made",
        "outputs",
        "parked",
        "preparing",
        "routes",
        "runs",
        "shared",
        "version",
    )

    def __init__(self, plan: Plan) -> None:
        self.flow = Flow(plan)
        self.runs: dict[int, TaskRun] = {}
        """Tasks of the definition by position."""
        self.elements: dict[int, TaskRun] = {}
        """Elements of those that fan out, by position."""
        self.gang: GangRun | None = None
        """Members that wait to start together."""
        self.active = 0
        """Tasks that have begun and not ended; elements count with their task."""
        self.asking = 0
        """Those of them that wait for people."""
        self.children = 0
        """Jobs that its tasks have forked."""
        self.final = False
        """The final phase has begun."""
        self.preparing = False
        """`skip_if` and the job's variables are being rendered."""
        self.parked: list[int] = []
        """Positions to activate when a paused job goes on."""
        self.outputs: dict[str, dict[str, Any]] = {}
        """Outputs by task type, in order of commit."""
        self.made: tuple[bytes, dict[str, Any]] | None = None
        """Outputs that the queen has made herself, as JSON and as they are, on their way there."""
        self.version = 0
        """Raised with each output."""
        self.shared: dict[int, tuple[object, int, object, bytes]] = {}
        """By position of a task that fans out: what its elements see, and what that was made of (`outcome.py`)."""
        self.routes: dict[int, Routes] = {}
        """Routes of rendered tasks, where they differ from the plan's."""

    def at(self, position: int) -> TaskRun | None:
        """The task or the element at a position, None where none has begun."""
        return (self.elements if is_element(position) else self.runs).get(position)

    def unbegun(self, positions: Iterable[int]) -> list[int]:
        """Those of the positions whose task has not begun in this execution."""
        found = ((position, self.runs.get(position)) for position in positions if not is_element(position))
        return [position for position, run in found if run is None or run.state == life.PENDING]


class Place:
    """Room on an ant that is kept for a job while its first task is rendered; it counts as an attempt does.

    Args:
        job: Which has begun.
        holder: The ant.
        token: Below zero: no attempt has it.
        wall: Seconds since the epoch.
    """

    __slots__ = ("charge", "granted_at", "holder", "job", "needs", "ran_s", "token")
    cancelling = preempting = False
    started_at: float | None = None

    def __init__(self, job: Job, holder: Ant, token: int, wall: float) -> None:
        self.job, self.holder, self.token, self.granted_at = job, holder, token, wall
        self.needs: Needs = job.definition.first.needs
        self.charge: Charge | None = None
        self.ran_s: float | None = 0.0
        """It is no work."""


class Ant:
    """One worker process, as long as its leases live."""

    __slots__ = (
        "announced",
        "connected",
        "devices",
        "draining",
        "held",
        "id",
        "key",
        "labels",
        "lease_until",
        "methods",
        "neighbours",
        "resources",
        "session",
        "slots",
        "stream",
        "tags",
        "timer",
        "used",
        "window",
    )

    def __init__(self, key: str, ant_id: str, neighbours: Neighbours, devices: Devices) -> None:
        self.key = key
        self.id = ant_id
        self.neighbours = neighbours
        """Which tasks are where, in the whole colony."""
        self.devices = devices
        """Those of the whole colony."""
        self.methods: frozenset[str] = frozenset()
        self.tags: frozenset[str] = frozenset()
        self.labels: Mapping[str, str] = {}
        self.announced: Mapping[str, float] = {}
        """Amounts that it has."""
        self.resources: Mapping[str, float] = {}
        self.used: dict[str, float] = {}
        """What the tasks that it holds have of them."""
        self.slots = 0
        self.window = 0
        self.session = 0
        """Number of the present stream, 0 = none."""
        self.stream = 0
        """The process's own count of its streams, as its last hello said."""
        self.connected = False
        self.draining = False
        self.held: dict[int, TaskRun | Place] = {}
        """By token: attempts, and places below zero."""
        self.lease_until = 0.0
        """On the core's monotonic clock."""
        self.timer: Timer | None = None

    @property
    def is_known(self) -> bool:
        """It has said what it offers: after a restart of the queen its tasks are known before."""
        return self.slots > 0

    def attempts(self) -> list[TaskRun]:
        """Those that it holds."""
        return [one for one in self.held.values() if isinstance(one, TaskRun)]

    def shown_devices(self) -> list[dict[str, object]]:
        """What it has, for people: name, attributes, whether a task has it."""
        held = self.devices.holders(self.id)
        return [
            {"name": name, "attributes": dict(device.labels), "in_use": name in held}
            for name, device in sorted(self.devices.of(self.key).items())
        ]
