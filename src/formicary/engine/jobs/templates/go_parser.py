"""Parses the Go template dialect into the tree of :mod:`go_ast`; unknown functions and variables are errors here."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from difflib import get_close_matches

from formicary.engine.jobs.templates import go_ast as ast
from formicary.engine.jobs.templates.budget import MAX_DEPTH, TemplateError, limit_error
from formicary.engine.jobs.templates.go_lexer import Segment, Token, lex

_KEYWORDS = frozenset(
    {"if", "else", "end", "range", "with", "template", "define", "block", "break", "continue"},
)
_INT64 = 1 << 63
_COMMENTED = re.compile(r"^(?:[^#\n]*[ \t])??(?P<comment>#[^\n]*\{\{[^\n]*)$", re.MULTILINE)
"""A line with a comment that holds ``{{``."""
_SUM = re.compile(r"\{\{[ \t]*\d+(?:[ \t]*[*+/%-][ \t]*\d+)+[ \t]*\}\}")
"""Numbers to reckon with, which Go's templates cannot: a text for another engine, as tests of web pages send it."""


def parse_go(source: str, functions: Collection[str], *, is_yaml: bool = False) -> ast.Template:
    """Parses a template.

    Args:
        source: The text.
        functions: Names of the functions that exist.
        is_yaml: Whether it is the text of a job file, where ``{{`` may stand in comments and around sums (``{{7*7}}``)
            without being a template.

    Raises:
        TemplateError: The text is not a template; ``pos`` says where.
    """
    try:
        return _Parser(source, functions).parse()
    except TemplateError:
        plain = _in_comments(source, functions) | _sums(source) if is_yaml else frozenset()
        if not plain:
            raise
    return _Parser(source, functions, plain).parse()


def _sums(source: str) -> frozenset[int]:
    return frozenset(found.start() for found in _SUM.finditer(source))


def _in_comments(source: str, functions: Collection[str]) -> frozenset[int]:
    """Offsets of the ``{{`` in YAML comments that are no templates by themselves."""
    found: list[int] = []
    for line in _COMMENTED.finditer(source):
        start = line.start("comment")
        before = source[line.start() : start]
        if any(before.count(quote) % 2 for quote in ('"', "'")) or before.count("{{") > before.count("}}"):
            continue
        try:
            _Parser(line["comment"], functions).parse()
        except TemplateError:
            found += (start + opening.start() for opening in re.finditer(r"\{\{", line["comment"]))
    return frozenset(found)


class _Parser:
    def __init__(self, source: str, functions: Collection[str], plain: frozenset[int] = frozenset()) -> None:
        self.source = source
        self.known = functions
        self.segments = lex(source, plain)
        self.at = 0
        self.scopes: list[list[str]] = [["$"]]
        self.loops = 0
        self.depth = 0
        self.branches = 0
        spans = [(s.start, s.end) for s in self.segments if s.kind != "text"]
        self.template = ast.Template(source, [], {}, spans)

    def parse(self) -> ast.Template:
        nodes, closer = self._nodes(None)
        if closer is not None:
            word = closer.tokens[0].text
            raise TemplateError(f"'{{{{{word}}}}}' has no open if, range, with, define or block.", closer.start)
        self.template.nodes = nodes
        self.template.arms.sort(key=lambda a: (a.start, -a.end))
        return self.template

    # ------------------------------------------------------------------------------------------------------- blocks
    def _nodes(self, opener: Segment | None) -> tuple[list[ast.Node], Segment | None]:
        """Parses up to ``end`` or ``else`` and returns that segment, or to the end of the source."""
        nodes: list[ast.Node] = []
        while self.at < len(self.segments):
            segment = self.segments[self.at]
            self.at += 1
            if segment.kind == "text":
                if segment.text:
                    nodes.append(ast.Text(segment.text, segment.at))
            elif segment.kind == "action":
                if _first_word(segment) in ("end", "else"):
                    return nodes, segment
                node = self._action(segment)
                if node is not None:
                    nodes.append(node)
        if opener is not None:
            word = opener.tokens[0].text
            raise TemplateError(f"'{{{{{word}}}}}' is not closed: add '{{{{end}}}}'.", opener.start)
        return nodes, None

    def _action(self, segment: Segment) -> ast.Node | None:
        word = _first_word(segment)
        if word in ("if", "with"):
            return self._branch(segment, 1)
        if word == "range":
            return self._range(segment)
        if word in ("define", "block"):
            return self._define(segment)
        if word == "template":
            return self._call(segment)
        if word in ("break", "continue"):
            self._done(segment, 1)
            if not self.loops:
                raise TemplateError(f"'{{{{{word}}}}}' stands outside of range.", segment.start)
            return ast.Jump(word, segment.start)
        if not segment.tokens:
            raise TemplateError("This action is empty; write a value or a comment.", segment.start)
        return ast.Output(self._pipe(_Tokens(segment, 0), declares=2), segment.start)

    def _branch(self, segment: Segment, skip: int) -> ast.Branch:
        """Parses if or with; ``skip`` is 2 for 'else if', whose ``end`` also closes the outer one."""
        kind = segment.tokens[skip - 1].text
        self._enter(segment.start)
        self.branches += 1
        branch = self.branches
        self.scopes.append([])
        pipe = self._pipe(_Tokens(segment, skip), declares=1)
        self.scopes.append([])
        body, closer = self._nodes(segment)
        self.scopes.pop()
        assert closer is not None
        self._arm(branch, 0, segment.end, closer.start)
        otherwise: list[ast.Node] = []
        if _first_word(closer) == "else":
            following = closer.tokens[1].text if len(closer.tokens) > 1 else ""
            if following in ("if", "with"):
                otherwise = [self._branch(closer, 2)]
                last = self.segments[self.at - 1]
            else:
                self._done(closer, 1)
                self.scopes.append([])
                otherwise, found = self._nodes(segment)
                self.scopes.pop()
                last = self._need_end(found, segment)
            self._arm(branch, 1, closer.end, last.start)
        else:
            self._done(closer, 1)
        self.scopes.pop()
        self._leave()
        return ast.Branch(kind, pipe, body, otherwise, segment.start)

    def _range(self, segment: Segment) -> ast.Range:
        self._enter(segment.start)
        self.scopes.append([])
        pipe = self._pipe(_Tokens(segment, 1), declares=2, in_range=True)
        self.loops += 1
        self.scopes.append([])
        body, closer = self._nodes(segment)
        self.scopes.pop()
        self.loops -= 1
        otherwise: list[ast.Node] = []
        assert closer is not None
        if _first_word(closer) == "else":
            self._done(closer, 1)
            self.scopes.append([])
            otherwise, found = self._nodes(segment)
            self.scopes.pop()
            self._need_end(found, segment)
        else:
            self._done(closer, 1)
        self.scopes.pop()
        self._leave()
        return ast.Range(pipe, body, otherwise, segment.start)

    def _define(self, segment: Segment) -> ast.Node | None:
        word = segment.tokens[0].text
        tokens = _Tokens(segment, 1)
        name = self._name(tokens, word)
        pipe = None
        if word == "block":
            pipe = self._pipe(tokens)
        elif tokens.peek() is not None:
            raise TemplateError("define takes a name only.", segment.start)
        self._enter(segment.start)
        outer, loops = self.scopes, self.loops
        self.scopes, self.loops = [["$"]], 0
        body, closer = self._nodes(segment)
        self._need_end(closer, segment)
        self.scopes, self.loops = outer, loops
        self._leave()
        self.template.defines[name] = body
        return ast.Call(name, pipe, segment.start) if word == "block" else None

    def _call(self, segment: Segment) -> ast.Call:
        tokens = _Tokens(segment, 1)
        name = self._name(tokens, "template")
        pipe = self._pipe(tokens) if tokens.peek() is not None else None
        return ast.Call(name, pipe, segment.start)

    def _name(self, tokens: _Tokens, word: str) -> str:
        token = tokens.next()
        if token is None or token.kind not in ("string", "raw"):
            pos = token.pos if token is not None else tokens.pos
            raise TemplateError(f'{word} needs a quoted name, like {{{{{word} "part"}}}}.', pos)
        return unquote(token)

    def _need_end(self, closer: Segment | None, opener: Segment) -> Segment:
        assert closer is not None
        if _first_word(closer) != "end":
            raise TemplateError(f"A second else for '{opener.tokens[0].text}'; write {{{{end}}}} first.", closer.start)
        self._done(closer, 1)
        return closer

    def _arm(self, branch: int, arm: int, start: int, end: int) -> None:
        self.template.arms.append(ast.Arm(branch, arm, start, end))

    @staticmethod
    def _done(segment: Segment, count: int) -> None:
        if len(segment.tokens) > count:
            token = segment.tokens[count]
            raise TemplateError(f"Unexpected {token.text!r} after {segment.tokens[0].text}.", token.pos)

    def _enter(self, pos: int) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise limit_error(f"is nested more than {MAX_DEPTH} deep", pos)

    def _leave(self) -> None:
        self.depth -= 1

    # ---------------------------------------------------------------------------------------------------- pipelines
    def _pipe(self, tokens: _Tokens, *, declares: int = 0, in_range: bool = False, closer: str = "") -> ast.Pipe:
        pos = tokens.pos
        opened = tokens.tokens[tokens.at - 1].pos if tokens.at else pos
        variables, assigns = self._declaration(tokens, declares, in_range)
        commands = [self._command(tokens, closer)]
        while (token := tokens.peek()) is not None and token.kind == "pipe":
            tokens.next()
            commands.append(self._command(tokens, closer))
            first = commands[-1].args[0]
            if not isinstance(first, ast.Identifier | ast.Field | ast.Variable | ast.Chain):
                raise TemplateError("Only a function can take the value before '|'.", first.pos)
        token = tokens.next()
        if closer:
            if token is None or token.kind != closer:
                raise TemplateError("This '(' is not closed.", opened)
        elif token is not None:
            raise TemplateError(f"Unexpected {token.text!r} here.", token.pos)
        for name in variables:
            if assigns:
                self._check_variable(name, pos)
            elif name not in self.scopes[-1]:
                self.scopes[-1].append(name)
        return ast.Pipe(commands, variables, assigns, pos)

    def _declaration(self, tokens: _Tokens, declares: int, in_range: bool) -> tuple[tuple[str, ...], bool]:
        token, second = tokens.peek(), tokens.peek(1)
        if token is None or token.kind != "variable" or second is None:
            return (), False
        if second.kind in ("declare", "assign"):
            if not declares:
                raise TemplateError("A variable cannot be set here.", token.pos)
            tokens.skip(2)
            return (token.text,), second.kind == "assign"
        third, fourth = tokens.peek(2), tokens.peek(3)
        if second.kind == "comma":
            if not in_range:
                raise TemplateError("Two variables are possible in range only.", second.pos)
            if third is None or third.kind != "variable" or fourth is None:
                raise TemplateError("Write 'range $index, $element := …'.", second.pos)
            if fourth.kind not in ("declare", "assign"):
                raise TemplateError("Write 'range $index, $element := …'.", fourth.pos)
            tokens.skip(4)
            return (token.text, third.text), fourth.kind == "assign"
        return (), False

    def _command(self, tokens: _Tokens, closer: str) -> ast.Command:
        args: list[ast.Operand] = []
        pos = tokens.pos
        while (token := tokens.peek()) is not None:
            if token.kind == "pipe" or (closer and token.kind == closer):
                break
            if args and not token.spaced and token.kind not in ("lparen", "rparen"):
                raise TemplateError(f"Put a space before {token.text!r}.", token.pos)
            args.append(self._operand(tokens))
        if not args:
            raise TemplateError("A value or a function is missing here.", pos)
        if len(args) > 1 and isinstance(args[0], ast.Literal):
            raise TemplateError("A constant takes no arguments.", args[0].pos)
        return ast.Command(args, pos)

    def _operand(self, tokens: _Tokens) -> ast.Operand:
        token = tokens.next()
        assert token is not None
        operand: ast.Operand
        if token.kind in ("field", "dot"):
            if token.kind == "dot":
                return ast.Field((), token.pos)
            return ast.Field((token.text[1:], *tokens.names()), token.pos)
        if token.kind == "variable":
            self._check_variable(token.text, token.pos)
            return ast.Variable(token.text, tokens.names(), token.pos)
        if token.kind == "word":
            operand = self._word(token)
        elif token.kind == "lparen":
            self._enter(token.pos)
            operand = self._pipe(tokens, closer="rparen")
            self._leave()
        elif token.kind == "number":
            return ast.Literal(_number(token), token.pos)
        elif token.kind in ("string", "raw"):
            return ast.Literal(unquote(token), token.pos)
        elif token.kind == "char":
            return ast.Literal(_char(token), token.pos)
        else:
            raise TemplateError(f"Unexpected {token.text!r} here.", token.pos)
        names = tokens.names()
        if names and isinstance(operand, ast.Literal):
            raise TemplateError("A constant has no fields.", token.pos)
        return ast.Chain(operand, names, token.pos) if names else operand

    def _word(self, token: Token) -> ast.Literal | ast.Identifier:
        if token.text in ("true", "false"):
            return ast.Literal(token.text == "true", token.pos)
        if token.text == "nil":
            return ast.Literal(None, token.pos)
        if token.text in _KEYWORDS:
            raise TemplateError(f"'{token.text}' cannot stand here.", token.pos)
        if token.text not in self.known:
            near = get_close_matches(token.text, self.known, 1, 0.6)
            hint = f"did you mean {near[0]}?" if near else f"for a variable write .{token.text}."
            raise TemplateError(f"There is no function {token.text}; {hint}", token.pos)
        self.template.functions.setdefault(token.text, token.pos)
        return ast.Identifier(token.text, token.pos)

    def _check_variable(self, name: str, pos: int) -> None:
        if not any(name in scope for scope in self.scopes):
            raise TemplateError(f"The variable {name} is not set; write {name} := … first.", pos)


class _Tokens:
    """A cursor over the tokens of one action."""

    def __init__(self, segment: Segment, start: int) -> None:
        self.tokens = segment.tokens
        self.at = start
        self.end = segment.end - 2

    @property
    def pos(self) -> int:
        return self.tokens[self.at].pos if self.at < len(self.tokens) else self.end

    def peek(self, ahead: int = 0) -> Token | None:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else None

    def next(self) -> Token | None:
        token = self.peek()
        self.at += 1
        return token

    def skip(self, count: int) -> None:
        self.at += count

    def names(self) -> tuple[str, ...]:
        """Takes the ``.a.b`` that stands right behind the last token."""
        found = []
        while (token := self.peek()) is not None and token.kind == "field" and not token.spaced:
            found.append(token.text[1:])
            self.at += 1
        return tuple(found)


def _first_word(segment: Segment) -> str:
    if segment.tokens and segment.tokens[0].kind == "word" and segment.tokens[0].text in _KEYWORDS:
        return segment.tokens[0].text
    return ""


_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))")
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'"}


