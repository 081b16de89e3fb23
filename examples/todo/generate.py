"""Generates examples/todo/v1 from examples/todo/proto: ``python -m examples.todo.generate`` (needs grpcio-tools)."""

import importlib
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool

from examples.todo import rule_options

ROOT = Path(__file__).resolve().parents[2]
IMPORT = "from buf.validate import validate_pb2 as buf_dot_validate_dot_validate__pb2"
OURS = "import examples.todo.rule_options"
RAISE = f"        raise {NotImplementedError.__name__}('Method not implemented!')\n"  # the status that was set says it
STUB_IMPORT = "from buf.validate import validate_pb2 as _validate_pb2\n"
NEEDED = (
    "google.api.annotations_pb2",
    "google.api.field_behavior_pb2",
    "google.api.resource_pb2",
    "google.protobuf.field_mask_pb2",
    "google.protobuf.timestamp_pb2",
    "google.rpc.status_pb2",
)


def descriptor_set() -> bytes:
    """Everything that todo.proto imports, as protoc wants it: each file after those it needs."""
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(name: str) -> None:
        if name in found:
            return
        file = descriptor_pb2.FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(name).CopyToProto(file)
        for needed in file.dependency:
            add(needed)
        found[name] = file

    for module in NEEDED:
        add(importlib.import_module(module).DESCRIPTOR.name)
    add(rule_options.DESCRIPTOR.name)
    return descriptor_pb2.FileDescriptorSet(file=found.values()).SerializeToString()


def generate(out: Path = ROOT) -> None:
    """Writes the generated files below ``out/examples/todo/v1``."""
    from grpc_tools import protoc

    (out / "examples/todo/v1").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        known = Path(place) / "known.binpb"
        known.write_bytes(descriptor_set())
        status = protoc.main(
            [
                "protoc",
                f"-Iexamples/todo/v1={ROOT}/examples/todo/proto",
                f"--descriptor_set_in={known}",
                "--include_source_info",  # the comments, for the OpenAPI document
                f"--descriptor_set_out={out}/examples/todo/v1/todo.binpb",
                *(f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")),
                "examples/todo/v1/todo.proto",
            ]
        )
    if status:
        sys.exit(status)
    for name in ("todo_pb2.py", "todo_pb2.pyi", "todo_pb2_grpc.py"):
        path = out / "examples/todo/v1" / name
        text = path.read_text().replace(IMPORT, OURS).replace(STUB_IMPORT, "").replace(RAISE, "")
        path.write_text(text)


if __name__ == "__main__":
    generate()
