"""JSON to messages, compiled per message type; goes on after a violation, so that all of them are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from formicary.gateway.transcoding import scalars, well_known
from formicary.gateway.transcoding.encoder import any_class
from formicary.gateway.transcoding.scalars import Unfit
from formicary.gateway.transcoding.violations import Violations

Read = Callable[[Any, Any, Violations], None]
"""``read(message, value, violations)``: into the message itself, or into one of its fields."""

_NULL = "google.protobuf.NullValue"


@lru_cache(maxsize=1024)
def fields_by_any_name(descriptor: Descriptor) -> Mapping[str, FieldDescriptor]:
    """The fields of a message by the names of the .proto file and by those of JSON; the former win."""
    found = {field.json_name: field for field in descriptor.fields}
    found.update((field.name, field) for field in descriptor.fields)
    return found


class Decoder:
    """Reads messages from JSON values.

    Args:
        camel: Whether places of violations are named in lower camel case.
        lenient: Whether unknown fields and unknown enum names are passed over.
    """

    def __init__(self, *, camel: bool = False, lenient: bool = False) -> None:
        self._camel = camel
        self.lenient = lenient
        self._messages: dict[Descriptor, Read] = {}
        self._fields: dict[FieldDescriptor, Read] = {}

    def read(self, message: Any, value: Any, violations: Violations) -> None:
        """Fills a message from a JSON value."""
        self._message_reader(message.DESCRIPTOR)(message, value, violations)

    def read_field(self, message: Any, field: FieldDescriptor, value: Any, violations: Violations) -> None:
        """Fills one field of a message from a JSON value."""
        self._field_reader(field)(message, value, violations)

    def name(self, field: FieldDescriptor) -> str:
        """The name that a field has in violations."""
        return field.json_name if self._camel else field.name

    # --- messages ---------------------------------------------------------------------------------------------------

    def _message_reader(self, descriptor: Descriptor) -> Read:
        found = self._messages.get(descriptor)
        if found is None:
            found = self._messages[descriptor] = self._special(descriptor) or self._compile(descriptor)
        return found

    def _special(self, descriptor: Descriptor) -> Read | None:
        name = descriptor.full_name
        if name in well_known.AS_TEXT:
            return self._guarded(well_known.text_reader(descriptor))
        if name == well_known.ANY:
            return self._any
        plain = {
            well_known.STRUCT: well_known.read_struct,
            well_known.VALUE: well_known.read_value,
            well_known.LIST_VALUE: well_known.read_list,
        }.get(name)
        return self._guarded(plain) if plain is not None else None

    def _guarded(self, read: Callable[[Any, Any], None]) -> Read:
        def guarded(message: Any, value: Any, violations: Violations) -> None:
            try:
                read(message, value)
            except Unfit as unfit:
                self._unfit(unfit, violations)

        return guarded

    def _unfit(self, unfit: Unfit, violations: Violations, *steps: str | int) -> None:
        if not (unfit.unknown and self.lenient):
            violations.add("INVALID_FORMAT", str(unfit), *steps)

    def _compile(self, descriptor: Descriptor) -> Read:
        entries: dict[str, tuple[str, type | None, tuple[str, bool] | None, Read]] = {}

        def read(message: Any, value: Any, violations: Violations) -> None:
            if type(value) is not dict:
                violations.add("INVALID_FORMAT", "An object is expected.")
                return
            seen: set[str] = set()
            for key, item in value.items():
                entry = entries.get(key)
                if entry is None:
                    self._unknown(descriptor, key, violations)
                    continue
                name, plain, special, read_one = entry
                if special is not None:
                    if name in seen:
                        self._twice(name, key, violations)
                        continue
                    seen.add(name)
                    oneof, nullable = special
                    if item is None and not nullable:
                        continue
                    other = message.WhichOneof(oneof) if oneof else None
                    if other is not None:
                        self._exclusive(descriptor, name, other, violations)
                        continue
                if type(item) is plain:
                    try:
                        setattr(message, name, item)
                        continue
                    except (ValueError, TypeError):
                        pass  # the reader says what is wrong
                elif item is None and special is None:
                    continue
                read_one(message, item, violations)

        self._messages[descriptor] = read
        for key, field in fields_by_any_name(descriptor).items():
            oneof, nullable = _rivals(field), _nullable(field)
            special = (oneof, nullable) if oneof or nullable or field.json_name != field.name else None
            entries[key] = (field.name, _plain(field), special, self._field_reader(field))
        return read

    def _unknown(self, descriptor: Descriptor, key: str, violations: Violations) -> None:
        if not self.lenient:
            shown = key[:80].encode("utf-8", "replace").decode("utf-8")
            violations.add("UNKNOWN_FIELD", f"{descriptor.name} has no field {shown!r}.", shown)

    def _twice(self, name: str, key: str, violations: Violations) -> None:
        violations.add("DUPLICATE_FIELD", f"The field {name} is given twice, under both its names.", key)

    def _exclusive(self, descriptor: Descriptor, name: str, other: str, violations: Violations) -> None:
        fields = descriptor.fields_by_name
        mine, theirs = self.name(fields[name]), self.name(fields[other])
        violations.add("ONEOF_CONFLICT", f"Only one of {theirs} and {mine} may be given.", mine)

    def _any(self, message: Any, value: Any, violations: Violations) -> None:
        if type(value) is not dict:
            violations.add("INVALID_FORMAT", "An object with @type is expected.")
            return
        message.SetInParent()
        if not value:
            return
        rest = dict(value)
        url = rest.pop("@type", None)
        inner = any_class(url) if type(url) is str else None
        if inner is None:
            violations.add("INVALID_FORMAT", "The URL of a message type that is known here is expected.", "@type")
            return
        content = inner()
        if content.DESCRIPTOR.full_name in well_known.SPECIAL:
            if rest.keys() != {"value"}:
                violations.add("INVALID_FORMAT", "An object with @type and value is expected.")
                return
            violations.path.append("value")
            self.read(content, rest["value"], violations)
            violations.path.pop()
        else:
            self.read(content, rest, violations)
        message.type_url = url
        message.value = content.SerializeToString(deterministic=True)

    # --- fields -----------------------------------------------------------------------------------------------------

    def _field_reader(self, field: FieldDescriptor) -> Read:
        found = self._fields.get(field)
        if found is None:
            if well_known.is_map(field):
                found = self._map(field)
            elif field.is_repeated:
                found = self._repeated_messages(field) if well_known.is_message(field) else self._repeated(field)
            else:
                found = self._submessage(field) if well_known.is_message(field) else self._scalar(field)
            self._fields[field] = found
        return found

    def _scalar(self, field: FieldDescriptor) -> Read:
        name, shown, convert = field.name, self.name(field), _accepting_null(field)

        def read(message: Any, value: Any, violations: Violations) -> None:
            try:
                setattr(message, name, convert(value))
            except Unfit as unfit:
                self._unfit(unfit, violations, shown)

        return read

    def _repeated(self, field: FieldDescriptor) -> Read:
        name, shown, convert = field.name, self.name(field), _accepting_null(field)

        def read(message: Any, value: Any, violations: Violations) -> None:
            if type(value) is not list:
                violations.add("INVALID_FORMAT", "An array is expected.", shown)
                return
            target = getattr(message, name)
            for index, item in enumerate(value):
                try:
                    target.append(convert(item))
                except Unfit as unfit:
                    self._unfit(unfit, violations, shown, index)

        return read

    def _submessage(self, field: FieldDescriptor) -> Read:
        name, shown, descriptor = field.name, self.name(field), well_known.message_of(field)

        def read(message: Any, value: Any, violations: Violations) -> None:
            target = getattr(message, name)
            violations.path.append(shown)
            self._messages[descriptor](target, value, violations)
            violations.path.pop()
            target.SetInParent()

        self._message_reader(descriptor)
        return read

    def _repeated_messages(self, field: FieldDescriptor) -> Read:
        name, shown, descriptor = field.name, self.name(field), well_known.message_of(field)
        nullable = _nullable_type(field)

        def read(message: Any, value: Any, violations: Violations) -> None:
            if type(value) is not list:
                violations.add("INVALID_FORMAT", "An array is expected.", shown)
                return
            add, read_one, path = getattr(message, name).add, self._messages[descriptor], violations.path
            path.append(shown)
            for index, item in enumerate(value):
                path.append(index)
                if item is None and not nullable:
                    violations.add("INVALID_FORMAT", "null may not stand in this array.")
                else:
                    read_one(add(), item, violations)
                path.pop()
            path.pop()

        self._message_reader(descriptor)
        return read

    def _map(self, field: FieldDescriptor) -> Read:
        entry = well_known.message_of(field).fields_by_name
        key_of, name, shown = scalars.from_text(entry["key"]), field.name, self.name(field)
        of_messages = well_known.is_message(entry["value"])
        convert = None if of_messages else _accepting_null(entry["value"])
        nullable = _nullable_type(entry["value"])
        of_texts = entry["key"].type == entry["value"].type == FieldDescriptor.TYPE_STRING
        descriptor = well_known.message_of(entry["value"]) if of_messages else None

        def put(target: Any, text: str, item: Any, violations: Violations) -> None:
            key = key_of(text)
            if key in target:
                violations.add("DUPLICATE_FIELD", "The key stands twice.")
            elif item is None and not nullable:
                violations.add("INVALID_FORMAT", "null may not be the value of a key.")
            elif convert is not None:
                target[key] = convert(item)
            elif descriptor is not None:
                target[key].SetInParent()
                self._messages[descriptor](target[key], item, violations)

        def read(message: Any, value: Any, violations: Violations) -> None:
            if type(value) is not dict:
                violations.add("INVALID_FORMAT", "An object is expected.", shown)
                return
            target = getattr(message, name)
            if of_texts and not target and _all_texts(value):
                target.update(value)
                return
            for text, item in value.items():
                violations.path += [shown, text.encode("utf-8", "replace").decode("utf-8")]
                try:
                    put(target, text, item, violations)
                except Unfit as unfit:
                    self._unfit(unfit, violations)
                del violations.path[-2:]

        if descriptor is not None:
            self._message_reader(descriptor)
        return read


def _nullable_type(field: FieldDescriptor) -> bool:
    if well_known.is_message(field):
        return bool(well_known.message_of(field).full_name == well_known.VALUE)
    return field.enum_type is not None and field.enum_type.full_name == _NULL


def _nullable(field: FieldDescriptor) -> bool:
    """Whether null is a value of the field, and not the lack of one."""
    return not field.is_repeated and _nullable_type(field)


def _rivals(field: FieldDescriptor) -> str:
    """Name of the oneof by which the field excludes others, empty where it is alone."""
    oneof = field.containing_oneof
    return oneof.name if oneof is not None and len(oneof.fields) > 1 else ""


def _plain(field: FieldDescriptor) -> type | None:
    """The type of JSON values that the field itself takes or refuses as its reader would; None where there is none."""
    if field.is_repeated:
        return None
    if field.type in scalars.INTEGERS:
        return int
    return {FieldDescriptor.TYPE_STRING: str, FieldDescriptor.TYPE_BOOL: bool}.get(field.type)


def _all_texts(value: dict[str, Any]) -> bool:
    """Whether all keys and values are strings that need no look at their characters."""
    return all(type(item) is str and item.isascii() and key.isascii() for key, item in value.items())


def _accepting_null(field: FieldDescriptor) -> scalars.Convert:
    convert = scalars.from_json(field)
    if not _nullable_type(field):
        return convert
    return lambda value: 0 if value is None else convert(value)
