"""Random messages of any descriptor, drawn so that rules are met often."""

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st

from formicary.gateway.openapi.schemas import is_map
from formicary.gateway.openapi.wellknown import kind_of
from tests.unit.gateway_openapi.protos import new

UUIDS = st.sampled_from(["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "nope"])
TEXTS = st.one_of(st.sampled_from(["", "a", "ab", "abc", "a.b", "a@example.com", "RED", "é漢"]), st.text(max_size=8))
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "int32": st.one_of(st.integers(-3, 12), st.integers(-(2**31), 2**31 - 1)),
    "uint32": st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1)),
    "int64": st.one_of(st.integers(-3, 12), st.integers(-(2**63), 2**63 - 1)),
    "uint64": st.one_of(st.integers(0, 12), st.integers(0, 2**64 - 1)),
    "float": st.one_of(st.integers(-3, 12).map(float), st.floats(width=32)),
    "double": st.one_of(st.integers(-3, 12).map(float), st.floats()),
    "bool": st.booleans(),
    "string": st.one_of(TEXTS, UUIDS),
    "bytes": st.binary(max_size=8),
}
DEPTH = 1


def fill(draw: Any, kind: Descriptor, depth: int = 0) -> Any:
    """A message with some of its fields set to random values."""
    message: Any = new(kind)
    if kind.full_name == "google.protobuf.Timestamp":
        message.FromSeconds(draw(st.integers(0, 4_000_000_000)))
    elif kind.full_name == "google.protobuf.Duration":
        message.FromMilliseconds(draw(st.integers(-100_000, 100_000)))
    elif kind.full_name == "google.protobuf.FieldMask":
        message.FromJsonString(draw(st.sampled_from(["", "title", "title,parent.kind"])))
    elif kind.full_name == "google.protobuf.Struct":
        message.update(draw(st.dictionaries(TEXTS, st.one_of(st.none(), st.booleans(), TEXTS), max_size=2)))
    elif kind.full_name == "google.protobuf.Value":
        message.string_value = draw(TEXTS)
    elif kind.full_name == "google.protobuf.ListValue":
        message.extend(draw(st.lists(TEXTS, max_size=2)))
    elif kind.full_name == "google.protobuf.Any":
        message.Pack(new(kind.file.pool.FindMessageTypeByName("google.protobuf.Duration")))
    else:
        for field in kind.fields:
            if draw(st.integers(0, 9)) < 8:
                _set(draw, message, field, depth)
    return message


def _set(draw: Any, message: Any, field: FieldDescriptor, depth: int) -> None:
    if field.message_type is not None and is_map(field):
        entry = field.message_type.fields_by_name
        for _ in range(draw(st.integers(0, 2))):
            key = draw(SCALARS[kind_of(entry["key"])])
            if entry["value"].message_type is None:
                getattr(message, field.name)[key] = _scalar(draw, entry["value"])
            elif depth < DEPTH:
                getattr(message, field.name)[key].CopyFrom(fill(draw, entry["value"].message_type, depth + 1))
    elif field.is_repeated:
        for _ in range(draw(st.integers(0, 3))):
            if field.message_type is None:
                getattr(message, field.name).append(_scalar(draw, field))
            elif depth < DEPTH:
                getattr(message, field.name).append(fill(draw, field.message_type, depth + 1))
    elif field.message_type is None:
        setattr(message, field.name, _scalar(draw, field))
    elif depth < DEPTH:
        getattr(message, field.name).CopyFrom(fill(draw, field.message_type, depth + 1))


def _scalar(draw: Any, field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return draw(st.sampled_from([value.number for value in field.enum_type.values]))
    return draw(SCALARS[kind_of(field)])
