"""The Jinja dialect: sandboxed, strict about missing names, and bounded.

Loops, calls, operators and joined text are counted by the budget: every ``for`` iterates through a counting filter,
text is put together by a bounded join, and filters and methods that can blow up small input are left out. Nothing
draws randomness or reads a clock; ``random`` takes the environment's source. A comparison of a text with a number or
a bool is that of the Go dialect: ``dry_run == "true"`` holds for the bool as for the text.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from formicary.engine.jobs import checksums
from formicary.engine.jobs.templates.budget import (
    MAX_ITERATIONS,
    MAX_OUTPUT_CHARS,
    Budget,
    TemplateError,
    check_size,
    limit_error,
)
from formicary.engine.jobs.templates.lookup import Environment
from formicary.engine.jobs.templates.lookup_calls import CallError, count_jobs, submit_job, submit_jobs

_KEPT_FILTERS = tuple(
    re.findall(
        r"\w+",
        "abs attr capitalize count d default dictsort e escape filesizeformat first float forceescape groupby int "
        "items join last length list lower map max min reject rejectattr replace reverse round select selectattr sort "
        "string striptags sum title tojson trim truncate unique upper urlencode wordcount",
    )
)
_REFUSED_METHODS = frozenset(
    {
        "center",
        "ljust",
        "rjust",
        "zfill",
        "expandtabs",
        "format",
        "format_map",
        "replace",
        "join",
        "translate",
        "encode",
    }
)
_WIDTH = re.compile(r"%[^a-zA-Z%]*(\d{5,}|\*)")
_MAX_BITS = 1024
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
}


class _Generator(CodeGenerator):
    """Joins text with ``~`` through the environment, so that it is bounded."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.join_bounded((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Comparing(NodeTransformer):
    """Leads comparisons of two values through the filter ``_compare``."""

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        if len(node.ops) != 1 or node.ops[0].op not in _COMPARE:
            return node
        given: list[nodes.Expr] = [nodes.Const(node.ops[0].op, lineno=node.lineno), node.ops[0].expr]
        return nodes.Filter(node.expr, "_compare", given, [], None, None, lineno=node.lineno)


def _compare(left: Any, name: str, right: Any) -> bool:
    """Compares; a text with a number as numbers where it holds one, a text with a bool as texts."""
    for value, other in ((left, right), (right, left)):
        if isinstance(value, str) and isinstance(other, bool):
            left, right = (str(one).lower() if isinstance(one, bool) else one for one in (left, right))
            break
        if isinstance(value, str) and isinstance(other, int | float):
            try:
                left, right = (one if isinstance(one, int | float) else float(one) for one in (left, right))
            except ValueError:
                break
            break
    return bool(_COMPARE[name](left, right))


