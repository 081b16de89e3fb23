"""Real ants and a real queen: a task that is cut off goes on from its checkpoint, whatever cut it off."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from formicary.client import SyncClient
from formicary.engine.jobs.configs import MASK
from tests.acceptance.server import REPOSITORY, Up, kill_process, until
from tests.acceptance.stage import sample
from tests.acceptance.test_kills import pid_of

UPTO, STOP_AT = 6, 3
SHELL = """
job_type: low
priority: 1
{more}
tasks:
- task_type: count
{task}
  script: |
    i=${{FORMICARY_CHECKPOINT:-0}}
    while [ $i -lt {upto} ]; do
      i=$((i+1))
      echo "$FORMICARY_ATTEMPT $i" >> {{{{.effects}}}}
      echo "::checkpoint::$i"
      while [ $FORMICARY_ATTEMPT = 1 ] && [ $i -ge {stop_at} ] && [ ! -e {{{{.gate}}}} ]; do sleep 0.02; done
    done
    echo "::set-output name=result::$i"
"""
PYTHON = """
job_type: low
priority: 1
{more}
tasks:
- task_type: count
{task}
  method: PYTHON
  function: tests.acceptance.effects:count_to
  variables: {{upto: {upto}, stop_at: {stop_at}}}
"""
SOURCES = {"SHELL": SHELL, "PYTHON": PYTHON}
HIGH = "job_type: high\npriority: 9\ntasks:\n- task_type: work\n  script: 'true'\n"
PREEMPTIVE = "policy: priority\nset: {preemptive: true}\npreemption_grace: 5s\n"
BY_STEPS = [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]
"""Attempt and step: nothing is done twice, and nothing is left out."""


class Counting:
    """A server and one job that counts."""

    def __init__(self, folder: Path, server: Up) -> None:
        self.effects, self.gate, self.server = folder / "effects", folder / "gate", server
        self.client = SyncClient(server.address)
        self.id = ""

    def begin(self, method: str, *, more: str = "", task: str = "") -> None:
        source = SOURCES[method].format(more=more, task=task, upto=UPTO, stop_at=STOP_AT)
        params = {"effects": str(self.effects), "gate": str(self.gate)}
        self.id = self.client.submit(self.client.register(source, path=str(REPOSITORY)), params).id

    def steps(self) -> list[tuple[int, int]]:
        """Attempt and step of each effect."""
        lines = self.effects.read_text().split("\n")[:-1] if self.effects.exists() else []
        return [(int(line.split()[0]), int(line.split()[1])) for line in lines]

    def task(self) -> dict[str, Any]:
        return dict(self.client.get(self.id)["tasks"][0])

    def until_kept(self, value: str = str(STOP_AT)) -> dict[str, Any]:
        """Waits until the queen has the checkpoint; what she shows of it."""
        until(lambda: self.task().get("checkpoint", {}).get("value") == value, 20, f"checkpoint {value} is kept")
        return dict(self.task()["checkpoint"])

    def figure(self, metric: str) -> float:
        """A sample of the metrics page."""
        return sample(self.server.http, metric)

    def completed(self) -> dict[str, Any]:
        end = self.client.wait(self.id, 90)
        assert end.state == "COMPLETED", end
        task = self.task()
        assert str(task["outputs"]["result"]) == str(UPTO) and "checkpoint" not in task, "a completed task has none"
        return task


@pytest.fixture
def counting(data_dir: Path) -> Iterator[Callable[..., Counting]]:
    """Starts a server with options; whatever happens it is taken down."""
    made: list[Counting] = []

    def start(*options: str, queues: str = "") -> Counting:
        if queues:
            file = data_dir.parent / "queues.yaml"
            file.write_text(queues)
            options = (*options, "--queues", str(file))
        server = Up(data_dir, *options)
        made.append(Counting(data_dir.parent, server))
        server.start()
        return made[-1]

    yield start
    for one in made:
        one.client.close()
        one.server.clear()


@pytest.mark.parametrize("method", ["SHELL", "PYTHON"])
def test_a_preempted_task_goes_on_where_it_was(counting: Callable[..., Counting], method: str) -> None:
    """One slot: a job of higher priority takes it; the lower one goes on with the step that comes next."""
    one = counting("--slots", "1", queues=PREEMPTIVE)
    one.begin(method)
    shown = one.until_kept()
    assert (shown["attempt"], shown["size_bytes"], shown["value"]) == (1, 1, "3") and shown["written_at"]
    high = one.client.submit(one.client.register(HIGH)).id
    assert one.client.wait(high, 90).state == "COMPLETED"
    task = one.completed()
    assert one.steps() == BY_STEPS
    assert (task["attempts"], task.get("lost"), task.get("failures")) == (2, None, None)
    assert one.figure("formicary_checkpoints_total") >= 2, "one of each attempt at least: the ant leaves some out"
    assert one.figure("formicary_checkpoints_bytes") == 0, "a completed task has none"


@pytest.mark.parametrize("method", ["SHELL", "PYTHON"])
def test_a_killed_ant(counting: Callable[..., Counting], method: str) -> None:
    one = counting("--ants", "1", "--slots", "1")
    one.begin(method)
    one.until_kept()
    kill_process(pid_of(one.server, one.task()["ant"]))
    task = one.completed()
    assert one.steps() == BY_STEPS and task["lost"] == 1


@pytest.mark.parametrize("method", ["SHELL", "PYTHON"])
def test_a_killed_queen_and_her_ant(counting: Callable[..., Counting], method: str) -> None:
    """The next queen has it from the store."""
    one = counting("--ants", "1", "--slots", "1")
    one.begin(method)
    one.until_kept()
    ants = one.server.ants()
    one.server.kill()
    for pid in ants:
        kill_process(pid)
    one.server.start()
    one.completed()
    assert one.steps() == BY_STEPS


@pytest.mark.parametrize("method", ["SHELL", "PYTHON"])
def test_a_task_goes_on_over_a_killed_queen_and_leaves_more(counting: Callable[..., Counting], method: str) -> None:
    """Its ant lives: what it leaves under the next queen counts, with the same attempt."""
    one = counting("--ants", "1", "--slots", "1")
    one.begin(method)
    one.until_kept()
    one.server.kill()
    one.server.start()
    one.gate.touch()
    task = one.completed()
    assert [step for _, step in one.steps()] == [1, 2, 3, 4, 5, 6] and task["attempts"] == 1


def test_a_retry_and_a_job_run_again_softly_go_on_and_hard_begins_anew(counting: Callable[..., Counting]) -> None:
    one = counting("--slots", "1")
    source = (
        "job_type: failing\ntasks:\n- task_type: work\n  retry: 1\n  script:\n  - echo $FORMICARY_ATTEMPT "
        '"${FORMICARY_CHECKPOINT:-0}" >> {{.effects}}; echo ::checkpoint::$FORMICARY_ATTEMPT; test -e {{.gate}}\n'
    )
    params = {"effects": str(one.effects), "gate": str(one.gate)}
    one.id = one.client.submit(one.client.register(source), params).id
    assert one.client.wait(one.id, 90).state == "FAILED"
    assert one.steps() == [(1, 0), (2, 1)] and one.until_kept("2")
    one.client.retry(one.id)
    assert one.client.wait(one.id, 90).state == "FAILED"
    assert one.steps()[2:] == [(3, 2), (4, 3)]
    one.gate.touch()
    one.client.retry(one.id, hard=True)
    assert one.client.wait(one.id, 90).state == "COMPLETED"
    assert one.steps()[4:] == [(5, 0)] and "checkpoint" not in one.task()


def test_secrets_are_masked_and_lists_do_not_show_it(counting: Callable[..., Counting], tmp_path: Path) -> None:
    key, secret = tmp_path / "secret.key", tmp_path / "secret"
    key.write_text(base64.b64encode(bytes(range(32))).decode())
    key.chmod(0o600)
    secret.write_text("geheim-123456")
    one = counting("--slots", "1", "--secret-key-file", str(key))
    one.server.cli("secrets", "set", "KEY", "--file", str(secret))
    source = (
        "job_type: secret\ntasks:\n- task_type: work\n  script:\n"
        '  - echo "::checkpoint::at {{.KEY}} row 5"\n  - exit 1\n'
    )
    one.id = one.client.submit(one.client.register(source)).id
    assert one.client.wait(one.id, 90).state == "FAILED"
    assert one.until_kept(f"at {MASK} row 5")
    assert "row 5" not in one.server.cli("list", "--output", "json")
    assert one.server.job(one.id)["tasks"][0]["checkpoint"]["size_bytes"] == len(f"at {MASK} row 5")
