"""Files of a working directory as artifacts: found by patterns, packed, and put back. Everything here blocks.

Nothing outside of the working directory is ever read or written: patterns and names are relative and climb nowhere,
and links that lead out are refused.
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PIECE = 512 * 1024


class DataError(Exception):
    """Files cannot be kept or put back; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One content that is ready to be sent.

    Attributes:
        name: Path in the working directory, or the pattern.
        form: ``file`` or ``tar``.
        path: Where its bytes are.
        size: Bytes.
        sha256: In hexadecimal.
    """

    name: str
    form: str
    path: Path
    size: int
    sha256: str


def find(folder: Path, pattern: str) -> list[str]:
    """Paths in the folder that a pattern matches, in order.

    Raises:
        DataError: The pattern or a match leads out of the folder.
    """
    if os.path.isabs(pattern) and Path(pattern).is_relative_to(folder):
        pattern = os.path.relpath(pattern, folder)
    if os.path.isabs(pattern) or ".." in pattern.split("/"):
        raise DataError(f"The path {pattern!r} leads out of the working directory: write one that is inside.")
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    found = sorted({os.path.normpath(name) for name in _matches(folder, "", parts)} - ({"."} if parts else set()))
    for name in found:
        _check_inside(folder, name)
    return found


def _matches(folder: Path, base: str, parts: list[str]) -> Iterator[str]:
    """Paths below `base` that the parts of a pattern match. Links are matched like files: `*` goes on only into those
    that stay inside, `**` into none, so that no pattern reads other folders or goes round in a circle.
    """
    if not parts:
        yield base
        return
    head, rest = parts[0], parts[1:]
    if head == "**":
        while rest[:1] == ["**"]:
            rest = rest[1:]
        for root, folders, files in os.walk(folder / base):
            here = os.path.relpath(root, folder)
            if rest:
                yield from _matches(folder, here, rest)
            else:
                yield from (os.path.join(here, name) for name in ("", *folders, *files))
    elif glob.has_magic(head):
        for name in _names(folder / base):
            path = os.path.join(base, name)
            if fnmatch.fnmatchcase(name, head) and (not rest or _leads_on(folder, path)):
                yield from _matches(folder, path, rest)
    elif os.path.lexists(folder / base / head):
        path = os.path.join(base, head)
        if rest and (folder / path).is_symlink():
            _check_inside(folder, path)
        yield from _matches(folder, path, rest)


def _names(folder: Path) -> list[str]:
    """What is in a folder; nothing where it is none or cannot be read."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _leads_on(folder: Path, name: str) -> bool:
    """Whether it is a folder inside of the working directory."""
    return (folder / name).is_dir() and _is_inside(folder, name)


def pack(folder: Path, name: str, members: Sequence[str], into: Path) -> Packed:
    """Makes a content of what was found: a plain file stays as it is, anything else becomes a tar archive.

    Args:
        folder: The working directory.
        name: The pattern.
        members: What it matched, at least one.
        into: A file that may be written.

    Raises:
        DataError: A file cannot be read, is no file, or a link leads out.
    """
    try:
        if len(members) == 1 and _is_plain(folder / members[0]):
            path = folder / members[0]
            return Packed(members[0], "file", path, path.stat().st_size, digest_of(path))
        with tarfile.open(into, "w", format=tarfile.PAX_FORMAT) as archive:
            for member in _walk(folder, members):
                archive.add(folder / member, member, recursive=False)
        return Packed(name, "tar", into, into.stat().st_size, digest_of(into))
    except OSError as error:
        raise DataError(f"The files of {name!r} cannot be read: {error.strerror or error}.") from error


def put_back(folder: Path, name: str, form: str, content: Path) -> None:
    """Puts a content where it was in the working directory it comes from.

    Raises:
        DataError: It leads out of the folder, or cannot be written.
    """
    try:
        if form == "tar":
            with tarfile.open(content) as archive:
                archive.extractall(folder, filter="data")
            return
        target = folder / name
        _check_inside(folder, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_inside(folder, name)
        os.chmod(content, 0o644)
        os.replace(content, target)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"The artifact {name!r} cannot be put into the working directory: {error}.") from error


def digest_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    """A file in pieces."""
    while piece := file.read(_PIECE):
        yield piece


def _is_plain(path: Path) -> bool:
    """Whether it is a file that comes back as it was without an archive around it."""
    mode = path.lstat().st_mode
    return stat.S_ISREG(mode) and not mode & 0o111


def _walk(folder: Path, members: Sequence[str]) -> Iterator[str]:
    """Members and what is in those that are folders, each once."""
    seen: set[str] = set()
    for member in members:
        inside = [member]
        if (folder / member).is_dir() and not (folder / member).is_symlink():
            for root, folders, files in os.walk(folder / member):
                inside += [os.path.relpath(os.path.join(root, name), folder) for name in sorted((*folders, *files))]
        for path in inside:
            if path in seen:
                continue
            seen.add(path)
            _check_inside(folder, path)
            mode = (folder / path).lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                raise DataError(f"{path!r} is neither a file nor a folder.")
            yield path


def inside(folder: Path, name: str) -> Path:
    """The path of a file in the folder, whose own folder is made.

    Raises:
        DataError: It leads out of the folder, or its folder cannot be made.
    """
    if os.path.isabs(name) or ".." in name.split("/"):
        raise DataError(f"The path {name!r} leads out of the working directory: write one that is inside.")
    _check_inside(folder, name)
    try:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The folder of {name!r} cannot be made: {error.strerror}.") from error
    return folder / name


def _check_inside(folder: Path, name: str) -> None:
    if not _is_inside(folder, name):
        raise DataError(f"{name!r} leads out of the working directory through a link: only files inside can be kept.")


def _is_inside(folder: Path, name: str) -> bool:
    home = os.path.realpath(folder)
    real = os.path.realpath(os.path.join(home, name))
    return real == home or real.startswith(home + os.sep)
