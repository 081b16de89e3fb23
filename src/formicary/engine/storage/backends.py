"""Which adapter serves a target: a directory, ``sqlite:``, ``postgresql:`` or ``memory:``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from formicary.engine.storage.log_port import LogStore
from formicary.engine.storage.port import Store, StoreUnavailable

DATABASE_FILE: Final = "formicary.db"
"""Name of the SQLite file in a data directory."""


def open_store(target: str | os.PathLike[str]) -> Store:
    """The opened and migrated store of a target.

    Args:
        target: a data directory (its SQLite file is ``formicary.db``); ``sqlite:///absolute/file.db`` or
            ``sqlite:relative/file.db``; a ``postgresql://`` URL; ``memory:``.

    Raises:
        StoreUnavailable: unknown kind of target, missing driver, or the store cannot be reached.
        UnsupportedDataVersion: the data was written by a newer version.
    """
    kind, place = _split(target)
    store: Store
    if kind == "memory":
        from formicary.engine.storage.memory import MemoryStore

        store = MemoryStore()
    elif kind == "postgresql":
        with _driver():
            from formicary.engine.storage.postgres import PostgresStore

        store = PostgresStore(place)
    else:
        from formicary.engine.storage.sqlite import SqliteStore

        store = SqliteStore(place)
    store.open()
    return store


def open_logs(target: str | os.PathLike[str]) -> LogStore:
    """The log store that goes with :func:`open_store` of the same target: files in ``logs`` beside an SQLite file."""
    kind, place = _split(target)
    if kind == "memory":
        from formicary.engine.storage.logs import MemoryLogs

        return MemoryLogs()
    if kind == "postgresql":
        with _driver():
            from formicary.engine.storage.logs_postgres import PostgresLogs

        return PostgresLogs(place)
    from formicary.engine.storage.logs_files import FileLogs

    return FileLogs(Path(place).parent / "logs")


def _split(target: str | os.PathLike[str]) -> tuple[str, str]:
    """Kind of store, and its file or URL."""
    text = os.fspath(target)
    scheme = text.partition(":")[0].lower() if ":" in text else ""
    if scheme == "memory":
        return "memory", ""
    if scheme in ("postgresql", "postgres"):
        return "postgresql", text
    if scheme == "sqlite":
        path = unquote(urlsplit(text).path)
        if not path or path == "/":
            raise StoreUnavailable(f"{text!r} names no file: write sqlite:///absolute/file.db or sqlite:file.db.")
        return "sqlite", path
    if "://" in text:
        raise StoreUnavailable(
            f"{text!r} is no kind of store: name a directory, or use sqlite:///file.db, postgresql://… or memory:."
        )
    return "sqlite", str(Path(text) / DATABASE_FILE)


@contextmanager
def _driver() -> Iterator[None]:
    """Says how to install psycopg where it is missing."""
    try:
        yield
    except ImportError as error:
        if "psycopg" in f"{error.name} {error}":
            raise StoreUnavailable(
                "PostgreSQL needs a driver that is not installed: pip install 'formicary[postgres]'."
            ) from error
        raise
