"""``checksum`` in the key of a cache: the template leaves a mark, the ant puts the file's SHA-256 in its place."""

from __future__ import annotations

import re

_NAME = re.compile(r"[\w./@+-]+\Z")
MARKED = re.compile(r"checksum\(([\w./@+-]+)\)")
"""What a rendered key holds where a file's checksum belongs."""


def mark(name: str) -> str:
    """The mark of a file. Raises ValueError for a name that is none or leads out of the working directory."""
    if not _NAME.match(name) or name.startswith("/") or ".." in name.split("/"):
        raise ValueError(f"checksum wants a path inside the working directory, not {name[:80]!r}")
    return f"checksum({name})"
