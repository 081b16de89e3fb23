"""Several processes on one store: 4 processes with 50 claims each on one key, one executes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from formicary.idempotency.mysql import MysqlStore
from formicary.idempotency.postgres import PostgresStore
from formicary.idempotency.redis_store import RedisStore
from formicary.idempotency.sqlite import SqliteStore
from tests.contract.idempotency.places import Place, on

PROCESSES, CLAIMS = 4, 50
_PROGRAM = """
import asyncio, collections, sys
from formicary.idempotency import *

async def main():
    store = {expression}
    await store.open()
    print("ready", flush=True)
    sys.stdin.readline()
    for key in ("a", "b", "c"):
        wish = Claim(key, b"f" * 32, "t", "POST", "/orders", lease_s=600)
        outcomes = await asyncio.gather(*(store.acquire(wish) for _ in range({claims})))
        counted = collections.Counter(type(outcome).__name__ for outcome in outcomes)
        print(counted["Acquired"], counted["Busy"], flush=True)
    await store.close()

asyncio.run(main())
"""


def test_one_of_all_processes_executes(shared: Place) -> None:
    """Whatever the store, of 200 claims in 4 processes on each key one is granted and all others are told to wait."""
    on(shared, lambda store: store.now_ms())  # the table is there
    program = _PROGRAM.format(expression=_expression(shared), claims=CLAIMS)
    children = [
        subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, stderr=-1, text=True)
        for _ in range(PROCESSES)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n", child.communicate()[1]
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        told = [child.communicate(timeout=180) for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    for key in range(3):
        counts = [tuple(map(int, output.splitlines()[key].split())) for output, _ in told]
        assert sum(granted for granted, _ in counts) == 1, told
        assert sum(busy for _, busy in counts) == PROCESSES * CLAIMS - 1, told


def _expression(place: Place) -> str:
    store = place.store()
    if isinstance(store, SqliteStore):
        return f"SqliteStore({str(Path(store._path))!r}, timeout_s=60)"
    if isinstance(store, PostgresStore):
        return f"PostgresStore({store._url!r}, timeout_s=60)"
    if isinstance(store, MysqlStore):
        return f"MysqlStore({store._url!r}, timeout_s=60)"
    assert isinstance(store, RedisStore)
    return f"RedisStore({store._url!r}, prefix={store._prefix!r}, timeout_s=60)"
