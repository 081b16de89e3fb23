"""Celery: two prefork worker processes, late acknowledgement, results kept in Redis."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from typing import ClassVar

import redis
from celery import Celery, chain, chord

from bench import stamps
from bench.peers import runner

_BROKER, _BACKEND, _QUEUE = "BENCH_CELERY_BROKER", "BENCH_CELERY_BACKEND", "BENCH_CELERY_QUEUE"

app = Celery("formicary-bench", broker=os.environ.get(_BROKER), backend=os.environ.get(_BACKEND))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=False,
    task_track_started=False,
    task_default_queue=os.environ.get(_QUEUE, "formicary-bench"),
    result_expires=600,
    worker_send_task_events=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.noop")
def noop(*_: object) -> None:
    """Count itself."""
    stamps.stamp()


@app.task(name="bench.step")
def step(*_: object) -> int:
    """Do nothing, as one step of several."""
    return 1


@app.task(name="bench.total")
def total(values: list[int]) -> int:
    """Add up the results of a fan."""
    return sum(values)


class CeleryPeer(runner.Peer):
    """Celery on Redis, or on RabbitMQ when a broker is given (results in Redis either way)."""

    forms: ClassVar[dict[str, str]] = {
        "bulk": "apply_async on one kept producer connection; Celery has no bulk call that is quicker",
        "single": "delay() one after the other in one thread (64 threads are slower)",
        "latency": "delay().get()",
        "chain": "chain of 3 signatures, 64 in flight",
        "fan": "task | chord of 100 | callback, get()",
    }

    def __init__(self, settings: runner.Settings) -> None:
        super().__init__(settings)
        on_redis = not settings.broker
        self.name = "celery+redis" if on_redis else "celery+rabbitmq"
        self.durability = (
            "accepted jobs up to 1 s old are lost when Redis crashes (append-only file flushed each second); at least "
            "once, after a worker's crash when the visibility timeout of 1 h ends; a chain's state is in its messages"
            if on_redis
            else "published to a durable queue without confirms; at least once; results up to 1 s old go with Redis"
        )
        os.environ[_BROKER] = settings.broker or f"{settings.redis}/0"
        os.environ[_BACKEND] = f"{settings.redis}/1"
        os.environ[_QUEUE] = f"formicary-bench-{os.getpid()}"
        app.conf.update(
            broker_url=os.environ[_BROKER], result_backend=os.environ[_BACKEND], task_default_queue=os.environ[_QUEUE]
        )

    @property
    def versions(self) -> dict[str, str]:
        names = {"celery": version("celery"), "kombu": version("kombu"), "redis-py": version("redis")}
        with redis.Redis.from_url(self.settings.redis) as server:
            names["redis"] = str(server.info("server")["redis_version"])
        if self.settings.broker:
            with app.connection_for_write() as connection:
                connection.connect()
                names["rabbitmq"] = str(connection.connection.server_properties["version"])
        return {**names, "python": platform.python_version()}

    def start(self) -> None:
        self.spawn(
            [sys.executable, "-m", "celery", "-A", "bench.peers.celery_runner", "worker", "-c", "2",
             "-Q", os.environ[_QUEUE], "--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
        )  # fmt: skip

    def stop(self) -> None:
        if "rabbit" in self.name:
            with app.connection_for_write() as connection:
                connection.default_channel.queue_delete(os.environ[_QUEUE])
        super().stop()

    def submit_bulk(self, count: int) -> None:
        with app.producer_pool.acquire(block=True) as producer:
            for _ in range(count):
                noop.apply_async(producer=producer)

    def submit_single(self, count: int) -> None:
        for _ in range(count):
            noop.delay()

    def round_trip(self) -> None:
        step.delay().get(timeout=30)

    def start_chain(self) -> None:
        chain(step.s(), step.s(), noop.s()).apply_async()

    def fan(self) -> None:
        branches = [step.si() for _ in range(runner.FAN_WIDTH)]
        result = chain(step.si(), chord(branches, total.s())).apply_async()
        if result.get(timeout=60) != runner.FAN_WIDTH:
            raise RuntimeError("the chord lost a branch")


if __name__ == "__main__":
    runner.main(CeleryPeer)
