"""Files that people put on a server, for tasks that name them in `artifact_ids`.

Theory of operation. An upload is begun with a key of its own, so that a repetition begins no second one. Its file goes
as one part, which begins where the server says that the upload ends. When the connection breaks or the server is
killed, the server is asked how much it has, and the rest goes as the next part. The time limit is for the time without
progress, not for the whole file.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
import httpx
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.json_format import ParseDict

from formicary.client.failures import backoff_s, from_rpc, unreachable
from formicary.problems import Problem, problem
from formicary.problems.http import parse_http
from formicary.problems.rpc import STATUS_KEY
from formicary.v1 import artifacts_pb2
from formicary.v1 import uploads_pb2 as pb

PIECE_BYTES = 512 * 1024
_RETRIED = frozenset({"UNAVAILABLE", "RATE_LIMIT_EXCEEDED", "IDEMPOTENT_REQUEST_IN_PROGRESS"})
_AGAIN = _RETRIED | {"CONFLICT"}
"""Of a part; a conflict means that the server has another part of it than was thought."""


class Way(Protocol):
    """How calls get to a server. Every method raises Problem; a broken connection is UNAVAILABLE."""

    async def create(self, request: pb.CreateUploadRequest, key: str) -> pb.Upload:
        """Begins an upload."""
        ...

    async def append(self, upload_id: str, offset: int, size: int, pieces: AsyncIterator[bytes]) -> pb.Upload:
        """Sends a part of `size` bytes."""
        ...

    async def state(self, upload_id: str) -> pb.Upload:
        """How much is there."""
        ...


async def upload(way: Way, path: Path, name: str, expires_s: float, timeout_s: float) -> artifacts_pb2.Artifact:
    """Sends one file, its size and SHA-256 first; goes on after connections that broke.

    Args:
        way: To the server.
        path: The file.
        name: Where tasks get it in their working directory, empty = its own name.
        expires_s: Seconds until it is removed, 0 = as the server says.
        timeout_s: How long to keep trying without progress, in seconds.

    Raises:
        Problem: VALIDATION_FAILED where it cannot be read, or has changed meanwhile; what the server says;
            UNAVAILABLE.
    """
    size, digest = await measured(path)
    request = pb.CreateUploadRequest(name=name or path.name, size_bytes=size, sha256=digest, expires_after_s=expires_s)
    key = str(uuid.uuid4())
    found = await _tried(lambda: way.create(request, key), timeout_s)
    loop, upload_id = asyncio.get_running_loop(), found.id
    deadline, attempt, reached = loop.time() + timeout_s, 0, found.offset
    while not found.complete:
        try:
            offset = found.offset
            found = await way.append(upload_id, offset, size - offset, content(path, offset, size - offset))
            if not found.complete:
                raise changed()
        except Problem as error:
            if error.code not in _AGAIN:
                raise
            attempt += 1
            await asyncio.sleep(max(backoff_s(attempt), error.retry.after_s or 0.0))
            found = await _tried(lambda: way.state(upload_id), timeout_s)
            if found.offset > reached:  # the part that broke may have been a long one
                deadline, attempt, reached = loop.time() + timeout_s, 0, found.offset
            elif not found.complete and loop.time() > deadline:
                raise
    return found.artifact


async def _tried(call: Callable[[], Awaitable[pb.Upload]], timeout_s: float) -> pb.Upload:
    """A call, repeated while no server answers."""
    loop = asyncio.get_running_loop()
    deadline, attempt = loop.time() + timeout_s, 0
    while True:
        try:
            return await call()
        except Problem as error:
            attempt += 1
            delay = max(backoff_s(attempt), error.retry.after_s or 0.0)
            if error.code not in _RETRIED or loop.time() + delay > deadline:
                raise
            await asyncio.sleep(delay)


class GrpcWay:
    """The way over gRPC.

    Args:
        stub: Has the methods.
        metadata: Of every call.
        address: Where the server is, for errors.
        timeout_s: How long a call that carries no content may take.
    """

    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...] | None, address: str, timeout_s: float) -> None:
        self._stub = stub
        self._metadata = tuple(metadata or ())
        self._address = address
        self._timeout_s = timeout_s

    async def create(self, request: pb.CreateUploadRequest, key: str) -> pb.Upload:
        """Begins an upload."""
        sent = (*self._metadata, ("idempotency-key", key))
        return await self._answer(self._stub.CreateUpload(request, timeout=self._timeout_s, metadata=sent))

    async def append(self, upload_id: str, offset: int, size: int, pieces: AsyncIterator[bytes]) -> pb.Upload:
        """Sends a part."""

        async def requests() -> AsyncIterator[pb.AppendUploadRequest]:
            yield pb.AppendUploadRequest(id=upload_id, offset=offset)
            async for piece in pieces:
                yield pb.AppendUploadRequest(content=HttpBody(data=piece))

        try:
            return await self._answer(self._stub.AppendUpload(requests(), metadata=self._metadata))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise unreachable(self._address) from None  # grpc cancels a call that it cannot write to any more

    async def state(self, upload_id: str) -> pb.Upload:
        """How much is there."""
        request = pb.GetUploadRequest(id=upload_id)
        return await self._answer(self._stub.GetUpload(request, timeout=self._timeout_s, metadata=self._metadata))

    async def _answer(self, call: Any) -> pb.Upload:
        try:
            found: pb.Upload = await call
        except grpc.aio.AioRpcError as failure:
            said = any(key == STATUS_KEY for key, _ in failure.trailing_metadata() or ())
            if failure.code() is grpc.StatusCode.INTERNAL and not said:  # grpc's own, of a connection that broke
                raise unreachable(self._address) from failure
            raise from_rpc(failure, self._address) from failure
        return found


class HttpWay:
    """The way over HTTP.

    Args:
        http: Sends requests.
        address: Where the server is, for errors.
    """

    def __init__(self, http: httpx.AsyncClient, address: str) -> None:
        self._http = http
        self._address = address

    async def create(self, request: pb.CreateUploadRequest, key: str) -> pb.Upload:
        """Begins an upload."""
        given: dict[str, str | float] = {
            "name": request.name,
            "size_bytes": request.size_bytes,
            "sha256": request.sha256,
            "expires_after_s": request.expires_after_s,
        }
        sent = {"idempotency-key": key, "upload-complete": "?0"}
        return await self._answer(self._http.build_request("POST", "/v1/uploads", params=given, headers=sent))

    async def append(self, upload_id: str, offset: int, size: int, pieces: AsyncIterator[bytes]) -> pb.Upload:
        """Sends a part."""
        sent = {
            "content-type": "application/partial-upload",
            "content-length": str(size),
            "upload-offset": str(offset),
            "upload-complete": "?1",
        }
        path = f"/v1/uploads/{upload_id}"
        return await self._answer(self._http.build_request("PATCH", path, headers=sent, content=_exactly(pieces, size)))

    async def state(self, upload_id: str) -> pb.Upload:
        """How much is there."""
        return await self._answer(self._http.build_request("GET", f"/v1/uploads/{upload_id}"))

    async def _answer(self, request: httpx.Request) -> pb.Upload:
        try:
            answer = await self._http.send(request)
        except httpx.TransportError as error:
            raise unreachable(self._address) from error
        if not answer.is_success:
            raise parse_http(answer.status_code, answer.headers.multi_items(), answer.content)
        return ParseDict(answer.json(), pb.Upload(), ignore_unknown_fields=True)


def changed() -> Problem:
    """The problem of a file that was not what it had been measured to be."""
    return problem("VALIDATION_FAILED", "The file has changed while it was sent.")


async def measured(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file. Raises Problem VALIDATION_FAILED where it cannot be read."""
    try:
        return await asyncio.to_thread(_measured, path)
    except OSError as error:
        raise problem("VALIDATION_FAILED", f"{path} cannot be read: {error.strerror}.") from error


async def content(path: Path, offset: int, size: int) -> AsyncIterator[bytes]:
    """A file from `offset` on, in pieces; at most `size` bytes."""
    with path.open("rb") as file:
        file.seek(offset)
        while piece := await asyncio.to_thread(file.read, min(size, PIECE_BYTES)):
            size -= len(piece)
            yield piece


async def _exactly(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The pieces. Raises Problem VALIDATION_FAILED where there are less bytes: a request of HTTP says how many come."""
    async for piece in pieces:
        size -= len(piece)
        yield piece
    if size:
        raise changed()


def _measured(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
