"""Messages with protovalidate's rules, made without a compiler: rules go in as the raw option of a proto file."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from protobuf import Oneof
from protovalidate._gen.buf.validate import validate_pb as v

_RULES_TAG = b"\xba\x48"  # field 1159 of FieldOptions, length-delimited
_LABEL = descriptor_pb2.FieldDescriptorProto
_STRING, _MESSAGE = _LABEL.TYPE_STRING, _LABEL.TYPE_MESSAGE


def _field(
    into: Any, name: str, number: int, rules: Any = None, type_name: str = "", many: bool = False, kind: int = _STRING
) -> None:
    camel = name.split("_")[0] + "".join(part.title() for part in name.split("_")[1:])
    field = into.field.add(name=name, number=number, json_name=camel)
    field.label = _LABEL.LABEL_REPEATED if many else _LABEL.LABEL_OPTIONAL
    field.type = _MESSAGE if type_name else kind
    if type_name:
        field.type_name = type_name
    if rules is not None:
        raw = rules.to_binary()
        assert len(raw) < 128 * 128
        length = bytes([len(raw)]) if len(raw) < 128 else bytes([len(raw) & 0x7F | 0x80, len(raw) >> 7])
        field.options.MergeFromString(_RULES_TAG + length + raw)


def _string(**rules: Any) -> Any:
    return v.FieldRules(type=Oneof("string", v.StringRules(**rules)))


def _make() -> tuple[Any, Any, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="formicary_tests/ruled.proto", package="ruled", syntax="proto3")
    task = file.message_type.add(name="Task")
    _field(task, "title", 1, v.FieldRules(required=True, type=Oneof("string", v.StringRules(max_len=10))))
    _field(
        task,
        "tags",
        2,
        v.FieldRules(type=Oneof("repeated", v.RepeatedRules(items=_string(pattern="^[a-z]+$")))),
        many=True,
    )
    entry = task.nested_type.add(name="LabelsEntry")
    entry.options.map_entry = True
    _field(entry, "key", 1)
    _field(entry, "value", 2)
    _field(
        task,
        "labels",
        3,
        v.FieldRules(type=Oneof("map", v.MapRules(values=_string(min_len=1)))),
        type_name=".ruled.Task.LabelsEntry",
        many=True,
    )
    _field(task, "due_date", 4, _string(max_len=3))
    create = file.message_type.add(name="Create")
    _field(create, "task", 1, type_name=".ruled.Task")
    batch = file.message_type.add(name="Batch")
    _field(batch, "requests", 1, type_name=".ruled.Create", many=True)
    broken = file.message_type.add(name="Broken")
    cel = v.Rule(id="broken", expression="this.no_such_field > 1")
    _field(broken, "name", 1, v.FieldRules(cel=[cel]))
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    names = ("ruled.Task", "ruled.Batch", "ruled.Broken")
    task_class, batch_class, broken_class = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names
    )
    return task_class, batch_class, broken_class


Task, Batch, Broken = _make()
