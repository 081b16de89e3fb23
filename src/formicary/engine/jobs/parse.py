"""Turns job files into definitions. Never raises on bad input: everything that is wrong comes back as a violation.

A file holds one or several YAML documents, separated by ``---``, each of them one job. Template actions are hidden
before YAML is read (:mod:`formicary.engine.jobs.templates.masking`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from formicary.engine.jobs.cron_reader import read_cron
from formicary.engine.jobs.fields import JOB_BY_NAME
from formicary.engine.jobs.gang import WHOLE_JOB, check_gang, read_deadline, read_gang
from formicary.engine.jobs.graph_check import GraphTask, check_graph
from formicary.engine.jobs.model import MAX_SOURCE_BYTES, JobDefinition, Position, TaskDefinition, Violation
from formicary.engine.jobs.notice_check import NOTICE_FIELDS, check_notices
from formicary.engine.jobs.policy_reader import read_circuit_breaker, with_retries
from formicary.engine.jobs.readers import ABSENT, Context, Reader, entries, is_private, join
from formicary.engine.jobs.task_parser import TASK_READERS, TaskParser
from formicary.engine.jobs.templates.budget import TemplateError
from formicary.engine.jobs.templates.masking import line_starts, mask, position
from formicary.engine.jobs.tenants_reading import read_type_limits
from formicary.engine.jobs.trigger_reader import read_triggers
from formicary.engine.jobs.yaml_nodes import Node, YamlError, compose

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_ONLY_COMMENTS = re.compile(r"(?:[ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)|%[^\n]*(?:\n|\Z))*\Z")
_DIALECT = re.compile(r"""^(?:\{\s*)?["']?template["']?:[ \t]*["']?(jinja|none)["']?(?=[\s,}#]|\Z)""", re.MULTILINE)
_NO_METHODS: Mapping[str, str] = {}
FIELD_READERS: Mapping[str, Reader] = {
    **TASK_READERS,
    "cron": read_cron,
    "triggers": read_triggers,
    "circuit_breaker": read_circuit_breaker,
    "gang": read_gang,
    "deadline": read_deadline,
    "tenant_limits": read_type_limits,
}
"""Readers of every kind of field but the tasks."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One document of a job file.

    Attributes:
        definition: The job; None when a violation is an error.
        violations: Everything that is wrong, in the order of the file.
    """

    definition: JobDefinition | None
    violations: tuple[Violation, ...]

    @property
    def is_valid(self) -> bool:
        """Whether there is a definition."""
        return self.definition is not None


def parse_source(
    source: str | bytes,
    *,
    filename: str = "<string>",
    methods: Mapping[str, str] = _NO_METHODS,
    max_bytes: int = MAX_SOURCE_BYTES,
    leave_out: Collection[str] = (),
) -> list[Parsed]:
    """Parses and validates a job file.

    Args:
        source: Its text, or its bytes in UTF-8.
        filename: Name for messages.
        methods: Methods to replace, like ``{"KUBERNETES": "SHELL"}``.
        max_bytes: Size of the largest file that is read.
        leave_out: Fields of the job that are not looked at.

    Returns:
        One entry per document, at least one.
    """
    text = _decode(source, filename, max_bytes)
    if isinstance(text, Violation):
        return [Parsed(None, (text,))]
    documents = _split(text)
    if not documents:
        message = f"{filename} is empty; a job has at least job_type and tasks."
        return [Parsed(None, (Violation(1, 1, "", "EMPTY_FILE", message),))]
    return [
        parse_document(document, first_line=line, methods=methods, leave_out=leave_out) for document, line in documents
    ]


def parse_document(
    source: str,
    *,
    first_line: int = 1,
    methods: Mapping[str, str] = _NO_METHODS,
    to_line: Callable[[int, int], tuple[int, int]] | None = None,
    leave_out: Collection[str] = (),
) -> Parsed:
    """Parses one document; see :func:`parse_source`.

    Args:
        source: Text of the document.
        first_line: Line of the file on which it starts, from 1.
        methods: Methods to replace.
        to_line: Maps line and column (from 0) of a rendered text to those of its template.
        leave_out: Fields of the job that are not looked at.
    """
    dialect = _dialect(source)
    ctx = Context(mask(source, dialect), first_line, to_line=to_line)
    if dialect == "jinja":
        _check_jinja(ctx)
    for error in ctx.masked.errors:
        _add_template_error(ctx, error)
    root: Node | None = None
    try:
        root = compose(ctx.masked.text)
    except YamlError as error:
        line = ctx.place(error.line, error.column).line
        if not any(found.line <= line for found in ctx.violations):  # else it follows from a template that is wrong
            ctx.add_at(error.line, error.column, "", error.code, error.message)
        return _parsed(None, ctx)
    except RecursionError:
        ctx.add_at(0, 0, "", "YAML_TOO_DEEP", "The file is nested too deep.")
        return _parsed(None, ctx)
    if root is None or (root.kind == "scalar" and not root.text):
        ctx.add_at(0, 0, "", "EMPTY_FILE", "The document is empty; a job has at least job_type and tasks.")
        return _parsed(None, ctx)
    if root.kind != "map":
        ctx.add(root, "", "NOT_A_MAPPING", "A job file is a mapping that starts with 'job_type: …'.")
        return _parsed(None, ctx)
    return _parsed(_JobParser(ctx, root, methods, dialect, leave_out).parse(), ctx)


def _dialect(source: str) -> str:
    """Returns the template language, which has to be known before YAML can be read."""
    match = _DIALECT.search(source)
    return match.group(1) if match is not None else "go"


def _parsed(definition: JobDefinition | None, ctx: Context) -> Parsed:
    found = tuple(sorted(ctx.violations, key=lambda v: (v.line, v.column)))
    return Parsed(None if any(v.is_error for v in found) else definition, found)


def _decode(source: str | bytes, filename: str, max_bytes: int) -> str | Violation:
    size = len(source)
    if isinstance(source, str) and size <= max_bytes:
        size = len(source.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        message = f"{filename} is larger than {max_bytes // 1024:,} KB; split it into several jobs."
        return Violation(1, 1, "", "FILE_TOO_LARGE", message)
    if isinstance(source, bytes):
        if b"\x00" in source:
            return Violation(1, 1, "", "BINARY_FILE", f"{filename} is a binary file; give a YAML text in UTF-8.")
        try:
            text = source.decode("utf-8")
        except UnicodeDecodeError as error:
            line = source.count(b"\n", 0, error.start) + 1
            column = error.start - source.rfind(b"\n", 0, error.start)
            return Violation(line, column, "", "BAD_ENCODING", f"{filename} is not UTF-8; save it as UTF-8.")
        source = text
    return source[1:] if source.startswith("\ufeff") else source


def _split(text: str) -> list[tuple[str, int]]:
    """Returns the documents that hold anything, each with its first line."""
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text) if match.start()), len(text)]
    lines = line_starts(text)
    documents = []
    for start, end in pairwise(starts):
        document = text[start:end]
        content = document[3:] if _SEPARATOR.match(document) else document
        if not _ONLY_COMMENTS.match(content):
            documents.append((document, position(lines, start)[0]))
    return documents


