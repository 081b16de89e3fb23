"""`formicary run`: what it prints, how it ends, how it is interrupted and goes on."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.server import until as wait_until
from tests.acceptance.test_kills import slowness
from tests.integration.cli.command import FORMICARY, formicary

TWO = """\
job_type: greet
variables:
  greeting: Hello
tasks:
  - task_type: hello
    script:
      - echo "::set-output name=phrase::{{.greeting}}, {{.name}}"
    on_completed: shout
  - task_type: shout
    script:
      - echo "{{.phrase}}!"
      - echo "to the other stream" >&2
"""
FAILING = """\
job_type: failing
tasks:
  - task_type: work
    script: ["exit 3"]
    on_completed: after
  - task_type: after
    script: ["true"]
  - task_type: clean
    always_run: true
    script: ["echo cleaned"]
"""
SLOW = """\
job_type: slow
tasks:
  - task_type: first
    script: ["echo first >> {{.marks}}"]
    on_completed: second
  - task_type: second
    script: ["echo begun >> {{.marks}}", "while test ! -e {{.gate}}; do sleep 0.05; done", "echo second >> {{.marks}}"]
    on_completed: third
  - task_type: third
    script: ["echo third >> {{.marks}}"]
  - task_type: clean
    always_run: true
    script: ["echo clean >> {{.marks}}"]
"""


def write(folder: Path, text: str) -> Path:
    """A job file."""
    file = folder / "job.yaml"
    file.write_text(text)
    return file


def until(condition: Callable[[], bool], what: str, limit_s: float = 30.0) -> None:
    """Waits for a condition."""
    wait_until(condition, limit_s, what)


def running(word: bytes) -> list[bytes]:
    """Command lines that have a word in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            found.append(path.read_bytes())
    return [command for command in found if word in command]


def test_the_document_of_a_job(tmp_path: Path, data_dir: Path) -> None:
    """--output json prints one document with the members that scripts rely on, and nothing else."""
    done = formicary("run", write(tmp_path, TWO), "-p", "name=Ada", "--data", data_dir, "--output", "json")
    assert done.status == 0, done.err
    document = done.json
    assert {"id", "state", "started_at", "ended_at", "outputs", "tasks", "error"} <= set(document)
    assert (document["state"], document["error"]) == ("COMPLETED", None)
    assert document["outputs"] == {"greeting": "Hello", "name": "Ada", "phrase": "Hello, Ada"}
    assert len(document["id"]) == 26
    members = {"task_type", "state", "exit_code", "attempts", "ant", "started_at", "ended_at", "outputs"}
    for task in document["tasks"]:
        assert members <= set(task)
        assert (task["state"], task["exit_code"], task["attempts"]) == ("COMPLETED", 0, 1)
    times = [document["started_at"], document["ended_at"]]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one) for one in times)
    assert "shout | Hello, Ada!" in done.err.splitlines()


def test_plain_lines_when_piped(tmp_path: Path, data_dir: Path) -> None:
    """One line per change and per log line, no escape sequences, the end last."""
    done = formicary("run", write(tmp_path, TWO), "-p", "name=Ada", "--data", data_dir)
    lines = done.out.splitlines()
    assert done.status == 0
    assert "\x1b" not in done.out + done.err
    assert "shout | Hello, Ada!" in lines
    assert "shout | to the other stream" in lines
    ends = [number for number, line in enumerate(lines) if re.match(r"(hello|shout|job \w+) COMPLETED \(\d", line)]
    assert len(ends) == 3
    assert ends[-1] > lines.index("shout | Hello, Ada!")
    assert "  phrase: Hello, Ada" in lines


def test_yaml_and_no_color(tmp_path: Path, data_dir: Path) -> None:
    """--output yaml is YAML of the same document."""
    import yaml

    job = write(tmp_path, TWO)
    done = formicary("run", job, "-p", "name=Ada", "--data", data_dir, "--output", "yaml", NO_COLOR="1")
    assert yaml.safe_load(done.out)["state"] == "COMPLETED"


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_live_tree_on_a_terminal(no_color: str, tmp_path: Path, data_dir: Path) -> None:
    """On a terminal the tree ends with every task COMPLETED; NO_COLOR takes the colours away."""
    main, child = pty.openpty()
    command = (*FORMICARY, "run", str(write(tmp_path, TWO)), "-p", "name=Ada", "--data", str(data_dir))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    environment.pop("NO_COLOR", None)
    if no_color:
        environment["NO_COLOR"] = no_color
    with subprocess.Popen(command, stdout=child, stderr=child, stdin=child, env=environment) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                block = os.read(main, 65536)
            except OSError:
                break
            if not block:
                break
            shown += block
        assert process.wait(120) == 0
    os.close(main)
    text = shown.decode()
    assert "hello  COMPLETED" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert "Hello, Ada!" in text
    assert bool(re.search(r"\x1b\[[0-9;]*3[1-6]m", text)) is not bool(no_color)


