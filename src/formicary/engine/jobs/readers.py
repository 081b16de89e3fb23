"""Reads YAML nodes into values of the model, one reader per kind of field; collects what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from formicary.engine.jobs.durations import parse_duration
from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.model import METHODS, Backoff, Parameter, Position, Violation, is_third_party
from formicary.engine.jobs.templates.go_time import parse_moment
from formicary.engine.jobs.templates.masking import LINE_BREAK, Masked
from formicary.engine.jobs.yaml_nodes import Node, plain_value, scalar_value, to_json

MAX_VIOLATIONS = 200
"""So many are listed; the rest would only hide the first."""

MAX_HINTS = 20
"""So many violations come with a look for near names."""

_SEMVER = re.compile(
    r"v?(0|[1-9]\d*)(\.(0|[1-9]\d*)){0,2}(-[0-9A-Za-z][0-9A-Za-z.-]*)?(\+[0-9A-Za-z][0-9A-Za-z.-]*)?\Z"
)
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*\Z")
WHEN = ("onSuccess", "onFailure", "always")
"""When artifacts are kept."""
_TRUTHS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "yes", "on", "y"), True),
    **dict.fromkeys(("false", "no", "off", "n"), False),
}
"""Words for true and false where nothing else can stand; anywhere else `yes` and `on` are texts."""
_TYPES = ("str", "int", "float", "bool", "list", "dict", "any")
_NAMES = {"scalar": "a single value", "seq": "a list", "map": "a mapping"}


class Absent:
    """What a reader returns when there is no value to keep: it is null, wrong, or only known after rendering."""


ABSENT = Absent()


@dataclass(slots=True)
class Context:
    """What the readers of one document share.

    Attributes:
        masked: The source with hidden actions.
        first_line: Line of the file on which the source starts, from 1.
        violations: Receives what is wrong.
        to_line: Maps a place in the text that is read to a place in the file, when the text was rendered.
        in_container: Whether the task that is read runs in a container, with paths of its own.
    """

    masked: Masked
    first_line: int = 1
    violations: list[Violation] = field(default_factory=list)
    to_line: Callable[[int, int], tuple[int, int]] | None = None
    in_container: bool = False

    def place(self, line: int, column: int) -> Position:
        """Returns the position in the file of a line and column that count from 0."""
        if self.to_line is not None:
            line, column = self.to_line(line, column)
        return Position(line + self.first_line, column + 1)

    def add(self, node: Node, path: str, code: str, message: str, severity: str = "error") -> None:
        """Notes a violation at a node."""
        self.add_at(node.line, node.column, path, code, message, severity)

    def add_at(self, line: int, column: int, path: str, code: str, message: str, severity: str = "error") -> None:
        """Notes a violation at a line and column that count from 0."""
        if len(self.violations) < MAX_VIOLATIONS:
            place = self.place(line, column)
            self.violations.append(Violation(place.line, place.column, path, code, message, severity))

    def hint(self, name: str, known: Collection[str]) -> str:
        """Returns what :func:`did_you_mean` says, for the first violations only: looking for near names takes time."""
        return did_you_mean(name, known) if len(self.violations) < MAX_HINTS else ""

    def unknown(self, key: Node, path: str, name: str, known: Collection[str]) -> None:
        """Notes a field that a mapping inside of a task or trigger does not have.

        One that looks like a known field is an error; older files carry others, which have no effect there either.
        """
        hint = did_you_mean(name, known)
        if hint:
            self.add(key, path, "UNKNOWN_FIELD", f"There is no field {_short(name)} here.{hint}")
        else:
            message = f"There is no field {_short(name)} here; it has no effect. Possible are {', '.join(known)}."
            self.add(key, path, "UNKNOWN_FIELD", message, "warning")

    def is_masked(self, node: Node) -> bool:
        """Says whether a scalar holds a template."""
        return bool(self.masked.spans) and self.masked.char in node.text

    def text(self, node: Node) -> str:
        """Returns a scalar's text with its template actions put back."""
        if not self.is_masked(node):
            return node.text
        start = self.masked.offset(node.line, node.column)
        end = self.masked.offset(node.end_line, node.end_column)
        return self.masked.unmask(node.text, start, end)

    def json(self, node: Node) -> object:
        """Returns a node as JSON values with template actions put back."""
        if not self.masked.spans:
            return to_json(node)
        if node.kind == "scalar":
            return self.text(node) if self.is_masked(node) else scalar_value(node)
        if node.kind == "seq":
            return [self.json(item) for item in node.items]
        return {self.text(key): self.json(value) for key, value in node.entries()}

    def wrong_type(self, node: Node, path: str, wanted: str) -> Absent:
        """Notes that a node is of another kind than wanted."""
        hint = ""
        if node.kind == "map" and wanted in ("text", "a single value") and not node.flow:
            hint = " (put it in quotes if it is text with ': ' in it)"
        found = _NAMES[node.kind] if node.kind != "scalar" or not node.text else repr(_short(self.text(node)))
        self.add(node, path, "WRONG_TYPE", f"Write {wanted} for {path}, not {found}{hint}.")
        return ABSENT


