"""Rules of protovalidate on messages: all violations at once, as one problem. Validation fails closed.

Rules stand in the proto files; business rules are functions that add to the same list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import protovalidate

from formicary.problems.catalogue import problem
from formicary.problems.problem import FieldError, Problem

Rule = Callable[[Any], Iterable[FieldError]]
"""A business rule: what it finds wrong with a message."""

_MOST = 100
"""Violations that one problem lists at most; a message may hold millions."""
_RULES_TAG = b"\xba\x48"
"""How an option of protovalidate begins in the binary form: field 1159, with a length."""
_CODES = {"required": "REQUIRED_FIELD"}


class Validator:
    """Checks messages; keep one for the life of the process, it compiles the rules of each type once.

    Args:
        names: ``json`` writes fields as JSON does (``dueDate``), ``proto`` as the proto file does (``due_date``).
        rules: Business rules by full name of the message, run on every message of the type, also where protovalidate
            has found something already.
    """

    def __init__(self, *, names: str = "json", rules: dict[str, Iterable[Rule]] | None = None) -> None:
        if names not in ("json", "proto"):
            raise ValueError(f"names must be json or proto, not {names!r}")
        self._json = names == "json"
        self._rules = {name: tuple(found) for name, found in (rules or {}).items()}
        self._collect = protovalidate.Validator().collect_violations

    def check(self, message: Any, rules: Iterable[Rule] = ()) -> None:
        """Passes a valid message.

        Args:
            message: A message of google.protobuf.
            rules: Business rules for this call.

        Raises:
            Problem: VALIDATION_FAILED with all that is wrong; INTERNAL where a rule cannot be compiled or evaluated.
        """
        try:
            violations = self._collect(message)
            own = self._rules.get(message.DESCRIPTOR.full_name, ()) if self._rules else ()
            errors = [self._error(found, message) for found in violations] if violations else []
            for rule in (*own, *rules) if own or rules else ():
                errors.extend(rule(message))
        except Problem:
            raise
        except Exception as error:
            raise problem("INTERNAL", "A validation rule could not be evaluated.") from error
        if errors:
            raise refusal(errors)

    def concerns(self, descriptor: Any) -> bool:
        """Whether anything of a message type, or of the types in it, is checked; if not, ``check`` passes every one.

        Args:
            descriptor: Of the type.
        """
        return descriptor.full_name in self._rules or _has_rules(descriptor, set())

    def warm(self, *messages: type[Any]) -> None:
        """Compiles the rules of message types at start-up.

        Raises:
            Problem: INTERNAL where a rule cannot be compiled.
        """
        for kind in messages:
            try:
                self._collect(kind())
            except Exception as error:
                raise problem("INTERNAL", f"The rules of {kind.__name__} cannot be compiled.") from error

    def _error(self, found: Any, message: Any) -> FieldError:
        violation = found.proto
        rule = violation.rule_id or ""
        path = self._path(violation.field, message.DESCRIPTOR) if violation.field is not None else ""
        text = violation.message or f"breaks the rule {rule}"
        if violation.for_key:
            text = f"the key {text}"
        return FieldError(path, _CODES.get(rule) or rule.upper().replace(".", "_") or "INVALID", text)

    def _path(self, path: Any, descriptor: Any) -> str:
        """``requests[2].task.tags[0]``, ``labels["a.b"]``."""
        written = ""
        for element in path.elements:
            name = element.field_name
            field = descriptor.fields_by_name.get(name) if descriptor is not None else None
            if field is not None and self._json:
                name = field.json_name
            written += f".{name}" if written else name
            written += _subscript(element)
            descriptor = _below(field)
        return written


def refusal(errors: Iterable[FieldError]) -> Problem:
    """One problem VALIDATION_FAILED with everything that is wrong; what is twice the same counts once."""
    found = list(dict.fromkeys(errors))
    detail = f"{found[0].field}: {found[0].message}" if len(found) == 1 else f"{len(found)} things are wrong."
    if len(found) > _MOST:
        return problem("VALIDATION_FAILED", detail, errors=found[:_MOST], truncated=True)
    return problem("VALIDATION_FAILED", detail, errors=found)


def _has_rules(descriptor: Any, seen: set[str]) -> bool:
    """Whether a type or one in it carries rules; what merely looks so, or may be extended by others, counts too."""
    if descriptor.full_name in seen:
        return False
    seen.add(descriptor.full_name)
    parts = (descriptor, *descriptor.fields, *descriptor.oneofs)
    if descriptor.is_extendable or any(_RULES_TAG in part.GetOptions().SerializeToString() for part in parts):
        return True
    return any(_has_rules(field.message_type, seen) for field in descriptor.fields if field.message_type is not None)


def _below(field: Any) -> Any:
    """The type whose fields come next in a path; of a map, that of its values."""
    message = field.message_type if field is not None else None
    if message is not None and message.GetOptions().map_entry:
        return message.fields_by_name["value"].message_type
    return message


def _subscript(element: Any) -> str:
    chosen = element.subscript
    if chosen is None:
        return ""
    value = getattr(chosen, "value", chosen)
    if isinstance(value, bool):
        return f"[{'true' if value else 'false'}]"
    return f"[{json.dumps(value, ensure_ascii=False)}]" if isinstance(value, str) else f"[{value}]"