def test_a_failed_job(tmp_path: Path, data_dir: Path) -> None:
    """Exit status 1; what was not reached is SKIPPED, the final phase ran, the error is a problem document."""
    done = formicary("run", write(tmp_path, FAILING), "--data", data_dir, "--output", "json")
    assert done.status == 1
    tasks = {task["task_type"]: task for task in done.json["tasks"]}
    assert done.json["state"] == "FAILED"
    assert done.json["error"]["code"]
    assert done.json["error"]["detail"]
    assert (tasks["work"]["state"], tasks["work"]["exit_code"]) == ("FAILED", 3)
    assert (tasks["after"]["state"], tasks["after"]["attempts"]) == ("SKIPPED", 0)
    assert (tasks["clean"]["state"], tasks["clean"]["attempts"]) == ("COMPLETED", 1)


def test_a_task_that_is_killed_shows_its_signal(tmp_path: Path, data_dir: Path) -> None:
    """128 + n as exit code, and the signal beside it."""
    job = write(tmp_path, "job_type: j\ntasks:\n- task_type: t\n  script: ['kill -9 $$']\n")
    [task] = formicary("run", job, "--data", data_dir, "--output", "json").json["tasks"]
    assert (task["exit_code"], task["signal"]) == (137, 9)


def test_a_job_in_python(tmp_path: Path, data_dir: Path) -> None:
    """`module:job` is found in the current folder and its parameters are typed by its hints."""
    (tmp_path / "my_jobs.py").write_text(
        "from formicary import job, task\n\n@task\ndef double(n: int) -> int:\n    return n * 2\n\n"
        "@job\ndef calculate(n: int = 3) -> int:\n    return double(double(n))\n"
    )
    for target in ("my_jobs:calculate", "my_jobs.py:calculate"):
        done = formicary("run", target, "-p", "n=5", "--data", data_dir, "--output", "json", cwd=tmp_path)
        assert done.status == 0, done.err
        assert [task["outputs"] for task in done.json["tasks"]] == [{"result": 10}, {"result": 20}]


class Slow:
    """A run of the slow job in a process of its own."""

    def __init__(self, folder: Path, data: Path, text: str = SLOW) -> None:
        self.marks, self.gate, self.data = folder / "marks", folder / "gate", data
        self.marks.touch()
        arguments = ("-p", f"marks={self.marks}", "-p", f"gate={self.gate}", "--output", "json", "--data", str(data))
        self._err = folder / "err"
        with self._err.open("w") as err:
            self.process = subprocess.Popen(
                (*FORMICARY, "run", str(write(folder, text)), *arguments), stdout=subprocess.PIPE, stderr=err, text=True
            )
        until(lambda: "begun" in self.lines(), "the second task begins")

    def lines(self) -> list[str]:
        """What the tasks have done."""
        return self.marks.read_text().split()

    def err(self) -> str:
        """Standard error so far."""
        return self._err.read_text()

    def job_id(self) -> str:
        """The id as it was printed."""
        found = re.search(r"^job (\w{26})", self.err(), re.M)
        assert found
        return found.group(1)


def test_ctrl_c_cancels(tmp_path: Path, data_dir: Path) -> None:
    """The first Ctrl-C cancels the job: the running task ends, `always_run` tasks run, exit status 130."""
    run = Slow(tmp_path, data_dir)
    run.process.send_signal(signal.SIGINT)
    out, _ = run.process.communicate(timeout=120)
    assert run.process.returncode == 130
    assert json.loads(out)["state"] == "CANCELLED"
    assert run.lines() == ["first", "begun", "clean"]


def test_second_ctrl_c_kills(tmp_path: Path, data_dir: Path) -> None:
    """The second Ctrl-C ends it at once with 130; what ran is gone, and the way to go on is told."""
    text = SLOW.replace('script: ["echo clean >> {{.marks}}"]', 'script: ["sleep 61.25"]')
    run = Slow(tmp_path, data_dir, text)
    begun = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    until(lambda: "press Ctrl-C again" in run.err(), "the hint")
    run.process.send_signal(signal.SIGINT)
    run.process.communicate(timeout=120)
    assert run.process.returncode == 130
    assert time.monotonic() - begun < 55, "nobody waits for its last task"
    assert f"formicary run --resume {run.job_id()} --data {data_dir}" in run.err()
    until(lambda: not running(b"61.25"), "what ran is gone")