Reader = Callable[[Context, Node, str, Field], object]


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Returns a hint with the nearest known name, with a leading blank, or nothing."""
    near = get_close_matches(name, known, 1, 0.6) or get_close_matches(name.upper(), known, 1, 0.6)
    return f" Did you mean {near[0]}?" if near else ""


def is_private(name: str) -> bool:
    """Says whether a field is the writer's own, a place for anchors: ``x-NAME`` or ``.NAME``."""
    return name.startswith(("x-", "."))


def is_null(node: Node) -> bool:
    """Says whether a node is an explicit or empty null."""
    return node.kind == "scalar" and scalar_value(node) is None


# ------------------------------------------------------------------------------------------------------------ scalars
def read_text(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Reads text; numbers and booleans are taken as they are written."""
    if node.kind != "scalar":
        return ctx.wrong_type(node, path, "text")
    if is_null(node):
        return ABSENT
    text = ctx.text(node)
    if row.most is not None and len(text) > row.most and not ctx.is_masked(node):
        ctx.add(node, path, "TOO_LONG", f"{path} has {len(text):,} characters; shorten it to {int(row.most):,}.")
        return ABSENT
    return text


def _read_name(ctx: Context, node: Node, path: str, row: Field) -> object:
    text = read_text(ctx, node, path, row)
    if isinstance(text, str) and (not text.strip() or not text.isprintable()):
        ctx.add(node, path, "BAD_NAME", f"Give {path} a name of printable characters.")
        return ABSENT
    return text.strip() if isinstance(text, str) else text


def _read_int(ctx: Context, node: Node, path: str, row: Field) -> object:
    if (node.kind == "scalar" and ctx.is_masked(node)) or is_null(node):
        return ABSENT
    value = scalar_value(node) if node.kind == "scalar" else None
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d{1,18}", value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return ctx.wrong_type(node, path, "a whole number")
    return _range(ctx, node, path, row, value)


def _read_number(ctx: Context, node: Node, path: str, row: Field) -> object:
    if (node.kind == "scalar" and ctx.is_masked(node)) or is_null(node):
        return ABSENT
    value = scalar_value(node) if node.kind == "scalar" else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return ctx.wrong_type(node, path, "a number")
    return _range(ctx, node, path, row, value)


def _range(ctx: Context, node: Node, path: str, row: Field, value: int | float) -> object:
    least, most = row.least, row.most
    if (least is not None and value < least) or (most is not None and value > most):
        limits = f"at least {least:,g}" if most is None else f"from {least or 0:,g} to {most:,g}"
        ctx.add(node, path, "OUT_OF_RANGE", f"Write a number {limits} for {path}, not {_short(str(value))}.")
        return ABSENT
    return value


def _read_bool(ctx: Context, node: Node, path: str, row: Field) -> object:
    if (node.kind == "scalar" and ctx.is_masked(node)) or is_null(node):
        return ABSENT
    value = scalar_value(node) if node.kind == "scalar" else None
    if isinstance(value, str):
        value = _TRUTHS.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        return ctx.wrong_type(node, path, "true or false")
    return value


def _read_duration(ctx: Context, node: Node, path: str, row: Field) -> object:
    if node.kind != "scalar":
        return ctx.wrong_type(node, path, "a duration")
    if ctx.is_masked(node) or is_null(node):
        return ABSENT
    try:
        return parse_duration(scalar_value(node))
    except ValueError as error:
        ctx.add(node, path, "BAD_DURATION", f"{_short(node.text)!r} is no duration: {error}.")
        return ABSENT


def _read_duration_range(ctx: Context, node: Node, path: str, row: Field) -> object:
    least, to, most = node.text.partition(" to ")
    if node.kind == "scalar" and to and not ctx.is_masked(node):
        try:
            limits = parse_duration(plain_value(least.strip())), parse_duration(plain_value(most.strip()))
        except ValueError as error:
            ctx.add(node, path, "BAD_DURATION", f"{_short(node.text)!r} is no range of durations: {error}.")
            return ABSENT
        return (min(limits), max(limits))
    value = _read_duration(ctx, node, path, row)
    return (value, value) if isinstance(value, float) else ABSENT


def _read_moment(ctx: Context, node: Node, path: str, row: Field) -> object:
    if node.kind != "scalar":
        return ctx.wrong_type(node, path, "a time")
    if ctx.is_masked(node) or is_null(node):
        return ABSENT
    try:
        return parse_moment(scalar_value(node))
    except (ValueError, OverflowError):
        ctx.add(
            node, path, "BAD_TIME", f"{_short(node.text)!r} is no time: write it like 2027-01-31T18:00:00Z for {path}."
        )
        return ABSENT


def _read_semver(ctx: Context, node: Node, path: str, row: Field) -> object:
    text = read_text(ctx, node, path, row)
    if isinstance(text, str) and not ctx.is_masked(node) and not _SEMVER.match(text):
        ctx.add(node, path, "BAD_SEMVER", f"{_short(text)!r} is no version: write it like 1.2.0 or 1.0-rc.")
        return ABSENT
    return text


def _read_choice(ctx: Context, node: Node, path: str, row: Field) -> object:
    text = read_text(ctx, node, path, row)
    if isinstance(text, str) and not ctx.is_masked(node) and text not in row.choices:
        ctx.add(node, path, "BAD_VALUE", f"Write {' or '.join(row.choices)} for {path}, not {_short(text)!r}.")
        return ABSENT
    return text


def _read_method(ctx: Context, node: Node, path: str, row: Field) -> object:
    text = read_text(ctx, node, path, row)
    if not isinstance(text, str) or ctx.is_masked(node):
        return text
    method = text.strip().upper()
    if method not in METHODS and not is_third_party(method):
        hint = ctx.hint(method, METHODS) or f" Known are {', '.join(sorted(METHODS))}."
        ctx.add(node, path, "UNKNOWN_METHOD", f"There is no method {_short(text)}.{hint}")
        return ABSENT
    return method


def _read_function(ctx: Context, node: Node, path: str, row: Field) -> object:
    text = read_text(ctx, node, path, row)
    if isinstance(text, str) and not ctx.is_masked(node) and not _FUNCTION.match(text):
        ctx.add(node, path, "BAD_FUNCTION", f"{_short(text)!r} names no function: write package.module:name.")
        return ABSENT
    return text


# -------------------------------------------------------------------------------------------------------- collections
def _read_text_list(ctx: Context, node: Node, path: str, row: Field) -> object:
    if is_null(node):
        return ABSENT
    if node.kind == "scalar":
        return (ctx.text(node),)
    if node.kind != "seq":
        return ctx.wrong_type(node, path, "a list of texts")
    found: list[str] = []
    for i, item in enumerate(node.items):
        if item.kind != "scalar":
            command = _command(ctx, item, f"{path}[{i}]") if row.kind == "script" else None
            if command is None:
                ctx.wrong_type(item, f"{path}[{i}]", "text")
            else:
                found.append(command)
        elif not is_null(item):
            found.append(ctx.text(item))
    return tuple(found)


def _command(ctx: Context, node: Node, path: str) -> str | None:
    """Returns a command with ': ' in it that YAML takes for a mapping, as it stands in the file; None if it is none.

    ``- exit $(( A > 1 ? 1 : 0 ))`` is one key and one value. A key of one word (``- run: make``) is no command.
    """
    pairs = node.pairs
    if node.kind != "map" or node.flow or len(pairs) != 1 or not pairs[0][0].plain:
        return None
    key, value = pairs[0]
    if value.kind != "scalar" or value.end_line != key.line or " " not in key.text.strip():
        return None
    lines = LINE_BREAK.split(ctx.masked.text)
    text = lines[key.line][key.column : value.end_column].rstrip() if key.line < len(lines) else ""
    if not text.startswith(key.text):  # an alias, whose text stands elsewhere
        text = f"{key.text}: {value.text}".rstrip()
    if ctx.is_masked(key) or ctx.is_masked(value):
        start, end = ctx.masked.offset(key.line, key.column), ctx.masked.offset(value.end_line, value.end_column)
        text = ctx.masked.unmask(text, start, end)
    message = f"{path} has ': ' in it and is read as text all the same; put it in quotes, else it is a mapping in YAML."
    ctx.add(node, path, "UNQUOTED_TEXT", message, "warning")
    return text


def _read_script(ctx: Context, node: Node, path: str, row: Field) -> object:
    return _read_text_list(ctx, node, path, row)


def _read_tags(ctx: Context, node: Node, path: str, row: Field) -> object:
    if node.kind == "scalar" and not is_null(node):
        return frozenset(t.strip().lower() for t in ctx.text(node).split(",") if t.strip())
    found = _read_text_list(ctx, node, path, row)
    return frozenset(t.strip().lower() for t in found if t.strip()) if isinstance(found, tuple) else found


def entries(ctx: Context, node: Node, path: str) -> list[tuple[str, Node, Node]]:
    """Returns the pairs of a mapping as (text of the key, key, value) and notes duplicate keys.

    A key twice is right when two arms of one branch hold it; then the first is taken.
    """
    seen: dict[str, Node] = {}
    found: list[tuple[str, Node, Node]] = []
    for key, value in node.entries():
        name = ctx.text(key)
        first = seen.get(name)
        if first is None:
            seen[name] = key
        elif not exclusive(ctx, first, key):
            place = ctx.place(first.line, first.column)
            ctx.add(
                key,
                join(path, name),
                "DUPLICATE_KEY",
                f"{_short(name)} stands here twice (first in line {place.line}).",
            )
            continue
        found.append((name, key, value))
    return found


def exclusive(ctx: Context, first: Node, second: Node) -> bool:
    """Says whether two nodes lie in different arms of one branch."""
    masked = ctx.masked
    return bool(masked.arms) and masked.excludes(
        masked.offset(first.line, first.column), masked.offset(second.line, second.column)
    )


def join(path: str, name: str) -> str:
    """Returns the path of a field of what stands at a path."""
    shown = name if re.fullmatch(r"[\w-]+", name) else repr(_short(name))
    return f"{path}.{shown}" if path else shown


def _first_values(ctx: Context, node: Node, path: str) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for name, _, value in entries(ctx, node, path):
        found.setdefault(name, value)
    return found


def _read_text_map(ctx: Context, node: Node, path: str, row: Field) -> object:
    if is_null(node):
        return ABSENT
    if node.kind != "map":
        return ctx.wrong_type(node, path, "a mapping of names to texts")
    found: dict[str, str] = {}
    for name, value in _first_values(ctx, node, path).items():
        if value.kind != "scalar":
            ctx.wrong_type(value, join(path, name), "text")
        else:
            found[name] = "" if is_null(value) else ctx.text(value)
    return found


def _read_object(ctx: Context, node: Node, path: str, row: Field) -> object:
    if is_null(node):
        return ABSENT
    if node.kind == "scalar" and ctx.is_masked(node):
        return ABSENT
    if node.kind != "map":
        return ctx.wrong_type(node, path, "a mapping")
    return {name: ctx.json(value) for name, value in _first_values(ctx, node, path).items()}


def _read_objects(ctx: Context, node: Node, path: str, row: Field) -> object:
    if is_null(node):
        return ABSENT
    if node.kind != "seq":
        return ctx.wrong_type(node, path, "a list of mappings")
    found = []
    for i, item in enumerate(node.items):
        value = _read_object(ctx, item, f"{path}[{i}]", row)
        if isinstance(value, dict):
            found.append(value)
    return tuple(found)


def _read_demands(ctx: Context, node: Node, path: str, row: Field) -> object:
    """One mapping, or a list of them."""
    return _read_objects(ctx, node, path, row) if node.kind == "seq" else _read_object(ctx, node, path, row)


def _read_environment(ctx: Context, node: Node, path: str, row: Field) -> object:
    """A mapping, or as containers have it a list of ``NAME=VALUE``, ``NAME: VALUE`` and ``{name: …, value: …}``."""
    if node.kind != "seq":
        return _read_text_map(ctx, node, path, row)
    found: dict[str, str] = {}
    for i, item in enumerate(node.items):
        here = f"{path}[{i}]"
        name, equals, value = ctx.text(item).partition("=") if item.kind == "scalar" else ("", "", "")
        if item.kind == "map":
            pairs = _read_text_map(ctx, item, here, row)
            given = dict(pairs) if isinstance(pairs, dict) else {}
            found.update({given["name"]: given.get("value", "")} if "name" in given else given)
        elif name and equals:
            found[name.strip()] = value
        elif not is_null(item) and not ctx.is_masked(item):
            ctx.wrong_type(item, here, "NAME=VALUE or a mapping of names to texts")
    return found


def read_variables(ctx: Context, node: Node, path: str, row: Field) -> object:
    """A mapping of names to values, or a list of ``{name: …, value: …}``, ``NAME: VALUE`` and ``NAME=VALUE``."""
    if node.kind != "seq":
        return _read_object(ctx, node, path, row)
    found: dict[str, object] = {}
    for i, item in enumerate(node.items):
        name, equals, text = ctx.text(item).partition("=") if item.kind == "scalar" else ("", "", "")
        if item.kind == "map":
            given = {key: ctx.json(value) for key, value in _first_values(ctx, item, f"{path}[{i}]").items()}
            is_pair = "name" in given and given.keys() <= {"name", "value"}
            found.update({str(given["name"]): given.get("value")} if is_pair else given)
        elif name and equals:
            found[name.strip()] = text
        elif not is_null(item):
            return ctx.wrong_type(item, f"{path}[{i}]", "NAME: VALUE, {name: NAME, value: VALUE} or NAME=VALUE")
    return found


def _read_any(ctx: Context, node: Node, path: str, row: Field) -> object:
    return ctx.json(node)


def _read_jitter(ctx: Context, node: Node, path: str, row: Field) -> object:
    """True or false; a share like 0.2 means true."""
    share = scalar_value(node) if node.kind == "scalar" else None
    if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1:
        return share > 0
    return _read_bool(ctx, node, path, row)


def _read_backoff(ctx: Context, node: Node, path: str, row: Field) -> object:
    if is_null(node):
        return ABSENT
    if node.kind != "map":
        return ctx.wrong_type(node, path, "a mapping of min, max, factor and jitter")
    values: dict[str, object] = {}
    kinds: Mapping[str, tuple[str, Reader, Field]] = {
        "min": ("min_s", _read_duration, row),
        "max": ("max_s", _read_duration, row),
        "factor": ("factor", _read_number, Field("factor", "number", "", least=1, most=1000)),
        "jitter": ("jitter", _read_jitter, row),
    }
    for name, key, value in entries(ctx, node, path):
        if name not in kinds:
            if not ctx.is_masked(key):
                ctx.unknown(key, join(path, name), name, tuple(kinds))
            continue
        attribute, reader, kind = kinds[name]
        found = reader(ctx, value, join(path, name), kind)
        if found is not ABSENT:
            values.setdefault(attribute, found)
    policy = Backoff(**values)  # type: ignore[arg-type]  # the readers above say the types
    if policy.max_s < policy.min_s and "max_s" in values:
        ctx.add(node, path, "OUT_OF_RANGE", f"Write a max that is not below min for {path}.")
        return ABSENT
    return policy if policy.max_s >= policy.min_s else Backoff(policy.min_s, policy.min_s, policy.factor, policy.jitter)


def _read_kept(ctx: Context, node: Node, path: str, row: Field, *, more: tuple[str, ...]) -> object:
    """Reads the common part of ``artifacts`` and ``cache``: paths, expires_after, and fields of their own."""
    if is_null(node) or (node.kind == "scalar" and ctx.is_masked(node)):
        return ABSENT
    if node.kind != "map":
        return ctx.wrong_type(node, path, "a mapping with paths")
    values: dict[str, object] = {}
    names = ("paths", "expires_after", *more)
    for name, key, value in entries(ctx, node, path):
        here = join(path, name)
        if name not in names and name != "expire_after":
            if not ctx.is_masked(key):
                ctx.unknown(key, here, name, names)
        elif name in ("expires_after", "expire_after"):  # older files have either
            if isinstance(found := _read_duration(ctx, value, here, row), float) and found > 0:
                values.setdefault("expires_after_s", found)
        elif name in ("paths", "key_paths", "keys"):
            if isinstance(paths := _read_text_list(ctx, value, here, row), tuple | list):
                values.setdefault("key_paths" if name == "keys" else name, list(paths))
                _check_paths(ctx, value, here)
        elif isinstance(text := read_text(ctx, value, here, row), str):
            values.setdefault(name, _when(ctx, value, here, text) if name == "when" else text)
    if not values.get("paths"):
        ctx.add(node, join(path, "paths"), "MISSING_FIELD", f"{path} needs files: add 'paths: [FILE, …]'.")
    return values


def _check_paths(ctx: Context, node: Node, path: str) -> None:
    """Notes paths that lead out of the working directory."""
    for i, item in enumerate(node.items if node.kind == "seq" else [node]):
        text = item.text
        if item.kind == "scalar" and not ctx.is_masked(item) and (text.startswith("/") or ".." in text.split("/")):
            message = f"{_short(text)!r} leads out of the working directory: write a path inside of it."
            severity = "error"
            if ctx.in_container and text.startswith("/") and ".." not in text.split("/"):
                message = f"{_short(text)!r} is a path of the container; without one nothing is kept of it."
                severity = "warning"
            ctx.add(item, f"{path}[{i}]" if node.kind == "seq" else path, "BAD_PATH", message, severity)


def _when(ctx: Context, node: Node, path: str, when: str) -> str:
    """The word as the model has it; notes one that is none."""
    plain = when.replace("_", "").replace("-", "").lower()
    known = next((word for word in WHEN if word.lower() == plain), when)
    if known not in WHEN and not ctx.is_masked(node):
        ctx.add(node, path, "BAD_VALUE", f"Write one of {', '.join(WHEN)} for {path}.")
    return known


def _read_artifacts(ctx: Context, node: Node, path: str, row: Field) -> object:
    return _read_kept(ctx, node, path, row, more=("when",))


def _read_cache(ctx: Context, node: Node, path: str, row: Field) -> object:
    found = _read_kept(ctx, node, path, row, more=("key", "key_paths", "keys"))
    if isinstance(found, dict) and not (found.get("key") or found.get("key_paths")):
        message = (
            f"{path} has no key, so nothing is cached: "
            "add 'key: TEXT' (with {{ checksum \"FILE\" }}) or 'key_paths: [FILE, …]'."
        )
        ctx.add(node, join(path, "key"), "MISSING_FIELD", message, "warning")
        return ABSENT
    return found


def _read_parameters(ctx: Context, node: Node, path: str, row: Field) -> object:
    if is_null(node):
        return ABSENT
    if node.kind != "seq":
        return ctx.wrong_type(node, path, "a list of parameters")
    found = []
    for i, item in enumerate(node.items):
        here = f"{path}[{i}]"
        value = ctx.json(item)
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            ctx.wrong_type(item, here, "a mapping with a name")
            continue
        kind = value.get("type", "any")
        if kind not in _TYPES:
            ctx.add(item, f"{here}.type", "BAD_VALUE", f"Write one of {', '.join(_TYPES)} for {here}.type.")
            continue
        required = value.get("required", "default" not in value)
        found.append(Parameter(value["name"], str(kind), required is True, value.get("default")))
    return tuple(found)


READERS: Mapping[str, Reader] = {
    "text": read_text,
    "template": read_text,
    "target": read_text,
    "name": _read_name,
    "int": _read_int,
    "number": _read_number,
    "bool": _read_bool,
    "duration": _read_duration,
    "duration_range": _read_duration_range,
    "moment": _read_moment,
    "semver": _read_semver,
    "choice": _read_choice,
    "method": _read_method,
    "function": _read_function,
    "text_list": _read_text_list,
    "script": _read_script,
    "tags": _read_tags,
    "text_map": _read_text_map,
    "routes": _read_text_map,
    "environment": _read_environment,
    "object": _read_object,
    "demands": _read_demands,
    "object_map": _read_object,
    "variables": read_variables,
    "any": _read_any,
    "backoff": _read_backoff,
    "parameters": _read_parameters,
    "artifacts": _read_artifacts,
    "cache": _read_cache,
}
"""Readers by kind; ``tasks`` is read by the parser itself."""
