"""Files that people put on a server, for tasks that name them in `artifact_ids`."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from formicary.problems import problem
from formicary.v1 import artifacts_pb2 as pb

PIECE_BYTES = 512 * 1024


async def upload(
    send: Callable[[AsyncIterator[pb.UploadArtifactRequest]], Awaitable[Any]], path: Path, name: str, expires_s: float
) -> pb.Artifact:
    """Sends one file in pieces, its size and SHA-256 first.

    Args:
        send: Streams the requests and returns the answer.
        path: The file.
        name: Where tasks get it in their working directory, empty = its own name.
        expires_s: Seconds until it is removed, 0 = as the server says.

    Raises:
        Problem: VALIDATION_FAILED where it cannot be read, or has changed meanwhile.
    """
    size, digest = await measured(path)
    begin = pb.UploadBegin(
        name=name or path.name, form="file", size_bytes=size, sha256=digest, expires_after_s=expires_s
    )

    async def requests() -> AsyncIterator[pb.UploadArtifactRequest]:
        yield pb.UploadArtifactRequest(begin=begin)
        async for piece in content(path):
            yield pb.UploadArtifactRequest(data=piece)

    answer: pb.Artifact = await send(requests())
    return answer


async def measured(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file. Raises Problem VALIDATION_FAILED where it cannot be read."""
    try:
        return await asyncio.to_thread(_measured, path)
    except OSError as error:
        raise problem("VALIDATION_FAILED", f"{path} cannot be read: {error.strerror}.") from error


async def content(path: Path) -> AsyncIterator[bytes]:
    """A file in pieces."""
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece


def _measured(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
