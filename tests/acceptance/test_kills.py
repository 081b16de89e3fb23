"""Real processes are killed, stopped and frozen in the middle of jobs; no job is lost and nothing counts twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from formicary.client import SyncClient
from formicary.server.processes import read_ants, started_at
from tests.acceptance.server import FORMICARY, REPOSITORY, Up, busyness, kill_process, until

THREE_TASKS = """
job_type: three
tasks:
- task_type: first
  method: PYTHON
  function: tests.acceptance.effects:leave_mark
  on_completed: second
- task_type: second
  script:
  - echo $FORMICARY_TASK_KEY $FORMICARY_ATTEMPT >> {{.effects}}
  - while [ ! -e {{.gate}} ]; do sleep 0.02; done
  on_completed: third
- task_type: third
  method: PYTHON
  function: tests.acceptance.effects:leave_mark
"""
GATED_TASK = """
job_type: gated
tasks:
- task_type: work
  script:
  - echo $FORMICARY_TASK_KEY $FORMICARY_ATTEMPT $$ >> {{.effects}}
  - if [ $FORMICARY_ATTEMPT = 1 ]; then while [ ! -e {{.gate}} ]; do sleep 0.02; done; fi
  - echo "::set-output name=attempt::$FORMICARY_ATTEMPT"
"""
POISON = """
job_type: poison
tasks:
- task_type: work
  script:
  - kill -9 $PPID; sleep 60
"""


@pytest.fixture
def up(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Up]]:
    """Starts a server with options; environment variables are given by keyword."""
    started: list[Up] = []

    def start(*options: str, **environment: str) -> Up:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        server = Up(data_dir, *options, is_forked=False)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.clear()


class Files:
    """What the tasks of a test write and wait for."""

    def __init__(self, folder: Path) -> None:
        self.effects = folder / "effects"
        self.gate = folder / "gate"
        self.params = {"effects": str(self.effects), "gate": str(self.gate)}

    def marks(self, task: str) -> list[int]:
        """Attempts of a task that have left their mark."""
        lines = self.effects.read_text().splitlines() if self.effects.exists() else []
        return [int(line.split()[1]) for line in lines if line.split()[0].endswith("/" + task)]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def begin(client: SyncClient, source: str, params: dict[str, str]) -> str:
    """Submits one job."""
    return client.submit(client.register(source, path=str(REPOSITORY)), params).id


def pid_of(server: Up, ant_id: str) -> int:
    """Process id of a local ant."""
    return next(record.pid for record in read_ants(server.data).ants if record.id == ant_id)


def tasks_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {task["task_type"]: task for task in document["tasks"]}


def completed(server: Up, client: SyncClient, job_id: str) -> dict[str, dict[str, Any]]:
    """The tasks of a job that has to end COMPLETED, once."""
    assert client.wait(job_id, 60).state == "COMPLETED"
    assert [document["id"] for document in client.list()] == [job_id]
    return tasks_of(client.get(job_id))


def assert_second_ran_again(files: Files, tasks: dict[str, dict[str, Any]]) -> None:
    """The task that was cut off ran twice, its neighbours once; each effect as often as its attempts say."""
    attempts = {name: task["attempts"] for name, task in tasks.items()}
    assert attempts == {"first": 1, "second": 2, "third": 1}
    assert {name: len(files.marks(name)) for name in attempts} == attempts
    assert tasks["second"]["lost"] == 1 and "failures" not in tasks["second"]


def test_kill_9_of_an_ant_in_the_middle_of_a_job(up: Callable[..., Up], files: Files) -> None:
    """The cut-off task runs again elsewhere within 5 s, what had completed does not, and the ant is replaced."""
    server = up("--ants", "2", "--slots", "2")
    with SyncClient(server.address) as client:
        job_id = begin(client, THREE_TASKS, files.params)
        until(lambda: len(files.marks("second")) == 1, 10, "the second task runs")
        killed = time.monotonic()
        kill_process(pid_of(server, tasks_of(client.get(job_id))["second"]["ant"]))
        until(lambda: len(files.marks("second")) == 2, 5, "it runs again")
        print(f"run again {time.monotonic() - killed:.3f} s after the kill")
        files.gate.touch()
        assert_second_ran_again(files, completed(server, client, job_id))
    until(lambda: len(server.ants()) == 2, 10, "the ant is replaced")


def test_kill_9_of_the_queen_in_the_middle_of_a_task(up: Callable[..., Up], files: Files) -> None:
    """The task goes on on its ant; the next queen is ready within 2 s and takes its result."""
    server = up("--ants", "1", "--slots", "2")
    with SyncClient(server.address) as client:
        job_id = begin(client, THREE_TASKS, files.params)
        until(lambda: len(files.marks("second")) == 1, 10, "the second task runs")
        ants = {record.pid for record in read_ants(server.data).ants}
        server.kill()
        begun = time.monotonic()
        server.start(wait=False)
        until(lambda: server.page("/livez")[0] == 200, 30, "the process is up")
        is_up = time.monotonic()
        server.until_ready()
        took = time.monotonic() - is_up
        print(f"up {is_up - begun:.3f} s after the start of the process, ready {took:.3f} s later")
        files.gate.touch()
        tasks = completed(server, client, job_id)
        assert {name: task["attempts"] for name, task in tasks.items()} == {"first": 1, "second": 1, "third": 1}
        assert [files.marks(name) for name in tasks] == [[1], [1], [1]]
        assert {record.pid for record in read_ants(server.data).ants} == ants, "the ant is the same process as before"
        assert took < 2.0 + slowness()


def test_kill_9_of_queen_and_ants_in_the_middle_of_a_task(up: Callable[..., Up], files: Files) -> None:
    """The next queen knows that the ants are dead: the task runs again at once, not after a lease."""
    server = up("--ants", "2", "--slots", "2")
    with SyncClient(server.address) as client:
        job_id = begin(client, THREE_TASKS, files.params)
        until(lambda: len(files.marks("second")) == 1, 10, "the second task runs")
        server.kill()
        for pid in server.ants():
            kill_process(pid)
        server.start()
        until(lambda: len(files.marks("second")) == 2, 5, "it runs again")
        files.gate.touch()
        assert_second_ran_again(files, completed(server, client, job_id))


def test_an_ant_frozen_beyond_its_lease(up: Callable[..., Up], files: Files, tmp_path: Path) -> None:
    """Its tasks run elsewhere at the lease's end + 1 s; its late result and its running task change nothing."""
    lease_s = 4.0
    server = up("--ants", "1", "--slots", "2", FORMICARY_LEASE_S=str(lease_s))
    endless = Files(tmp_path / "endless")
    endless.effects.parent.mkdir()
    with SyncClient(server.address) as client:
        late = begin(client, GATED_TASK, files.params)
        long = begin(client, GATED_TASK, endless.params)
        until(lambda: files.marks("work") == endless.marks("work") == [1], 10, "both tasks run")
        (frozen,) = (record.pid for record in read_ants(server.data).ants)
        shell = int(endless.effects.read_text().split()[2])
        os.kill(frozen, signal.SIGSTOP)
        begun = time.monotonic()
        files.gate.touch()  # the first task ends, and its ant cannot say so
        second = subprocess.Popen(
            (*FORMICARY, "ant", "--queen", server.address, "--slots", "2", "--path", str(REPOSITORY)),
            stdout=subprocess.DEVNULL,
        )
        try:
            assert [end.state for end in client.wait_all([late, long], 60)] == ["COMPLETED"] * 2
            took = time.monotonic() - begun
            print(f"completed elsewhere {took:.3f} s after the freeze, lease {lease_s:g} s")
            assert took < lease_s + 1.0 + slowness(2.0)
            before = [client.get(job_id) for job_id in (late, long)]
            os.kill(frozen, signal.SIGCONT)
            until(lambda: started_at(shell) is None, 10, "the task that it still ran is killed")
            until(lambda: _connected(server) == 2, 10, "it is back, with nothing in its hands")
            assert [client.get(job_id) for job_id in (late, long)] == before
        finally:
            second.kill()
            second.wait()
    for document in before:
        (task,) = document["tasks"]
        assert (task["attempts"], task["lost"], task["outputs"]) == (2, 1, {"attempt": "2"})
    assert files.marks("work") == endless.marks("work") == [1, 2]
    assert server.page("/debug/counters")[1]["jobs_ended"] == 2


