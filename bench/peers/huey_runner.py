"""Huey: SQLite with fsync, two worker processes of its consumer."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from huey import SqliteHuey

from bench import stamps
from bench.peers import runner

_FILE = "BENCH_HUEY_FILE"
huey = SqliteHuey("bench", filename=os.environ.get(_FILE, ":memory:"), fsync=True)


@huey.task()
def noop() -> None:
    """Count itself."""
    stamps.stamp()


@huey.task()
def step() -> int:
    """Do nothing and return something, so that a result is kept."""
    return 1


class HueyPeer(runner.Peer):
    """Huey's SQLite storage with ``synchronous=FULL``."""

    name = "huey+sqlite fsync"
    durability = (
        "accepted jobs survive a power cut; at most once: the row is deleted when taken, a killed worker loses it"
    )
    forms: ClassVar[dict[str, str]] = {
        "bulk": "one call per job: Huey has no bulk call",
        "single": "one call per job, one after the other",
        "latency": "result polled every 2 ms",
    }

    @property
    def versions(self) -> dict[str, str]:
        return {"huey": version("huey"), "sqlite": sqlite3.sqlite_version, "python": platform.python_version()}

    def start(self) -> None:
        self.spawn(
            [str(Path(sys.executable).with_name("huey_consumer")), "bench.peers.huey_runner.huey", "-k", "process",
             "-w", "2", "-d", "0.01", "-m", "0.05", "-q", "-C", "-n"]
        )  # fmt: skip

    def submit_bulk(self, count: int) -> None:
        for _ in range(count):
            noop()

    submit_single = submit_bulk

    def round_trip(self) -> None:
        step().get(blocking=True, timeout=30, backoff=1.0, max_delay=0.002)


def _main() -> None:
    """Give the consumer and this process the same file, and tasks that carry the importable module's name."""
    folder = Path(sys.argv[sys.argv.index("--folder") + 1])
    os.environ[_FILE] = str(folder / f"huey-{os.getpid()}.db")
    from bench.peers import huey_runner

    runner.main(huey_runner.HueyPeer)


if __name__ == "__main__":
    _main()
