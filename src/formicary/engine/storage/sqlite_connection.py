"""Connections of SQLite: what they need, and how one ends whatever state it is in."""

from __future__ import annotations

import sqlite3

from formicary.engine.storage.port import StoreUnavailable


def require_json(connection: sqlite3.Connection) -> None:
    """SQLite has its JSON functions always since 3.38, and in nearly every build before."""
    try:
        connection.execute("SELECT json_group_array(value) FROM json_each('[1]')").fetchone()
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(
            f"Python's SQLite {sqlite3.sqlite_version} was built without JSON functions. Use a Python with SQLite 3.38 "
            "or newer, or a PostgreSQL database."
        ) from error


def roll_back(connection: sqlite3.Connection) -> None:
    """Ends a transaction if SQLite has not done so itself."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        pass


def discard(connection: sqlite3.Connection) -> None:
    """Closes a connection whatever state it is in."""
    try:
        connection.close()
    except sqlite3.Error:
        pass
