"""Idempotency keys of uploads: the same key keeps a file once, whoever repeats it.

Theory of operation. A key needs no record of its own. What it has kept is the artifact's row, found by the key's digest
as entries of a cache are; so key and effect are one row, and a key is remembered as long as its file is kept. Which
keys are being used is known in memory: one queen takes all uploads. A repeated upload is read and compared, not
believed: an artifact is what came under its key, byte for byte.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from formicary.problems import Problem, problem

UPLOADED = "uploaded/"
_KEYED = f"{UPLOADED}key/"


def place_of(key: str) -> str:
    """What an artifact that a key has kept says in the column of caches."""
    return _KEYED + hashlib.sha256(key.encode()).hexdigest()


class KeysInUse:
    """The keys of uploads that are under way."""

    def __init__(self) -> None:
        self._used: set[tuple[str, str]] = set()

    @contextmanager
    def use(self, org: str, key: str) -> Iterator[None]:
        """Uses a key for the block; an empty one is none.

        Raises:
            Problem: IDEMPOTENT_REQUEST_IN_PROGRESS where another upload uses it.
        """
        if not key:
            yield
            return
        if (org, key) in self._used:
            raise problem(
                "IDEMPOTENT_REQUEST_IN_PROGRESS",
                "An upload with this idempotency key is under way: repeat it when that one has ended.",
                retry_after_s=1.0,
            )
        self._used.add((org, key))
        try:
            yield
        finally:
            self._used.discard((org, key))


async def measured(pieces: AsyncIterator[bytes], most: int) -> tuple[int, str]:
    """Size and SHA-256 of a content, which is not kept. Raises Problem where it is larger than `most`."""
    size, digest = 0, hashlib.sha256()
    async for piece in pieces:
        size += len(piece)
        if size > most:
            raise reused()
        await asyncio.to_thread(digest.update, piece)
    return size, digest.hexdigest()


def reused() -> Problem:
    """The problem of a key that came with something else before."""
    return problem(
        "IDEMPOTENCY_KEY_REUSED",
        "This idempotency key has kept another file, or this one under another name or for another time; nothing "
        "has happened. Take a new key.",
    )
