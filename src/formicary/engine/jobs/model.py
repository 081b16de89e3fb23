"""What a job is: the immutable values that both front ends (YAML and Python) produce and the whole engine reads.

Field names are the names of the YAML fields. Where a value is normalised, the unit is appended (``timeout`` becomes
``timeout_s``). Scalars that are templates are not typed before they are rendered: a text field then holds the template
text, any other field holds its default, and the task says ``is_static = False``. Such a task is rendered and parsed
again when an attempt starts (:mod:`formicary.engine.jobs.rendering`). Where no template decides what its ant must have
(method, tags, resources, placement, affinity, devices), it says ``is_placed = True`` nevertheless.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from hashlib import sha256

import msgspec

from formicary.engine.jobs.cron import Cron
from formicary.engine.jobs.tenants import Tenant
from formicary.engine.jobs.triggers import Trigger

Json = object
"""A JSON value: None, bool, int, float, str, list or dict with str keys."""

MAX_TASKS = 10_000
"""Tasks per definition."""

MAX_SOURCE_BYTES = 256 * 1024
"""Size of one job file."""

DEFAULT_TASK_TIMEOUT_S = 3600.0
DEFAULT_JOB_TIMEOUT_S = 7200.0
DEFAULT_MAX_LOST_ATTEMPTS = 5
DEFAULT_HARD_RESET_AFTER_RETRIES = 3
MAX_PRIORITY = 10

ACTIONS = frozenset(
    {
        "COMPLETED",
        "FAILED",
        "FATAL",
        "EXECUTING",
        "RESTART_JOB",
        "RESTART_TASK",
        "PAUSE_JOB",
        "WAIT_FOR_APPROVAL",
    }
)
"""Targets of a route that are actions and not names of tasks; ``ERR_*`` is one too (:func:`is_action`)."""

METHODS = frozenset(
    {
        "SHELL",
        "PYTHON",
        "HTTP_GET",
        "HTTP_POST_FORM",
        "HTTP_POST_JSON",
        "HTTP_PUT_FORM",
        "HTTP_PUT_JSON",
        "HTTP_PATCH_JSON",
        "HTTP_DELETE",
        "DOCKER",
        "KUBERNETES",
        "WEBSOCKET",
        "MESSAGING",
        "FORK_JOB",
        "AWAIT_FORKED_JOB",
        "FAN_OUT_JOB",
        "MANUAL",
        "EXPIRE_ARTIFACTS",
    }
)
"""Every executor a job file may name."""

AVAILABLE_METHODS = frozenset(
    m for m in METHODS if m in {"SHELL", "PYTHON", "DOCKER", "MESSAGING", "WEBSOCKET"} or m.startswith("HTTP_")
)
"""The executors of this version."""

WORKER_TAG = "websocket-worker"
"""What registered workers offer and WEBSOCKET tasks without a URL need."""

CONTAINER_METHODS = frozenset({"DOCKER", "KUBERNETES"})
"""Methods that run in a container; without one they can run in a shell (``--method KUBERNETES=SHELL``)."""

SCRIPT_METHODS = CONTAINER_METHODS | {"SHELL"}
"""Methods whose scripts set outputs by name (``::set-output``)."""

COMPOSING_METHODS = frozenset({"FORK_JOB", "AWAIT_FORKED_JOB", "FAN_OUT_JOB"})
"""Methods that compose jobs."""

QUEEN_METHODS = COMPOSING_METHODS | {"MANUAL", "EXPIRE_ARTIFACTS"}
"""Methods that the queen carries out by itself; they hold no slot of any ant."""


_THIRD_PARTY = re.compile(r"[A-Z][A-Z0-9_]{0,49}(\.[A-Z][A-Z0-9_]{0,49}){1,3}")


def is_third_party(method: str) -> bool:
    """Says whether a method is one of a package beside the engine: ``VENDOR.NAME``; an ant may have it installed."""
    return _THIRD_PARTY.fullmatch(method) is not None


def is_action(target: str) -> bool:
    """Says whether the target of a route is an action (``RESTART_TASK``, ``ERR_NO_DISK``, …) and not a task's name."""
    return target in ACTIONS or target.startswith("ERR_")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a source text. ``line`` and ``column`` count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with a definition.

    Attributes:
        line: From 1.
        column: From 1, in characters.
        path: Where in the document, like ``tasks[2].retry``; empty for the document itself.
        code: Stable upper-case code, like ``UNKNOWN_FIELD``.
        message: One sentence that says what to do.
        severity: ``error`` (the job is refused) or ``warning`` (it runs).
    """

    line: int
    column: int
    path: str
    code: str
    message: str
    severity: str = "error"

    @property
    def is_error(self) -> bool:
        """Whether this violation refuses the definition."""
        return self.severity == "error"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff: the n-th retry waits ``min_s * factor ** (n - 1)``, at most ``max_s``, less the jitter.

    Attributes:
        min_s: Seconds before the first retry.
        max_s: Longest wait in seconds.
        factor: Growth per retry, at least 1.
        jitter: Whether the wait is drawn between half of it and all of it.
    """

    min_s: float = 1.0
    max_s: float = 60.0
    factor: float = 2.0
    jitter: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """A typed parameter of a job, as the Python front end reads it off a function.

    Attributes:
        name: Name of the variable.
        type: ``str``, ``int``, ``float``, ``bool``, ``list``, ``dict`` or ``any``.
        required: Whether a submission must give it.
        default: Value when it is not given.
    """

    name: str
    type: str = "any"
    required: bool = True
    default: Json = None


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """One task of a job. Every field is described in the field table (:mod:`formicary.engine.jobs.fields`).

    ``method`` is the effective method: defaults and ``--method`` mappings are already applied. ``tags`` are lower case.
    ``position`` is where the task starts in the source. ``extra_targets`` are tasks that only another arm of a template
    routes to; ``open_targets`` says that a route's target is itself a template, so that any task may be next.
    """

    task_type: str
    method: str = "SHELL"
    description: str = ""
    # flow
    on_completed: str | None = None
    on_failed: str | None = None
    on_exit_code: Mapping[str, str] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    allow_failure: bool = False
    always_run: bool = False
    allow_start_if_completed: bool = False
    except_: str | None = None
    extra_targets: tuple[str, ...] = ()
    open_targets: bool = False
    # time and retries
    timeout_s: float | None = None
    total_timeout_s: float | None = None
    delay_s: float | None = None
    retry: int | None = None
    delay_between_retries_s: tuple[float, float] | None = None
    retry_backoff: Backoff | None = None
    max_lost_attempts: int = DEFAULT_MAX_LOST_ATTEMPTS
    estimated_runtime_s: float | None = None
    # what runs
    before_script: tuple[str, ...] = ()
    script: tuple[str, ...] = ()
    after_script: tuple[str, ...] = ()
    url: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    function: str | None = None
    arguments: Mapping[str, Json] | None = None
    variables: Mapping[str, Json] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    helper_environment: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    execute_command_without_shell: bool = False
    # where it runs
    tags: frozenset[str] = frozenset()
    resources: Mapping[str, Json] | tuple[Mapping[str, Json], ...] | None = None
    devices: tuple[Mapping[str, Json], ...] = ()
    placement: Mapping[str, Json] | None = None
    affinity: Mapping[str, Json] | None = None
    cost_factor: float | None = None
    speculative_backup: Json = None
    circuit_breaker: Mapping[str, Json] | None = None
    # containers and pods
    container: Mapping[str, Json] | None = None
    helper: Mapping[str, Json] | None = None
    services: tuple[Mapping[str, Json], ...] = ()
    host_network: bool = False
    privileged: bool = False
    network_mode: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Json], ...] = ()
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    # artifacts and caches
    artifacts: Mapping[str, Json] | None = None
    artifact_ids: tuple[str, ...] = ()
    artifact_key_prefix: str | None = None
    artifacts_dir: str | None = None
    cache: Mapping[str, Json] | None = None
    cache_dir: str | None = None
    # children, approval, messages
    job_version: str | None = None
    fork_job_type: str | None = None
    fork_job_version: str | None = None
    await_forked_tasks: tuple[str, ...] = ()
    sub_workflow: Mapping[str, Json] | None = None
    fan_out: Mapping[str, Json] | None = None
    approval_policy: Mapping[str, Json] | None = None
    messaging_request_queue: str | None = None
    messaging_reply_queue: str | None = None
    webhook: Mapping[str, Json] | None = None
    notify: Mapping[str, Json] | None = None
    error_handling: Mapping[str, Json] | None = None
    # reports
    report_stdout: bool = False
    debug: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    # about the source
    is_static: bool = True
    is_placed: bool = True
    position: Position = Position(1, 1)

    @property
    def routes(self) -> Mapping[str, str]:
        """``on_exit_code`` with ``on_completed`` under COMPLETED and ``on_failed`` under FAILED, in one map."""
        if self.on_completed is None and self.on_failed is None:
            return self.on_exit_code
        merged: dict[str, str] = {}
        if self.on_completed is not None:
            merged["COMPLETED"] = self.on_completed
        if self.on_failed is not None:
            merged["FAILED"] = self.on_failed
        merged.update(self.on_exit_code)
        return merged

    @property
    def asks_people(self) -> bool:
        """Whether it may wait for approval."""
        wait = "WAIT_FOR_APPROVAL"
        return self.method == "MANUAL" or wait in self.routes.values() or wait in self.extra_targets

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the tasks that this task may route to, in file order, each once; actions are left out."""
        found = dict.fromkeys(t for t in self.routes.values() if not is_action(t))
        found.update(dict.fromkeys(t for t in self.extra_targets if not is_action(t)))
        return tuple(found)


PAUSE_S = (30.0, 40.0)
"""How long a job rests that says nothing about it."""


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """One job: its tasks in file order and everything that holds for all of them.

    ``source`` is the exact text of the one YAML document this definition came from (empty for a definition made in
    Python); templates are rendered from it. ``methods`` is the ``--method`` mapping it was parsed with.
    ``source_line`` is the line of the file on which the source starts, from 1. ``task_spans`` are the (start, end)
    offsets of each task's own lines in the source, ``variables_span`` those of the job's variables. ``marks`` says
    where fields stand whose behaviour comes with a later version, by path.
    """

    job_type: str
    tasks: tuple[TaskDefinition, ...] = ()
    description: str = ""
    sem_version: str | None = None
    url: str | None = None
    platform: str | None = None
    # data
    variables: Mapping[str, Json] = field(default_factory=dict)
    variables_templated: bool = False
    required_params: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    # when and how often
    max_concurrency: int | None = None
    priority: int = 0
    scheduled_at: float | None = None
    skip_if: str | None = None
    cron_trigger: Cron | None = None
    triggers: tuple[Trigger, ...] = ()
    queue: str | None = None
    gang: Mapping[str, Json] | None = None
    deadline: str | None = None
    estimated_runtime_s: float | None = None
    tenant_limits: Mapping[str, Tenant] | None = None
    # time and retries
    timeout_s: float = DEFAULT_JOB_TIMEOUT_S
    pause_time_s: tuple[float, float] = PAUSE_S
    retry: int | None = None
    delay_between_retries_s: tuple[float, float] | None = None
    retry_backoff: Backoff | None = None
    hard_reset_after_retries: int = DEFAULT_HARD_RESET_AFTER_RETRIES
    error_handling: Mapping[str, Json] | None = None
    circuit_breaker: Mapping[str, Json] | None = None
    # afterwards
    retention_days_for_failed: int | None = None
    retention_days_for_completed: int | None = None
    retention_days_for_cancelled: int | None = None
    notify: Mapping[str, Json] | None = None
    webhook: Mapping[str, Json] | None = None
    # the rest
    public_plugin: bool = False
    resources: Mapping[str, Json] | tuple[Mapping[str, Json], ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    template: str = "go"
    dynamic_template_tasks: bool = False
    # about the source
    source: str = ""
    methods: Mapping[str, str] = field(default_factory=dict)
    source_line: int = 1
    task_spans: tuple[tuple[int, int], ...] = ()
    variables_span: tuple[int, int] | None = None
    marks: Mapping[str, Position] = field(default_factory=dict)
    index: Mapping[str, int] = field(init=False, compare=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {task.task_type: i for i, task in enumerate(self.tasks)})

    @property
    def start(self) -> tuple[str, ...]:
        """Names of the tasks that start when the job starts, in file order.

        A task with an incoming route or a dependency waits for it; an ``always_run`` task without incoming routes
        belongs to the final phase.
        """
        routed = {target for task in self.tasks for target in task.targets}
        return tuple(
            task.task_type
            for task in self.tasks
            if task.task_type not in routed and not task.dependencies and not task.always_run
        )

    @property
    def is_static(self) -> bool:
        """Whether no task has to be rendered."""
        return all(task.is_static for task in self.tasks)

    def task(self, task_type: str) -> TaskDefinition:
        """Returns the task of that name.

        Raises:
            KeyError: There is none.
        """
        return self.tasks[self.index[task_type]]


_ENCODER = msgspec.json.Encoder()
_TASK_DEFAULTS = tuple(
    (f.name, f.default_factory() if f.default_factory is not MISSING else f.default) for f in fields(TaskDefinition)
)
_TASK_DECODER = msgspec.json.Decoder(TaskDefinition)
_JOB_DECODER = msgspec.json.Decoder(JobDefinition)
_CANONICAL = msgspec.json.Encoder(order="deterministic")


def task_to_json(task: TaskDefinition) -> bytes:
    """Encodes a task for the ant and for the attempt's row; fields that hold their default are left out."""
    given: dict[str, object] = {}
    for name, default in _TASK_DEFAULTS:
        value = getattr(task, name)
        if value != default:
            given[name] = value
    return _ENCODER.encode(given)


