"""A fault or the end of the process at any statement of a transaction: the effect is there exactly if its record is."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from formicary.idempotency.schema import Dialect
from tests.integration.idempotency import crashes
from tests.integration.idempotency.crashes import CREATED, Broken, Faults, connected, found, order, prepare

NOTHING, ALL = (0, 0, 0), (1, 1, 1)


@pytest.fixture(params=["sqlite", "sqlalchemy", "postgresql", "mysql"])
def make_target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Callable[[str], str]]]:
    """The kind, and a function that makes an empty database or schema with a name."""
    kind: Dialect = "sqlite" if request.param == "sqlalchemy" else request.param
    made: list[str] = []
    if kind == "sqlite":

        def make(name: str) -> str:
            target = str(tmp_path / f"{name}.db")
            prepare(kind, target)
            return target
    elif kind == "mysql":
        server = urlsplit(request.getfixturevalue("mysql_place_url"))

        def make(name: str) -> str:
            made.append(f"{server.path[1:]}_{name}")
            with closing(connected(server._replace(path="").geturl())) as connection, connection.cursor() as cursor:
                cursor.execute(f"CREATE DATABASE {made[-1]}")
            target = server._replace(path=f"/{made[-1]}").geturl()
            prepare(kind, target)
            return target
    else:
        import psycopg

        url = request.getfixturevalue("postgres_url")

        def make(name: str) -> str:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f'CREATE SCHEMA "{name}"'.encode())
            target = f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"
            prepare(kind, target)
            return target

    yield request.param, make
    for name in made:
        with closing(connected(server._replace(path="").geturl())) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")


def _statements(kind: str, make: Callable[[str], str]) -> int:
    faults = Faults()
    assert asyncio.run(order(kind, make("counting"), faults)) == CREATED
    assert faults.count >= 8
    return faults.count


def test_fault_at_any_statement(make_target: tuple[str, Callable[[str], str]]) -> None:
    """Whatever statement fails, before or after it was carried out, all is there or nothing; a retry makes it all."""
    kind, make = make_target
    seen = set()
    for at in range(1, _statements(kind, make) + 1):
        for after in (False, True):
            target = make(f"fault{at}{after}".lower())
            with pytest.raises(Broken):
                asyncio.run(order(kind, target, Faults(at, after=after)))
                raise Broken  # a cursor has no "after": nothing failed
            state = found(kind, target)
            assert state in (NOTHING, ALL), f"statement {at}, after={after}"
            seen.add(state)
            assert asyncio.run(order(kind, target, Faults())) == CREATED
            assert found(kind, target) == ALL, f"statement {at}, after={after}, retried"
    assert seen == {NOTHING, ALL}


def test_kill_before_any_statement(make_target: tuple[str, Callable[[str], str]]) -> None:
    """Wherever the process is killed, all is there or nothing; the next process makes it all or gets the answer."""
    kind, make = make_target
    numbers = range(1, _statements(kind, make) + 2)  # the last one is after the commit and not reached
    targets = [make(f"kill{at}") for at in numbers]
    lines = "".join(f"{at} {target}\n" for at, target in zip(numbers, targets, strict=True))
    program = [sys.executable, crashes.__file__, kind]
    codes = subprocess.run(program, input=lines, text=True, capture_output=True, timeout=300, check=True).stdout.split()
    assert codes == [str(-signal.SIGKILL)] * (len(targets) - 1) + ["0"]
    later = 1 if kind == "mysql" else 0  # statements after the commit: there the lock is given back
    for at, target in zip(numbers, targets, strict=True):
        assert found(kind, target) == (ALL if at >= len(targets) - later else NOTHING), at
        assert asyncio.run(order(kind, target, Faults())) == CREATED
        assert found(kind, target) == ALL, at
