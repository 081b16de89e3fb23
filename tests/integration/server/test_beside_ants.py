"""Programs and containers beside real ants: secrets reach them, the task of a lost worker runs elsewhere."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from formicary import WorkerTask, join_websocket, serve_nats
from tests import components
from tests.acceptance.server import REPOSITORY, Up, until
from tests.integration.ants.docker_engine import Engine, docker_engine
from tests.integration.server.test_secrets import ended, keygen, nowhere, set_secret, submit

NATS = "nats://127.0.0.1:4222"
CANARY = "c4n4ry-of-the-registry"


@contextmanager
def beside(main: Callable[[], Coroutine[Any, Any, None]]) -> Iterator[None]:
    """Runs something in a loop of its own thread, until the block ends."""
    loop = asyncio.new_event_loop()
    working = loop.create_task(main())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait({working})))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(working.cancel)
        thread.join(30)
        if not working.cancelled():
            working.result()
        loop.close()


CONTAINER = """
job_type: contained
tasks:
- task_type: t
  method: DOCKER
  container:
    image: private/tool:1
    registry: {username: ci, password: "{{.REGISTRY}}", server: registry.example}
  script: ['echo "I know $REGISTRY"; test "$(printf %s "$REGISTRY" | wc -c)" = 22']
"""
ASKED = """
job_type: asked
tasks:
- task_type: t
  method: MESSAGING
  messaging_request_queue: SUBJECT
  arguments: {password: "{{.REGISTRY}}"}
"""


def test_a_secret_reaches_registry_container_and_worker_and_is_shown_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    components.require("nats-server")
    subject, ready, seen = f"test.{uuid.uuid4().hex}", threading.Event(), []
    engines: list[Engine] = []

    async def work(task: WorkerTask) -> dict[str, object]:
        seen.append(task.variables["password"])
        await task.log(f"it is {task.variables['password']}")
        return {"echo": task.variables["password"]}

    async def main() -> None:
        (tmp_path / "docker").mkdir()
        async with docker_engine(tmp_path / "docker") as engine:
            engines.append(engine)
            await serve_nats(work, NATS, subject, ready=ready.set)

    with beside(main):
        assert ready.wait(20)
        monkeypatch.setenv("FORMICARY_DOCKER", engines[0].address)
        monkeypatch.setenv("FORMICARY_NATS", NATS)
        keygen(tmp_path / "keys")
        up = Up(tmp_path / "data", "--ants", "1", "--secret-key-file", str(tmp_path / "keys"))
        try:
            up.start()
            set_secret(up, "REGISTRY", CANARY)
            contained = ended(up, submit(up, CONTAINER, "contained"))
            asked = ended(up, submit(up, ASKED.replace("SUBJECT", subject), "asked"))
            logs = [up.cli("logs", job["id"]) for job in (contained, asked)]
        finally:
            up.clear()
    assert (contained["state"], asked["state"], seen) == ("COMPLETED", "COMPLETED", [CANARY]), (contained, asked, logs)
    assert "I know ***" in logs[0] and "it is ***" in logs[1]
    assert asked["tasks"][0]["outputs"] == {"echo": "***"}
    assert CANARY not in json.dumps([contained, asked]) and CANARY not in "".join(logs)
    nowhere(tmp_path / "data", CANARY)
    (pull,) = engines[0].calls("POST /images/create")
    assert json.loads(base64.urlsafe_b64decode(pull.headers["x-registry-auth"]))["password"] == CANARY
    assert not engines[0].containers


LONG = """
job_type: long
tasks:
- task_type: t
  method: KUBERNETES
  container: {image: alpine:3.20, volumes: {empty_dir: [{name: x, mount_path: /x}]}}
  services: [{name: s, image: alpine:3.20}]
  script: ['[ "$FORMICARY_ATTEMPT" -gt 1 ] || sleep 60']
