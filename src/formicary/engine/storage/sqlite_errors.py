"""What SQLite's errors mean to an operator, and how the adapter answers them."""

from __future__ import annotations

import sqlite3
from typing import Final

from formicary.engine.storage.port import RowRefused, StoreError, StoreUnavailable

_WORDS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full. Free some space; work goes on by itself",
    sqlite3.SQLITE_READONLY: "it may not be written. Give this user write permission for the file and its directory",
    sqlite3.SQLITE_PERM: "access is denied. Give this user permission for the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Check that its directory exists and that this user may write there",
    sqlite3.SQLITE_BUSY: "another program holds its lock. Close whatever else has the file open",
    sqlite3.SQLITE_LOCKED: "another program holds its lock. Close whatever else has the file open",
    sqlite3.SQLITE_IOERR: "the disk reports an error. Check the disk and its free space, quota and file size limits",
    sqlite3.SQLITE_CORRUPT: "it is damaged. Stop, keep a copy of the file, and restore a backup",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database. Name another file, or restore a backup",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_TOOBIG: "a value is larger than SQLite can hold",
}

_REFUSED: Final = {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG}


def translate(error: Exception, where: str) -> StoreError:
    """The port's error for one of the driver; the caller raises it from the driver's.

    Args:
        error: what sqlite3 raised.
        where: path of the database file.
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary in _REFUSED or (primary is None and not isinstance(error, sqlite3.OperationalError)):
        return RowRefused(f"The database {where} refuses a row of this batch, nothing was written: {error}")
    words = _WORDS.get(primary) if primary is not None else None
    return StoreUnavailable(f"The database {where} cannot be used: {words or 'SQLite reports an error'} ({error}).")


def needs_new_connection(error: Exception) -> bool:
    """False for errors after which the same connection is as good as a new one (a lock held by somebody else)."""
    code = getattr(error, "sqlite_errorcode", None)
    return not isinstance(code, int) or code & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CONSTRAINT}
