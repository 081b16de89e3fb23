"""Uploads that are gone on with: a file comes in parts, over connections that break and queens that are killed.

Theory of operation. An upload is an artifact's row that nobody sees yet: it has the id that the artifact will have,
belongs to no job, and its column of jobs names its place, which becomes its cache key when it is complete. So it counts
for the storage limit with its whole size from its beginning, and is removed after a day as files of attempts that
never ended are. How much of it is there is what the store of contents has, and nothing else: no row is written for a
part. What was received before a connection broke stays, and the next part begins behind it.

One part is written at a time. A new one takes the upload over from one whose connection may be broken without the
server knowing: that one ends, and what it has written stays. A queen that is killed between publishing a content and
completing its row leaves a whole content under an upload: it is found and completed when somebody asks for it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from formicary.engine.queen.artifacts import KEPT_FOR_S, LEFT_FOR_S, Artifact, Artifacts, Offer, check
from formicary.engine.queen.edge import new_id
from formicary.engine.queen.pump import Pump, unavailable
from formicary.engine.queen.upload_keys import UPLOADED, place_of, reused
from formicary.engine.storage.artifacts import NoSuchContent, Stored
from formicary.engine.storage.port import Store, StoreError, StoreUnavailable
from formicary.problems import Problem, problem

MOST_UPLOADS = 1000
"""Uploads of an organisation that are not complete, at once."""
MOST_BYTES = 2**40
"""Size of an upload."""


class OtherOffset(Exception):
    """A part does not begin where the upload ends.

    Attributes:
        state: The upload.
        problem: What the caller is told.
    """

    def __init__(self, state: UploadState, given: int) -> None:
        self.state = state
        self.problem = problem(
            "CONFLICT",
            f"The upload has {state.offset} bytes, this part begins at {given}: go on at {state.offset}.",
            expected_offset=state.offset,
            provided_offset=given,
        )
        super().__init__(self.problem.detail)


@dataclass(frozen=True, slots=True)
class UploadState:
    """An upload as it is now.

    Attributes:
        artifact: What it is, or will be.
        offset: Bytes that are there.
        is_complete: Whether it is the artifact.
    """

    artifact: Artifact
    offset: int
    is_complete: bool

    @property
    def expires_at(self) -> float:
        """When it is removed, in seconds since the epoch."""
        found = self.artifact
        return found.expires_at if self.is_complete else min(found.expires_at, found.created_at + LEFT_FOR_S)


@dataclass(slots=True)
class _Part:
    """A part that is being written."""

    task: asyncio.Task[object]
    is_taken_over: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Uploads:
    """The uploads of one queen.

    Args:
        artifacts: What they become.
        store: Where rows are.
        pump: Runs what blocks.
    """

    def __init__(self, artifacts: Artifacts, store: Store, pump: Pump) -> None:
        self._artifacts = artifacts
        self._store = store
        self._pump = pump
        self._parts: dict[str, _Part] = {}

    async def create(self, org: str, offer: Offer, key: str = "") -> tuple[UploadState, bool]:
        """Begins an upload.

        Args:
            org: Whose it is.
            offer: What is going to come; its size has to be said.
            key: Idempotency key: one upload for each; empty = none.

        Returns:
            The upload, and whether an earlier call has begun it.

        Raises:
            Problem: VALIDATION_FAILED, RESOURCE_EXHAUSTED; IDEMPOTENCY_KEY_REUSED, IDEMPOTENT_REQUEST_IN_PROGRESS;
                UNAVAILABLE.
        """
        offer = replace(offer, expires_after_s=offer.expires_after_s or KEPT_FOR_S, cache_key="")
        check(offer)
        if offer.size is None or offer.size > MOST_BYTES:
            raise problem("VALIDATION_FAILED", f"Say the size of the file, at most {MOST_BYTES} bytes: `size_bytes`.")
        with self._artifacts.keys.use(org, key):
            found = await self._begun(org, key) if key else None
            if found is not None:
                if not _is_same(found.artifact, offer):
                    raise reused()
                return found, True
            return await self._begin(org, offer, offer.size, key), False

    async def state(self, org: str, upload_id: str) -> UploadState:
        """An upload as it is now, also one that is complete. Raises Problem NOT_FOUND, UNAVAILABLE."""
        row = await self._pump.read(lambda: self._store.upload(org, upload_id))
        if row is None:
            return await self._completed(org, upload_id)
        found = Artifact.of(row)
        if found.id != upload_id or min(found.expires_at, found.created_at + LEFT_FOR_S) <= self._artifacts.wall():
            raise _no_such(upload_id)
        return await self._look(found)

    async def append(self, org: str, upload_id: str, offset: int, pieces: AsyncIterator[bytes]) -> UploadState:
        """Writes a part; the last one makes the artifact.

        Args:
            org: Whose the upload is.
            upload_id: Which.
            offset: Where the part begins: what is there already.
            pieces: The part.

        Returns:
            The upload after it.

        Raises:
            OtherOffset: It begins elsewhere; nothing has happened.
            Problem: NOT_FOUND; VALIDATION_FAILED where more comes than was said, or another file: the upload is gone
                then; CONFLICT where another part has taken the upload over; UNAVAILABLE.
        """
        await self.state(org, upload_id)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a part is written by a task")
        await self._take_over(upload_id)
        part = self._parts[upload_id] = _Part(task)
        try:
            found = await self.state(org, upload_id)  # what was taken over may have completed it
            if offset != found.offset:
                raise OtherOffset(found, offset)
            if found.is_complete:
                await _nothing(pieces)
                return found
            return await self._write(found, pieces)
        except asyncio.CancelledError:
            if not part.is_taken_over or task.uncancel():
                raise
            raise problem("CONFLICT", "Another request has gone on with this upload.") from None
        except StoreError as error:
            raise unavailable(error) from error
        finally:
            del self._parts[upload_id]
            part.over.set()

    async def remove(self, org: str, upload_id: str) -> UploadState:
        """Gives an upload up; returns what it was.

        Raises:
            Problem: NOT_FOUND; FAILED_PRECONDITION where it is complete; UNAVAILABLE.
        """
        found = await self.state(org, upload_id)
        if found.is_complete:
            raise problem("FAILED_PRECONDITION", "The upload is complete: its artifact is removed when it expires.")
        await self._take_over(upload_id)
        await self._drop(upload_id)
        return found

    # --- beginning --------------------------------------------------------------------------------------------------

    async def _begun(self, org: str, key: str) -> UploadState | None:
        """What an earlier call has begun under a key."""
        kept = await self._artifacts.kept(org, key)
        if kept is not None:
            return UploadState(kept, kept.size, True)
        row = await self._pump.read(lambda: self._store.upload(org, place_of(key)))
        if row is None:
            return None
        found = Artifact.of(row)
        if min(found.expires_at, found.created_at + LEFT_FOR_S) <= self._artifacts.wall():
            await self._drop(found.id)
            return None
        return await self._look(found)

    async def _begin(self, org: str, offer: Offer, size: int, key: str) -> UploadState:
        self._artifacts.place()
        if await self._pump.read(lambda: self._store.upload_count(org)) >= MOST_UPLOADS:
            raise problem(
                "RESOURCE_EXHAUSTED",
                f"The organisation {org} has {MOST_UPLOADS} uploads that are not complete: complete or remove some.",
            )
        now = self._artifacts.wall()
        upload_id = new_id(now)
        place = place_of(key) if key else f"{UPLOADED}{upload_id}"
        there = (upload_id, org, 0, 0, place, "", "", 0, 0, "", offer.name, offer.form, size, offer.sha256 or "")
        found = Artifact(*there, now, now + offer.expires_after_s)
        reserved = await self._artifacts.room.reserve(org, offer.name, size)
        try:
            await reserved.store(lambda: self._store.add_artifact(found.row()), size)
        except StoreUnavailable as error:
            raise unavailable(error) from error
        finally:
            reserved.release()
        return UploadState(found, 0, False)

    # --- going on ---------------------------------------------------------------------------------------------------

    async def _take_over(self, upload_id: str) -> None:
        """Ends the part that is being written, if there is one; what it has written stays."""
        while (part := self._parts.get(upload_id)) is not None:
            if not part.is_taken_over:
                part.is_taken_over = True
                part.task.cancel()
            await part.over.wait()

    async def _write(self, found: UploadState, pieces: AsyncIterator[bytes]) -> UploadState:
        upload = found.artifact
        part = _bounded(pieces, upload.size - found.offset, upload.size)
        contents = self._artifacts.place()
        try:
            stored = await contents.put(upload.id, part, offset=found.offset, whole=upload.size)
        except Problem:  # of the part: nothing of it is believed
            if found.offset < upload.size:
                await contents.put(upload.id, _none(), offset=found.offset, whole=upload.size)
            raise
        if stored.size < upload.size:
            return replace(found, offset=stored.size)
        return await self._complete(upload, stored)

    async def _complete(self, upload: Artifact, stored: Stored) -> UploadState:
        """Makes the artifact of a content that is whole. Raises Problem VALIDATION_FAILED where it is another one."""
        if upload.sha256 not in ("", stored.sha256) or upload.size != stored.size:
            await self._drop(upload.id)
            raise problem(
                "VALIDATION_FAILED",
                f"The artifact {upload.name[:200]!r} was damaged on its way: SHA-256 {upload.sha256} was offered, "
                f"{stored.sha256} came. Nothing is kept: upload it anew.",
            )
        found = replace(upload, job_id="", cache_key=upload.job_id, sha256=stored.sha256)
        if not await self._pump.read(lambda: self._store.complete_upload(found.row())):
            return await self._completed(upload.org, upload.id)  # somebody else was first, or it has expired
        return UploadState(found, found.size, True)

    async def _look(self, upload: Artifact) -> UploadState:
        contents = self._artifacts.place()
        try:
            offset = await contents.staged(upload.id)
            if offset or not upload.size or upload.id in self._parts:
                return UploadState(upload, offset, False)
            size, digest = 0, hashlib.sha256()
            async for piece in contents.get(upload.id):
                size += len(piece)
                await asyncio.to_thread(digest.update, piece)
            return await self._complete(upload, Stored(upload.id, size, digest.hexdigest()))
        except NoSuchContent:
            return UploadState(upload, 0, False)
        except StoreError as error:
            raise unavailable(error) from error

    async def _completed(self, org: str, upload_id: str) -> UploadState:
        try:
            found = await self._artifacts.find(org, upload_id)
        except Problem as error:
            raise _no_such(upload_id) if error.code == "NOT_FOUND" else error from error
        if not found.cache_key.startswith(UPLOADED):
            raise _no_such(upload_id)
        return UploadState(found, found.size, True)

    async def _drop(self, upload_id: str) -> None:
        try:
            await self._artifacts.place().delete([upload_id])
            await self._pump.read(lambda: self._store.remove_artifacts([upload_id]))
        except StoreError as error:
            raise unavailable(error) from error


async def _bounded(pieces: AsyncIterator[bytes], left: int, size: int) -> AsyncIterator[bytes]:
    """The pieces, which are not more than is left."""
    async for piece in pieces:
        if len(piece) > left:
            raise problem("VALIDATION_FAILED", f"More than the {size} bytes came that were offered.")
        left -= len(piece)
        yield piece


async def _none() -> AsyncIterator[bytes]:
    """Nothing: written somewhere, it cuts an upload back to there."""
    yield b""


async def _nothing(pieces: AsyncIterator[bytes]) -> None:
    """Reads a part that has nothing. Raises Problem FAILED_PRECONDITION."""
    async for piece in pieces:
        if piece:
            raise problem("FAILED_PRECONDITION", "The upload is complete: nothing can be added to it.")


def _is_same(found: Artifact, offer: Offer) -> bool:
    """Whether an upload is of what is offered; where one of the two does not say its digest, they may be."""
    said = {digest for digest in (found.sha256, offer.sha256) if digest}
    same = (found.name, found.form, found.size) == (offer.name, offer.form, offer.size) and len(said) < 2
    return same and abs(found.expires_at - found.created_at - offer.expires_after_s) < 0.001


def _no_such(upload_id: str) -> Problem:
    return problem("NOT_FOUND", f"there is no upload {upload_id[:40]!r}: it has expired, or was never begun")
