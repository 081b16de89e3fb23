"""A path of field names from a message down to one field, and setting that field from text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from formicary.gateway.transcoding import scalars, well_known
from formicary.gateway.transcoding.decoder import fields_by_any_name
from formicary.gateway.transcoding.scalars import Unfit
from formicary.gateway.transcoding.violations import Violations

MAX_STEPS = 32


class NoSuchField(LookupError):
    """The path leads to no field that text can be put into.

    Attributes:
        code: Of the violation.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class FieldPath:
    """A path that was found in a message type.

    Attributes:
        steps: The fields, outermost first.
        names: Their names in the .proto file.
        shown: The path as violations name it.
        leaf: The last of the fields.
    """

    __slots__ = ("_parents", "_read", "leaf", "names", "shown", "steps")

    def __init__(self, steps: Sequence[FieldDescriptor], shown: str) -> None:
        self.steps = tuple(steps)
        self.names = tuple(step.name for step in steps)
        self.shown = shown
        self.leaf = steps[-1]
        self._parents = self.steps[:-1]
        self._read = _reader(self.leaf)

    @classmethod
    def find(cls, descriptor: Descriptor, path: Sequence[str], name: Callable[[FieldDescriptor], str]) -> FieldPath:
        """Finds a path by names of either kind.

        Raises:
            NoSuchField: There is none, or its type is not one that text can be.
        """
        if len(path) > MAX_STEPS:
            raise NoSuchField("UNKNOWN_FIELD", f"The path has more than {MAX_STEPS} steps.")
        steps: list[FieldDescriptor] = []
        here: Descriptor | None = descriptor
        for part in path:
            field = fields_by_any_name(here).get(part) if here is not None else None
            if field is None:
                raise NoSuchField("UNKNOWN_FIELD", f"There is no field {'.'.join(path)[:80]!r}.")
            if steps and steps[-1].is_repeated:
                raise NoSuchField("NOT_A_PARAMETER", f"{'.'.join(path)[:80]!r} leads through a repeated field.")
            steps.append(field)
            special = well_known.is_message(field) and well_known.message_of(field).full_name in well_known.SPECIAL
            here = field.message_type if well_known.is_message(field) and not special else None
        leaf = steps[-1]
        if well_known.is_message(leaf) and (
            leaf.is_repeated or well_known.message_of(leaf).full_name not in well_known.AS_TEXT
        ):
            raise NoSuchField("NOT_A_PARAMETER", f"{'.'.join(path)[:80]!r} is a message; it has no form as one text.")
        return cls(steps, ".".join(name(step) for step in steps))

    def put(self, message: Any, text: str, violations: Violations, name: Callable[[FieldDescriptor], str]) -> None:
        """Sets the field, or appends to it, from text; what does not fit is noted."""
        for step in self._parents:
            if not self._free(message, step, violations, name):
                return
            message = getattr(message, step.name)
        if not self._free(message, self.leaf, violations, name):
            return
        try:
            self._read(message, text)
        except Unfit as unfit:
            violations.put(self.shown, "INVALID_FORMAT", str(unfit))

    def _free(self, message: Any, step: FieldDescriptor, violations: Violations, name: Any) -> bool:
        oneof = step.containing_oneof
        other = message.WhichOneof(oneof.name) if oneof is not None else None
        if other is None or other == step.name:
            return True
        theirs = name(message.DESCRIPTOR.fields_by_name[other])
        violations.put(self.shown, "ONEOF_CONFLICT", f"Only one of {theirs} and {name(step)} may be given.")
        return False

    def value(self, message: Any) -> Any:
        """What the field holds; None where it, or a message above it, is not set."""
        for step in self._parents:
            if not message.HasField(step.name):
                return None
            message = getattr(message, step.name)
        if self.leaf.has_presence and not message.HasField(self.leaf.name):
            return None
        value = getattr(message, self.leaf.name)
        return value if self.leaf.has_presence or value != self.leaf.default_value else None

    def clear(self, message: Any) -> None:
        """Takes the field's value away."""
        for step in self._parents:
            message = getattr(message, step.name)
        message.ClearField(self.leaf.name)


def _reader(field: FieldDescriptor) -> Callable[[Any, str], None]:
    name = field.name
    if well_known.is_message(field):
        read = well_known.plain_text_reader(well_known.message_of(field))
        return lambda message, text: read(getattr(message, name), text)
    convert = scalars.from_text(field)
    if field.is_repeated:
        return lambda message, text: getattr(message, name).append(convert(text))
    return lambda message, text: setattr(message, name, convert(text))
