"""Queue triggers against real NATS and Redis: each message one job, whatever is killed; poison is put aside."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from formicary.engine.queen.runtime import Queen, QueenConfig
from formicary.engine.queen.sources.redis_stream import RedisStream
from formicary.engine.queen.sources.source import Taker, end
from formicary.engine.storage.logs import MemoryLogs
from formicary.engine.storage.memory import MemoryStore
from tests import components
from tests.acceptance.server import Up, until
from tests.integration.server.test_webhooks import send

NATS = os.environ.get("FORMICARY_TEST_NATS", "nats://127.0.0.1:4222")
REDIS = os.environ.get("FORMICARY_TEST_REDIS_URL", "redis://127.0.0.1:6379")
JOB = """\
job_type: orders
triggers:
- type: queue
  name: order
  url: '%s'
  topic: %s
  filter: '{{ if gt (atoi (printf "%%v" .Message.total)) 500 }}true{{ end }}'
  params: {order: '{{ .Message.id }}'}
  %s
required_params: [order]
tasks:
- {task_type: t, script: 'true'}
"""


class Nats:
    """A stream of a real server."""

    provider, url = "nats", NATS

    def __init__(self) -> None:
        self.topic = f"test-{uuid.uuid4().hex}.orders"

    async def _call(self, work: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        import nats

        client = await nats.connect(NATS, allow_reconnect=False, connect_timeout=90)
        try:
            await work(client.jetstream())
        finally:
            await client.close()

    def make(self) -> None:
        """Adds the stream."""
        name = self.topic.replace(".", "-")
        asyncio.run(self._call(lambda js: js.add_stream(name=name, subjects=[self.topic])))

    def publish(self, *bodies: bytes) -> None:
        """Adds messages."""

        async def work(stream: Any) -> None:
            for body in bodies:
                await stream.publish(self.topic, body)

        asyncio.run(self._call(work))

    def waiting(self) -> int:
        """Messages that nobody has acknowledged yet."""
        found: list[int] = []

        async def work(stream: Any) -> None:
            name = self.topic.replace(".", "-")
            (one,) = await stream.consumers_info(name)
            found.append(one.num_pending + one.num_ack_pending)

        asyncio.run(self._call(work))
        return found[0]

    def remove(self) -> None:
        """Removes the stream."""
        asyncio.run(self._call(lambda js: js.delete_stream(self.topic.replace(".", "-"))))


class Redis:
    """A stream of a real server."""

    provider, url = "redis", REDIS

    def __init__(self) -> None:
        import redis

        self.topic = f"test:{uuid.uuid4().hex}"
        self.client = redis.Redis.from_url(REDIS)

    def make(self) -> None:
        """It comes with its first message."""
        self.client.ping()

    def publish(self, *bodies: bytes) -> None:
        """Adds messages."""
        for body in bodies:
            self.client.xadd(self.topic, {"data": body})

    def waiting(self) -> int:
        """Messages that nobody has acknowledged yet."""
        (group,) = self.client.xinfo_groups(self.topic)
        return int(group["pending"]) + int(group["lag"] or 0)

    def remove(self) -> None:
        """Removes the stream."""
        self.client.delete(self.topic)
        self.client.close()


@pytest.fixture(params=[Nats, Redis], ids=["nats", "redis"])
def queue(request: pytest.FixtureRequest) -> Iterator[Nats | Redis]:
    """A queue of each kind, on a real server."""
    found: Nats | Redis = request.param()
    try:
        found.make()
    except Exception as error:
        components.missing(found.provider, str(error))
    yield found
    found.remove()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A server without ants: what starts stays PENDING."""
    found = Up(tmp_path / "data", "--ants", "0")
    try:
        found.start()
        yield found
    finally:
        found.clear()


def register(up: Up, queue: Nats | Redis, more: str = "") -> None:
    """Registers the job without starting it."""
    source = json.dumps({"source": JOB % (queue.url, queue.topic, more)}).encode()
    assert send(up, "/v1/definitions", source, content_type="application/json")[0] == 200


def order(number: int, total: int = 1000) -> bytes:
    """A message."""
    return json.dumps({"id": f"o{number}", "total": total}).encode()


def jobs(up: Up) -> list[dict[str, Any]]:
    """Every job that was started."""
    found: list[dict[str, Any]] = json.loads(up.cli("list", "--limit", "0", "--output", "json"))
    return found