class _Sandbox(ImmutableSandboxedEnvironment):
    """One rendering's environment."""

    code_generator_class = _Generator
    intercepted_binops = frozenset(["**", "*", "+", "%"])

    def __init__(self, env: Environment) -> None:
        super().__init__(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True, cache_size=0)
        self.budget: Budget = env.budget
        self.filters = {name: self._guarded(self.filters[name]) for name in _KEPT_FILTERS}
        self.filters["_bounded"] = self._iterate
        self.filters["_compare"] = _compare
        self.filters["random"] = lambda items: env.rng.choice(list(items))
        self.filters["replace"] = self._replace
        self.globals = {
            "range": self._range,
            "dict": dict,
            "namespace": self.globals["namespace"],
            "now": env.now,
            "checksum": checksums.mark,
            "submit_job": lambda job_type, params=(), **more: submit_job(env, job_type, {**dict(params), **more}),
            "submit_jobs": lambda job_type, jobs, **more: submit_jobs(env, job_type, jobs, more),
            "count_jobs": lambda job_type, *states: count_jobs(env, job_type, states),
        }
        self.finalize = self._printed

    def concat(self, parts: Iterable[str]) -> str:
        """Joins pieces of output."""
        found: list[str] = []
        size = 0
        for part in parts:
            size += len(part)
            if size > MAX_OUTPUT_CHARS:
                raise limit_error("renders more than 1 MB")
            found.append(part)
        self.budget.step(count=1 + len(found))
        return "".join(found)

    def join_bounded(self, parts: Sequence[object]) -> str:
        """Joins operands of ``~``."""
        return self.concat(str(self._printed(part)) for part in parts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.budget.step()
        if operator == "%" and isinstance(left, str):
            if _WIDTH.search(left):
                raise limit_error("pads text too far")
            self._check_value(right)
        elif operator == "**":
            bits = left.bit_length() if isinstance(left, int) else 1
            if isinstance(right, int) and bits * abs(right) > _MAX_BITS:
                raise limit_error("computes a number that is too large")
        elif operator in "*+":
            self._check_growth(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.budget.step()
        return super().call(context, function, *args, **kwargs)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in _REFUSED_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Returns None, so that ``format`` is refused like every method that can pad without bound."""
        return None

    def _check_growth(self, operator: str, left: Any, right: Any) -> None:
        if operator == "*":
            if isinstance(left, int) and isinstance(right, int):
                if left.bit_length() + right.bit_length() > _MAX_BITS:
                    raise limit_error("computes a number that is too large")
                return
            text, times = (right, left) if isinstance(left, int) else (left, right)
            size = len(text) * times if isinstance(text, str | list | tuple) and isinstance(times, int) else 0
        else:
            size = sum(len(value) for value in (left, right) if isinstance(value, str | list | tuple))
        if size > MAX_OUTPUT_CHARS:
            raise limit_error("makes a value of more than 1 MB")

    def _range(self, *args: int) -> range:
        found = range(*args)
        if len(found) > MAX_ITERATIONS:
            raise limit_error(f"loops more than {MAX_ITERATIONS:,} times")
        return found

    def _iterate(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.budget.iterate()
            self.budget.step()
            yield item

    def _replace(self, text: object, old: str, new: str, count: int | None = None) -> str:
        where = str(self._printed(text))
        if len(where) + where.count(old) * max(0, len(new) - len(old)) > MAX_OUTPUT_CHARS:
            raise limit_error("makes a value of more than 1 MB")
        return where.replace(old, new, -1 if count is None else count)

    def _printed(self, value: Any) -> Any:
        self._check_value(value)
        return value

    def _check_value(self, value: object) -> None:
        """Raises when a value would be printed at more than the limit, also when it holds itself many times."""
        if not isinstance(value, list | tuple | dict | set):
            return
        stack: list[object] = [value]
        size = 0
        while stack:
            item = stack.pop()
            size += len(item) + 2 if isinstance(item, str) else 2
            if size > MAX_OUTPUT_CHARS:
                raise limit_error("makes a value of more than 1 MB")
            if isinstance(item, dict):
                stack.extend(item.keys())
                stack.extend(item.values())
            elif isinstance(item, list | tuple | set):
                stack.extend(item)
        self.budget.step(count=1 + size // 16)

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wraps a filter so that its arguments and its text are bounded."""

        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.budget.step()
            for arg in args:
                self._check_value(arg)
            found = function(*args, **kwargs)
            if isinstance(found, str) and len(found) > MAX_OUTPUT_CHARS:
                raise limit_error("makes a value of more than 1 MB")
            return found

        for name in ("jinja_pass_arg", "jinja_async_variant"):
            if hasattr(function, name):
                setattr(guarded, name, getattr(function, name))
        return guarded


def check_jinja(source: str) -> TemplateError | None:
    """Parses a template without rendering it and returns its error, if it has one."""
    try:
        check_size(source)
        jinja2.Environment(autoescape=False).parse(source)  # only parsed, never rendered
    except TemplateError as error:
        return error
    except jinja2.TemplateSyntaxError as error:
        return TemplateError(f"{_sentence(error.message)} in this template.", line=error.lineno)
    except RecursionError:
        return limit_error("is nested too deep")
    return None


def render_jinja(source: str, variables: Mapping[str, object], env: Environment) -> str:
    """Renders a template.

    Args:
        source: The text.
        variables: Names by which the template reaches its values.
        env: Time, randomness and bounds.

    Raises:
        TemplateError: Syntax error, missing name, refused operation, exceeded bound.
    """
    check_size(source)
    sandbox = _Sandbox(env)
    try:
        tree = _Comparing().visit(sandbox.parse(source))
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_bounded", [], [], None, None, lineno=loop.lineno)
        code = sandbox.compile(tree)
        template = sandbox.template_class.from_code(sandbox, code, sandbox.make_globals(None))
        pieces: list[str] = []
        for piece in template.generate(_nested(variables)):
            env.budget.step()
            env.budget.emit(len(piece))
            pieces.append(piece)
        env.budget.check_deadline()
        return "".join(pieces)
    except TemplateError as error:
        if error.pos is None and error.line == 1:
            error.line = _line_of(error)
        raise
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"{_sentence(error.message)} in this template.", line=error.lineno) from None
    except jinja2.UndefinedError as error:
        raise TemplateError(
            f"{_sentence(error.message)}; set it or use '| default(…)'.", line=_line_of(error)
        ) from None
    except jinja2.TemplateError as error:
        raise TemplateError(f"{_sentence(error.message)}.", line=_line_of(error)) from None
    except (RecursionError, MemoryError):
        raise limit_error("is nested too deep") from None
    except CallError as error:
        raise TemplateError(f"{_sentence(str(error))}.", line=_line_of(error)) from None
    except Exception as error:
        raise TemplateError(f"{type(error).__name__}: {_sentence(str(error))}.", line=_line_of(error)) from None


def _nested(variables: Mapping[str, object]) -> dict[str, object]:
    """Gives names with dots (``task.output``) a mapping, as templates reach them."""
    found = {name: value for name, value in variables.items() if "." not in name}
    for name, value in variables.items():
        head, dot, rest = name.partition(".")
        if dot:
            inner = found.get(head)
            found[head] = {**inner, rest: value} if isinstance(inner, dict) else {rest: value}
    return found


def _line_of(error: BaseException) -> int:
    """Returns the template's line in which an error arose."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _sentence(message: str | None) -> str:
    text = (message or "The template cannot be rendered").strip().rstrip(".")
    return text[:1].upper() + text[1:300]
