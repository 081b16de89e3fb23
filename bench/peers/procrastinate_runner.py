"""Procrastinate on PostgreSQL: two worker processes of concurrency 10, woken by LISTEN/NOTIFY."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import procrastinate

from bench import stamps
from bench.peers import runner

_DSN = "BENCH_PROCRASTINATE_DSN"
_BATCH = 1000
_CONCURRENCY = "10"  # 5 and 30 make no difference on two cores
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ.get(_DSN, "")))


@app.task(name="noop")
async def noop() -> None:
    """Count itself."""
    stamps.stamp()


class ProcrastinatePeer(runner.Peer):
    """The client uses the synchronous connector, which is its quickest; the workers run async tasks."""

    name = "procrastinate+postgresql"
    durability = (
        "accepted jobs survive a power cut (fsync, synchronous_commit on); a killed worker's job stays `doing` for ever"
    )
    forms: ClassVar[dict[str, str]] = {
        "bulk": "batch_defer of 1,000",
        "single": "defer one after the other",
        "latency": "the row's status polled every 1 ms (there is no result call)",
    }

    def __init__(self, settings: runner.Settings) -> None:
        super().__init__(settings)
        os.environ[_DSN] = settings.postgres
        connector = procrastinate.SyncPsycopgConnector(conninfo=settings.postgres)
        self._client = procrastinate.App(connector=connector)
        self._connector = connector

    @property
    def versions(self) -> dict[str, str]:
        row = self._connector.execute_query_one("show server_version")
        names = {"procrastinate": version("procrastinate"), "psycopg": version("psycopg")}
        return {**names, "postgresql": row["server_version"].split()[0], "python": platform.python_version()}

    def start(self) -> None:
        self._client.open()
        self._client.schema_manager.apply_schema()
        command = str(Path(sys.executable).with_name("procrastinate"))
        for _ in range(2):
            self.spawn(
                [command, "--app", "bench.peers.procrastinate_runner.app", "worker", "--concurrency", _CONCURRENCY]
            )

    def stop(self) -> None:
        super().stop()
        self._client.close()

    def submit_bulk(self, count: int) -> None:
        deferrer = self._client.configure_task("noop")
        for begin in range(0, count, _BATCH):
            deferrer.batch_defer(*[{} for _ in range(min(_BATCH, count - begin))])

    def submit_single(self, count: int) -> None:
        for _ in range(count):
            self._client.configure_task("noop").defer()

    def round_trip(self) -> None:
        job = self._client.configure_task("noop").defer()
        query = "select status from procrastinate_jobs where id = %(job)s"
        while self._connector.execute_query_one(query, job=job)["status"] != "succeeded":
            time.sleep(0.001)


if __name__ == "__main__":
    from bench.peers import procrastinate_runner  # Procrastinate wants its App in an importable module

    runner.main(procrastinate_runner.ProcrastinatePeer)