def trigger(up: Up) -> dict[str, Any]:
    """What the list says of the trigger."""
    (found,) = json.loads(up.cli("triggers", "list", "--output", "json"))
    return dict(found)


def test_each_message_is_one_job_over_kills(up: Up, queue: Nats | Redis) -> None:
    """While messages come the server is killed again and again: afterwards there are as many jobs as messages."""
    register(up, queue)
    total = 400
    sender = threading.Thread(
        target=lambda: [queue.publish(*map(order, range(at, at + 10))) for at in range(0, total, 10)]
    )
    sender.start()
    for _ in range(4):
        time.sleep(0.3)  # somewhere in the midst; any moment will do
        up.kill()
        up.start()
    sender.join()
    until(lambda: trigger(up)["fired"] >= total, 60, "all messages")
    until(lambda: queue.waiting() == 0, 60, "all are acknowledged")
    found = jobs(up)
    assert len(found) == trigger(up)["fired"] == total
    assert trigger(up)["error"] == "" and trigger(up)["source"] == queue.topic


def test_poison_is_put_aside_and_blocks_nothing(up: Up, queue: Nats | Redis) -> None:
    """No JSON, a template that fails, a parameter that is missing: letters with reasons; the next starts its job."""
    register(up, queue)
    queue.publish(b"{no json", b"[1]", b'{"total": 900}', order(1, total=5), order(2))
    until(lambda: trigger(up)["fired"] == 1 and queue.waiting() == 0, 30, "the good one")
    letters = json.loads(up.cli("triggers", "letters", "--output", "json"))
    reasons = sorted(one["reason"] for one in letters)
    assert len(reasons) == 3 and "needs the parameters order" in reasons[0] and "template" in reasons[1], reasons
    assert "no JSON" in reasons[2] and {one["content"] for one in letters} == {"{no json", "[1]", '{"total": 900}'}
    assert {one["name"] for one in letters} == {"order"} and letters[0]["event"].partition(":")[2]
    assert trigger(up)["filtered"] == 1 and trigger(up)["refused"] == 2 and len(jobs(up)) == 1


def test_a_rate_limit_holds_messages_back_and_loses_none(up: Up, queue: Nats | Redis) -> None:
    """Two at once, the others in later windows; all of them in the end."""
    register(up, queue, "rate_limit: {max: 2, window: 1s}")
    queue.publish(*map(order, range(5)))
    until(lambda: trigger(up)["fired"] == 5, 60, "all in the end")
    times = sorted(job["submitted_at"] for job in jobs(up))
    assert len({time[:19] for time in times}) >= 2 and queue.waiting() == 0


def test_pause_and_resume(up: Up, queue: Nats | Redis) -> None:
    """Nothing is taken in a pause, everything after it."""
    register(up, queue)
    queue.publish(order(1))
    until(lambda: trigger(up)["fired"] == 1, 30, "before the pause")
    up.cli("triggers", "pause", "orders", "--name", "order")
    queue.publish(order(2))
    up.kill()
    up.start()
    assert trigger(up)["paused"] and trigger(up)["fired"] == 1
    up.cli("triggers", "resume", "orders", "--name", "order")
    until(lambda: trigger(up)["fired"] == 2, 60, "after the pause")


def test_a_queue_out_of_reach_is_shown(up: Up) -> None:
    """The list says what is wrong; other triggers and the server go on."""
    url = "provider: nats, url: 'nats://127.0.0.1:1'"
    source = (
        f"job_type: j\ntriggers: [{{type: queue, name: q, topic: t, {url}}}]\ntasks: [{{task_type: t, script: x}}]\n"
    )
    body = json.dumps({"source": source}).encode()
    assert send(up, "/v1/definitions", body, content_type="application/json")[0] == 200
    until(lambda: trigger(up)["error"] not in ("", "starting"), 30, "an error")
    assert "error" in up.cli("triggers", "list").lower()
    nowhere = source.replace(", " + url, "").replace("name: q", "name: r")
    assert (
        send(up, "/v1/definitions", json.dumps({"source": nowhere}).encode(), content_type="application/json")[0] == 200
    )
    until(lambda: "--queue-url" in trigger(up)["error"], 30, "it says what to do")
    for provider in ("redis", "nats"):  # also where something listens at the usual port
        body = json.dumps({"source": nowhere.replace("topic: t", f"topic: t, provider: {provider}")}).encode()
        assert send(up, "/v1/definitions", body, content_type="application/json")[0] == 200
        until(lambda: "no queue is known" in trigger(up)["error"], 30, "no address is guessed")


