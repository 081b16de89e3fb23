"""The file notation: YAML or TOML, every mistake at once with line and column (TOML: with its path)."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import cast

import yaml

from formicary.headers.checking import check
from formicary.headers.compiling import compile_mapping, refuse
from formicary.headers.mapping import HeaderMapping
from formicary.headers.model import AUTO, Direction, Generated, Limits, MappingConfig, PathPattern, Route, Rule, Step
from formicary.headers.transforms import TRANSFORMS, Argument, make
from formicary.problems import FieldError, problem

MOST_BYTES = 1 << 20
_ALIASES = {"http_header": "header", "grpc_metadata": "metadata", "default_value": "default"}
_WHOLE_ALIASES = {"overwrite_existing": "overwrite"}
_RULE_KEYS = (
    "header",
    "metadata",
    "direction",
    "incoming",
    "outgoing",
    "transform",
    "required",
    "default",
    "overwrite",
    "sensitive",
    "trusted_only",
)  # fmt: skip  (a list of words)
_SWITCHES = ("overwrite", "grpc_gateway", "timeouts", "rate_limit", "debug")
_LISTS = ("presets", "allow", "allow_response", "trusted_peers")
_WHOLE_KEYS = ("mappings", "routes", "skip_paths", "non_ascii", "limits", "case_sensitive", *_SWITCHES, *_LISTS)
_DIRECTIONS = ("incoming", "outgoing", "bidirectional")
Custom = Mapping[str, Callable[[str], str]]
Positions = dict[str, tuple[int, int]]


def load(path: str | Path, transforms: Custom | None = None) -> HeaderMapping:
    """Reads a mapping file; ``.toml`` is TOML, everything else YAML.

    Args:
        path: The file.
        transforms: Functions that the file may name, beside the list.

    Raises:
        Problem: NOT_FOUND when it cannot be read, VALIDATION_FAILED with every mistake.
    """
    file = Path(path)
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise problem("NOT_FOUND", f"Cannot read {file}: {error.strerror}.") from error
    if len(raw) > MOST_BYTES:
        raise problem("PAYLOAD_TOO_LARGE", f"{file} has {len(raw)} bytes, at most {MOST_BYTES}.")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise problem("VALIDATION_FAILED", f"{file} is not UTF-8.") from error
    return loads(text, "toml" if file.suffix == ".toml" else "yaml", transforms)


def loads(text: str, form: str = "yaml", transforms: Custom | None = None) -> HeaderMapping:
    """Reads a mapping from a text.

    Args:
        text: YAML or TOML.
        form: ``yaml`` or ``toml``.
        transforms: Functions that it may name, beside the list.

    Raises:
        Problem: VALIDATION_FAILED with every mistake.
    """
    positions: Positions = {}
    document = _read_toml(text) if form == "toml" else _read_yaml(text, positions)
    reader = _Reader(transforms or {})
    config = reader.whole(document)
    errors = reader.errors + [e for e in check(config) if e.field not in {known.field for known in reader.errors}]
    if errors:
        raise refuse([_placed(error, positions) for error in errors])
    return compile_mapping(config, reader.hints)


def _placed(error: FieldError, positions: Positions) -> FieldError:
    """The mistake with the place of its field, or of the nearest thing around it."""
    field = error.field
    while field and field not in positions:
        cut = max(field.rfind("."), field.rfind("["))
        field = field[:cut] if cut > 0 else ""
    line, column = positions.get(field, (None, None))
    return replace(error, line=line, column=column)


def _read_toml(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise refuse([FieldError("", "SYNTAX", f"This is not TOML: {error}.")]) from None


def _read_yaml(text: str, positions: Positions) -> object:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return None if node is None else _value(node, "", positions, 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
        raise refuse([FieldError("", "SYNTAX", f"This is not YAML: {error.problem}.", line, column)]) from None
    except yaml.YAMLError as error:
        raise refuse([FieldError("", "SYNTAX", f"This is not YAML: {error}.")]) from None


def _value(node: yaml.Node, path: str, positions: Positions, depth: int) -> object:
    mark = node.start_mark
    positions.setdefault(path, (mark.line + 1, mark.column + 1))
    if depth > 20 or len(positions) > 100_000:
        raise yaml.YAMLError("it is nested too deeply or too large")
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, f"{path}[{n}]", positions, depth + 1) for n, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[object, object] = {}
        for key_node, value_node in node.value:
            key = yaml.SafeLoader("").construct_object(key_node)
            known = _ALIASES.get(str(key), str(key)) if path else _WHOLE_ALIASES.get(str(key), str(key))
            inner = f"{path}.{known}" if path else known
            positions[inner] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key in found:
                raise yaml.MarkedYAMLError(problem=f"{key!r} is there twice", problem_mark=key_node.start_mark)
            found[key] = _value(value_node, inner, positions, depth + 1)
        return found
    return cast(object, yaml.SafeLoader("").construct_object(node))


class _Reader:
    """Reads the document of a mapping and goes on after mistakes."""

    def __init__(self, custom: Custom) -> None:
        self.errors: list[FieldError] = []
        self.hints: list[str] = []
        self._custom = custom

    def whole(self, document: object) -> MappingConfig:
        if document is None:
            document = {}
        table = self._table(document, "", _WHOLE_KEYS, _WHOLE_ALIASES)
        if table.get("case_sensitive") is True:
            self.hints.append("case_sensitive: names of headers never depend on case (RFC 9110); remove it.")
        limits = self._table(
            table.get("limits", {}), "limits", ("max_values", "max_value_bytes", "max_total_bytes"), {}
        )
        numbers = {key: self._count(value, f"limits.{key}") for key, value in limits.items()}
        switches = {key: self._bool(table[key], key) for key in _SWITCHES if key in table}
        lists = {key: tuple(self._texts(table[key], key)) for key in _LISTS if key in table}
        return MappingConfig(
            mappings=self._rules(table.get("mappings", []), "mappings"),
            routes=tuple(self._route(r, n) for n, r in enumerate(self._list(table.get("routes", []), "routes"))),
            skip_paths=self._paths(table.get("skip_paths", []), "skip_paths"),
            non_ascii=self._text(table.get("non_ascii", "reject"), "non_ascii"),
            limits=Limits(**numbers),
            presets=lists.get("presets", ()),
            allow=lists.get("allow", ()),
            allow_response=lists.get("allow_response", ()),
            trusted_peers=lists.get("trusted_peers", ()),
            overwrite=switches.get("overwrite", False),
            grpc_gateway=switches.get("grpc_gateway", False),
            timeouts=switches.get("timeouts", False),
            rate_limit=switches.get("rate_limit", False),
            debug=switches.get("debug", False),
        )

    def _fail(self, field: str, code: str, message: str) -> None:
        self.errors.append(FieldError(field, code, message))

    def _table(self, value: object, where: str, known: Sequence[str], aliases: Mapping[str, str]) -> dict[str, object]:
        if not isinstance(value, dict):
            self._fail(where, "WRONG_TYPE", f"{where or 'The file'} must be a table of keys and values.")
            return {}
        found: dict[str, object] = {}
        for key, inner in value.items():
            name = aliases.get(str(key), str(key))
            place = f"{where}.{name}" if where else name
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
                self._fail(place, "UNKNOWN_FIELD", f"There is no key {key!r} here; {hint}")
            elif name in found:
                self._fail(place, "DUPLICATE", f"{key!r} says {name!r} a second time.")
            else:
                found[name] = inner
        return found

    def _list(self, value: object, where: str) -> list[object]:
        if isinstance(value, list):
            return value
        self._fail(where, "WRONG_TYPE", f"{where} must be a list.")
        return []

    def _text(self, value: object, where: str) -> str:
        if isinstance(value, str):
            return value
        self._fail(where, "WRONG_TYPE", f"{where} must be a text; put it in quotes.")
        return ""

    def _texts(self, value: object, where: str) -> list[str]:
        if isinstance(value, str):
            value = [value]
        return [self._text(item, f"{where}[{n}]") for n, item in enumerate(self._list(value, where))]

    def _bool(self, value: object, where: str) -> bool:
        if not isinstance(value, bool):
            self._fail(where, "WRONG_TYPE", f"{where} must be true or false.")
        return value is True

    def _count(self, value: object, where: str) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self._fail(where, "WRONG_TYPE", f"{where} must be a whole number.")
        return 1

    def _paths(self, value: object, where: str) -> tuple[PathPattern, ...]:
        found = []
        for n, item in enumerate(self._list(value, where)):
            place = f"{where}[{n}]"
            if isinstance(item, dict):
                table = self._table(item, place, ("exact", "prefix", "glob"), {})
                if len(table) != 1:
                    self._fail(place, "INVALID_VALUE", "Say one of exact, prefix and glob.")
                    continue
                kind, text = next(iter(table.items()))
                found.append(PathPattern(kind, self._text(text, place)))
            elif text := self._text(item, place):
                found.append(PathPattern.of(text))
        return tuple(found)

    def _route(self, value: object, n: int) -> Route:
        where = f"routes[{n}]"
        table = self._table(value, where, ("paths", "mappings"), {})
        paths = table.get("paths", [])
        return Route(
            paths=self._paths([paths] if isinstance(paths, str | dict) else paths, f"{where}.paths"),
            mappings=self._rules(table.get("mappings", []), f"{where}.mappings"),
        )

    def _rules(self, value: object, where: str) -> tuple[Rule, ...]:
        return tuple(self._rule(item, f"{where}[{n}]") for n, item in enumerate(self._list(value, where)))

    def _rule(self, value: object, where: str) -> Rule:
        table = self._table(value, where, _RULE_KEYS, _ALIASES)
        direction = self._direction(table.get("direction", "bidirectional"), f"{where}.direction")
        ways = {
            way: self._steps(table[way], f"{where}.{way}") if way in table else () for way in ("incoming", "outgoing")
        }
        if "transform" in table:
            steps = self._steps(table["transform"], f"{where}.transform")
            if direction is Direction.BIDIRECTIONAL:
                message = "This mapping goes both ways: say `incoming` and `outgoing` instead of `transform`."
                self._fail(f"{where}.transform", "CONTRADICTION", message)
            elif ways[direction.value]:
                self._fail(f"{where}.transform", "DUPLICATE", f"`{direction.value}` says it already.")
            else:
                ways[direction.value] = steps
        flags = {
            name: self._bool(table[name], f"{where}.{name}")
            for name in ("overwrite", "sensitive", "trusted_only", "required")
            if name in table
        }
        return Rule(
            header=self._text(table.get("header", ""), f"{where}.header"),
            metadata=self._text(table.get("metadata", ""), f"{where}.metadata"),
            direction=direction,
            incoming=ways["incoming"],
            outgoing=ways["outgoing"],
            default=self._default(table.get("default"), f"{where}.default"),
            **flags,
        )

    def _direction(self, value: object, where: str) -> Direction:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2:
            name = _DIRECTIONS[value]
            self.hints.append(f"{where}: {value} means {name}; write `direction: {name}`.")
            return Direction(name)
        if isinstance(value, str) and value.lower() in _DIRECTIONS:
            return Direction(value.lower())
        self._fail(where, "INVALID_VALUE", f"A direction is one of {', '.join(_DIRECTIONS)}.")
        return Direction.BIDIRECTIONAL

    def _default(self, value: object, where: str) -> str | Generated | None:
        if value is None:
            return None
        if isinstance(value, dict):
            return Generated(self._text(self._table(value, where, ("generate",), {}).get("generate", ""), where))
        if isinstance(value, str) and value.lower() in AUTO:
            return Generated("uuid")
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        text = self._text(value, where)
        # An empty default is the original's way to say that there is none.
        return text or None

    def _steps(self, value: object, where: str) -> tuple[Step, ...]:
        if isinstance(value, str | dict):
            value = [value]
        found: list[Step] = []
        for n, item in enumerate(self._list(value, where)):
            step = self._step(item, f"{where}[{n}]")
            if step is not None:
                found.append(step)
        return tuple(found)

    def _step(self, item: object, where: str) -> Step | None:
        name, argument = next(iter(item.items())) if isinstance(item, dict) and len(item) == 1 else (item, None)
        if not isinstance(name, str):
            self._fail(where, "WRONG_TYPE", "A transform is a name, or one name with its argument.")
            return None
        if name in self._custom and argument is None:
            return self._custom[name]
        if name not in TRANSFORMS:
            near = get_close_matches(name, [*TRANSFORMS, *self._custom], 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(TRANSFORMS))}."
            self._fail(where, "UNKNOWN_TRANSFORM", f"There is no transform {name!r}; {hint}")
            return None
        try:
            return make(name, cast(Argument | None, argument))
        except ValueError as error:
            self._fail(where, "INVALID_VALUE", f"{name} {error}.")
            return None
