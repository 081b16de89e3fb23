"""Connections to PostgreSQL: how they are opened, and what their errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import psycopg
from psycopg import errors

from formicary.engine.storage.pg_arrays import dumpers
from formicary.engine.storage.port import RowRefused, StoreError, StoreUnavailable

Connection = psycopg.Connection[tuple[Any, ...]]

DEFAULT_SCHEMA: Final = "formicary"
"""The tables' schema unless the URL says ``?schema=name``: one database can hold several colonies."""

_CONNECT_TIMEOUT_S: Final = 10


def split_url(url: str) -> tuple[str, str]:
    """The URL as the driver knows it, and the schema that the tables live in."""
    base, _, parameters = url.partition("?")
    query = parse_qsl(parameters, keep_blank_values=True)
    named = [value for key, value in query if key == "schema"]
    name = named[-1] if named else DEFAULT_SCHEMA
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise StoreUnavailable(f"{name!r} cannot be a schema: use lower-case letters, digits and underscores.")
    rest = urlencode([pair for pair in query if pair[0] != "schema"])
    return f"{base}?{rest}" if rest else base, name


def shown(url: str) -> str:
    """The URL without its password and parameters, for messages."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2] or "localhost"
    return f"postgresql://{host}{parts.path}"


def connect(url: str, schema: str) -> Connection:
    """A connection in autocommit mode that looks at the schema alone and knows the arrays.

    Raises:
        StoreUnavailable: no server, no database, wrong password.
    """
    try:
        connection = psycopg.connect(
            url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S, application_name="formicary"
        )
    except psycopg.Error as error:
        raise StoreUnavailable(
            f"PostgreSQL at {shown(url)} cannot be reached: {_line(error)}. Check that it runs and that address, "
            "database, user and password are right."
        ) from error
    for kind, dumper in dumpers():
        connection.adapters.register_dumper(kind, dumper)
    try:
        connection.execute(f'SET search_path TO "{schema}"'.encode())
    except psycopg.Error as error:
        connection.close()
        raise translate(error, url) from error
    return connection


def lost(error: psycopg.Error, connection: Connection) -> bool:
    """True where the connection is of no more use."""
    return connection.broken or connection.closed or isinstance(error, (errors.AdminShutdown, psycopg.InterfaceError))


def translate(error: psycopg.Error, url: str) -> StoreError:
    """The port's error for one of the driver; the caller raises it from the driver's."""
    refused = isinstance(error, (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError))
    if refused and not isinstance(error, (errors.UndefinedTable, errors.InsufficientPrivilege)):
        return RowRefused(
            f"PostgreSQL at {shown(url)} refuses a row of this batch, nothing was written: {_line(error)}"
        )
    words = {
        errors.DiskFull: "its disk is full. Free some space; work goes on by itself",
        errors.ReadOnlySqlTransaction: "it is read-only (a standby?). Name the primary server",
        errors.InsufficientPrivilege: "this user may not do that. Grant the rights on the schema",
        errors.UndefinedTable: "its tables are gone. Restore a backup",
        errors.LockNotAvailable: "another program holds a lock",
        errors.TooManyConnections: "it takes no more connections. Raise max_connections",
    }
    what = next((text for kind, text in words.items() if isinstance(error, kind)), "the connection or server failed")
    return StoreUnavailable(f"PostgreSQL at {shown(url)} cannot be used: {what} ({_line(error)}).")


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Raises the port's errors for the driver's."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, url) from error


def discard(connection: Connection) -> None:
    """Closes a connection whatever state it is in."""
    try:
        connection.close()
    except psycopg.Error:
        pass


def _line(error: psycopg.Error) -> str:
    """The driver's message on one line."""
    return " ".join(str(error).split()).rstrip(".")
