"""What every place of contents does: whole or not at all, in pieces, gone on with, removed."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from formicary.engine.storage.artifacts import (
    FLUSH_BYTES,
    PIECE_BYTES,
    ArtifactStore,
    LocalArtifacts,
    NoSuchContent,
)
from formicary.engine.storage.port import StoreUnavailable

KEY = "0123456789abcdef"
BIG = bytes(range(256)) * (3 * PIECE_BYTES // 256) + b"rest"


@pytest.fixture(params=["local"])
def contents(tmp_path: Path) -> ArtifactStore:
    """Each place in turn."""
    return LocalArtifacts(tmp_path / "artifacts")


async def stream(pieces: Iterable[bytes], error: Exception | None = None) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if error is not None:
        raise error


async def whole(contents: ArtifactStore, key: str = KEY, offset: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in contents.get(key, offset=offset, length=length)])


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "small", "big"])
def test_what_was_put_comes_back_with_its_size_and_digest(contents: ArtifactStore, data: bytes) -> None:
    """Whatever the pieces were; a second put replaces the first."""

    async def test() -> None:
        await contents.put(KEY, stream([b"before"]))
        stored = await contents.put(KEY, stream(data[at : at + 700_001] for at in range(0, len(data), 700_001)))
        assert (stored.size, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert await whole(contents) == data
        assert [(kept.key, kept.size) async for kept in contents.list()] == [(KEY, len(data))]

    asyncio.run(test())


@pytest.mark.parametrize(("offset", "length"), [(0, 5), (3, None), (PIECE_BYTES - 1, PIECE_BYTES + 2), (len(BIG), 1)])
def test_a_range_is_what_lies_there(contents: ArtifactStore, offset: int, length: int | None) -> None:
    """From the offset, at most so many bytes."""

    async def test() -> None:
        await contents.put(KEY, stream([BIG]))
        end = None if length is None else offset + length
        assert await whole(contents, offset=offset, length=length) == BIG[offset:end]

    asyncio.run(test())


def test_an_interrupted_put_is_not_there_and_can_be_gone_on_with(contents: ArtifactStore) -> None:
    """The digest covers what came before the interruption, too."""

    async def test() -> None:
        with pytest.raises(ConnectionError):
            await contents.put(KEY, stream([BIG[:1000]], ConnectionError("lost")))
        with pytest.raises(NoSuchContent):
            await whole(contents)
        assert [kept async for kept in contents.list()] == []
        staged = await contents.staged(KEY)
        stored = await contents.put(KEY, stream([BIG[staged:]]), offset=staged)
        assert (stored.size, stored.sha256) == (len(BIG), hashlib.sha256(BIG).hexdigest())
        assert await whole(contents) == BIG and await contents.staged(KEY) == 0

    asyncio.run(test())


@pytest.mark.parametrize("is_known", [True, False], ids=["same process", "another process"])
def test_a_content_in_parts_is_there_when_it_is_whole(tmp_path: Path, is_known: bool) -> None:
    """Less than the whole stays as an interrupted put does; the digest is right, remembered or taken again."""
    ends = [0, 1000, PIECE_BYTES + 5, len(BIG)]
    contents = LocalArtifacts(tmp_path)

    async def test(contents: ArtifactStore) -> None:
        for begin, end in itertools.pairwise(ends):
            if not is_known:
                contents = LocalArtifacts(tmp_path)
            with pytest.raises(NoSuchContent):
                await whole(contents)
            assert await contents.staged(KEY) == begin
            stored = await contents.put(KEY, stream([BIG[begin:end]]), offset=begin, whole=len(BIG))
            assert (stored.size, stored.sha256) == (end, hashlib.sha256(BIG[:end]).hexdigest())
        assert await whole(contents) == BIG and await contents.staged(KEY) == 0

    asyncio.run(test(contents))


def test_a_put_that_goes_on_further_in_front_forgets_the_rest(contents: ArtifactStore) -> None:
    """A part that nobody believes is cut off; what is remembered of it is too."""

    async def test() -> None:
        await contents.put(KEY, stream([b"good"]), whole=8)
        with pytest.raises(ConnectionError):
            await contents.put(KEY, stream([b"bad"], ConnectionError("lost")), offset=4, whole=8)
        assert await contents.staged(KEY) == 7
        assert (await contents.put(KEY, stream([]), offset=4, whole=8)).size == 4
        assert await contents.staged(KEY) == 4
        stored = await contents.put(KEY, stream([b"same"]), offset=4, whole=8)
        assert stored.sha256 == hashlib.sha256(b"goodsame").hexdigest()
        assert await whole(contents) == b"goodsame"

    asyncio.run(test())


def test_what_is_left_of_old_puts_is_swept(contents: ArtifactStore, tmp_path: Path) -> None:
    """Not younger ones, and no content that is whole."""

    async def test() -> None:
        assert await contents.sweep(time.time()) == 0
        for key in (f"{KEY}01", f"{KEY}02"):
            await contents.put(key, stream([b"part"]), whole=8)
        await contents.put(KEY, stream([b"whole"]))
        for path in tmp_path.rglob(f"*{KEY}*"):
            if "02" not in path.name:
                os.utime(path, (1000.0, 1000.0))
        assert await contents.sweep(2000.0) == 1
        assert [await contents.staged(f"{KEY}0{number}") for number in (1, 2)] == [0, 4]
        assert await whole(contents) == b"whole"

    asyncio.run(test())


def test_what_was_removed_is_gone_and_removing_twice_is_no_error(contents: ArtifactStore) -> None:
    """Also what is left of an interrupted put."""

    async def test() -> None:
        await contents.put(KEY, stream([b"x"]))
        await contents.delete([KEY, "abcdefgh00"])
        await contents.delete([KEY])
        with pytest.raises(NoSuchContent):
            await whole(contents)

    asyncio.run(test())


def test_what_is_larger_than_what_is_flushed_at_once_comes_back(contents: ArtifactStore) -> None:
    """Every byte, in order, with its digest: flushing on the way changes nothing."""
    data = BIG * (2 * FLUSH_BYTES // len(BIG) + 1)

    async def test() -> None:
        pieces = (data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))
        stored = await contents.put(KEY, stream(pieces))
        assert (stored.size, stored.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert await whole(contents) == data

    asyncio.run(test())


def test_a_put_that_is_cancelled_has_ended_when_it_says_so(tmp_path: Path) -> None:
    """Whenever it is: what is removed after it does not come back, under no name."""
    contents = LocalArtifacts(tmp_path)

    async def test() -> None:
        for number in range(150):
            key = f"{KEY}{number:02}"
            put = asyncio.create_task(contents.put(key, stream([BIG[:200_000]])))
            await asyncio.sleep(number * 0.00004)
            put.cancel()
            await asyncio.wait([put])
            await contents.delete([key])
        await asyncio.sleep(0.05)  # whatever is still on its way arrives
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    asyncio.run(test())


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "a/b", "ABCDEFGH", "x" * 65])
def test_a_key_that_is_none_is_refused(contents: ArtifactStore, key: str) -> None:
    """Nothing outside of the place can be named."""

    async def test() -> None:
        with pytest.raises(NoSuchContent, match="no key"):
            await contents.put(key, stream([b"x"]))

    asyncio.run(test())


def test_a_full_disk_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    """The error says the file and the reason; what was written is removed, and the next put works."""
    import resource

    contents = LocalArtifacts(tmp_path)

    async def test() -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (100_000, hard)
        )  # the kernel refuses to write more, as on a full disk
        try:
            with pytest.raises(StoreUnavailable, match="cannot use"):
                await contents.put(KEY, stream([BIG[:90_000], BIG[:90_000]]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert await contents.staged(KEY) == 0
        assert (await contents.put(KEY, stream([BIG]))).size == len(BIG)

    asyncio.run(test())