def unquote(token: Token) -> str:
    """Returns the text of a quoted or raw string."""
    body = token.text[1:-1]
    if token.kind == "raw":
        return body.replace("\r", "")
    if "\\" not in body:
        return body

    def replace(match: re.Match[str]) -> str:
        for group, base in ((1, 16), (2, 16), (3, 16), (4, 8)):
            if (digits := match.group(group)) is not None:
                code = int(digits, base)
                if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                    raise TemplateError(f"{match.group()} is no character.", token.pos)
                return chr(code)
        simple = _SIMPLE.get(match.group(5))
        if simple is None:
            raise TemplateError(f"Unknown escape {match.group()} in this string.", token.pos)
        return simple

    return _ESCAPE.sub(replace, body)


def _char(token: Token) -> int:
    text = unquote(Token("string", token.text, token.pos, False))
    if len(text) != 1:
        raise TemplateError("A character constant holds one character; use double quotes for text.", token.pos)
    return ord(text)


def _number(token: Token) -> int | float:
    text = token.text.replace("_", "")
    try:
        digits = text.lstrip("+-")
        if digits[:2].lower() in ("0x", "0b", "0o"):
            value: int | float = int(text, 0)
        elif digits.isdigit():
            value = int(text, 8) if len(digits) > 1 and digits[0] == "0" else int(text)
        else:
            value = float(text)
    except (ValueError, OverflowError):
        raise TemplateError(f"{json.dumps(token.text)} is no number.", token.pos) from None
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise TemplateError(f"{token.text} is too large for a 64-bit number.", token.pos)
    return value