"""


def test_the_containers_of_a_killed_ant_are_removed_by_the_next_and_the_task_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9: the ant itself can do nothing any more. The task is one for pods, run here by DOCKER."""
    engines: list[Engine] = []
    ready = threading.Event()

    async def main() -> None:
        async with docker_engine(tmp_path) as engine:
            engines.append(engine)
            ready.set()
            await asyncio.Event().wait()

    with beside(main):
        assert ready.wait(20)
        (engine,) = engines
        monkeypatch.setenv("FORMICARY_DOCKER", engine.address)
        up = Up(tmp_path / "data", "--ants", "1", "--method", "KUBERNETES=DOCKER")
        try:
            up.start()
            job_id = submit(up, LONG, "long")
            until(lambda: len(engine.calls("POST /containers/[^/]+/start")) == 2, 20, "both containers run")
            left = set(engine.containers)
            (ant,) = up.ants()
            os.kill(ant, signal.SIGKILL)
            job = ended(up, job_id)
            assert (job["state"], job["tasks"][0]["attempts"]) == ("COMPLETED", 2), job
            until(lambda: not engine.containers and not engine.networks, 20, "nothing is left")
            removed = {one.path.rpartition("/")[2] for one in engine.calls("DELETE /containers/[^/]+")}
            assert left <= removed
        finally:
            up.clear()


@contextmanager
def ant_with_port(up: Up, **environment: str) -> Iterator[str]:
    """A real `formicary ant --workers`; gives the address of the port."""
    command = [sys.executable, "-m", "formicary", "ant", "--queen", up.address, "--workers", "127.0.0.1:0"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as ant:
        assert ant.stdout is not None
        try:
            words = ant.stdout.readline().split()
            assert words[0] == "workers", words
            yield words[1]
        finally:
            ant.send_signal(signal.SIGTERM)
            assert ant.wait(40) == 0


REGISTERED = """
job_type: registered
tasks:
- task_type: t
  method: WEBSOCKET
  tags: [studio]
  timeout: 1m
"""


def test_the_task_of_a_lost_worker_runs_on_another_one_with_the_same_key(tmp_path: Path) -> None:
    """As with an ant that dies: attempts are counted, retries are not."""
    seen: list[WorkerTask] = []
    first = (
        "import asyncio, formicary\n"
        "async def work(task):\n    print('got', task.key, flush=True)\n    await asyncio.sleep(60)\n"
        "def ready():\n    print('ready', flush=True)\n"
        "asyncio.run(formicary.join_websocket(work, URL, tags=['studio'], token='t', ready=ready))\n"
    )

    async def work(task: WorkerTask) -> dict[str, object]:
        seen.append(task)
        return {"attempt": task.attempt}

    up = Up(tmp_path / "data", "--ants", "0")
    try:
        up.start()
        with ant_with_port(up, FORMICARY_WORKER_TOKEN="t") as url:
            program = [sys.executable, "-c", first.replace("URL", repr(url))]
            with subprocess.Popen(program, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as doomed:
                assert doomed.stdout is not None and doomed.stdout.readline() == "ready\n"
                job_id = submit(up, REGISTERED, "registered")
                key = doomed.stdout.readline().split()[1]
                doomed.kill()
            ready = threading.Event()

            async def main() -> None:
                await join_websocket(work, url, name="second", tags=["studio"], token="t", ready=ready.set)

            with beside(main):
                assert ready.wait(20)
                job = ended(up, job_id)
        (task,) = job["tasks"]
        assert (job["state"], task["attempts"], task["outputs"]) == ("COMPLETED", 2, {"attempt": 2}), job
        assert [one.key for one in seen] == [key]
        until(lambda: not any(ant["connected"] for ant in up.page("/v1/ants")[1].get("ants", ())), 20, "nobody is left")
    finally:
        up.clear()


def test_beyond_this_machine_workers_need_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything listens."""
    monkeypatch.delenv("FORMICARY_WORKER_TOKEN", raising=False)
    for where, status, text in (
        ("0.0.0.0:0", 3, "set FORMICARY_WORKER_TOKEN"),
        ("nowhere", 2, "is not HOST:PORT"),
        ("127.0.0.1:99999", 2, "is not HOST:PORT"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "formicary", "ant", "--workers", where],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, text in done.stderr) == (status, True), done
