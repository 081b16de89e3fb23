"""A store by its URL, for commands and configuration files."""

from __future__ import annotations

from pathlib import Path

from formicary.idempotency.store import Store
from formicary.problems import problem

KNOWN = "sqlite:PATH, postgresql://…, mysql://… or redis://…"


async def open_store(url: str, *, make: bool = True) -> Store:
    """Opens a store. The driver is loaded here; where it is missing, the error names the extra that brings it.

    Args:
        url: ``sqlite:PATH`` (or ``sqlite:///PATH``), ``postgresql://``, ``mysql://``, ``redis://`` or ``rediss://``.
        make: Whether an SQLite file that is missing is made.

    Returns:
        The store, to be closed by the caller.

    Raises:
        Problem: VALIDATION_FAILED where the URL names no store, NOT_FOUND where the file is missing,
            IDEMPOTENCY_STORE_UNAVAILABLE where it cannot be opened.
    """
    store = _store(url, make=make)
    await store.open()
    return store


def _store(url: str, *, make: bool) -> Store:
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        from formicary.idempotency.sqlite import SqliteStore

        path = url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else url.removeprefix("sqlite:")
        if not path:
            raise problem("VALIDATION_FAILED", "sqlite: needs the path of a file, like sqlite:keys.db.")
        if not make and not Path(path).is_file():
            raise problem("NOT_FOUND", f"There is no file {path}.")
        return SqliteStore(path)
    if scheme in ("postgresql", "postgres"):
        from formicary.idempotency.postgres import PostgresStore

        return PostgresStore(url)
    if scheme == "mysql":
        from formicary.idempotency.mysql import MysqlStore

        return MysqlStore(url)
    if scheme in ("redis", "rediss"):
        from formicary.idempotency.redis_store import RedisStore

        return RedisStore(url)
    # the URL may hold a password: it is not repeated
    raise problem("VALIDATION_FAILED", f"The store's URL begins with {scheme[:20]!r}; known are {KNOWN}.")
