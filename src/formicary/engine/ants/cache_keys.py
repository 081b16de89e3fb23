"""The key of a task's cache, computed from files of its working directory. Everything here blocks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from formicary.engine.ants.data_files import DataError, digest_of, find
from formicary.engine.jobs.checksums import MARKED

MAX_KEY = 500


def cache_key(folder: Path, cache: Mapping[str, object]) -> str:
    """The key that a task's ``cache`` asks for.

    Args:
        folder: The working directory.
        cache: The field as it was read: ``key`` or ``key_paths``.

    Raises:
        DataError: A file that it names is not there or cannot be read, or the key is too long.
    """
    paths = cache.get("key_paths")
    if isinstance(paths, list | tuple):
        return _of_paths(folder, [str(path) for path in paths])
    key = re.sub(MARKED, lambda found: _checksum(folder, found[1]), str(cache.get("key") or ""))
    if not key or len(key) > MAX_KEY:
        raise DataError(f"The cache's key has {len(key)} characters: it needs 1 to {MAX_KEY}.")
    return key


def _of_paths(folder: Path, patterns: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for pattern in patterns:
        names = [name for name in find(folder, pattern) if (folder / name).is_file()]
        if not names:
            raise DataError(f"The cache's key cannot be computed: no file matches {pattern!r} of key_paths.")
        for name in names:
            digest.update(f"{name}\0{_digest(folder, name)}\0".encode())
    return digest.hexdigest()


def _checksum(folder: Path, name: str) -> str:
    if name not in find(folder, name):
        raise DataError(f"The cache's key cannot be computed: there is no file {name!r} in the working directory.")
    return _digest(folder, name)


def _digest(folder: Path, name: str) -> str:
    try:
        return digest_of(folder / name)
    except OSError as error:
        raise DataError(f"The cache's key cannot be computed: {name!r}: {error.strerror}.") from error
