"""Proto files compiled while the tests run, each set in a pool of its own."""

import functools
import importlib
import tempfile
from pathlib import Path

import protovalidate
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from formicary.gateway.openapi import descriptor_set
from formicary.gateway.openapi.options import OptionReader
from formicary.gateway.openapi.schemas import Schemas

_IMPORTS = (
    "google.protobuf.descriptor",
    "google.protobuf.any",
    "google.protobuf.duration",
    "google.protobuf.empty",
    "google.protobuf.field_mask",
    "google.protobuf.struct",
    "google.protobuf.timestamp",
    "google.protobuf.wrappers",
    "google.api.http",
    "google.api.annotations",
    "google.api.field_behavior",
    "google.api.httpbody",
)

HEAD = """
syntax = "proto3";
package test.v1;
import "buf/validate/validate.proto";
import "google/api/annotations.proto";
import "google/api/field_behavior.proto";
import "google/api/httpbody.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/empty.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
"""


def validate_proto() -> bytes:
    """The descriptor of buf/validate/validate.proto: protovalidate ships it as code, not as text."""
    return protovalidate.ViolationPb.desc().file.proto.to_binary()


@functools.cache
def compiled(body: str) -> tuple[FileDescriptor, bytes]:
    """The file with this body after HEAD, and its descriptor set with comments."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "test.proto").write_text(HEAD + body)
        rules = descriptor_pb2.FileDescriptorProto.FromString(validate_proto())
        known = descriptor_pb2.FileDescriptorSet(file=[rules])
        (place / "rules.bin").write_bytes(known.SerializeToString())
        described = descriptor_set(["test.proto"], [place], descriptor_sets=[place / "rules.bin"])
    pool = DescriptorPool()
    for module in _IMPORTS:
        pool.AddSerializedFile(importlib.import_module(f"{module}_pb2").DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(validate_proto())
    for file in descriptor_pb2.FileDescriptorSet.FromString(described).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool.FindFileByName("test.proto"), described


def service(body: str, name: str = "Api") -> ServiceDescriptor:
    """A service of the file."""
    return compiled(body)[0].services_by_name[name]


def message(body: str, name: str) -> Descriptor:
    """A message of the file."""
    return compiled(body)[0].message_types_by_name[name]


def schemas_for(file: FileDescriptor) -> Schemas:
    """Schemas by proto names, every message and enum under its short name."""
    names = {one.full_name: one.name for one in file.message_types_by_name.values()}
    names |= {one.full_name: one.name for one in file.enum_types_by_name.values()}
    return Schemas(OptionReader([file]), {}, names, frozenset(), _proto_name)


def _proto_name(field: FieldDescriptor) -> str:
    return field.name


def new(kind: Descriptor) -> Message:
    """An empty message."""
    return message_factory.GetMessageClass(kind)()