def task_from_json(data: bytes | str) -> TaskDefinition:
    """Decodes what :func:`task_to_json` made.

    Raises:
        msgspec.ValidationError: The data is not a task.
    """
    return _TASK_DECODER.decode(data)


def definition_to_json(definition: JobDefinition) -> bytes:
    """Encodes a whole definition, for callers that keep it without its source."""
    return _ENCODER.encode(_fields_of(definition))


def definition_from_json(data: bytes | str) -> JobDefinition:
    """Decodes what :func:`definition_to_json` made.

    Raises:
        msgspec.ValidationError: The data is not a definition.
    """
    return _JOB_DECODER.decode(data)


def definition_id(definition: JobDefinition) -> str:
    """Returns the id of a definition's content: equal content has equal ids, on every machine.

    Layout and comments of the source do not count unless something has to be rendered from it.
    """
    content = _fields_of(definition)
    if definition.is_static and not definition.variables_templated and not definition.dynamic_template_tasks:
        del content["source"]
    for name in ("source_line", "task_spans", "variables_span", "marks"):
        del content[name]
    content["tasks"] = [
        {f.name: getattr(task, f.name) for f in fields(task) if f.name != "position"} for task in definition.tasks
    ]
    return sha256(_CANONICAL.encode(content)).hexdigest()[:32]


def _fields_of(definition: JobDefinition) -> dict[str, object]:
    return {f.name: getattr(definition, f.name) for f in fields(definition) if f.name != "index"}
