"""The ETL example while processes are killed by SIGKILL: it completes, and nothing that had completed runs again.

Each year's task appends one line per attempt to a file, so that side effects can be counted against the attempts that
the engine has recorded.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import components
from tests.forks import run_forked

ROOT = Path(__file__).resolve().parents[2]
JOB = "examples/jobs/etl/earth_rotation.yaml"
FORMICARY = [sys.executable, "-m", "formicary"]
YEARS = {"first": 1990, "last": 2005, "pace": 0.25}


def wait_until(what: str, condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Looks again and again until it holds."""
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, f"not within {limit_s} s: {what}"
        time.sleep(0.02)


class Etl:
    """One run of the example: its folder and what its tasks did."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.params = [word for name, value in {**YEARS, "out": out}.items() for word in ("-p", f"{name}={value}")]

    def attempts(self) -> Counter[str]:
        """Attempts of each task as the tasks themselves noted them."""
        log = self.out / "attempts.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return Counter(line.split()[0].rpartition("/")[2] for line in lines)

    def wait_for_attempts(self, count: int) -> None:
        """Waits until so many attempts were noted."""
        wait_until(f"{count} attempts", lambda: self.attempts().total() >= count)

    def check(self, document: dict[str, Any], completed_before: set[str]) -> None:
        """The job completed; effects fit the attempts; what had completed did not run again.

        A grant counts as an attempt: an ant may die between a grant and the first line of its function, so a task that
        was tried n times has left from 1 to n marks; one that was tried once has left exactly one.
        """
        assert document["state"] == "COMPLETED", document["error"]
        recorded = {task["task_type"]: task["attempts"] for task in document["tasks"]}
        years = {name: number for name, number in recorded.items() if name.startswith("year-")}
        marks = self.attempts()
        assert marks.keys() == years.keys()
        assert {name: (marks[name], number) for name, number in years.items() if marks[name] > number} == {}
        assert len(years) == YEARS["last"] - YEARS["first"] + 1
        assert {name for name in completed_before if recorded[name] > 1} == set()
        assert (self.out / "length_of_day.svg").exists()


def completed(document: dict[str, Any]) -> set[str]:
    """Names of the tasks that have completed."""
    return {task["task_type"] for task in document["tasks"] if task["state"] == "COMPLETED"}


@pytest.fixture
def etl(tmp_path: Path) -> Etl:
    components.require("iers-data")
    return Etl(tmp_path / "out")


def test_run_is_killed_and_resumed(etl: Etl, data_dir: Path) -> None:
    """`formicary run --resume ID` goes on where a killed `formicary run` was."""
    command = [*FORMICARY, "run", JOB, *etl.params, "--slots", "3", "--data", str(data_dir)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first:
        assert first.stdout is not None
        told = ""
        while not re.search("^year-.* COMPLETED", told, re.MULTILINE):  # what it shows may lag behind what it does
            line = first.stdout.readline()
            assert line, told
            told += line
        etl.wait_for_attempts(6)
        first.kill()
        told += first.stdout.read()
    job_id = told.split("job ", 1)[1].split()[0]
    shown = {line.split()[0] for line in told.splitlines() if " COMPLETED" in line and line.startswith("year-")}
    assert shown
    resumed = subprocess.run(
        [*FORMICARY, "run", "--resume", job_id, "--data", str(data_dir), "--output", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert resumed.returncode == 0, resumed.stderr
    etl.check(json.loads(resumed.stdout), {"extract", "validate", *shown})


class Up:
    """A server with its ants, started and killed at will on the same data and ports."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process: subprocess.Popen[str] | None = None
        self.http = self.grpc = "0"

    def start(self) -> None:
        """Starts it and waits until it serves."""
        command = [*FORMICARY, "up", "--data", str(self.data), "--ants", "2", "--slots", "2"]
        command += ["--http-port", self.http, "--grpc-port", self.grpc]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready = self.process.stdout.readline()
        assert ready.startswith("ready "), ready
        places = dict(word.split("=", 1) for word in ready.split()[1:])
        self.http, self.grpc = (places[name].rpartition(":")[2].rstrip("/") for name in ("http", "grpc"))

    def ants(self) -> list[int]:
        """Process ids of its ants: children that are `formicary ant`."""
        assert self.process is not None
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except (OSError, ValueError, IndexError):
                    continue
                if parent == self.process.pid and b"ant" in words:
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """Kills the queen's process alone; its ants go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> None:
        """Lets it end."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            finally:
                if self.process.poll() is None:
                    self.process.kill()
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    def command(self, *arguments: str) -> Any:
        """Runs a client command and returns its JSON."""
        ended = run_forked((*arguments, "--server", f"127.0.0.1:{self.grpc}", "--output", "json"), cwd=ROOT)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


@pytest.fixture
def up(data_dir: Path) -> Iterator[Up]:
    server = Up(data_dir)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("victim", ["ant", "queen", "both"])
def test_processes_of_a_server_are_killed(victim: str, etl: Etl, up: Up) -> None:
    """An ant, the queen, or both die in the middle; the job ends as if nothing had happened."""
    job_id = up.command("submit", JOB, *etl.params)["ids"][0]
    etl.wait_for_attempts(5)
    before = completed(up.command("get", job_id))
    ants = up.ants()
    assert len(ants) == 2
    if victim != "queen":
        os.kill(ants[0], signal.SIGKILL)
    if victim != "ant":
        up.kill()
        up.start()
    wait_until("the job's end", lambda: up.command("get", job_id)["state"] not in ("PENDING", "EXECUTING"))
    etl.check(up.command("get", job_id), before)