def _add_template_error(ctx: Context, error: TemplateError) -> None:
    if error.pos is None:
        ctx.add_at(error.line - 1, 0, "", error.code, error.message)
        return
    line, column = position(ctx.masked.line_starts, error.pos)
    ctx.add_at(line - 1, column - 1, "", error.code, error.message)


def _check_jinja(ctx: Context) -> None:
    from formicary.engine.jobs.templates.jinja import check_jinja

    error = check_jinja(ctx.masked.source)
    if error is not None:
        ctx.masked.errors.append(error)


_DECLARED = frozenset(("type", "required", "default", "description"))
_DECLARED_TYPES = frozenset(
    (
        "STRING",
        "TEXT",
        "INT",
        "INTEGER",
        "NUMBER",
        "FLOAT",
        "DOUBLE",
        "BOOL",
        "BOOLEAN",
        "LIST",
        "ARRAY",
        "MAP",
        "OBJECT",
    )
)


def _is_declaration(value: Mapping[str, object]) -> bool:
    return value.keys() <= _DECLARED and str(value.get("type")).upper() in _DECLARED_TYPES


class _JobParser:
    """Reads the mapping of one job."""

    def __init__(
        self, ctx: Context, root: Node, methods: Mapping[str, str], dialect: str, leave_out: Collection[str]
    ) -> None:
        self.ctx = ctx
        self.root = root
        self.leave_out = leave_out
        self.methods = dict(methods)
        self.dialect = dialect
        self.values: dict[str, object] = {}
        self.marks: dict[str, Position] = {}
        self.tasks_node: Node | None = None
        self.gang_node: Node | None = None
        self.variables_span: tuple[int, int] | None = None

    def parse(self) -> JobDefinition | None:
        ctx = self.ctx
        has_tasks = False
        for name, key, value in entries(ctx, self.root, ""):
            row = JOB_BY_NAME.get(name)
            if row is None:
                if not ctx.is_masked(key) and not is_private(name):
                    message = f"A job has no field {name[:60]!r}.{ctx.hint(name, JOB_BY_NAME)}"
                    ctx.add(key, join("", name), "UNKNOWN_FIELD", message)
            elif row.kind == "tasks":
                has_tasks, self.tasks_node = True, self.tasks_node or value
            elif name not in self.leave_out:
                self.field(name, key, value)
        if "job_type" not in self.values and not any(k.text == "job_type" for k, _ in self.root.pairs):
            ctx.add(self.root, "job_type", "MISSING_FIELD", "A job needs a job_type; add 'job_type: NAME'.")
        if not has_tasks:
            ctx.add(self.root, "tasks", "MISSING_FIELD", "A job needs tasks; add 'tasks:' with at least one task.")
        return self.finish()

    def field(self, name: str, key: Node, value: Node) -> None:
        row = JOB_BY_NAME[name]
        if name == "gang":
            self.gang_node = value
        found = FIELD_READERS[row.kind](self.ctx, value, name, row)
        if name == "skip_if" and (text := self.over_lines(key, value)):
            found = text
        if row.kind == "cron" or name == "public_plugin":
            self.marks[name] = self.ctx.place(key.line, key.column)
        if name == "filter" and found:
            text = "The filter of a job has no effect: write skip_if to leave jobs out; triggers have their own."
            self.ctx.add(key, name, "NO_EFFECT", text, "warning")
        if found is ABSENT or not row.target:
            return
        if name in NOTICE_FIELDS:
            check_notices(self.ctx, name, value, "")
        if row.kind == "variables" and isinstance(found, dict):
            self.variables(key, value, found, name)
        else:
            self.values.setdefault(row.target, found)

    def over_lines(self, key: Node, value: Node) -> str:
        """A condition below its key whose lines hold only actions, which the YAML parser has not seen; else empty."""
        masked = self.ctx.masked
        if not masked.blanked or self.root.flow or value.kind != "scalar":
            return ""
        start, end = masked.offset(key.end_line, key.end_column), self.end_of_block(key, value)
        lines = masked.source[start:end].removeprefix(":").splitlines()
        if lines[0].split("#")[0].strip() or not any(start <= one < end for one in masked.blanked):
            return ""
        text = [line.strip() for line in lines[1:] if not line.lstrip().startswith("#")]
        return " ".join(line for line in text if line)

    def variables(self, key: Node, value: Node, found: dict[str, object], name: str) -> None:
        if name == "variables":
            found = self.declared(value, found)
        before = self.values.get("variables")
        if isinstance(before, dict):
            found = {**before, **found} if name == "job_variables" else {**found, **before}
        self.values["variables"] = found
        start, end = self.ctx.masked.offset(key.line, 0), self.end_of_block(key, value)
        if self.ctx.masked.has_action(start, end):
            self.values["variables_templated"] = True
            if self.root.flow:
                start = self.ctx.masked.offset(key.line, key.column)
            self.variables_span = (start, end)

    def declared(self, node: Node, found: dict[str, object]) -> dict[str, object]:
        """Without what older files only declare: `NAME: {type: STRING, required: true}`; a default is a value."""
        ctx, values = self.ctx, dict(found)
        for key, value in node.entries() if node.kind == "map" else ():
            name = ctx.text(key)
            what = values.get(name)
            if value.kind != "map" or not isinstance(what, dict) or not _is_declaration(what):
                continue
            del values[name]
            if "default" in what:
                values[name] = what["default"]
            message = (
                f"{name[:60]!r} is only declared here, nothing checks it: write it under parameters or required_params."
            )
            ctx.add(key, join("variables", name), "NOT_CHECKED", message, "warning")
        return values

    def end_of_block(self, key: Node, value: Node) -> int:
        """Returns where the lines of a top-level field end: at the next field."""
        if self.root.flow:
            return self.ctx.masked.offset(value.end_line, value.end_column)
        later = [k.line for k, _ in self.root.pairs if k.line > key.line]
        return self.ctx.masked.offset(min(later), 0) if later else len(self.ctx.masked.source)

    def check_dialect(self) -> None:
        """The language was looked up before YAML was read; the field must say the same."""
        found = self.values.setdefault("template", self.dialect)
        if found != self.dialect:
            message = f"Write 'template: {found}' on a line of its own at the top of the file."
            self.ctx.add(self.root, "template", "BAD_VALUE", message)

    def start_gang(self, graph: list[GraphTask]) -> None:
        """A gang says which tasks run beside each other, as `dependencies` do elsewhere."""
        given = self.values.get("gang")
        members = given["tasks"] if isinstance(given, dict) else ()
        for task in graph:
            task.names_dependencies = task.names_dependencies or members == WHOLE_JOB or task.name in members

    def check_gang(self, tasks: list[TaskDefinition], *, is_known: bool) -> None:
        given = self.values.get("gang")
        if self.gang_node is not None and isinstance(given, dict) and is_known and tasks:
            check_gang(self.ctx, self.gang_node, given, tasks)

    def finish(self) -> JobDefinition | None:
        dynamic = self.values.get("dynamic_template_tasks") is True
        tasks = TaskParser(self.ctx, self.methods, self.marks, dynamic, self.dialect)
        if self.tasks_node is not None:
            later = [k.line for k, _ in self.root.pairs if k.line > self.tasks_node.line]
            tasks.read(self.tasks_node, min(later) if later and not self.root.flow else None)
            if not dynamic and tasks.graph:
                self.start_gang(tasks.graph)
                check_graph(tasks.graph, self.ctx)
        self.check_gang(tasks.tasks, is_known=not dynamic)
        self.check_dialect()
        if any(v.is_error for v in self.ctx.violations):
            return None
        if isinstance(found := self.values.get("triggers"), tuple):
            self.values["triggers"] = tuple(replace(one, template=self.dialect) for one in found)
        with_retries(self.values)
        for name, nothing in (("max_concurrency", 0), ("timeout_s", 0.0)):
            if self.values.get(name) == nothing:
                del self.values[name]
        return JobDefinition(
            tasks=() if dynamic else tuple(tasks.tasks),
            source=self.ctx.masked.source,
            methods=self.methods,
            source_line=self.ctx.first_line,
            task_spans=() if dynamic else tuple(tasks.spans),
            variables_span=self.variables_span,
            marks=self.marks,
            **self.values,  # type: ignore[arg-type]  # the field table says the types
        )
