"""DBOS on SQLite: a queue with two worker processes for bulk, workflows in one process for chains and fans."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import version
from typing import ClassVar

try:
    import pysqlite3 as sqlite
except ImportError:
    import sqlite3 as sqlite
else:  # it is there because the interpreter's own SQLite is older than DBOS needs
    sys.modules["sqlite3"] = sqlite
    sys.modules["sqlite3.dbapi2"] = sqlite.dbapi2

import sqlalchemy
from dbos import DBOS, DBOSClient

from bench import stamps
from bench.peers import runner

_QUEUE = "bench"
_BATCH = 500
_APP_VERSION = "1"


@DBOS.step()
def step(value: int) -> int:
    """Do nothing; its result is recorded."""
    return value + 1


@DBOS.workflow()
def noop() -> None:
    """Count itself, as a job of one task."""
    stamps.stamp()


@DBOS.workflow()
def chain() -> None:
    """Run three recorded steps."""
    step(step(step(0)))
    stamps.stamp()


@DBOS.workflow()
def child() -> int:
    """Be one branch of a fan."""
    return 1


@DBOS.workflow()
def fan(width: int) -> int:
    """Run one step, ``width`` children and one step."""
    step(0)
    handles = [DBOS.start_workflow(child) for _ in range(width)]
    total: int = step(sum(handle.get_result() for handle in handles))
    return total


def launch(url: str, executor: str, polls: bool) -> None:
    """Start DBOS in this process.

    Args:
        url: its system database.
        executor: id of this process.
        polls: take jobs from the queue.
    """
    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "executor_id": executor,
            "application_version": _APP_VERSION,
            "log_level": "ERROR",
        }
    )
    if not polls:
        DBOS.listen_queues([])
    DBOS.launch()
    if polls:
        DBOS.register_queue(_QUEUE, polling_interval_sec=0.1, worker_concurrency=50)


class DbosPeer(runner.Peer):
    """SQLite as DBOS sets it up: rollback journal, ``synchronous=FULL``."""

    name = "dbos+sqlite"
    durability = (
        "accepted jobs and finished steps survive a power cut; resumed only by a process of the same executor id"
    )
    forms: ClassVar[dict[str, str]] = {
        "bulk": "enqueue_in_transaction, 500 per transaction; 2 worker processes, poll every 0.1 s",
        "single": "enqueue one after the other; 2 worker processes",
        "chain": "workflow of 3 steps called one after the other in one process (quicker than 64 in flight)",
        "fan": "1 step, 100 child workflows, 1 step in one process",
    }

    def __init__(self, settings: runner.Settings) -> None:
        super().__init__(settings)
        self._url = f"sqlite:///{settings.folder}/dbos-{os.getpid()}.sqlite"
        self._launched = False

    @property
    def versions(self) -> dict[str, str]:
        return {"dbos": version("dbos"), "sqlite": sqlite.sqlite_version, "python": platform.python_version()}

    def start(self) -> None:
        self._client = DBOSClient(system_database_url=self._url)
        for number in range(2):
            self.spawn([sys.executable, "-m", "bench.peers.dbos_runner", "worker", self._url, str(number)])
            self._wait_for_tables()

    def _wait_for_tables(self) -> None:
        """Two workers that make the tables at once disturb each other, so the second waits for the first."""
        engine = sqlalchemy.create_engine(self._url)
        for _ in range(500):
            with engine.connect() as connection:
                found = connection.execute(sqlalchemy.text("select count(*) from sqlite_master where name='queues'"))
                if found.scalar_one():
                    return
            time.sleep(0.02)
        raise RuntimeError("the first DBOS worker made no tables")

    def stop(self) -> None:
        if self._launched:
            DBOS.destroy()
        super().stop()

    def _options(self) -> dict[str, str]:
        return {"workflow_name": "noop", "queue_name": _QUEUE, "app_version": _APP_VERSION}

    def submit_bulk(self, count: int) -> None:
        engine = self._client._sys_db.engine
        for begin in range(0, count, _BATCH):
            with engine.begin() as connection:
                for _ in range(min(_BATCH, count - begin)):
                    self._client.enqueue_in_transaction(connection, self._options())

    def submit_single(self, count: int) -> None:
        for _ in range(count):
            self._client.enqueue(self._options())

    def _launch_here(self) -> None:
        """Workflows run in one process, so the queue's workers are stopped first."""
        if not self._launched:
            self._launched = True
            super().stop()
            self._processes.clear()
            launch(self._url, "local", polls=False)

    def run_chains(self, count: int) -> None:
        self._launch_here()
        for _ in range(count):
            chain()

    def fan(self) -> None:
        self._launch_here()
        if fan(runner.FAN_WIDTH) != runner.FAN_WIDTH + 1:
            raise RuntimeError("the fan lost a branch")


def _work(url: str, number: str) -> None:
    launch(url, f"worker-{number}", polls=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        _work(*sys.argv[2:4])
    else:
        runner.main(DbosPeer)
