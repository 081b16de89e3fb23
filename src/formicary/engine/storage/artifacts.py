"""Where the contents of artifacts are kept: the port, and the adapter for a folder.

Theory of operation. A content is written once under a key and never changed. It comes and goes as a stream of pieces,
so that memory does not grow with its size; its SHA-256 is taken on the way. What is being written is not there until
it is whole and on the disk: the local adapter writes beside the final name, flushes, and renames. What is left of an
interrupted ``put`` can be gone on with from where it stopped, also in another process: the digest of what is there is
remembered for a while, else taken again. One piece is written while the next one comes, and the
disk is told to begin before the end: a flush of all at last would leave it idle until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ParamSpec, Protocol, TypeVar

from formicary.engine.storage.port import StoreError, StoreUnavailable

P = ParamSpec("P")
Result = TypeVar("Result")
PIECE_BYTES = 512 * 1024
"""Size of the pieces in which contents travel."""
FLUSH_BYTES = 32 * PIECE_BYTES
"""So much is written before the disk is told to begin with it."""

DIGESTS_KEPT = 256
"""Interrupted puts whose digest is remembered; what is left of others is read again before it is gone on with."""

_KEY = re.compile(r"[0-9a-z]{8,64}\Z")
_PART = ".part"


class NoSuchContent(StoreError):
    """There is no content under this key."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store has kept."""

    key: str
    size: int
    sha256: str
    """In hexadecimal."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One content in a list."""

    key: str
    size: int
    modified_at: float
    """Seconds since the epoch."""


class ArtifactStore(Protocol):
    """Contents by key; a key has 8 to 64 characters of 0-9 and a-z. All methods raise StoreUnavailable."""

    async def put(self, key: str, pieces: AsyncIterator[bytes], *, offset: int = 0, whole: int | None = None) -> Stored:
        """Keeps a content once it is whole and durable; one that is there already is replaced.

        Args:
            key: Its name.
            pieces: The content from `offset` on, in pieces of any size.
            offset: Go on with an interrupted put here; at most what :meth:`staged` says.
            whole: Bytes of the whole content: with less it is left as an interrupted put is, but on the disk.
                None = it ends where the pieces end.

        Returns:
            What is there now.
        """
        ...

    async def staged(self, key: str) -> int:
        """Bytes that are left of an interrupted put, 0 = none."""
        ...

    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The content from `offset` on, at most `length` bytes. Raises NoSuchContent at the first piece."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Removes contents and what is left of interrupted puts; keys that are not there are no error."""
        ...

    async def sweep(self, before: float) -> int:
        """Removes what is left of interrupted puts since before a time (seconds since the epoch); returns how many."""
        ...

    def list(self) -> AsyncIterator[Kept]:
        """Every content, in no order."""
        ...

    async def close(self) -> None:
        """Releases connections; idempotent."""
        ...


def artifacts_folder(data: Path) -> Path:
    """Where contents are in a data directory."""
    return data / "artifacts"


class LocalArtifacts:
    """Contents as files of a folder, spread over folders of two characters.

    Args:
        folder: Made with the first content.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._digests: dict[str, tuple[int, hashlib._Hash]] = {}
        """Of what is left of interrupted puts: bytes and their digest, the latest last."""

    async def put(self, key: str, pieces: AsyncIterator[bytes], *, offset: int = 0, whole: int | None = None) -> Stored:
        """Keeps a content."""
        path = self._path(key)
        part = path.with_suffix(_PART)
        known, digest = self._digests.pop(key, (0, hashlib.sha256()))
        if known != offset:
            known, digest = 0, hashlib.sha256()
        file = await _opened(part, offset, digest, known)
        behind = _Behind(part, file, digest, offset)
        published = False
        try:
            size = offset
            async for piece in pieces:
                if piece:
                    await behind.write(piece)
                    size += len(piece)
            if whole is None or size >= whole:
                published = True
                await behind.publish(path)
            else:
                await behind.flush()
        finally:
            try:
                await behind.quiet()
            finally:
                file.close()
                if behind.is_sound and not published:
                    self._remember(key, behind.written, digest)
        return Stored(key, size, digest.hexdigest())

    def _remember(self, key: str, size: int, digest: hashlib._Hash) -> None:
        self._digests[key] = (size, digest)
        if len(self._digests) > DIGESTS_KEPT:
            del self._digests[next(iter(self._digests))]

    async def staged(self, key: str) -> int:
        """Bytes that are left of an interrupted put."""
        try:
            return os.stat(self._path(key).with_suffix(_PART)).st_size
        except FileNotFoundError:
            return 0

    async def get(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The content from `offset` on."""
        path = self._path(key)
        try:
            with await asyncio.to_thread(path.open, "rb", 0) as file:
                file.seek(offset)
                left = length if length is not None else 2**63
                while left > 0:
                    piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, left))
                    if not piece:
                        return
                    left -= len(piece)
                    yield piece
        except FileNotFoundError as error:
            raise NoSuchContent(f"There is no content {key!r} in {self.folder}.") from error
        except OSError as error:
            raise _unavailable(path, error) from error

    async def delete(self, keys: Sequence[str]) -> None:
        """Removes contents."""
        paths = [self._path(key) for key in keys]
        for key in keys:
            self._digests.pop(key, None)
        try:
            for path in paths:
                await asyncio.to_thread(path.unlink, missing_ok=True)
                await asyncio.to_thread(path.with_suffix(_PART).unlink, missing_ok=True)
        except OSError as error:
            raise _unavailable(self.folder, error) from error

    async def sweep(self, before: float) -> int:
        """Removes what is left of interrupted puts."""
        try:
            return await asyncio.to_thread(self._sweep, before)
        except OSError as error:
            raise _unavailable(self.folder, error) from error

    def _sweep(self, before: float) -> int:
        removed = 0
        for path in self.folder.glob(f"??/*{_PART}"):
            with contextlib.suppress(FileNotFoundError):  # published or removed meanwhile
                if path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
        return removed

    async def list(self) -> AsyncIterator[Kept]:
        """Every content."""
        for kept in await asyncio.to_thread(lambda: list(self._files())):
            yield kept

    async def close(self) -> None:
        """Nothing to release."""

    def _files(self) -> Iterator[Kept]:
        for path in self.folder.glob("??/*"):
            if not path.suffix:
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    status = path.stat()
                    yield Kept(path.name, status.st_size, status.st_mtime)

    def address(self, key: str) -> str:
        """The content's file as an address (``file:///…``) for programs of this machine. Raises NoSuchContent."""
        return self._path(key).resolve().as_uri()

    def _path(self, key: str) -> Path:
        if not _KEY.match(key):
            raise NoSuchContent(f"{key[:80]!r} is no key: 8 to 64 characters of 0-9 and a-z.")
        return self.folder / key[-2:] / key


