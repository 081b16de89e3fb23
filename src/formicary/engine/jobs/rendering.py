"""Renders what a job file leaves open: one task's own lines, the job's variables, or all tasks at once.

A part is taken out of the source by the offsets the parser noted, rendered, and parsed again. What is wrong is
reported at its line in the file, also for text that a loop has made.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from random import Random

from formicary.engine.jobs.fields import JOB_BY_NAME
from formicary.engine.jobs.model import JobDefinition, TaskDefinition, Violation, is_action
from formicary.engine.jobs.parse import Parsed, parse_document, parse_source
from formicary.engine.jobs.readers import Context, join, read_variables
from formicary.engine.jobs.task_parser import TaskRead, check_method, read_task
from formicary.engine.jobs.templates.budget import DEADLINE_S, EXPANSION_DEADLINE_S, Clock
from formicary.engine.jobs.templates.engine import Lookup, TemplateError, has_template, is_true, render_text
from formicary.engine.jobs.templates.go_eval import Mark
from formicary.engine.jobs.templates.masking import Masked, line_starts, mask, position
from formicary.engine.jobs.variables import BUILT_IN_NAMES
from formicary.engine.jobs.yaml_nodes import Node, YamlError, compose

_ALIAS = re.compile(r"(?<![\w\"'])\*\w")
"""Where an alias may stand."""
_LATER = BUILT_IN_NAMES - {"UnescapeHTML"}
"""What an expansion leaves for the rendering of each task."""


@dataclass(frozen=True, slots=True)
class RenderedTask:
    """A task as it is about to run.

    Attributes:
        task: The concrete task; the unrendered one when there are violations.
        skipped: Whether ``except`` rendered to true, so that the task is left out.
        violations: What is wrong; with an error in it the attempt fails with ERR_VALIDATION.
    """

    task: TaskDefinition
    skipped: bool
    violations: tuple[Violation, ...] = ()


def render_task(
    definition: JobDefinition,
    task_type: str,
    variables: Mapping[str, object],
    *,
    now: float,
    rng: Random,
    lookup: Lookup | None = None,
    clock: Clock | None = None,
) -> RenderedTask:
    """Renders one task.

    Args:
        definition: The job.
        task_type: Name of the task.
        variables: All variables, layered (:mod:`formicary.engine.jobs.variables`).
        now: Seconds since the epoch, UTC.
        rng: Source of randomness.
        lookup: Port for functions that ask for something outside.
        clock: Monotonic seconds, to bound the time.

    Raises:
        KeyError: There is no such task.
    """
    number = definition.index[task_type]
    task = definition.tasks[number]
    if task.is_static:
        return RenderedTask(task, is_true(task.except_))
    span = definition.task_spans[number]
    part = _Part(definition, span)
    node, ctx = part.render(variables, now=now, rng=rng, lookup=lookup, clock=clock)
    if node is None:
        return RenderedTask(task, False, tuple(ctx.violations))
    path = f"tasks[{number}]"
    found = _find_task(node, task_type)
    if found is None:
        message = f"Rendering the task {task_type!r} left no task of this name; check the blocks in its lines."
        ctx.add(node, path, "ERR_VALIDATION", message)
        return RenderedTask(task, False, tuple(ctx.violations))
    read = read_task(ctx, found, path, definition.methods, None)
    check_method(ctx, read, path, found, True)
    _check_targets(ctx, read, definition)
    if any(v.is_error for v in ctx.violations):
        return RenderedTask(task, False, tuple(ctx.violations))
    read.extra, read.graph.open_targets = [], False
    rendered = replace(read.build(ctx, True, task.position), position=task.position)
    return RenderedTask(rendered, is_true(rendered.except_), tuple(ctx.violations))


def render_job_variables(
    definition: JobDefinition,
    variables: Mapping[str, object],
    *,
    now: float,
    rng: Random,
    lookup: Lookup | None = None,
    clock: Clock | None = None,
) -> tuple[dict[str, object], tuple[Violation, ...]]:
    """Renders the job's variables once.

    Args:
        definition: The job.
        variables: What the templates may use: request parameters, configurations and built-ins.
        now: Seconds since the epoch, UTC.
        rng: Source of randomness.
        lookup: Port for functions that ask for something outside.
        clock: Monotonic seconds, to bound the time.

    Returns:
        The variables, typed after rendering, and what is wrong.
    """
    if definition.variables_span is None:
        return dict(definition.variables), ()
    part = _Part(definition, definition.variables_span)
    node, ctx = part.render({**definition.variables, **variables}, now=now, rng=rng, lookup=lookup, clock=clock)
    if node is None:
        return {}, tuple(ctx.violations)
    body = node.entries()[0][1] if node.kind == "map" and node.pairs else node
    value = read_variables(ctx, body, "job_variables", JOB_BY_NAME["job_variables"])
    found = {**definition.variables, **value} if isinstance(value, dict) else {}
    return found, tuple(ctx.violations)


def expand_dynamic(
    definition: JobDefinition | str,
    variables: Mapping[str, object],
    now: float,
    rng: Random,
    *,
    methods: Mapping[str, str] | None = None,
    lookup: Lookup | None = None,
    clock: Clock | None = None,
) -> Parsed:
    """Expands a job whose template makes its tasks (``dynamic_template_tasks: true``) and parses the result.

    Names that have no value yet, such as ``{{.JobID}}`` or what an earlier task puts out, stay what they are: each task
    is rendered once more before it runs.

    Args:
        definition: The job, or the text of one document.
        variables: Job variables with the request's parameters over them.
        now: Seconds since the epoch, UTC.
        rng: Source of randomness.
        methods: Methods to replace; those of the definition by default.
        lookup: Port for functions that ask for something outside.
        clock: Monotonic seconds, to bound the time.
    """
    if isinstance(definition, str):
        first = parse_source(definition, methods=methods or {})[0]
        if first.definition is None:
            return first
        definition = first.definition
    if not definition.dynamic_template_tasks:
        return Parsed(definition, ())
    part = _Part(definition, (0, len(definition.source)))
    values = {**definition.variables, **variables}
    ctx, text, to_line = part.text(values, now, rng, lookup, clock, EXPANSION_DEADLINE_S, _LATER)
    if text is None:
        return Parsed(None, tuple(ctx.violations))
    parsed = parse_document(
        _without_flag(text),
        first_line=definition.source_line,
        methods=definition.methods if methods is None else methods,
        to_line=to_line,
    )
    if parsed.definition is not None and parsed.definition.dynamic_template_tasks:
        message = "Write 'dynamic_template_tasks: true' on a line of its own, not indented."
        return Parsed(None, (Violation(definition.source_line, 1, "dynamic_template_tasks", "BAD_VALUE", message),))
    return parsed


def _without_flag(text: str) -> str:
    """Switches ``dynamic_template_tasks`` off in an expanded text, keeping lines and columns."""
    field = JOB_BY_NAME["dynamic_template_tasks"]
    flags = tuple(f"{quote}{name}{quote}:" for name in (field.name, *field.aliases) for quote in ("", '"'))
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if line.startswith(flags):
            lines[i] = "#" + line[1:]
    return "\n".join(lines)


def _find_task(node: Node, task_type: str) -> Node | None:
    """Returns the rendered task of a name, or the first one."""
    candidates = [item for item in (node.items if node.kind == "seq" else [node]) if item.kind == "map"]
    for candidate in candidates:
        if any(key.text == "task_type" and value.text == task_type for key, value in candidate.pairs):
            return candidate
    return None


def _check_targets(ctx: Context, read: TaskRead, definition: JobDefinition) -> None:
    for edge in read.graph.routes:
        if edge.target not in definition.index and not is_action(edge.target):
            hint = ctx.hint(edge.target, list(definition.index)[:1000])
            ctx.add(edge.node, edge.path, "UNKNOWN_TARGET", f"There is no task or action {edge.target!r}.{hint}")


class _Part:
    """A stretch of a definition's source that is rendered by itself."""

    def __init__(self, definition: JobDefinition, span: tuple[int, int]) -> None:
        self.definition = definition
        self.starts = line_starts(definition.source)
        self.start = span[0]
        self.source = definition.source[span[0] : span[1]]
        self.first = position(self.starts, span[0])[0] - 1

    def render(
        self,
        variables: Mapping[str, object],
        *,
        now: float,
        rng: Random,
        lookup: Lookup | None,
        clock: Clock | None,
    ) -> tuple[Node | None, Context]:
        """Renders and reads the stretch; on an error the node is None and the context holds it."""
        ctx, text, _ = self.text(variables, now, rng, lookup, clock)
        if text is None:
            return None, ctx
        try:
            node = compose(text, self.anchors(variables, now, rng, clock) if _ALIAS.search(text) else None)
        except YamlError as error:
            ctx.add_at(error.line, error.column, "", error.code, f"After rendering: {error.message}")
            return None, ctx
        except TemplateError as error:
            message = f"In what an alias leads to: {error.message}"
            ctx.add_at(self.first, 0, "", error.code, message)
            return None, ctx
        if node is None:
            ctx.add_at(0, 0, "", "ERR_VALIDATION", "Rendering left nothing; check the blocks in these lines.")
        return node, ctx

    def anchors(self, variables: Mapping[str, object], now: float, rng: Random, clock: Clock | None) -> dict[str, Node]:
        """What the definition's anchors stand for, each of their texts rendered. Raises TemplateError."""
        masked, found = mask(self.definition.source, self.definition.template), dict[str, Node]()
        compose(masked.text, found)
        seen: set[int] = set()
        for part in (part for node in found.values() for part in node.walk()):
            if part.kind == "scalar" and masked.char in part.text and masked.spans and id(part) not in seen:
                start, end = masked.offset(part.line, part.column), masked.offset(part.end_line, part.end_column)
                template = masked.unmask(part.text, start, end)
                part.text = render_text(template, variables, self.definition.template, now=now, rng=rng, clock=clock)
                seen.add(id(part))
        return found

    def text(
        self,
        variables: Mapping[str, object],
        now: float,
        rng: Random,
        lookup: Lookup | None,
        clock: Clock | None,
        deadline_s: float = DEADLINE_S,
        later: Set[str] | None = None,
    ) -> tuple[Context, str | None, Callable[[int, int], tuple[int, int]] | None]:
        """Renders the stretch and returns the context to read it in, the text, and the map back to the source."""
        marks: list[Mark] = []
        dialect = self.definition.template
        ctx = Context(Masked("", ""), self.definition.source_line)
        try:
            text = render_text(
                self.source,
                variables,
                dialect,
                now=now,
                rng=rng,
                lookup=lookup,
                clock=clock,
                deadline_s=deadline_s,
                marks=marks,
                later=later,
                is_yaml=True,
            )
        except TemplateError as error:
            line, column = self.first + error.line - 1, 0
            if error.pos is not None:
                at, of = position(self.starts, self.start + error.pos)
                line, column = at - 1, of - 1
            ctx.add_at(line, column, "", error.code, error.message)
            return ctx, None, None
        to_line = self.mapper(text, marks)
        return Context(Masked("", text), self.definition.source_line, to_line=to_line), text, to_line

    def mapper(self, text: str, marks: list[Mark]) -> Callable[[int, int], tuple[int, int]]:
        """Returns a function from line and column of the rendered text to those of the source, from 0."""
        rendered = line_starts(text)
        offsets = [mark[0] for mark in marks]

        def to_source(line: int, column: int) -> tuple[int, int]:
            if not marks:
                return self.first + line, column
            offset = (rendered[line] if line < len(rendered) else len(text)) + column
            begin, source, plain = marks[max(0, bisect_right(offsets, offset) - 1)]
            at = self.start + source + (offset - begin if plain else 0)
            found = position(self.starts, min(at, len(self.definition.source)))
            return found[0] - 1, found[1] - 1

        return to_source


__all__ = [
    "RenderedTask",
    "expand_dynamic",
    "has_template",
    "join",
    "render_job_variables",
    "render_task",
    "render_text",
]
