"""Comments of proto files: generated modules have none, so they come as a descriptor set made at build time."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from protovalidate._gen.buf.validate import validate_pb

_RULES_NEED = (descriptor_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR, field_mask_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR)

# Field numbers of descriptor.proto along the path of a source location.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED, _NESTED_ENUM, _ONEOF = 2, 3, 4, 8
_VALUE, _METHOD = 2, 2


def descriptor_set(
    protos: Sequence[str], includes: Sequence[str | Path], *, descriptor_sets: Sequence[str | Path] = ()
) -> bytes:
    """Compiles proto files into a FileDescriptorSet with comments; for build time, needs ``grpcio-tools``.

    Args:
        protos: Files, relative to one of the includes.
        includes: Directories of proto files; googleapis', protobuf's own and protovalidate's are added.
        descriptor_sets: Files of compiled descriptors for imports that are not there as text.

    Returns:
        The bytes for the argument ``comments`` of :func:`formicary.gateway.openapi.openapi_document`.

    Raises:
        ValueError: The files do not compile; the text is the compiler's.
    """
    own = [str(importlib.resources.files("google.api").joinpath("../..")), *_protobuf_includes()]
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "set.bin"
        command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", "--include_source_info", "-o", str(out)]
        rules = Path(place) / "rules.bin"
        rules.write_bytes(rules_set().SerializeToString())
        command.append("--descriptor_set_in=" + ":".join(str(one) for one in (*descriptor_sets, rules)))
        command += [f"-I{one}" for one in (*includes, *own)] + list(protos)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"The proto files do not compile:\n{done.stderr}")
        return out.read_bytes()


def rules_set() -> FileDescriptorSet:
    """The options of protovalidate, ``buf/validate/validate.proto``, behind the files that it imports."""
    found = FileDescriptorSet()
    for file in _RULES_NEED:
        file.CopyToProto(found.file.add())
    found.file.add().MergeFromString(validate_pb.desc().proto.to_binary())
    return found


def _protobuf_includes() -> list[str]:
    return [str(importlib.resources.files("grpc_tools").joinpath("_proto"))]


def comments_of(described: bytes | FileDescriptorSet | None) -> dict[str, str]:
    """Comments by full name of message, field, enum, value, oneof, service and method."""
    if described is None:
        return {}
    files = FileDescriptorSet.FromString(described) if isinstance(described, bytes) else described
    return {name: text for file in files.file for name, text in _of_file(file)}


def _of_file(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    texts = {
        tuple(place.path): _clean(place.leading_comments or place.trailing_comments)
        for place in file.source_code_info.location
    }
    for path, name in _names(file):
        if texts.get(path):
            yield name, texts[path]


def _clean(text: str) -> str:
    lines = [line.removeprefix(" ").rstrip() for line in text.strip("\n").splitlines()]
    return "\n".join(line for line in lines if not line.startswith("buf:lint:")).strip()


def _names(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    scope = f"{file.package}." if file.package else ""
    for i, message in enumerate(file.message_type):
        yield from _of_message(message, (_MESSAGE, i), scope + message.name)
    for i, enum in enumerate(file.enum_type):
        yield from _of_enum(enum, (_ENUM, i), scope + enum.name)
    for i, service in enumerate(file.service):
        yield (_SERVICE, i), scope + service.name
        for k, method in enumerate(service.method):
            yield (_SERVICE, i, _METHOD, k), f"{scope}{service.name}.{method.name}"


def _of_message(message: DescriptorProto, path: tuple[int, ...], name: str) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, name
    for i, field in enumerate(message.field):
        yield (*path, _FIELD, i), f"{name}.{field.name}"
    for i, oneof in enumerate(message.oneof_decl):
        yield (*path, _ONEOF, i), f"{name}.{oneof.name}"
    for i, enum in enumerate(message.enum_type):
        yield from _of_enum(enum, (*path, _NESTED_ENUM, i), f"{name}.{enum.name}")
    for i, nested in enumerate(message.nested_type):
        yield from _of_message(nested, (*path, _NESTED, i), f"{name}.{nested.name}")


def _of_enum(enum: EnumDescriptorProto, path: tuple[int, ...], name: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Values are named under their enum, so that equal names of two enums stay apart."""
    yield path, name
    for i, value in enumerate(enum.value):
        yield (*path, _VALUE, i), f"{name}.{value.name}"
