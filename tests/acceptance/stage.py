"""A real server with queues and real ants for the tests of scheduling, with jobs by name."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from formicary.client import DefinitionRef, SyncClient
from tests.acceptance.server import FORMICARY, REPOSITORY, Up, until

WORK = "job_type: {name}\n{more}tasks:\n- task_type: work\n  script: sleep {seconds}\n{task}"
HOLD = "job_type: hold\npriority: 10\ntasks:\n- task_type: hold\n  script: while [ ! -e {gate} ]; do sleep 0.02; done\n"
Document = dict[str, Any]


class Stage:
    """A server with queues, a client of it, and jobs by name."""

    def __init__(self, data: Path, queues: str, *options: str) -> None:
        self.gate = data.parent / "gate"
        self.file = data.parent / "queues.yaml"
        self.file.write_text(queues or "policy: priority\n")
        self.up = Up(data, *options, *(("--queues", str(self.file)) if queues else ()))
        self.up.start()
        self.client = SyncClient(self.up.address)
        self.names: dict[str, str] = {}

    def close(self) -> None:
        self.client.close()
        self.up.stop()

    def define(self, source: str) -> DefinitionRef:
        return self.client.register(source)

    def work(self, name: str, *, seconds: float = 0.05, more: str = "", task: str = "") -> DefinitionRef:
        """A definition with one task that sleeps."""
        return self.define(WORK.format(name=name, more=more, seconds=seconds, task=task))

    def gated(self, name: str, *, more: str = "", task: str = "", seconds: float = 0.2) -> DefinitionRef:
        """A definition with one task that sleeps once `open` was called, however long that takes."""
        wait = f"while [ ! -e {self.gate} ]; do sleep 0.02; done; sleep"
        return self.define(WORK.replace("sleep", wait).format(name=name, more=more, seconds=seconds, task=task))

    def running(self, *names: str) -> int:
        """How many of these run at this moment."""
        return sum(self.job(name)["tasks"][0]["state"] == "EXECUTING" for name in names)

    def submit(self, name: str, definition: DefinitionRef, **options: Any) -> None:
        self.names[name] = self.client.submit(definition, **options).id

    def hold(self, slots: int = 1, more: str = "", task: str = "") -> None:
        """Takes all slots until `open`."""
        definition = self.define(more + HOLD.format(gate=self.gate) + task)
        for number in range(slots):
            self.submit(f"hold{number}", definition)
        until(lambda: all(self.job(f"hold{at}")["tasks"][0]["state"] == "EXECUTING" for at in range(slots)), 20, "held")

    def open(self) -> None:
        self.gate.touch()

    def job(self, name: str) -> Document:
        return dict(self.client.get(self.names[name]))

    def done(self, *names: str) -> list[Document]:
        """The documents once all have completed."""
        found = []
        for name in names:
            end = self.client.wait(self.names[name], 120)
            assert end.state == "COMPLETED", (name, end)
            found.append(self.job(name))
        return found

    def order(self, *names: str) -> list[str]:
        """The names in the order of the recorded starts of their first tasks."""
        documents = dict(zip(names, self.done(*names), strict=True))
        return sorted(names, key=lambda name: at(documents[name]["tasks"][0]["started_at"]))

    def reason(self, name: str) -> str:
        return str(self.client.explain(self.names[name])["summary"])

    def figure(self, metric: str) -> float:
        """A sample of the metrics page."""
        return sample(self.up.http, metric)


def at(text: str) -> float:
    """Seconds of a recorded time."""
    return datetime.fromisoformat(text).timestamp()


def most_at_once(documents: Sequence[Document]) -> int:
    """The most tasks that ran at the same time, by their recorded times."""
    tasks = [task for one in documents for task in one["tasks"]]
    return max(
        sum(at(one["started_at"]) <= at(task["started_at"]) < at(one["ended_at"]) for one in tasks) for task in tasks
    )


class second_ant:
    """One more ant of a server, while the block lasts."""

    def __init__(self, up: Up, *options: str) -> None:
        command = (*FORMICARY, "ant", "--queen", up.address, "--id", "second", *options)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=REPOSITORY)

    def __enter__(self) -> None:
        assert self.process.stdout is not None
        assert b"ready" in self.process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=40)


def sample(port: int, metric: str) -> float:
    """A sample without labels of the metrics page of a server."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = str(answer.read(), "utf-8").splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric + " "))
