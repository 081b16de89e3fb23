"""The service as a process: its one line, its arguments, and that it drains."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.todo.v1 import todo_pb2
from tests.integration.todo.clients import GrpcClient

ROOT = Path(__file__).resolve().parents[3]
READY = re.compile(r"ready http=127\.0\.0\.1:(\d+) grpc=127\.0\.0\.1:(\d+) database=.+\n")


PATIENT = """
import runpy
from examples.todo import store
store.BUSY_WAIT_S = 60.0
runpy.run_module("examples.todo", run_name="__main__", alter_sys=True)
"""
"""The service, but it waits long for who holds its database: longer than a call takes to arrive on a busy machine."""


@contextmanager
def started(*arguments: str, program: tuple[str, str] = ("-m", "examples.todo")) -> Iterator[tuple[Any, int, int]]:
    """The process with its HTTP and gRPC ports."""
    command = [sys.executable, *program, "--http-port", "0", "--grpc-port", "0", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        errors = list[str]()
        reader = threading.Thread(target=lambda: errors.extend(process.stderr or ()))
        reader.start()
        try:
            assert process.stdout is not None
            found = READY.fullmatch(process.stdout.readline())
            assert found, "".join(errors)
            yield process, int(found[1]), int(found[2])
        finally:
            process.kill()
            process.wait(10)
            reader.join(10)


def test_it_serves_without_tokens_and_keeps_tasks_over_a_restart(database: Path) -> None:
    """SIGTERM ends it with status 0; standard output has the one line; what was written is there afterwards."""
    with started("--database", f"sqlite:///{database}") as (process, http_port, _):
        made = httpx.post(f"http://127.0.0.1:{http_port}/v1/tasks", json={"task": {"title": "Buy milk"}}).json()
        assert made["created_by"] == "local"
        process.send_signal(signal.SIGTERM)
        rest, _ = process.stdout.read() if process.stdout else "", process.wait(60)
        assert (rest, process.returncode) == ("", 0)
    with started("--database", str(database)) as (_, http_port, _):
        assert httpx.get(f"http://127.0.0.1:{http_port}/v1/{made['name']}").json() == made


def by_rest(http_port: int, _: int) -> str:
    body = {"task": {"title": "Buy milk"}}
    answer = httpx.post(f"http://127.0.0.1:{http_port}/v1/tasks", json=body, timeout=90)
    return str(answer.json()["title"])


def by_grpc(_: int, grpc_port: int) -> str:
    with closing(GrpcClient(grpc_port, "")) as client:
        request = todo_pb2.CreateTaskRequest(task=todo_pb2.Task(title="Buy milk"))
        return str(client.call("CreateTask", request).title)


@pytest.mark.parametrize("call", [by_rest, by_grpc])
def test_a_call_under_way_is_answered_before_the_end(database: Path, call: Callable[[int, int], str]) -> None:
    """SIGTERM waits for open calls, on both ports."""
    patient = ("-c", PATIENT)
    with started("--database", str(database), program=patient) as (process, *ports), ThreadPoolExecutor(1) as pool:
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = pool.submit(call, ports[0], ports[1])
            with pytest.raises(TimeoutError):
                answer.result(3)  # it waits for the lock
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
            other.execute("ROLLBACK")
        assert answer.result(60) == "Buy milk"
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--database", "mysql://x/y"], "is no database"),
        (["--token", "alice"], "USER=SECRET"),
        (["--host", "0.0.0.0"], "must be a loopback address"),
        (["--http-port", "x"], "invalid int"),
    ],
)
def test_wrong_arguments_are_told(arguments: list[str], told: str) -> None:
    command = [sys.executable, "-m", "examples.todo", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "ready" not in done.stdout


def test_a_database_that_cannot_be_opened_ends_it_with_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "examples.todo", "--database", str(tmp_path / "none" / "tasks.db")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