class _Behind:
    """Writes one piece while the next one comes, and flushes what is written every now and then."""

    def __init__(self, part: Path, file: BinaryIO, digest: hashlib._Hash, offset: int) -> None:
        self._part, self._file, self._digest = part, file, digest
        self.written = offset
        """Bytes that are in the file and in the digest, once it is quiet."""
        self.is_sound = True
        """Whether every write has succeeded."""
        self._writing: asyncio.Task[None] | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._unflushed = 0

    async def write(self, piece: bytes) -> None:
        """Begins to write a piece when the one before is written. Raises StoreUnavailable for that one."""
        await self._end_of(self._writing)
        self._writing = asyncio.create_task(self._write(piece))
        self._unflushed += len(piece)
        if self._unflushed >= FLUSH_BYTES and (self._flushing is None or self._flushing.done()):
            await self._end_of(self._flushing)
            self._unflushed = 0
            self._flushing = asyncio.create_task(_on_disk(self._part, _flush, self._file.fileno()))

    async def _write(self, piece: bytes) -> None:
        was_sound, self.is_sound = self.is_sound, False
        await _on_disk(self._part, _write, self._file, piece, self._digest)
        self.written += len(piece)
        self.is_sound = was_sound

    async def flush(self) -> None:
        """Returns when everything is written and on the disk, under no name yet. Raises StoreUnavailable."""
        await self._end_of(self._writing)
        await self._end_of(self._flushing)
        self._flushing = asyncio.create_task(_on_disk(self._part, _flush, self._file.fileno()))
        await self._end_of(self._flushing)

    async def publish(self, path: Path) -> None:
        """Gives the content its name when everything is written; returns when it is on the disk.

        Raises:
            StoreUnavailable: What the disk refuses.
        """
        await self._end_of(self._writing)
        await self._end_of(self._flushing)
        self._writing = asyncio.create_task(_on_disk(self._part, _publish, self._file, self._part, path))
        await self._end_of(self._writing)

    async def quiet(self) -> None:
        """Returns when nobody uses the file any more: whoever gave up may remove it then, under either name."""
        for task in (self._writing, self._flushing):
            if task is not None:
                if not task.done():
                    await asyncio.wait([task])
                task.exception()  # whoever waited for it was told; else another failure was first

    async def _end_of(self, task: asyncio.Task[None] | None) -> None:
        """Returns when a task has ended, which goes on if we are cancelled. Raises what it raised."""
        if task is not None:
            if not task.done():
                await asyncio.wait([task])
            task.result()


async def _on_disk(part: Path, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """Does work on another thread. What the disk refuses gives the room back: it is needed more than the rest is."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(part.unlink, missing_ok=True)
        raise _unavailable(part, error) from error


async def _opened(part: Path, offset: int, digest: hashlib._Hash, known: int) -> BinaryIO:
    """As `_open_part`, on another thread; whoever is cancelled meanwhile finds it opened and closed, not on its way."""
    opening = asyncio.create_task(_on_disk(part, _open_part, part, offset, digest, known))
    try:
        await asyncio.wait([opening])
    except asyncio.CancelledError:
        await asyncio.wait([opening])
        if opening.exception() is None:
            opening.result().close()
        raise
    return opening.result()


def _open_part(part: Path, offset: int, digest: hashlib._Hash, known: int) -> BinaryIO:
    """Opens what is being written, at its offset, with the digest of what is there; of `known` bytes it is taken."""
    _make_folder(part.parent)
    file = part.open("r+b" if offset else "wb", 0)
    try:
        left = offset - file.seek(known)
        while left:
            piece = file.read(min(left, PIECE_BYTES))
            if not piece:
                raise OSError(f"only {offset - left} bytes are left of the interrupted upload, not {offset}")
            digest.update(piece)
            left -= len(piece)
        file.truncate(offset)
    except BaseException:
        file.close()
        raise
    return file


def _write(file: BinaryIO, piece: bytes, digest: hashlib._Hash) -> None:
    digest.update(piece)
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _flush(descriptor: int) -> None:
    """Flushes what is written, and lets the system use its memory again: a large file is not worth the whole cache."""
    os.fdatasync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _publish(file: BinaryIO, part: Path, path: Path) -> None:
    os.fsync(file.fileno())
    os.rename(part, path)
    _flush_folder(path.parent)


def _make_folder(folder: Path) -> None:
    """Makes a folder where there is none; its name is on the disk before anything is in it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(f"The artifact store cannot use {path}: {error.strerror or error}.")
