"""What one commit holds, and what may happen only after it: the core's output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from formicary.engine.jobs.configs import NO_CONFIGS, ConfigView
from formicary.engine.jobs.model import JobDefinition
from formicary.engine.queen.core.occurrences import Occurrence
from formicary.engine.storage.port import Changes, Row


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """A granted attempt on its way to an ant."""

    token: int
    definition_id: str
    position: int
    rendered: bytes | None
    job_id: str
    execution: int
    attempt: int
    variables: bytes
    timeout_s: float
    secrets: frozenset[str] = frozenset()
    """Ids of the secrets that may stand in the task and the variables."""
    checkpoint: bytes = b""
    """What an earlier attempt has left, empty = nothing."""
    devices: tuple[str, ...] = ()
    """Of the ant, that it uses alone."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to a hello: which of the attempts it lists the ant may go on with, and which it has to forget."""

    epoch: int
    keep: tuple[int, ...]
    kill: tuple[int, ...]


@dataclass(slots=True)
class Outgoing:
    """What one session is told after the commit, the welcome first."""

    assignments: list[Assignment] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    at_once: list[int] = field(default_factory=list)
    """Those of the cancelled that are left no grace."""
    grace_s: dict[int, float] = field(default_factory=dict)
    """Seconds that some of the cancelled are left; the others as their ant says."""
    welcome: Welcome | None = None
    observe: bool | None = None
    """Whether the ant is to say what its tasks use; None = as before."""

    def leave(self, token: int, grace_s: float | None) -> None:
        """Says how long a cancelled attempt is left to end by itself; None = as its ant is configured."""
        if grace_s is not None and grace_s > 0:
            self.grace_s[token] = grace_s
        elif grace_s is not None:
            self.at_once.append(token)

    @property
    def is_urgent(self) -> bool:
        """Whether it holds more than acknowledgements."""
        return bool(self.assignments or self.cancelled or self.welcome is not None or self.observe is not None)


class JobEnded(msgspec.Struct, frozen=True, gc=False):
    """A job that reached its end in this batch."""

    id: str
    state: str
    outputs: bytes
    error_code: str
    error_message: str


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """Templates to render off the loop; the answer comes back as `Core.rendered` with the same request.

    `position` None asks for the job's preparation: `skip_if` and the job's variables. `retries` are those of the job,
    pauses included; `task_retries` those of the task: failures, polls and restarts. `row` is the definition's.
    """

    job_id: str
    execution: int
    position: int | None
    attempt: int
    definition: JobDefinition
    row: Row
    org: str
    retries: int
    task_retries: int
    started_at: float
    params: bytes
    variables: bytes | None
    outputs: dict[str, dict[str, object]]
    now: float
    seed: int
    configs: ConfigView = NO_CONFIGS
    user: str = ""
    element: Mapping[str, object] | None = None
    """Variables of an element of a task that fans out; None: only what such a task says of its fan-out is wanted."""


@dataclass(frozen=True, slots=True)
class TemplateJob:
    """A job that a rendered template submits; it begins with the commit of what was rendered.

    Attributes:
        id: Always the same for the same job, execution, task and content.
        row: Row of its definition.
        model: The definition.
        params: Its parameters, JSON.
        key: Idempotency key of what the job is about; empty = none.
    """

    id: str
    row: Row
    model: JobDefinition
    params: bytes
    key: str = ""


@dataclass(frozen=True, slots=True)
class ChildrenRequest:
    """What a task that composes jobs has to know; the answer comes back as `Core.found` with the same request.

    `job_type` empty asks for no definition; `version` empty for the newest. `ids` are jobs that may have ended.
    """

    job_id: str
    execution: int
    position: int
    attempt: int
    org: str
    job_type: str
    version: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExpandRequest:
    """A job to fork whose template makes its tasks; the answer comes back as `Core.expanded` with the same request.

    Attributes:
        job_id: The job whose task forks it.
        execution: Of that job.
        position: Of the task.
        attempt: Of the task.
        index: Of the forked job among those of the task.
        row: Row of the definition with the template.
        model: That definition.
        params: Of the forked job, JSON.
        configs: What the forked job sees of the configurations.
    """

    job_id: str
    execution: int
    position: int
    attempt: int
    index: int
    row: Row
    model: JobDefinition
    params: bytes
    configs: ConfigView = NO_CONFIGS


@dataclass(frozen=True, slots=True)
class ChoreRequest:
    """A task whose work the queen does itself; the answer comes back as `Chores.answered` with the same request."""

    job_id: str
    execution: int
    position: int
    attempt: int
    method: str


@dataclass(frozen=True, slots=True)
class Children:
    """The answer: the definition to fork, or why there is none, and those of the jobs that have ended."""

    definition: tuple[Row, JobDefinition] | None
    problem: str
    ended: Mapping[str, JobEnded]


class Escalation(msgspec.Struct, frozen=True, gc=False):
    """A question to people that nobody has decided in time: those who are to be told, and what."""

    time: float
    org: str
    job_id: str
    job_type: str
    task_type: str
    recipients: tuple[str, ...]
    message: str
    missing: str
    """What is missing, in words."""


@dataclass(slots=True)
class Batch:
    """One commit: row images, and the effects that wait for it."""

    changes: Changes = field(default_factory=Changes)
    outgoing: dict[int, Outgoing] = field(default_factory=dict)
    """By session."""
    ended: list[JobEnded] = field(default_factory=list)
    load: list[int] = field(default_factory=list)
    """Numbers of jobs whose parameters are wanted; answered by `Core.loaded`."""
    render: list[RenderRequest] = field(default_factory=list)
    children: list[ChildrenRequest] = field(default_factory=list)
    expand: list[ExpandRequest] = field(default_factory=list)
    chores: list[ChoreRequest] = field(default_factory=list)
    closing: list[int] = field(default_factory=list)
    """Sessions that another stream of the same ant has replaced."""
    touched: set[str] = field(default_factory=set)
    """Ids of jobs that changed, for those who follow them."""
    keys: list[tuple[str, str]] = field(default_factory=list)
    occurrences: list[Occurrence] = field(default_factory=list)
    """For those who watch; empty while nobody does."""
    escalations: list[Escalation] = field(default_factory=list)
    """Questions whose deadline has passed."""

    notices: bool = False
    """There are notices to deliver."""

    def __bool__(self) -> bool:
        """True where there is anything to write or to do."""
        asks = self.load or self.render or self.children or self.expand or self.chores
        return bool(self.changes or self.outgoing or asks or self.closing or self.occurrences)

    def to(self, session: int) -> Outgoing:
        """What the session will be told."""
        out = self.outgoing.get(session)
        if out is None:
            out = self.outgoing[session] = Outgoing()
        return out
