"""Every flow action under `formicary run`, killed by SIGKILL in its state and resumed with `--resume`.

Each task appends one line per attempt to a file, so that effects can be counted. What had completed before a kill runs
no second time; the action takes place exactly as without the kill.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.server import FORMICARY, REPOSITORY, until
from tests.forks import run_forked
from tests.integration.cli.test_run import running

LIMIT_S = 180.0
HEAD = "job_type: flow\npause_time: 3s\ndelay_between_retries: {delay}\nretry: 3\ntasks:\n"
FIRST = "- task_type: first\n  script: ['echo x >> {dir}/first']\n  on_completed: act\n"
LAST = "- task_type: last\n  script: ['echo x >> {dir}/last']\n"


class Lines:
    """One `formicary run` and what it has printed so far, both streams."""

    def __init__(self, *arguments: str) -> None:
        self.text = ""
        self.process = subprocess.Popen(
            (*FORMICARY, "run", *arguments),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.text += line

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match in what it prints."""
        end = time.monotonic() + LIMIT_S
        while not (found := re.search(pattern, self.text, re.MULTILINE)):
            assert time.monotonic() < end and self.process.poll() is None, f"no {pattern} in {self.text}"
            time.sleep(0.01)
        return found

    def kill(self) -> None:
        """kill -9 of the queen with its ant; the tasks it may have left are of the same session."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(60)

    def end(self) -> int:
        """Its exit status."""
        status = self.process.wait(LIMIT_S)
        self._reader.join(60)
        return status


class Flow:
    """One job file with its folder of effects."""

    def __init__(self, folder: Path, act: str, *, delay: str = "0s", last: str = LAST) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.file = folder / "flow.yaml"
        text = HEAD.format(delay=delay) + FIRST + act + last
        self.file.write_text(text.replace("{dir}", str(folder)))

    def effects(self, name: str) -> int:
        """How often a task has run."""
        file = self.folder / name
        return len(file.read_text().splitlines()) if file.exists() else 0

    def begin(self, state: str) -> tuple[Lines, str]:
        """Runs it until it prints the state; returns the run and the job's id."""
        run = Lines(str(self.file), "--data", str(self.data))
        job_id = run.wait_for(r"^job (\S+) flow").group(1)
        run.wait_for(state)
        return run, job_id

    def resume(self, job_id: str) -> Lines:
        """Goes on with it."""
        return Lines("--resume", job_id, "--data", str(self.data), "--output", "json")


def shown(run: Lines) -> dict[str, Any]:
    """The document that a run with `--output json` has printed last."""
    start = run.text.index("\n{\n") + 1 if not run.text.startswith("{\n") else 0
    document, _ = json.JSONDecoder().raw_decode(run.text[start:])
    found: dict[str, Any] = document
    return found


