"""Reads the tasks of a job: fields, effective method, routes over all arms of templates, own lines in the source."""

from __future__ import annotations

import re
from collections.abc import Mapping

from formicary.engine.jobs.affinity_reader import check_affinity, read_affinity
from formicary.engine.jobs.approval_check import check_approval
from formicary.engine.jobs.arguments import referenced_tasks, wrong_arguments
from formicary.engine.jobs.composition_check import check_composition
from formicary.engine.jobs.container_reader import CONTAINER_READERS
from formicary.engine.jobs.device_reader import check_devices, read_devices
from formicary.engine.jobs.fields import TASK_BY_NAME
from formicary.engine.jobs.graph_check import Edge, GraphTask
from formicary.engine.jobs.lock_reader import read_locks
from formicary.engine.jobs.model import (
    AVAILABLE_METHODS,
    CONTAINER_METHODS,
    MAX_TASKS,
    WORKER_TAG,
    Position,
    TaskDefinition,
)
from formicary.engine.jobs.notice_check import NOTICE_FIELDS, check_notices
from formicary.engine.jobs.placement_reader import read_backup, read_needs, read_placement
from formicary.engine.jobs.policy_reader import read_circuit_breaker, read_error_handling, with_retries
from formicary.engine.jobs.readers import (
    ABSENT,
    READERS,
    Context,
    Reader,
    entries,
    exclusive,
    is_null,
    is_private,
    join,
)
from formicary.engine.jobs.templates.budget import TemplateError
from formicary.engine.jobs.templates.go_functions import FUNCTIONS
from formicary.engine.jobs.templates.go_parser import parse_go
from formicary.engine.jobs.templates.masking import position
from formicary.engine.jobs.yaml_nodes import Node

_ROUTES = ("on_completed", "on_failed")
_ACTION = re.compile(r"\{\{.*?\}\}")
_PLACING = frozenset({"method", "tags", "resources", "placement", "affinity", "devices"})
"""What an ant must have; of a container its amounts, too."""
_LABELS = frozenset({"labels", "pod_labels"})
"""By which affinity finds the task itself."""
_AMOUNTS = ("cpu", "memory", "resources")
TASK_READERS: Mapping[str, Reader] = {
    **READERS,
    **CONTAINER_READERS,
    "error_handling": read_error_handling,
    "circuit_breaker": read_circuit_breaker,
    "needs": read_needs,
    "demands": read_locks,
    "placement": read_placement,
    "affinity": read_affinity,
    "devices": read_devices,
    "backup": read_backup,
}
"""Readers of every kind of field of a task."""