def _connected(server: Up) -> int:
    return sum(ant["connected"] for ant in server.page("/debug/counters")[1]["ants"])


def test_sigterm_drains(up: Callable[..., Up], files: Files) -> None:
    """Readiness ends first, the running task finishes and its result is kept, exit status 0, nothing is left."""
    server = up("--ants", "1", "--slots", "1")
    with SyncClient(server.address) as client:
        job_id = begin(client, GATED_TASK, files.params)
        until(lambda: files.marks("work") == [1], 10, "the task runs")
        assert server.process is not None
        server.process.terminate()
        until(lambda: server.page("/readyz")[0] == 503, 5, "not ready any more")
        assert server.page("/livez")[0] == 200
        files.gate.touch()
        assert server.process.wait(60) == 0
        assert server.ants() == []
        server.start()
        (task,) = completed(server, client, job_id).values()
        assert (task["attempts"], files.marks("work")) == (1, [1])


def test_a_second_signal_ends_what_runs(up: Callable[..., Up], files: Files) -> None:
    server = up("--ants", "1", "--slots", "1")
    with SyncClient(server.address) as client:
        begin(client, GATED_TASK, files.params)
        until(lambda: files.marks("work") == [1], 10, "the task runs")
    assert server.process is not None
    server.process.terminate()
    until(lambda: server.page("/readyz")[0] == 503, 5, "draining")
    server.process.terminate()
    assert server.process.wait(60) == 1
    assert server.ants() == []


def test_a_poison_job_never_loops(up: Callable[..., Up]) -> None:
    """A task that kills its ant is FAILED with ERR_POISON after 5 lost attempts, and is in the dead-letter queue."""
    server = up("--ants", "2", "--slots", "1")
    with SyncClient(server.address) as client:
        job_id = begin(client, POISON, {})
        assert client.wait(job_id, 90).state == "FAILED"
        document = client.get(job_id)
        (task,) = document["tasks"]
        assert (task["state"], task["attempts"], task["lost"]) == ("FAILED", 5, 5)
        assert task["error"]["code"] == document["error"]["code"] == "ERR_POISON"
        assert document["dead_letter"] is True
    assert server.page("/debug/counters")[1]["lost_attempts"] == 5


def test_a_second_server_on_the_same_data_is_refused(up: Callable[..., Up]) -> None:
    """Exit status 3, and a sentence that names the holder and its ports."""
    server = up("--ants", "0")
    assert server.process is not None
    command = (*FORMICARY, "up", "--data", str(server.data), "--http-port", "0", "--grpc-port", "0")
    refused = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    assert refused.returncode == 3 and refused.stdout == ""
    for word in (str(server.data), f"process {server.process.pid}", str(server.http), str(server.grpc)):
        assert word in refused.stderr


def slowness(per_load_s: float = 1.0) -> float:
    """Seconds that a busy machine is allowed on top: as much again for each runnable process per processor."""
    return per_load_s * max(0.0, os.getloadavg()[0] / (os.cpu_count() or 1) - 0.5, busyness() - 1.0)
