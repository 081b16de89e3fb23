"""The service of the differential tests: compiled at run time, its descriptors in the default pool."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

PROTO = Path(__file__).with_name("oracle.proto")
SERVICE = "oracle.v1.Oracle"
_IMPORTED = (
    "google.api.annotations_pb2",
    "google.api.httpbody_pb2",
    "google.protobuf.duration_pb2",
    "google.protobuf.field_mask_pb2",
    "google.protobuf.timestamp_pb2",
    "google.protobuf.wrappers_pb2",
)


def compile_into(folder: Path) -> Path:
    """Writes the descriptor set, imports included, that Envoy reads; returns its path."""
    target = folder / "oracle.pb"
    command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", f"-I{PROTO.parent}"]
    command += [f"-I{sysconfig.get_paths()['purelib']}", "--include_imports", f"--descriptor_set_out={target}"]
    subprocess.run([*command, PROTO.name], check=True)
    return target


def for_envoy(compiled: Path) -> Path:
    """The same set without what Envoy refuses as "not supported yet": a `response_body` that is no HttpBody."""
    for module in _IMPORTED:
        import_module(module)
    http = import_module("google.api.annotations_pb2").http
    files = descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes())
    for file in files.file:
        for method in (one for service in file.service for one in service.method):
            if method.options.Extensions[http].response_body == "inner":
                method.options.Extensions[http].response_body = ""
    target = compiled.with_name("envoy.pb")
    target.write_bytes(files.SerializeToString())
    return target


@cache
def _service(compiled: bytes) -> ServiceDescriptor:
    for module in _IMPORTED:
        import_module(module)
    pool = descriptor_pool.Default()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        if file.name == PROTO.name:
            pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName(SERVICE)


def load(compiled: Path) -> ServiceDescriptor:
    """The service of a compiled set."""
    return _service(compiled.read_bytes())


def request_class(method: MethodDescriptor) -> type[Any]:
    """The message class of its requests."""
    return message_factory.GetMessageClass(method.input_type)


def response_class(method: MethodDescriptor) -> type[Any]:
    """The message class of its answers."""
    return message_factory.GetMessageClass(method.output_type)