@asynccontextmanager
async def queen_with(source: str) -> AsyncIterator[Queen]:
    """A queen that knows a job; its own sources are not used."""
    queen = Queen(MemoryStore(strict=True), MemoryLogs(), QueenConfig(schedules=True))
    await queen.start()
    try:
        await queen.register(source)
        yield queen
    finally:
        await queen.stop()


def test_what_another_consumer_left_lying_is_claimed() -> None:
    """Messages that a consumer of the group was given and never acknowledged start their jobs."""
    queue = Redis()
    try:
        queue.make()
    except Exception as error:
        components.missing("redis", str(error))

    async def test() -> None:
        source = JOB % ("redis://127.0.0.1:1", queue.topic, "group: g")
        async with queen_with(source) as queen:
            taker = Taker(queen.triggers, ("local", "orders", "order"))
            stream = asyncio.create_task(RedisStream(taker, REDIS, queue.topic, "g", claim_idle_ms=50).run())
            limit = time.monotonic() + 60
            while queen.triggers.get("local", "orders", "order").fired < 3 or queue.waiting():
                assert time.monotonic() < limit and not stream.done()
                await asyncio.sleep(0.02)
            await end([stream])

    queue.client.xgroup_create(queue.topic, "g", id="0", mkstream=True)
    queue.publish(*map(order, range(3)))
    assert queue.client.xreadgroup("g", "somebody-else", {queue.topic: ">"})
    asyncio.run(asyncio.wait_for(test(), 90))
    assert queue.waiting() == 0
    queue.remove()


LANDING = """\
job_type: landed
triggers:
- type: s3
  name: told
  bucket: landing
  prefix: raw/
  suffix: .csv
  mode: notification
  notification_queue: '%s'
  notification_url: '%s'
  params: {key: '{{ .Object.Key }}', size: '{{ .Object.Size }}', tag: '{{ .Object.ETag }}'}
tasks:
- {task_type: t, script: 'true'}
"""


def notice(*keys: str, bucket: str = "landing", event: str = "s3:ObjectCreated:Put", tag: str = "1") -> bytes:
    """What a store sends: keys are written as in an address."""
    made = [
        {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 7, "eTag": tag}}}
        for key in keys
    ]
    return json.dumps({"Records": made}).encode()


def test_a_store_that_tells_of_its_objects_is_not_listed(up: Up, queue: Nats | Redis) -> None:
    """One job for each object, however often it is told, over a kill; what does not count starts nothing."""
    source = json.dumps({"source": LANDING % (queue.topic, queue.url)}).encode()
    assert send(up, "/v1/definitions", source, content_type="application/json")[0] == 200
    queue.publish(
        notice("raw/a+1.csv", "raw/%C3%A4.csv", "raw/b.txt", "other/c.csv"),
        b'{"Service": "Amazon S3", "Event": "s3:TestEvent"}',
        notice("raw/d.csv", event="ObjectRemoved:Delete"),
        notice("raw/e.csv", bucket="another"),
        b'{"hello": 1}',
        notice("raw/a+1.csv"),
    )
    until(lambda: trigger(up)["fired"] == 2 and queue.waiting() == 0, 60, "both objects")
    up.kill()
    queue.publish(notice("raw/%C3%A4.csv"), notice("raw/a+1.csv", tag="2"))
    up.start()
    until(lambda: trigger(up)["fired"] == 3 and queue.waiting() == 0, 60, "the newer version")
    outputs = [json.loads(up.cli("get", job["id"], "--output", "json"))["outputs"] for job in jobs(up)]
    found = sorted((one["key"], str(one["size"]), one["tag"]) for one in outputs)
    assert found == [("raw/a 1.csv", "7", "1"), ("raw/a 1.csv", "7", "2"), ("raw/ä.csv", "7", "1")]
    (letter,) = json.loads(up.cli("triggers", "letters", "--output", "json"))
    assert "Records" in letter["reason"] and letter["content"] == '{"hello": 1}'