def test_kill_9_and_resume(tmp_path: Path, data_dir: Path) -> None:
    """After SIGKILL, `run --resume ID` goes on at once: what had completed does not run again, the cut task does."""
    run = Slow(tmp_path, data_dir)
    job_id = run.job_id()
    run.process.kill()
    run.process.communicate(timeout=120)
    run.gate.touch()
    begun = time.monotonic()
    done = formicary("run", "--resume", job_id, "--data", data_dir, "--output", "json")
    assert done.status == 0, done.err
    assert time.monotonic() - begun < 8 + slowness(4.0)  # not a lease later
    attempts = {task["task_type"]: (task["state"], task["attempts"]) for task in done.json["tasks"]}
    assert attempts == {
        "first": ("COMPLETED", 1),
        "second": ("COMPLETED", 2),
        "third": ("COMPLETED", 1),
        "clean": ("COMPLETED", 1),
    }
    marks = run.lines()
    assert (marks.count("first"), marks.count("begun"), marks.count("third")) == (1, 2, 1)
    again = formicary("run", "--resume", job_id, "--data", data_dir, "--output", "json")
    assert (again.status, again.json["state"]) == (0, "COMPLETED")
    missing = formicary("run", "--resume", "0" * 26, "--data", data_dir)
    assert missing.status == 2
    assert "no job" in missing.err


def test_another_job_of_the_directory_is_left_alone(tmp_path: Path, data_dir: Path) -> None:
    """A run touches no job that was interrupted before: that one waits for --resume."""
    run = Slow(tmp_path, data_dir)
    job_id = run.job_id()
    run.process.kill()
    run.process.communicate(timeout=120)
    run.gate.touch()
    other = tmp_path / "other"
    other.mkdir()
    assert formicary("run", write(other, TWO), "-p", "name=x", "--data", data_dir).status == 0
    assert run.lines() == ["first", "begun"]
    assert formicary("run", "--resume", job_id, "--data", data_dir).status == 0


def test_two_runs_at_the_same_time(tmp_path: Path, data_dir: Path) -> None:
    """In the user's state directory a second run does not wait for the first; a named directory is refused."""
    run = Slow(tmp_path, data_dir)
    other = tmp_path / "other"
    other.mkdir()
    refused = formicary("run", write(other, TWO), "-p", "name=x", "--data", data_dir)
    assert refused.status == 3
    assert str(run.process.pid) in refused.err
    run.gate.touch()
    run.process.communicate(timeout=120)
    assert run.process.returncode == 0
    processes = [
        subprocess.Popen((*FORMICARY, "run", str(other / "job.yaml"), "-p", f"name={n}"), stdout=subprocess.DEVNULL)
        for n in range(3)
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0]


CLUSTER = "job_type: %s\ntasks:\n- task_type: t\n  method: KUBERNETES\n  container: {image: a}\n  script: ['true']\n"
FORK = "job_type: parent\ntasks:\n- {task_type: f, method: FORK_JOB, fork_job_type: cluster}\n"


def test_other_jobs_of_the_file_need_not_be_able_to_run_here(tmp_path: Path, data_dir: Path) -> None:
    """The job that is chosen and those that it forks have to be; what is left out is told."""
    file = write(
        tmp_path,
        "---\n".join([CLUSTER % "cluster", "job_type: hello\ntasks: [{task_type: t, script: ['true']}]\n", FORK]),
    )
    done = formicary("run", file, "--job", "hello", "--data", data_dir, "--output", "json")
    assert (done.status, done.json["state"]) == (0, "COMPLETED"), done.err
    assert f"without the job cluster: {file}:4:11: The method KUBERNETES is not available" in done.err
    for words in (("--job", "cluster"), ("--job", "parent"), ()):
        refused = formicary("run", file, *words, "--data", data_dir)
        assert refused.status == 2 and f"{file}:4:11: The method KUBERNETES" in refused.err, refused.err
    assert formicary("run", file, "--job", "nowhere", "--data", data_dir).status == 2
    mapped = formicary("run", file, "--job", "parent", "--method", "KUBERNETES=SHELL", "--data", data_dir)
    assert mapped.status == 0, mapped.err
