"""`formicary up` as a real process: the line it prints, its database, its orphans, and a queen that takes over."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from formicary.client import SyncClient
from formicary.engine.storage.backends import DATABASE_FILE, open_store
from formicary.problems import Problem
from formicary.server.processes import read_ants
from tests.acceptance.server import FORMICARY, REPOSITORY, Up, until

JOB = """
job_type: hello
tasks:
- task_type: greet
  method: SHELL
  script: [echo "::set-output name=text::hello"]
"""


@pytest.fixture
def up(data_dir: Path) -> Iterator[Callable[..., Up]]:
    """Starts a server on the test's data directory with options."""
    started: list[Up] = []

    def start(*options: str) -> Up:
        started.append(Up(data_dir, *options, is_forked=False))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.clear()


def output_of_a_job(server: Up) -> object:
    """Runs a job and returns what it says."""
    with SyncClient(server.address) as client:
        end = client.wait(client.submit(client.register(JOB)).id, 90)
    return end.outputs.get("text")


def test_it_prints_one_line_with_the_real_ports_and_has_connected_ants_by_then(data_dir: Path) -> None:
    command = (*FORMICARY, "up", "--data", str(data_dir), "--http-port", "0", "--grpc-port", "0", "--ants", "2")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"ready http=127\.0\.0\.1:(\d+) grpc=127\.0\.0\.1:(\d+) data=(\S+) ants=2\n", line)
        assert found is not None, line
        assert found[3] == str(data_dir) and "0" not in (found[1], found[2])
        assert len(read_ants(data_dir).ants) == 2
    finally:
        process.terminate()
        rest = process.communicate(timeout=20)[0]
    assert (rest, process.returncode) == ("", 0)


def test_an_earlier_server_of_another_port_leaves_no_ants_behind(up: Callable[..., Up]) -> None:
    """Its ants cannot find the new server: they are told to stop, and the new one has its own."""
    first = up("--ants", "1")
    first.kill()
    assert len(first.ants()) == 1
    second = up("--ants", "1")
    until(lambda: first.ants() == [] and len(second.ants()) == 1, 15, "the old ant is gone, the new one there")
    assert output_of_a_job(second) == "hello"


def test_ants_end_when_no_queen_comes_back(up: Callable[..., Up], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORMICARY_LEASE_S", "1")
    server = up("--ants", "1")
    assert output_of_a_job(server) == "hello"
    server.kill()
    until(lambda: server.ants() == [], 15, "the orphan ends")


def test_a_queen_that_was_overtaken_stops(up: Callable[..., Up]) -> None:
    """Nothing is accepted any more, the ants are ended, exit status 1 and a sentence on standard error."""
    server = up("--ants", "1")
    assert output_of_a_job(server) == "hello"
    other = open_store(server.data)
    other.acquire("another queen")
    other.close()
    with SyncClient(server.address, timeout_s=1.0) as client, pytest.raises(Problem):
        client.submit(client.register(JOB))
    assert server.process is not None
    assert server.process.wait(15) == 1
    assert server.ants() == []
    assert "another queen has taken over" in server.log.read_text()
    with sqlite3.connect(server.data / DATABASE_FILE) as database:
        assert database.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    database.close()


def test_jobs_that_rest_do_not_hold_up_a_stop(up: Callable[..., Up]) -> None:
    """One is paused, one waits for people, one for a retry: the server drains at once and finds them again."""
    server = up("--ants", "1")
    rest = {
        "PAUSED": "pause_time: 1h\ntasks:\n- {task_type: a, script: [exit 3], on_exit_code: {3: PAUSE_JOB}}\n",
        "MANUAL_APPROVAL_REQUIRED": "tasks:\n- {task_type: a, method: MANUAL}\n",
        "EXECUTING": "tasks:\n- {task_type: a, script: [exit 3], retry: 2, delay_between_retries: 30m}\n",
    }
    with SyncClient(server.address) as client:
        found = {state: client.register(f"job_type: {state.lower()}\n{text}") for state, text in rest.items()}
        ids = {state: client.submit(definition).id for state, definition in found.items()}
    task = {"PAUSED": "WAITING", "MANUAL_APPROVAL_REQUIRED": "MANUAL_APPROVAL_REQUIRED", "EXECUTING": "WAITING"}

    def resting() -> bool:
        found = {state: server.job(job_id) for state, job_id in ids.items()}
        return all(one["state"] == state and one["tasks"][0]["state"] == task[state] for state, one in found.items())

    until(resting, 20, "all of them rest")
    assert server.stop() == 0  # it would be killed after 30 s
    server.start()
    assert resting()


def test_postgresql_instead_of_the_file(up: Callable[..., Up], postgres_url: str) -> None:
    """Jobs are in the database and outlive a kill -9; the data directory holds the lock and the list of ants."""
    server = up("--ants", "1", "--database", postgres_url)
    assert output_of_a_job(server) == "hello"
    server.kill()
    server.start()
    assert output_of_a_job(server) == "hello"
    with SyncClient(server.address) as client:
        assert [document["state"] for document in client.list()] == ["COMPLETED"] * 2
    assert not (server.data / DATABASE_FILE).exists()
    assert server.stop() == 0
