"""Where the orders of the idempotency storm are kept: one class for each store, empty when it is made."""

from __future__ import annotations

import sqlite3
import uuid
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.contract.idempotency.places import connect_mysql

_COUNT = "SELECT key_, count(*) FROM effects GROUP BY key_"


class SqlitePlace:
    """A file. Effect, claim and answer are one commit, shared with other requests."""

    def __init__(self, folder: Path) -> None:
        self.url = str(folder / "orders.db")
        with closing(sqlite3.connect(self.url)) as connection, connection:
            connection.execute("CREATE TABLE effects (number INTEGER PRIMARY KEY AUTOINCREMENT, key_ TEXT NOT NULL)")

    def effects(self) -> dict[str, int]:
        """How many rows each key has."""
        with closing(sqlite3.connect(self.url)) as connection:
            return dict(connection.execute(_COUNT).fetchall())

    def remove(self) -> None:
        """Goes with its folder."""


class PostgresPlace:
    """A database of its own. Effect, claim and answer are one commit for each request."""

    def __init__(self, server: str) -> None:
        self._server, self._name = server, f"formicary_storm_{uuid.uuid4().hex[:12]}"
        self._do(server, f"CREATE DATABASE {self._name}")
        self.url = urlsplit(server)._replace(path=f"/{self._name}").geturl()
        self._do(self.url, "CREATE TABLE effects (number bigserial PRIMARY KEY, key_ text NOT NULL)")

    def effects(self) -> dict[str, int]:
        """How many rows each key has."""
        return dict(self._do(self.url, _COUNT))

    def remove(self) -> None:
        """Drops the database."""
        self._do(self._server, f"DROP DATABASE {self._name} WITH (FORCE)")

    @staticmethod
    def _do(url: str, statement: str) -> list[Any]:
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


class MysqlPlace:
    """The same on MySQL or MariaDB."""

    def __init__(self, server: str) -> None:
        self._server, self._name = server, f"formicary_storm_{uuid.uuid4().hex[:12]}"
        self._do(server, f"CREATE DATABASE {self._name}")
        self.url = urlsplit(server)._replace(path=f"/{self._name}").geturl()
        table = "number BIGINT AUTO_INCREMENT PRIMARY KEY, key_ VARCHAR(255) NOT NULL"
        self._do(self.url, f"CREATE TABLE effects ({table}) ENGINE=InnoDB")

    def effects(self) -> dict[str, int]:
        """How many rows each key has."""
        return dict(self._do(self.url, _COUNT))

    def remove(self) -> None:
        """Drops the database."""
        self._do(self._server, f"DROP DATABASE {self._name}")

    @staticmethod
    def _do(url: str, statement: str) -> Any:
        with closing(connect_mysql(url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()


class RedisPlace:
    """A prefix of its own. Records are leased; the effect is outside of them and knows the key, as it has to there."""

    def __init__(self, server: str) -> None:
        self._server, self.prefix = server, f"storm-{uuid.uuid4().hex[:12]}"
        self.url = f"{server}#{self.prefix}"

    def effects(self) -> dict[str, int]:
        """How many entries each key has."""
        import redis

        with closing(redis.Redis.from_url(self._server)) as client:
            return Counter(each.decode() for each in client.lrange(f"{self.prefix}:effects", 0, -1))

    def remove(self) -> None:
        """Deletes all keys of the prefix."""
        import redis

        with closing(redis.Redis.from_url(self._server)) as client:
            for key in client.scan_iter(f"*{self.prefix}*"):
                client.delete(key)


Place = SqlitePlace | PostgresPlace | MysqlPlace | RedisPlace


def place_of(server: str, folder: Path) -> Place:
    """An empty place on the server with this URL; empty = a file in the folder."""
    if not server:
        return SqlitePlace(folder)
    makers: dict[str, type[PostgresPlace] | type[MysqlPlace] | type[RedisPlace]] = {
        "postgresql": PostgresPlace, "mysql": MysqlPlace, "redis": RedisPlace,
    }  # fmt: skip
    return makers[server.partition(":")[0]](server)
