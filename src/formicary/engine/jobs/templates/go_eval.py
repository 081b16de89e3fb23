"""Renders a parsed template of the Go dialect.

Dot is the map of variables. A missing name is nil and prints ``<no value>``; nil is false. Whatever a template does is
counted by the budget, so rendering ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from formicary.engine.jobs.templates import go_ast as ast
from formicary.engine.jobs.templates.budget import MAX_DEPTH, MAX_OUTPUT_CHARS, TemplateError, limit_error
from formicary.engine.jobs.templates.go_format import to_text, type_name
from formicary.engine.jobs.templates.go_functions import FUNCTIONS, Function, FunctionError, truth, unescape_html
from formicary.engine.jobs.templates.later import Later
from formicary.engine.jobs.templates.lookup import Environment

_UNESCAPE = Function(unescape_html, 1, 1)
_ABSENT = object()

Mark = tuple[int, int, bool]
"""Offset in the result, offset in the source, and whether the piece is plain text of the source."""


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


def render_go(
    template: ast.Template,
    variables: Mapping[str, object],
    env: Environment,
    marks: list[Mark] | None = None,
) -> str:
    """Renders a template.

    Args:
        template: The parsed text.
        variables: What dot holds.
        env: Time, randomness, bounds and the lookup port.
        marks: Receives where each printed piece comes from.

    Raises:
        TemplateError: A value does not fit, or a bound was exceeded.
    """
    evaluation = _Evaluation(template, variables, env, marks)
    try:
        evaluation.run(template.nodes, variables, 0)
    except RecursionError:
        raise limit_error("is nested too deep") from None
    return "".join(evaluation.out)


class _Evaluation:
    __slots__ = ("budget", "env", "later", "marks", "out", "root", "scopes", "template")

    def __init__(
        self,
        template: ast.Template,
        root: Mapping[str, object],
        env: Environment,
        marks: list[Mark] | None,
    ) -> None:
        self.template = template
        self.root = root
        self.env = env
        self.budget = env.budget
        self.marks = marks
        self.out: list[str] = []
        self.scopes: list[dict[str, object]] = [{"$": root}]
        self.later = Later(template, env.later) if env.later is not None else None

    # -------------------------------------------------------------------------------------------------------- nodes
    def run(self, nodes: Iterable[ast.Node], dot: object, depth: int) -> None:
        """Prints nodes one after the other."""
        for node in nodes:
            self.budget.step(node.pos)
            if isinstance(node, ast.Text):
                self.emit(node.text, node.pos, True)
            elif isinstance(node, ast.Output):
                self.output(node, dot)
            elif isinstance(node, ast.Branch):
                self.branch(node, dot, depth)
            elif isinstance(node, ast.Range):
                self.range(node, dot, depth)
            elif isinstance(node, ast.Call):
                self.call_template(node, dot, depth)
            elif node.kind == "break":
                raise _Break
            else:
                raise _Continue

    def output(self, node: ast.Output, dot: object) -> None:
        later = self.later
        if later is not None and (action := later.action(node.pos, self.root, dot)):
            self.emit("{{" + action + "}}", node.pos)
            return
        value = self.pipe(node.pipe, dot)
        if later is not None and value is None and (names := self.missing(node.pipe, dot)):
            self.emit("{{." + ".".join(names) + "}}", node.pos)
        elif not node.pipe.variables:
            self.emit(self.text_of(value, node.pos), node.pos)

    def missing(self, pipe: ast.Pipe, dot: object) -> tuple[str, ...]:
        """The names of a pipeline that is nothing but ``.a.b`` or ``$.a.b`` of a variable that there is not."""
        operand = pipe.commands[0].args[0]
        if pipe.variables or len(pipe.commands) > 1 or not isinstance(operand, ast.Field | ast.Variable):
            return ()
        start = dot if isinstance(operand, ast.Field) else self.variable(operand)
        return operand.names if start is self.root and operand.names and operand.names[0] not in self.root else ()

    def emit(self, text: str, pos: int, plain: bool = False) -> None:
        self.budget.emit(len(text), pos)
        if self.marks is not None:
            self.marks.append((self.budget.output - len(text), pos, plain))
        self.out.append(text)

    def text_of(self, value: object, pos: int) -> str:
        try:
            return to_text(value)
        except TemplateError as error:
            error.pos = pos
            raise

    def branch(self, node: ast.Branch, dot: object, depth: int) -> None:
        self.scopes.append({})
        try:
            later = self.later
            if later is not None and node.kind == "if" and (action := later.action(node.pos, self.root, dot)):
                self.emit("{{" + action + "}}", node.pos)
                self.block(node.body, dot, depth)
                self.emit("{{else}}", node.pos)
                self.block(node.otherwise, dot, depth)
                self.emit("{{end}}", node.pos)
                return
            value = self.pipe(node.pipe, dot)
            if truth(value):
                self.block(node.body, value if node.kind == "with" else dot, depth)
            else:
                self.block(node.otherwise, dot, depth)
        finally:
            self.scopes.pop()

    def block(self, nodes: list[ast.Node], dot: object, depth: int) -> None:
        self.scopes.append({})
        try:
            self.run(nodes, dot, depth)
        finally:
            self.scopes.pop()

    def range(self, node: ast.Range, dot: object, depth: int) -> None:
        self.scopes.append({})
        try:
            value = self.pipe(node.pipe, dot, declare=False)
            rounds = 0
            for key, item in _items(value, node.pos):
                rounds += 1
                self.budget.iterate(node.pos)
                self.set_loop_variables(node, key, item)
                try:
                    self.block(node.body, item, depth)
                except _Break:
                    break
                except _Continue:
                    continue
            if not rounds:
                self.block(node.otherwise, dot, depth)
        finally:
            self.scopes.pop()

    def set_loop_variables(self, node: ast.Range, key: object, item: object) -> None:
        names = node.pipe.variables
        if not names:
            return
        values = (item,) if len(names) == 1 else (key, item)
        for name, value in zip(names, values, strict=True):
            if node.pipe.assigns:
                self.assign(name, value, node.pos)
            else:
                self.scopes[-1][name] = value

    def call_template(self, node: ast.Call, dot: object, depth: int) -> None:
        body = self.template.defines.get(node.name)
        if body is None:
            raise TemplateError(f'There is no template "{node.name}"; add {{{{define "{node.name}"}}}}.', node.pos)
        if depth >= MAX_DEPTH:
            raise limit_error(f"calls templates more than {MAX_DEPTH} deep", node.pos)
        value = self.pipe(node.pipe, dot) if node.pipe is not None else None
        outer, self.scopes = self.scopes, [{"$": value}]
        try:
            self.run(body, value, depth + 1)
        finally:
            self.scopes = outer

    # ---------------------------------------------------------------------------------------------------- pipelines
    def pipe(self, pipe: ast.Pipe, dot: object, *, declare: bool = True) -> object:
        """Evaluates a pipeline and sets its variables (range sets its own)."""
        value: object = _ABSENT
        for command in pipe.commands:
            value = self.command(command, dot, value)
        if declare:
            for name in pipe.variables:
                if pipe.assigns:
                    self.assign(name, value, pipe.pos)
                else:
                    self.scopes[-1][name] = value
        return value

    def assign(self, name: str, value: object, pos: int) -> None:
        for scope in reversed(self.scopes):
            if name in scope:
                scope[name] = value
                return
        raise TemplateError(f"The variable {name} is not set here.", pos)

    def command(self, command: ast.Command, dot: object, final: object) -> object:
        self.budget.step(command.pos)
        head = command.args[0]
        if isinstance(head, ast.Identifier):
            return self.function(head.name, FUNCTIONS[head.name], command.args[1:], dot, final, head.pos)
        value = self.operand(head, dot)
        if len(command.args) == 1 and final is _ABSENT:
            return value
        if isinstance(value, Function):
            return self.function("UnescapeHTML", value, command.args[1:], dot, final, head.pos)
        raise TemplateError(
            "This value is no function and takes no arguments; join the parts with print or printf.", head.pos
        )

    def function(
        self,
        name: str,
        function: Function,
        operands: Sequence[ast.Operand],
        dot: object,
        final: object,
        pos: int,
    ) -> object:
        if name in ("and", "or"):
            return self.lazy(name, operands, dot, final, pos)
        args = [self.operand(operand, dot) for operand in operands]
        if final is not _ABSENT:
            args.append(final)
        if name == "call" and args:
            if not isinstance(args[0], Function):
                raise TemplateError(f"call expects a function, got {type_name(args[0])}.", pos)
            function, args = args[0], args[1:]
        if len(args) < function.least or (function.most is not None and len(args) > function.most):
            most = f" to {function.most}" if function.most is not None else " or more"
            wanted = str(function.least) if function.most == function.least else f"{function.least}{most}"
            raise TemplateError(f"{name} takes {wanted} arguments, not {len(args)}.", pos)
        return self.invoke(name, function, args, pos)

    def invoke(self, name: str, function: Function, args: Sequence[object], pos: int) -> object:
        try:
            value = function.call(self.env, *args)
        except FunctionError as error:
            raise TemplateError(f"{name}: {error}.", pos) from None
        except TemplateError as error:
            if error.pos is None:
                error.pos = pos
            raise
        if isinstance(value, str):
            self.budget.step(pos, 1 + len(value) // 1024)
            if len(value) > MAX_OUTPUT_CHARS:
                raise limit_error("makes a value of more than 1 MB", pos)
        elif isinstance(value, list):
            self.budget.step(pos, 1 + len(value) // 16)
        return value

    def lazy(self, name: str, operands: Sequence[ast.Operand], dot: object, final: object, pos: int) -> object:
        value: object = _ABSENT
        for operand in operands:
            value = self.operand(operand, dot)
            if truth(value) == (name == "or"):
                return value
        if final is not _ABSENT:
            return final
        if value is _ABSENT:
            raise TemplateError(f"{name} takes 1 or more arguments, not 0.", pos)
        return value

    # ----------------------------------------------------------------------------------------------------- operands
    def operand(self, operand: ast.Operand, dot: object) -> object:
        """Evaluates an operand; a function's name alone calls it without arguments."""
        self.budget.step(operand.pos)
        if isinstance(operand, ast.Literal):
            return operand.value
        if isinstance(operand, ast.Field):
            return self.chain(dot, operand.names, operand.pos) if operand.names else dot
        if isinstance(operand, ast.Variable):
            return self.chain(self.variable(operand), operand.names, operand.pos)
        if isinstance(operand, ast.Chain):
            return self.chain(self.operand(operand.operand, dot), operand.names, operand.pos)
        if isinstance(operand, ast.Identifier):
            return self.function(operand.name, FUNCTIONS[operand.name], (), dot, _ABSENT, operand.pos)
        return self.pipe(operand, dot)

    def variable(self, operand: ast.Variable) -> object:
        for scope in reversed(self.scopes):
            if operand.name in scope:
                return scope[operand.name]
        raise TemplateError(f"The variable {operand.name} is not set here.", operand.pos)

    def chain(self, value: object, names: tuple[str, ...], pos: int) -> object:
        """Follows ``.a.b``; on the variables themselves a flat name ``"a.b"`` comes first."""
        if value is self.root:
            if len(names) > 1:
                flat = self.root.get(".".join(names))
                if flat is not None:
                    return flat
            elif names == ("UnescapeHTML",) and "UnescapeHTML" not in self.root:
                return _UNESCAPE
        for name in names:
            if value is None:
                return None
            if not isinstance(value, Mapping):
                raise TemplateError(f"A {type_name(value)} has no field {name}.", pos)
            value = value.get(name)
        return value


def _items(value: object, pos: int) -> Iterable[tuple[object, object]]:
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return ((key, value[key]) for key in sorted(value, key=str))
    if isinstance(value, bool) or callable(value):
        raise TemplateError(f"range cannot loop over a {type_name(value)}.", pos)
    if isinstance(value, int):
        return ((i, i) for i in range(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return enumerate(value)
    raise TemplateError(f"range cannot loop over a {type_name(value)}; use split to make a list.", pos)
