"""A fan-out over tasks while queen and ant are killed by SIGKILL: each element counts once, never too many run."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from formicary.client import SyncClient
from tests.acceptance.server import REPOSITORY, Up, kill_process, until
from tests.acceptance.test_examples_killed import wait_until

FORMICARY = [sys.executable, "-m", "formicary"]
ELEMENTS = 24
AT_ONCE = 3
JOB = f"""job_type: many
required_params: [list, out]
tasks:
- task_type: work
  script:
  - echo "{{{{.n}}}} $FORMICARY_TASK_KEY $FORMICARY_ATTEMPT" >> {{{{.out}}}}
  - sleep 0.2
  - echo "::set-output name=square::$((n * n))"
  retry: 1
  fan_out: {{source: list, item_var: n, max_parallel: {AT_ONCE}}}
  on_completed: sum
- task_type: sum
  script: ['echo "::set-output name=last::{{{{.n_{ELEMENTS - 1}_square}}}}"']
"""
PARAMS = [str(n) for n in range(ELEMENTS)]


class Marks:
    """What the elements have written: their value, key and attempt."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[list[str]]:
        """Every attempt that has begun."""
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def check(self, job_id: str, kills: int) -> None:
        """Each element has one key, whatever was repeated: at most what ran at a kill."""
        found = self.read()
        assert {(n, key) for n, key, _ in found} == {(n, f"{job_id}/1/work[{n}]") for n in PARAMS}
        assert max(Counter(n for n, *_ in found).values()) <= 1 + kills
        assert len(found) - ELEMENTS <= kills * AT_ONCE


def check(document: dict[str, object]) -> None:
    """The job has completed with the result of every element."""
    assert document["state"] == "COMPLETED", document["error"]
    outputs, tasks = document["outputs"], document["tasks"]
    assert isinstance(outputs, dict) and isinstance(tasks, list)
    squares = [(one["index"], one["outputs"]["square"]) for one in outputs["FanOutResults"]]
    assert squares == [(n, str(n * n)) for n in range(ELEMENTS)]
    assert outputs["last"] == str((ELEMENTS - 1) ** 2)
    children = tasks[0]["children"]
    assert (children["total"], children["completed"], children["open"]) == (ELEMENTS, ELEMENTS, 0)


def test_run_is_killed_and_resumed(tmp_path: Path, data_dir: Path) -> None:
    """Three times killed with kill -9 and resumed: completed elements stay, the others go on."""
    file, marks = tmp_path / "job.yaml", Marks(tmp_path / "marks")
    file.write_text(JOB)
    given = ["-p", f"list={json.dumps(list(range(ELEMENTS)))}", "-p", f"out={marks.path}"]
    command = [*FORMICARY, "run", str(file), *given, "--data", str(data_dir)]
    for _ in range(3):
        seen = len(marks.read())
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            told = next(line for line in process.stdout if "job " in line)
            wait_until("marks", lambda seen=seen: len(marks.read()) >= seen + 4)  # type: ignore[misc]  # early bound
            process.kill()
        job_id = told.split("job ", 1)[1].split()[0]
        command = [*FORMICARY, "run", "--resume", job_id, "--data", str(data_dir)]
    last = subprocess.run([*command, "--output", "json"], capture_output=True, text=True, timeout=120)
    check(json.loads(last.stdout))
    marks.check(job_id, kills=3)


@pytest.fixture
def server(data_dir: Path) -> Iterator[Up]:
    """A server with two ants."""
    up = Up(data_dir, "--ants", "2", "--slots", "4")
    up.start()
    yield up
    up.clear()


def test_queen_and_ant_are_killed(tmp_path: Path, server: Up) -> None:
    """An ant dies with elements in its slots, then the queen: all that counts is the end of each element, once."""
    marks = Marks(tmp_path / "marks")
    with SyncClient(server.address) as client:
        key = client.register(JOB, path=str(REPOSITORY))
        job_id = client.submit(key, {"list": list(range(ELEMENTS)), "out": str(marks.path)}).id
        until(lambda: len(marks.read()) >= 5, 20, "elements run")
        kill_process(server.ants()[0])
        until(lambda: len(marks.read()) >= 10, 20, "elements run again")
        told = client.get(job_id)["tasks"][0]["children"]
        assert told["total"] == ELEMENTS and told["open"] <= AT_ONCE and told["running"] <= AT_ONCE
    server.kill()
    server.start()
    with SyncClient(server.address) as client:
        assert client.wait(job_id, 60).state == "COMPLETED"
        check(client.get(job_id))
        assert {line.task_type for line in client.logs(job_id, task_type="work[0]")} <= {"work[0]"}
        assert [one["task_type"] for one in client.elements(job_id, "work", limit=3)] == [
            "work[0]",
            "work[1]",
            "work[2]",
        ]
        assert len(list(client.elements(job_id, "work", states=["COMPLETED"]))) == ELEMENTS
        assert list(client.elements(job_id, "work", states=["FAILED"])) == []
        shown = server.cli("elements", job_id, "work", "--limit", "2")
        assert "work[1]" in shown and "work[2]" not in shown
        assert "work[1]" in {line.task_type for line in client.logs(job_id, task_type="work")}
    marks.check(job_id, kills=2)
