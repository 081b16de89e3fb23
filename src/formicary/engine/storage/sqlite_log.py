"""The write-ahead log's length on the disk, made ahead.

While the log's file grows, each flush has to write the file's new size as well, in a journal of the file system's own.
Where a commit overwrites what is there already, the flush is its data alone: on a virtual disk with ext4 a commit then
takes 0.1 to 0.3 ms less. SQLite begins the log anew after each checkpoint, so the file is made as long as it becomes
anyway.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from pathlib import Path

log = logging.getLogger("formicary.storage")
PAGE_BYTES = 4096
_FRAME_BYTES = PAGE_BYTES + 24
_FREE_FACTOR = 10
"""The file system must have this many times the room that the log takes: a nearly full disk is left alone."""


def lengthen(writer: sqlite3.Connection, database: Path, pages: int, cache: int) -> None:
    """Makes the log `pages` long, if it is shorter and the disk has plenty of room. What fails is left out.

    A transaction that is larger than the cache spills into the log and is then rolled back: SQLite itself writes the
    frames and ignores them from then on, also in a recovery, because no commit follows them.

    Args:
        writer: Outside a transaction.
        database: The database's file.
        pages: Wanted length, in pages of 4 KiB.
        cache: The connection's `cache_size` afterwards.
    """
    wanted = pages * _FRAME_BYTES
    try:
        log_file = Path(f"{database}-wal")
        size = log_file.stat().st_size if log_file.exists() else 0
        room = os.statvfs(database.parent)
    except OSError:
        return
    if size >= wanted or room.f_bavail * room.f_frsize < _FREE_FACTOR * wanted:
        return
    try:
        writer.execute("PRAGMA cache_size = 10")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("CREATE TABLE ahead (filler)")
        writer.execute("INSERT INTO ahead VALUES (zeroblob(?))", ((pages - 1) * PAGE_BYTES,))
    except sqlite3.Error as error:
        log.info("the log of %s is not made ahead: %s", database, error)
    finally:
        with contextlib.suppress(sqlite3.Error):  # a connection that is broken says so at the next commit
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            writer.execute(f"PRAGMA cache_size = {cache}")
