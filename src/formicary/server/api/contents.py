"""Contents of files as requests bring them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from formicary.engine.queen.artifacts import Offer
from formicary.engine.storage.artifacts import PIECE_BYTES
from formicary.problems import problem

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def offer(name: str, size: int | None, sha256: str, expires_after_s: float) -> Offer:
    """What the caller says of a file of its own. Raises Problem VALIDATION_FAILED."""
    sha256 = sha256.lower()
    if sha256 and not _SHA256.match(sha256):
        raise problem("VALIDATION_FAILED", "`sha256` is 64 hexadecimal digits, as `sha256sum FILE` prints them.")
    return Offer(0, name, "file", size, sha256 or None, expires_after_s)


async def joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A content in pieces of about PIECE_BYTES: an HTTP connection hands over much smaller ones, and each costs.

    What came before a connection broke is handed on before the error is: of an upload in parts it stays.
    """
    held, size = [first], len(first)
    try:
        async for piece in rest:
            held.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                whole, held, size = b"".join(held), [], 0
                yield whole
    except (Exception, asyncio.CancelledError):
        if size:
            yield b"".join(held)
        raise
    yield b"".join(held)