class TaskParser:
    """Reads the list of tasks.

    Args:
        ctx: The document's context.
        methods: Methods to replace.
        marks: Receives where fields of later versions stand.
        dynamic: Whether the template makes the tasks, so that names and graph are not final.
        dialect: Template language.
    """

    def __init__(
        self, ctx: Context, methods: Mapping[str, str], marks: dict[str, Position], dynamic: bool, dialect: str
    ) -> None:
        self.ctx = ctx
        self.methods = methods
        self.marks = marks
        self.dynamic = dynamic
        self.dialect = dialect
        self.tasks: list[TaskDefinition] = []
        self.spans: list[tuple[int, int]] = []
        self.graph: list[GraphTask] = []

    def read(self, node: Node, next_line: int | None) -> None:
        """Reads all tasks.

        Args:
            node: The list.
            next_line: Line (from 0) of the field behind the list, None at the end of the document.
        """
        ctx = self.ctx
        if node.kind != "seq":
            if not (self.dynamic and is_null(node)):
                ctx.add(node, "tasks", "WRONG_TYPE", "Write a list of tasks: '- task_type: NAME'.")
            return
        if not node.items:
            ctx.add(node, "tasks", "NO_TASKS", "A job needs at least one task; add '- task_type: NAME'.")
        if len(node.items) > MAX_TASKS:
            message = f"A job has at most {MAX_TASKS:,} tasks, not {len(node.items):,}; split it."
            ctx.add(node, "tasks", "TOO_MANY_TASKS", message)
            return
        seen: dict[str, Node] = {}
        for i, item in enumerate(node.items):
            following = node.items[i + 1] if i + 1 < len(node.items) else None
            if item.kind != "map":
                ctx.add(item, f"tasks[{i}]", "WRONG_TYPE", "A task is a mapping that starts with 'task_type: NAME'.")
                continue
            self.task(i, item, self.span(item, following, next_line), seen)

    def span(self, item: Node, following: Node | None, next_line: int | None) -> tuple[int, int]:
        """Returns the offsets of a task's own lines."""
        offset = self.ctx.masked.offset
        if item.flow:
            return offset(item.line, item.column), offset(item.end_line, item.end_column)
        start = offset(item.line, 0)
        if following is not None and following.line > item.line:
            return start, offset(following.line, 0)
        return start, offset(next_line, 0) if next_line is not None else len(self.ctx.masked.source)

    def task(self, number: int, node: Node, span: tuple[int, int], seen: dict[str, Node]) -> None:
        """Reads one task."""
        path = f"tasks[{number}]"
        read = read_task(self.ctx, node, path, self.methods, self.marks)
        name = read.values.get("task_type")
        static = not self.ctx.masked.spans or not (self.ctx.masked.has_action(*span) or self.borrows(node))
        if not isinstance(name, str):
            return
        if not self.dynamic:
            if self.ctx.is_masked(read.nodes["task_type"]):
                message = self.named_by_template(name)
                self.ctx.add(read.nodes["task_type"], f"{path}.task_type", "BAD_TEMPLATE", message)
            first = seen.setdefault(name, node)
            if first is not node:
                self.duplicate(name, path, read.nodes["task_type"], first, node)
                return
            if not static and self.dialect == "go" and not self.ctx.masked.errors:
                self.check_block(span)
        self.check_method(read, path, node, static)
        placed = static or (read.is_sure and not self.dynamic and not self.is_moved(read))
        self.tasks.append(read.build(self.ctx, static, self.ctx.place(node.line, node.column), placed))
        self.spans.append(span)
        self.graph.append(read.graph)

    def is_moved(self, read: TaskRead) -> bool:
        """Whether a template decides what an ant must have: it makes one of those fields, or leaves one out."""
        masked = self.ctx.masked
        placing = _PLACING | _LABELS if "affinity" in read.nodes else _PLACING
        for name, node in read.nodes.items():
            if name in placing or TASK_BY_NAME[name].for_containers:
                at = masked.offset(node.line, node.column)
                if any(arm.start <= at < arm.end for arm in masked.arms):
                    return True
            parts = [node] if name in placing else []
            if name == "container" and node.kind == "map":
                parts = [value for key, _, value in entries(self.ctx, node, name) if key.startswith(_AMOUNTS)]
            if any(self.ctx.is_masked(part) for one in parts for part in one.walk() if part.kind == "scalar"):
                return True
        return False

    def borrows(self, node: Node) -> bool:
        """Whether an alias of the task leads to a template that stands elsewhere."""
        is_scalar = (part for part in node.walk() if part.kind == "scalar")
        return "*" in self.ctx.masked.source and any(self.ctx.is_masked(part) for part in is_scalar)

    def named_by_template(self, name: str) -> str:
        """Tells what to do about a template in a task's name."""
        if self.ctx.to_line is None:
            return "A task's name cannot be a template; set 'dynamic_template_tasks: true' to make tasks."
        missing = ", ".join(_ACTION.findall(name)) or "a part"
        return f"In the task's name {name!r}, {missing} has no value at submission; give a parameter or job variable."

    def duplicate(self, name: str, path: str, key: Node, first: Node, node: Node) -> None:
        """Notes a second task of one name."""
        place = self.ctx.place(first.line, first.column)
        hint = (
            "; set 'dynamic_template_tasks: true' to choose between tasks" if exclusive(self.ctx, first, node) else ""
        )
        message = f"The task {name!r} exists already in line {place.line}; give this one another name{hint}."
        self.ctx.add(key, f"{path}.task_type", "DUPLICATE_TASK", message)

    def check_block(self, span: tuple[int, int]) -> None:
        """Checks that a task's own lines are a template by themselves, since they are rendered alone."""
        masked = self.ctx.masked
        try:
            parse_go(masked.source[span[0] : span[1]], FUNCTIONS, is_yaml=True)
        except TemplateError as error:
            line, column = position(masked.line_starts, span[0] + (error.pos or 0))
            message = (
                f"{error.message} Each task is rendered by itself: keep blocks and variables inside of one task, "
                "or set 'dynamic_template_tasks: true'."
            )
            self.ctx.add_at(line - 1, column - 1, "", error.code, message)

    def check_method(self, read: TaskRead, path: str, node: Node, static: bool) -> None:
        """Checks what a method needs."""
        if not static and self.dynamic:
            return
        check_method(self.ctx, read, path, node, static)


