"""Query strings: every field that neither the path nor the body has is a parameter."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from formicary.gateway.transcoding.field_path import FieldPath, NoSuchField
from formicary.gateway.transcoding.router import PathError, decode
from formicary.gateway.transcoding.violations import Violations

MAX_PARAMETERS = 1000
_REMEMBERED = 512


def split(text: str, violations: Violations) -> list[tuple[str, str]]:
    """Splits a query string into decoded pairs; what is not percent-encoded UTF-8 is noted."""
    pairs = []
    pieces = text.split("&", MAX_PARAMETERS)
    if len(pieces) > MAX_PARAMETERS:
        violations.put("", "INVALID_QUERY", f"A query has at most {MAX_PARAMETERS} parameters.")
        return []
    for piece in pieces:
        if not piece:
            continue
        key, _, value = piece.replace("+", " ").partition("=")
        try:
            name = decode(key)
        except PathError as error:
            violations.put("", "INVALID_QUERY", f"The name of a query parameter: {error}.")
            continue
        try:
            pairs.append((name, decode(value)))
        except PathError as error:
            violations.put(name[:80], "INVALID_QUERY", f"The value of {name[:80]!r}: {error}.")
    return pairs


class QueryReader:
    """Puts query parameters into the request messages of one binding.

    Args:
        descriptor: Of the request.
        bound: Field paths that the URL path has.
        body: Name of the field that the body has, ``*`` for all of them, empty for none.
        name: How violations name a field.
        lenient: Whether unknown parameters are passed over.
        ignored: Parameters that are not fields.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        bound: Collection[tuple[str, ...]],
        body: str,
        name: Callable[[FieldDescriptor], str],
        *,
        lenient: bool = False,
        ignored: Collection[str] = (),
    ) -> None:
        self._descriptor = descriptor
        self._bound = bound
        self._body = body
        self._name = name
        self._lenient = lenient
        self._ignored = frozenset(ignored)
        self._known: dict[str, FieldPath] = {}

    def read(self, message: Any, text: str, violations: Violations) -> None:
        """Puts the parameters of a query string into a message."""
        seen: set[tuple[str, ...]] = set()
        for key, value in split(text, violations):
            if key in self._ignored:
                continue
            try:
                path = self._known.get(key) or self._find(key)
            except NoSuchField as error:
                if not (self._lenient and error.code == "UNKNOWN_FIELD"):
                    violations.put(key[:80], error.code, error.message)
                continue
            if path.names in seen and not path.leaf.is_repeated:
                violations.put(path.shown, "DUPLICATE_FIELD", f"{path.shown} may be given once.")
                continue
            seen.add(path.names)
            path.put(message, value, violations, self._name)

    def _find(self, key: str) -> FieldPath:
        path = FieldPath.find(self._descriptor, key.split("."), self._name)
        for bound in self._bound:
            if path.names[: len(bound)] == bound:
                raise NoSuchField("CONFLICT", f"{path.shown} is a part of the path; it may not be a parameter too.")
        if self._body == "*":
            raise NoSuchField("CONFLICT", f"{path.shown} belongs into the body; this call has no query parameters.")
        if self._body and path.names[0] == self._body:
            raise NoSuchField("CONFLICT", f"{path.shown} belongs into the body.")
        if len(self._known) < _REMEMBERED:
            self._known[key] = path
        return path
