"""Files between an ant's folder and a container, as the tar archives that the Docker Engine takes and gives."""

from __future__ import annotations

import asyncio
import os
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from formicary.engine.ants.data_files import DataError
from formicary.engine.jobs.model import TaskDefinition

_MAGIC = "*?["


def packed(folder: Path, inside: str) -> Path:
    """Packs a folder as ``inside`` of a container's root; returns the archive, which the caller removes. Blocks."""
    handle, name = tempfile.mkstemp(prefix="formicary-", suffix=".tar")
    with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(folder, PurePosixPath(inside).relative_to("/").as_posix(), filter=_open_to_all)
    return Path(name)


def _open_to_all(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The container's user is another one than the ant's."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode |= 0o777 if member.isdir() else 0o666
    return member


def wanted(task: TaskDefinition) -> list[str]:
    """Paths of a container's working directory that may have to be kept: patterns up to their first wildcard."""
    patterns = [
        str(path)
        for field in (task.artifacts, task.cache)
        if field
        for path in (field.get("paths") or ())  # type: ignore[attr-defined]  # the reader made a list
    ]
    found: set[str] = set()
    for pattern in patterns:
        if pattern.startswith("/") or ".." in pattern.split("/"):
            continue
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        fixed = next((i for i, part in enumerate(parts) if any(c in part for c in _MAGIC)), len(parts))
        found.add("/".join(parts[:fixed]))
    if "" in found:
        return [""]
    return sorted(one for one in found if not any(one.startswith(f"{other}/") for other in found))


async def fetch(pieces: AsyncIterator[bytes], folder: Path, name: str) -> None:
    """Unpacks what the engine sent for a path into the folder.

    Raises:
        DataError: It leads out of the folder or cannot be written.
    """
    handle, archive = tempfile.mkstemp(prefix="formicary-", suffix=".tar")
    try:
        with os.fdopen(handle, "wb", 0) as file:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
        target = folder / name if not name else (folder / name).parent
        await asyncio.to_thread(_unpack, archive, target)
    finally:
        os.unlink(archive)


def _unpack(archive: str, target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as file:
            file.extractall(target, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"What the container left cannot be put into the ant's folder: {error}.") from error