class TaskRead:
    """A task as it was read.

    Attributes:
        values: Values of the model's attributes.
        nodes: Value nodes by field name.
        graph: Its references to other tasks.
        method: The effective method.
        extra: Targets of routes, also those of other arms.
        is_sure: Whether nothing about the method and the fields is in doubt, so that missing ones can be named.
    """

    def __init__(self, node: Node, path: str) -> None:
        self.values: dict[str, object] = {}
        self.nodes: dict[str, Node] = {}
        self.graph = GraphTask("", node, path)
        self.method = "SHELL"
        self.extra: list[str] = []
        self.is_sure = True

    def build(self, ctx: Context, static: bool, place: Position, placed: bool = True) -> TaskDefinition:
        """Returns the definition."""
        values = dict(self.values)
        values["method"] = self.method
        with_retries(values)
        for name in ("timeout_s", "total_timeout_s"):
            if values.get(name) == 0.0:
                del values[name]
        return TaskDefinition(
            extra_targets=tuple(dict.fromkeys(self.extra)),
            open_targets=self.graph.open_targets,
            is_static=static,
            is_placed=placed,
            position=place,
            **values,  # type: ignore[arg-type]  # the field table says the types
        )


def read_task(
    ctx: Context, node: Node, path: str, methods: Mapping[str, str], marks: dict[str, Position] | None
) -> TaskRead:
    """Reads the fields of one task, without checks that need the other tasks."""
    read = TaskRead(node, path)
    container = False
    fields = entries(ctx, node, path)
    ctx.in_container = any(_is_of_containers(name, value) for name, _, value in fields)
    for name, key, value in fields:
        row = TASK_BY_NAME.get(name)
        here = join(path, name)
        if row is None:
            if is_private(name):
                continue
            if not ctx.is_masked(key):
                message = f"A task has no field {name[:60]!r}.{ctx.hint(name, TASK_BY_NAME)}"
                ctx.add(key, here, "UNKNOWN_FIELD", message)
            read.is_sure = False
            continue
        again = row.name in read.nodes
        read.nodes.setdefault(row.name, value)
        found = TASK_READERS[row.kind](ctx, value, here, row)
        if marks is not None and row.name in ("fork_job_type", "fan_out"):
            marks.setdefault(here, ctx.place(value.line, value.column))
        if row.name == "method" and found is ABSENT and not is_null(value):
            read.is_sure = False
        container = container or (row.for_containers and found is not ABSENT and found is not False)
        if row.kind in ("target", "routes", "text_list"):
            _references(ctx, read, row.name, value, here, again)
        if row.name == "arguments" and isinstance(found, dict):
            _arguments(ctx, read, found, value, here)
        if row.kind == "tolerations" and isinstance(found, tuple) and not again:
            read.values[row.target] = (*_tuple(read.values.get(row.target)), *found)
        elif found is not ABSENT and row.target and (not again or row.target not in read.values):
            read.values[row.target] = found
    if "task_type" not in read.nodes or is_null(read.nodes["task_type"]):
        ctx.add(node, join(path, "task_type"), "MISSING_FIELD", "A task needs a name; add 'task_type: NAME'.")
    read.graph.name = str(read.values.get("task_type", ""))
    waits = read.values.get("dependencies")
    read.graph.repeats = bool(read.values.get("retry"))
    if isinstance(waits, tuple) and read.graph.name in waits:
        read.values["dependencies"] = tuple(name for name in waits if name != read.graph.name)
    read.graph.always_run = read.values.get("always_run") is True
    asked = _effective_method(_fan_out_method(read), container, {})
    read.method = methods.get(asked, asked)
    if asked == "KUBERNETES" != read.method:
        read.values.pop("affinity", None)  # it is about the nodes of a cluster that is not there
    if read.method == "WEBSOCKET" and ("url" not in read.nodes or is_null(read.nodes["url"])):
        read.values["tags"] = frozenset({*_tags(read), WORKER_TAG})
    if marks is not None and read.method not in AVAILABLE_METHODS:
        for name in ("method", "container"):
            if name in read.nodes:
                marks[join(path, name)] = ctx.place(read.nodes[name].line, read.nodes[name].column)
    _keep_first_routes(read)
    return read


