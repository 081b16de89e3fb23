"""Path templates of ``google.api.http`` as OpenAPI paths.

``/v1/{name=jobs/*/tasks/*}:cancel`` becomes ``/v1/jobs/{job}/tasks/{task}:cancel``: literals of a variable's pattern
stand in the path, and each wildcard becomes a parameter, named by the literal before it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

_VARIABLE = re.compile(r"\{([^{}=]+)(?:=([^{}]*))?\}|(\*\*|\*)")


@dataclass(frozen=True, slots=True)
class PathParameter:
    """One parameter of an OpenAPI path.

    Attributes:
        name: Its name in the path.
        field: Dotted field path that it belongs to; empty for a wildcard outside of variables.
        whole: Whether the parameter is the field's whole value.
        slashes: Whether it may hold slashes (``**``).
        pattern: The variable's pattern, like ``jobs/*``.
    """

    name: str
    field: str
    whole: bool
    slashes: bool
    pattern: str


@dataclass(frozen=True, slots=True)
class OpenApiPath:
    """A path with its parameters, from left to right."""

    path: str
    parameters: tuple[PathParameter, ...]

    @property
    def shape(self) -> str:
        """The path without the names of its parameters: OpenAPI wants one path per shape."""
        return re.sub(r"\{[^{}]*\}", "{}", self.path)

    @property
    def fields(self) -> frozenset[str]:
        """The field paths that the path fills."""
        return frozenset(one.field for one in self.parameters if one.field)


def openapi_path(template: str, name_of: Callable[[str], str] = str) -> OpenApiPath:
    """Translates a path template.

    Args:
        template: Like ``/v1/{name=jobs/*}:cancel``.
        name_of: The JSON name of a dotted field path.

    Returns:
        The path; every parameter has a name of its own.
    """
    parts: list[str] = []
    found: list[PathParameter] = []
    end = 0
    for match in _VARIABLE.finditer(template):
        parts.append(template[end : match.start()])
        end = match.end()
        field, pattern, bare = match.group(1), match.group(2) or "*", match.group(3)
        if bare:
            _wildcard(parts, found, PathParameter("segment", "", False, bare == "**", "*"))
        else:
            whole = pattern in ("*", "**")
            _variable(parts, found, PathParameter(name_of(field), field, whole, False, pattern))
    parts.append(template[end:])
    return OpenApiPath("".join(parts), tuple(found))


def _variable(parts: list[str], found: list[PathParameter], variable: PathParameter) -> None:
    for k, segment in enumerate(variable.pattern.split("/")):
        if k:
            parts.append("/")
        if segment in ("*", "**"):
            _wildcard(parts, found, replace(variable, slashes=segment == "**"))
        else:
            parts.append(segment)


def _wildcard(parts: list[str], found: list[PathParameter], wanted: PathParameter) -> None:
    """Adds the parameter under a name of its own: the field's, or for a part of it the literal's before it."""
    before = re.search(r"([A-Za-z][\w-]*)/$", "".join(parts))
    base = _singular(before.group(1)) if before and not wanted.whole else wanted.name
    taken = {one.name for one in found}
    name, k = base, 1
    while name in taken:
        k += 1
        name = f"{base}_{k}"
    parts.append("{" + name + "}")
    found.append(replace(wanted, name=name))


def _singular(word: str) -> str:
    word = word.replace("-", "_")
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
