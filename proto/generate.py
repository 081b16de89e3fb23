"""Compiles the contract: ``python proto/generate.py`` writes src/formicary/v1.

The rules of protovalidate stand in the proto files. Its ``buf/validate/validate.proto`` is not kept here: it comes from
protovalidate itself, so it is always the version that the rules are checked by. The generated code carries the rules
as plain bytes of options and does not import it: ants and clients, which check nothing, do not load protovalidate.

Options:
    OUT: Folder to write to instead of ``src``.
    --image FILE: Writes the descriptors with all that they import to FILE, with comments, instead of code.
    --bare: Leaves the comments out of it.
"""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_tools import protoc  # type: ignore[import-untyped]  # it has no types
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path.relative_to(ROOT / "proto").as_posix() for path in (ROOT / "proto").rglob("formicary/v1/*.proto"))
RULES = "buf/validate/validate.proto"
NEEDED = (
    "google.api.annotations_pb2",
    "google.api.field_behavior_pb2",
    "google.api.httpbody_pb2",
    "google.protobuf.descriptor_pb2",
    "google.protobuf.duration_pb2",
    "google.protobuf.empty_pb2",
    "google.protobuf.field_mask_pb2",
    "google.protobuf.struct_pb2",
    "google.protobuf.timestamp_pb2",
    "google.protobuf.wrappers_pb2",
    "google.rpc.status_pb2",
)
"""Modules of the files that the contract may import."""

Set = descriptor_pb2.FileDescriptorSet


def imports() -> Set:
    """What the contract may import, each file after those that it needs."""
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
    found[RULES] = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    return Set(file=found.values())


def run(*arguments: str) -> None:
    """Runs the compiler. Exits where it refuses the files, which it has said on standard error."""
    status = protoc.main(["protoc", *arguments])
    if status:
        sys.exit(status)


def compile_contract(out: Path, *, comments: bool = True) -> None:
    """Writes the descriptors of the contract and of all that it imports.

    Args:
        out: File to write.
        comments: Whether the comments go with them.
    """
    with tempfile.TemporaryDirectory() as place:
        known = Path(place) / "known.binpb"
        known.write_bytes(imports().SerializeToString())
        wanted = ["--include_imports", *(["--include_source_info"] if comments else [])]
        run(f"-I{ROOT / 'proto'}", f"--descriptor_set_in={known}", *wanted, f"--descriptor_set_out={out}", *FILES)


def generate(out: Path) -> None:
    """Writes the generated code below ``out/formicary/v1``."""
    with tempfile.TemporaryDirectory() as place:
        image = Path(place) / "contract.binpb"
        compile_contract(image)
        files = Set.FromString(image.read_bytes())
        for file in files.file:
            if RULES in file.dependency:
                file.dependency.remove(RULES)
        image.write_bytes(files.SerializeToString())
        kinds = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
        run(f"--descriptor_set_in={image}", *kinds, *FILES)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=ROOT / "src")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--bare", action="store_true")
    given = parser.parse_args()
    if given.image:
        compile_contract(given.image, comments=not given.bare)
    else:
        generate(given.out)


if __name__ == "__main__":
    main()
