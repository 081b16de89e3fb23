"""The corpus behind queues: a job of messages, and a program that answers some of them."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from formicary import TaskFailedError, WorkerTask, serve_nats
from tests import components
from tests.forks import run_forked

FOLDER = Path(__file__).parent / "corpus" / "messaged"
NATS = "nats://127.0.0.1:4222"


async def quote(task: WorkerTask) -> Mapping[str, object]:
    """The price of so many things; none at all is refused."""
    number = int(str(task.variables["Number"]))
    if number < 1:
        raise TaskFailedError(f"{number} {task.variables['Item']}s cannot be sold.", 7)
    return {"Price": 19 * number}


@pytest.fixture
def queue() -> Iterator[str]:
    """The name that its queues begin with; a program listens behind `requests`."""
    components.require("nats-server")
    name, listening, loop = f"corpus.{uuid.uuid4().hex}", threading.Event(), asyncio.new_event_loop()
    serving = loop.create_task(serve_nats(quote, NATS, f"{name}.requests", ready=listening.set))

    def serve() -> None:
        loop.run_until_complete(asyncio.wait({serving}))
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert listening.wait(10)
        yield name
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join()


def test_a_job_of_messages_ends_task_by_task_as_it_says(
    queue: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer on the named queue, a queue that nobody hears, and an answer with an exit code that leads on."""
    monkeypatch.setenv("FORMICARY_NATS", NATS)
    command = ("run", str(FOLDER / "quote.yaml"), "-p", f"Queue={queue}", "--data", str(data_dir), "--output", "json")
    ended = run_forked(command, timeout=120)
    assert ended.stdout, ended.stderr
    document = json.loads(ended.stdout)
    assert [(task["task_type"], task["state"], task["exit_code"]) for task in document["tasks"]] == [
        ("ask", "COMPLETED", 0),
        ("nobody", "FAILED", None),
        ("refused", "FAILED", 7),
        ("use", "COMPLETED", 0),
    ], document["error"]
    assert (document["state"], ended.returncode) == ("FAILED", 1)  # a way out of `refused` does not undo its failure


def test_every_file_of_it_is_run() -> None:
    """Nothing lies there that no test uses."""
    assert [path.name for path in FOLDER.iterdir()] == ["quote.yaml"]
