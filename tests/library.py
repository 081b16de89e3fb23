"""A library as a service for tests of the gateway: every kind of method, every type of field; compiled at run time."""

import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor

from formicary.gateway import Service
from formicary.problems import problem

PROTO = Path(__file__).parent / "proto" / "library.proto"
PACKAGE = "formicary.tests.library"
_IMPORTED = (
    "google.api.annotations_pb2",
    "google.api.field_behavior_pb2",
    "google.api.httpbody_pb2",
    "google.protobuf.any_pb2",
    "google.protobuf.duration_pb2",
    "google.protobuf.empty_pb2",
    "google.protobuf.field_mask_pb2",
    "google.protobuf.struct_pb2",
    "google.protobuf.timestamp_pb2",
    "google.protobuf.wrappers_pb2",
)


@cache
def descriptor() -> ServiceDescriptor:
    """The service, its file in the default pool."""
    for module in _IMPORTED:
        import_module(module)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "library.pb"
        command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", f"-I{PROTO.parent}"]
        command += [f"-I{sysconfig.get_paths()['purelib']}", f"--descriptor_set_out={target}", PROTO.name]
        subprocess.run(command, check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    pool = descriptor_pool.Default()
    for file in files.file:
        pool.Add(file)  # type: ignore[no-untyped-call]  # the stubs leave it bare
    return pool.FindServiceByName(f"{PACKAGE}.Library")


def message(name: str) -> type[Any]:
    """A message class of the library."""
    descriptor()
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.{name}"))


class Library:
    """Answers mostly what it was asked, and remembers it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.calls: list[Any] = []

    def service(self) -> Service:
        """Bound to its descriptor."""
        return Service(descriptor(), self)

    def _note(self, request: Any, context: Any) -> None:
        self.asked.append(request)
        self.calls.append(context)

    async def _same(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        return request

    UpdateBook = MaskBook = DeleteBook = LendBook = Query = Echo = Plain = Upload = _same

    async def GetBook(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        if "none" in request.name:
            raise problem("NOT_FOUND", f"There is no book {request.name}.")
        if "bug" in request.name:
            raise RuntimeError("secret")
        return message("Book")(name=request.name, title=request.view, etag="7" if "tagged" in request.name else "")

    async def ListBooks(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        books = [message("Book")(name=f"{request.parent}/books/{n}", title="A") for n in range(request.page_size)]
        return message("ListBooksResponse")(books=books)

    async def CreateBook(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        context.set_header("location", "/v1/x\r\nevil: 1")
        context.state["http_status"] = 201
        return request.book

    async def Tags(self, request: Any, context: Any) -> Any:
        self._note(request, context)
        return message("TagsResponse")(tags=request.tags)

    async def Download(self, request: Any, context: Any) -> Any:
        from google.api import httpbody_pb2

        self._note(request, context)
        return httpbody_pb2.HttpBody(content_type="text/plain", data=request.name.encode())

    async def Counting(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self._note(request, context)
        for number in range(request.count):
            if request.fail_after and number == request.fail_after:
                raise problem("UNAVAILABLE", "Tired.")
            yield message("Count")(count=number + 1)

    async def Sum(self, requests: Any, context: Any) -> Any:
        total, name = 0, ""
        async for request in requests:
            self._note(request, context)
            total += request.count
            name = request.name
        return message("Count")(count=total, name=name)

    async def Chat(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            self._note(request, context)
            yield message("Count")(count=request.count * 2)

    async def Pieces(self, request: Any, context: Any) -> AsyncIterator[Any]:
        from google.api import httpbody_pb2

        for number in range(request.count):
            yield httpbody_pb2.HttpBody(content_type="text/csv", data=b"%d\n" % number)