def states(document: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """State and attempts of each task."""
    return {task["task_type"]: (task["state"], task["attempts"]) for task in document["tasks"]}


def counted(code: int, action: str, times: int = 1, more: str = "") -> str:
    """A task that exits with the code so many times, then with 0."""
    script = f"echo x >> {{dir}}/act; test $(wc -l < {{dir}}/act) -gt {times} || exit {code}"
    return (
        f"- task_type: act\n  script: ['{script}']\n  on_exit_code: {{{code}: {action}}}\n  on_completed: last\n{more}"
    )


DELAY = "  delay_between_retries: 2s\n"
GOOD = {
    "EXECUTING": (counted(10, "EXECUTING", 2, DELAY), r"^act WAITING \(exit code 10", "0s", 3),
    "RESTART_TASK": (counted(11, "RESTART_TASK", 1, DELAY), r"^act WAITING \(exit code 11", "0s", 2),
    "PAUSE_JOB": (counted(12, "PAUSE_JOB"), r"^job \S+ PAUSED", "0s", 2),
    "RESTART_JOB": (counted(13, "RESTART_JOB"), r"^job \S+ PENDING", "2s", 2),
    "ERR_*": (counted(14, "ERR_NO_DISK", 1, DELAY + "  retry: 2\n"), r"^act WAITING \(exit code 14", "0s", 2),
}


@pytest.mark.parametrize("action", GOOD)
def test_killed_in_the_state_of_an_action_and_resumed(action: str, tmp_path: Path) -> None:
    """The state is found again, the action takes place as often as it was asked for, the job completes."""
    act, state, delay, attempts = GOOD[action]
    flow = Flow(tmp_path, act, delay=delay)
    run, job_id = flow.begin(state)
    run.kill()
    resumed = flow.resume(job_id)
    assert resumed.end() == 0, resumed.text
    document = shown(resumed)
    assert document["state"] == "COMPLETED"
    assert states(document) == {"first": ("COMPLETED", 1), "act": ("COMPLETED", attempts), "last": ("COMPLETED", 1)}
    assert (flow.effects("first"), flow.effects("act"), flow.effects("last")) == (1, attempts, 1)


@pytest.mark.parametrize(("action", "code"), [("FATAL", "ERR_EXIT_CODE"), ("ERR_NO_DISK", "ERR_NO_DISK")])
def test_killed_while_a_failure_for_good_is_being_wound_up(action: str, code: str, tmp_path: Path) -> None:
    """The end is decided, the final phase runs: killed there, the job ends FAILED without running the task again."""
    act = f"- task_type: act\n  script: ['echo x >> {{dir}}/act; exit 15']\n  on_exit_code: {{15: {action}}}\n"
    gate = "{dir}/go"
    wait = f"while [ ! -e {gate} ]; do sleep 0.05; done; echo x >> {{dir}}/last"
    last = f"- task_type: last\n  always_run: true\n  script: ['{wait}']\n"
    flow = Flow(tmp_path, act, last=last)
    flow.file.write_text(flow.file.read_text().replace("retry: 3\n", ""))
    run, job_id = flow.begin(r"^last (DISPATCHED|EXECUTING)")
    run.kill()
    until(lambda: not running(str(tmp_path / "go").encode()), 20, "the cut-off task has ended as well")
    (tmp_path / "go").touch()
    resumed = flow.resume(job_id)
    assert resumed.end() == 1, resumed.text
    document = shown(resumed)
    assert (document["state"], document["error"]["code"]) == ("FAILED", code)
    assert states(document)["act"] == ("FAILED", 1) and states(document)["last"][0] == "COMPLETED"
    assert (flow.effects("first"), flow.effects("act"), flow.effects("last")) == (1, 1, 1)


def people(command: str, job_id: str, run: Lines, *options: str) -> subprocess.CompletedProcess[str]:
    """Votes as the run says that one votes."""
    found = run.wait_for(rf"formicary approve {job_id} act --server (\S+)")
    return run_forked((command, job_id, "--server", found.group(1), *options), cwd=REPOSITORY, timeout=LIMIT_S)


@pytest.mark.parametrize("kind", ["WAIT_FOR_APPROVAL", "MANUAL"])
@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_killed_while_it_waits_for_people(kind: str, decision: str, tmp_path: Path) -> None:
    """Killed before and between the votes: the first vote still counts after it, and nobody votes twice."""
    policy = "  approval_policy: {min_approvals: 2, allowed_users: [ann, bob, cid]}\n"
    routes = "  on_completed: last\n"
    manual = f"- task_type: act\n  method: MANUAL\n{routes}{policy}"
    script = "echo x >> {dir}/act; exit 16"
    wait = f"- task_type: act\n  script: ['{script}']\n  on_exit_code: {{16: WAIT_FOR_APPROVAL}}\n{routes}{policy}"
    flow = Flow(tmp_path, manual if kind == "MANUAL" else wait)
    flow.file.write_text(flow.file.read_text().replace("retry: 3\n", ""))
    run, job_id = flow.begin(r"^job \S+ MANUAL_APPROVAL_REQUIRED")
    run.kill()
    second = flow.resume(job_id)
    voted = people(decision, job_id, second, "--as", "ann")
    assert voted.returncode == 0 and "OPEN" in voted.stdout, voted
    second.kill()
    third = flow.resume(job_id)
    again = people(decision, job_id, third, "--as", "ann")
    assert again.returncode == 1 and "ann has voted" in again.stderr
    stranger = people(decision, job_id, third, "--as", "zoe")
    assert stranger.returncode == 1 and "may not vote" in stranger.stderr
    assert people(decision, job_id, third, "--as", "bob").returncode == 0
    assert third.end() == (0 if decision == "approve" else 1), third.text
    document = shown(third)
    ended = "COMPLETED" if decision == "approve" else "FAILED"
    assert document["state"] == ended and states(document)["act"] == (ended, 1)
    assert states(document)["last"][0] == ("COMPLETED" if decision == "approve" else "SKIPPED")
    (act,) = [task for task in document["tasks"] if task["task_type"] == "act"]
    assert [vote["voter"] for vote in act["approval"]["votes"]] == ["ann", "bob"]
    assert flow.effects("first") == 1 and flow.effects("act") == (0 if kind == "MANUAL" else 1)


def test_a_deadline_that_passes_while_nobody_runs_strikes_at_once(tmp_path: Path) -> None:
    """AUTO_APPROVE: the deadline is a row, not a timer of the process that was killed."""
    policy = "  approval_policy: {sla_deadline: 2s, timeout_action: AUTO_APPROVE}\n"
    flow = Flow(tmp_path, f"- task_type: act\n  method: MANUAL\n  on_completed: last\n{policy}")
    run, job_id = flow.begin(r"^job \S+ MANUAL_APPROVAL_REQUIRED")
    asked = time.time()
    run.kill()
    _sleep_until(lambda: time.time() > asked + 2.0)
    resumed = flow.resume(job_id)
    assert resumed.end() == 0, resumed.text
    (act,) = [task for task in shown(resumed)["tasks"] if task["task_type"] == "act"]
    assert (act["state"], act["approval"]["decided_by"]) == ("COMPLETED", "deadline")


def _sleep_until(condition: Callable[[], bool]) -> None:
    while not condition():  # time itself is what has to pass
        time.sleep(0.05)