def _tuple(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else ()


def _tags(read: TaskRead) -> frozenset[str]:
    found = read.values.get("tags")
    return found if isinstance(found, frozenset) else frozenset()


def _is_of_containers(name: str, value: Node) -> bool:
    if name == "method":
        return value.text.strip().upper() in CONTAINER_METHODS
    return name in TASK_BY_NAME and TASK_BY_NAME[name].for_containers


def _arguments(ctx: Context, read: TaskRead, arguments: dict[str, object], node: Node, path: str) -> None:
    """Checks the form of a function's arguments and notes the tasks they name."""
    wrong = dict(wrong_arguments(arguments))
    for name, key, value in entries(ctx, node, path):
        here = join(path, name)
        if name in wrong:
            ctx.add(key, here, "BAD_ARGUMENT", f"The argument {name} {wrong[name]}.")
        elif not any(ctx.is_masked(part) for part in value.walk() if part.kind == "scalar"):
            read.graph.arguments += [Edge(task, value, here) for task in referenced_tasks({name: arguments[name]})]


def _fan_out_method(read: TaskRead) -> object:
    """The method as it is given; a fan-out says by `fork_job_type` alone whether it forks jobs or runs its own task."""
    method, fan_out = read.values.pop("method", None), read.values.get("fan_out")
    if not isinstance(fan_out, dict):
        return method
    forks = bool(fan_out.get("fork_job_type") or read.values.get("fork_job_type"))
    runs = any(read.values.get(name) for name in ("script", "before_script", "url", "container"))
    if method is None and forks and not runs:
        return "FAN_OUT_JOB"
    return None if method == "FAN_OUT_JOB" and runs and not forks else method


def _effective_method(method: object, container: bool, methods: Mapping[str, str]) -> str:
    if not isinstance(method, str) or "{{" in method or "{%" in method:
        method = "KUBERNETES" if container else "SHELL"
    return methods.get(method, method)


_STATES = frozenset(("COMPLETED", "FAILED", "APPROVED", "REJECTED"))


def _references(
    ctx: Context,
    read: TaskRead,
    name: str,
    value: Node,
    path: str,
    again: bool,
) -> None:
    """Notes the edges of a route or dependency field, over all arms of templates."""
    if name in ("dependencies", "await_forked_tasks"):
        read.graph.names_dependencies = read.graph.names_dependencies or name == "dependencies"
        edges = read.graph.dependencies if name == "dependencies" else read.graph.arguments
        items = value.items if value.kind == "seq" else [value]
        for i, item in enumerate(items):
            if item.kind == "scalar" and not is_null(item) and not ctx.is_masked(item):
                edges.append(Edge(item.text, item, f"{path}[{i}]" if value.items else path))
        return
    if name not in _ROUTES and name != "on_exit_code":
        return
    pairs = [(path, value)] if name in _ROUTES else []
    if value.kind == "map":
        pairs = [(join(path, ctx.text(key)), item) for key, item in value.entries()]
    for here, item in pairs:
        if item.kind != "scalar" or is_null(item):
            continue
        if ctx.is_masked(item):
            read.graph.open_targets = True
            continue
        target = item.text.strip()
        if not target:
            continue  # an empty text routes nowhere, as nothing does
        read.graph.routes.append(Edge(target, item, here))
        read.extra.append(target)


def _state(key: str) -> str:
    """The key of a route; states may be written in small letters, as older files may."""
    state = key.strip().upper()
    return state if state in _STATES else key


def _keep_first_routes(read: TaskRead) -> None:
    """Leaves in ``extra`` only the targets that the values themselves do not hold, and trims targets."""
    held: set[str] = set()
    for attribute in _ROUTES:
        target = read.values.get(attribute)
        if isinstance(target, str) and target.strip():
            read.values[attribute] = target.strip()
            held.add(target.strip())
        elif isinstance(target, str):
            del read.values[attribute]
    routes = read.values.get("on_exit_code")
    if isinstance(routes, dict):
        read.values["on_exit_code"] = {_state(key): str(target).strip() for key, target in routes.items() if target}
        held.update(str(target).strip() for target in routes.values())
    read.extra = [target for target in read.extra if target not in held]


def _routes_of(read: TaskRead) -> dict[str, str]:
    """Exit codes and states with their targets, as far as they are known before rendering."""
    found = {key: str(read.values[key]) for key in _ROUTES if read.values.get(key)}
    codes = read.values.get("on_exit_code")
    return {**found, **({key: str(value) for key, value in codes.items()} if isinstance(codes, dict) else {})}


def check_method(ctx: Context, read: TaskRead, path: str, node: Node, static: bool) -> None:
    """Checks that a task has what its method needs."""
    method, nodes = read.method, read.nodes
    if not read.is_sure or ("method" in nodes and ctx.is_masked(nodes["method"])):
        return
    check_composition(ctx, method, nodes, path, node, _routes_of(read), static=static)
    check_approval(ctx, method, nodes, path, _routes_of(read), static=static)
    for name in NOTICE_FIELDS:
        if name in nodes:
            check_notices(ctx, name, nodes[name], path, of_task=True)
    if "affinity" in nodes and "affinity" in read.values and method != "KUBERNETES":
        check_affinity(ctx, nodes["affinity"], join(path, "affinity"))
    if "devices" in nodes and read.values.get("devices"):
        check_devices(ctx, method, nodes["devices"], join(path, "devices"))
    if method == "PYTHON" and "function" not in nodes:
        message = "A PYTHON task needs a function; add 'function: package.module:name'."
        ctx.add(nodes.get("method", node), f"{path}.function", "MISSING_FUNCTION", message)
    if method != "PYTHON" and "function" in nodes:
        message = "Only PYTHON tasks call a function; add 'method: PYTHON'."
        ctx.add(nodes["function"], f"{path}.function", "METHOD_MISMATCH", message)
    if not static:
        return
    if method.startswith("HTTP_") and not (read.values.get("url") or read.values.get("script")):
        message = f"A {method} task needs an address; add 'url: https://…'."
        ctx.add(nodes.get("method", node), f"{path}.url", "MISSING_URL", message)
    container = read.values.get("container")
    if method == "DOCKER" and not (isinstance(container, dict) and container.get("image")):
        message = "A DOCKER task needs an image; add 'container: {image: NAME}'."
        ctx.add(nodes.get("method", node), f"{path}.container.image", "MISSING_FIELD", message)
    if method == "MESSAGING" and not read.values.get("messaging_request_queue"):
        message = "A MESSAGING task needs a queue to send to; add 'messaging_request_queue: SUBJECT'."
        ctx.add(nodes.get("method", node), f"{path}.messaging_request_queue", "MISSING_FIELD", message)
    scripts = [nodes[s] for s in ("before_script", "script", "after_script") if s in nodes]
    if method == "SHELL" and not any(script.items or script.pairs or script.text for script in scripts):
        message, severity = "A SHELL task needs commands; add 'script:' with at least one line.", "error"
        if "container" in nodes:
            message, severity = "Without its container this task has nothing to run.", "warning"
        ctx.add(nodes.get("method", node), f"{path}.script", "MISSING_SCRIPT", message, severity)
