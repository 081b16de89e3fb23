"""The stores that every contract test of idempotency runs on."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import components
from tests.contract.idempotency.places import KINDS, SHARED, Place, connect_mysql, make_place

_REDIS = os.environ.get("FORMICARY_TEST_REDIS", "redis://127.0.0.1:6379/15")
_MYSQL = os.environ.get("FORMICARY_TEST_MYSQL", "mysql://root@127.0.0.1:3306/")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_database(postgres_admin_url: str) -> Iterator[str]:
    """A database for the tests of this run; each test has its own schema in it."""
    import psycopg

    name = f"formicary_idempotency_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_admin_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    base, _, query = postgres_admin_url.partition("?")
    yield base.rsplit("/", 1)[0] + "/" + name + (f"?{query}" if query else "")
    with psycopg.connect(postgres_admin_url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@pytest.fixture
def postgresql_place_url(postgres_database: str) -> str:
    """The address of an empty schema."""
    import psycopg

    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"'.encode())
    return f"{postgres_database}{'&' if '?' in postgres_database else '?'}options=-csearch_path%3D{name}"


@pytest.fixture(scope="session")
def mysql_place_url() -> Iterator[str]:
    """A database for the tests of this run on a MySQL or MariaDB server that is there."""
    import pymysql

    try:
        connection = connect_mysql(_MYSQL)
    except pymysql.Error as error:
        components.missing("mysql", f"no server at {_MYSQL}: {error}")
    name = f"formicary_idempotency_{uuid.uuid4().hex[:12]}"
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        yield urlsplit(_MYSQL)._replace(path=f"/{name}").geturl()
        cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="session")
def redis_place_url() -> str:
    """A Redis server that is there; each test has its own prefix."""
    import redis

    try:
        with closing(redis.Redis.from_url(_REDIS, socket_connect_timeout=3)) as client:
            client.ping()
    except redis.RedisError as error:
        components.missing("redis", f"no server at {_REDIS}: {error}")
    return _REDIS


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each store in turn, empty."""
    place = make_place(request.param, tmp_path, request.getfixturevalue)
    yield place
    place.remove()


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Each store that several processes may use, empty."""
    place = make_place(request.param, tmp_path, request.getfixturevalue)
    yield place
    place.remove()
