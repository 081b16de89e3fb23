"""The engines that take part: which sections each is measured in, and how its runner is started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Measurement
from bench.peers import environments
from bench.peers.services import Services, rabbitmq_url
from bench.server import REPO

_LIMIT_S = 300.0
_STOP_LIMIT_S = 15.0


class RunFailed(Exception):
    """A runner ended without all its figures; the text says why."""


@dataclass(frozen=True, slots=True)
class Participant:
    """One engine in one set-up.

    Args:
        engine: its name in the figures.
        modes: the runner's modes for each section.
        prepare: returns the command without modes; called before each run with a private folder. None: not possible
            on this machine.
        is_peer: False for Formicary itself.
        start_s: estimate of the time that starting and stopping takes.
    """

    engine: str
    modes: Mapping[str, tuple[str, ...]]
    prepare: Callable[[Path], list[str] | None]
    is_peer: bool = True
    start_s: float = 4.0

    def chosen(self, sections: set[str]) -> list[str]:
        """Return the modes of the sections asked for."""
        found = (mode for section, modes in self.modes.items() if section in sections for mode in modes)
        return list(dict.fromkeys(found))


@dataclass(slots=True)
class Field:
    """Everything a participant's command may need.

    Args:
        services: the private servers of this run.
        say: told one line for each thing that takes long.
    """

    services: Services
    say: Callable[[str], None]
    _pythons: dict[str, Path] = field(default_factory=dict)

    def _runner(self, name: str, folder: Path) -> list[str]:
        if name not in self._pythons:
            self._pythons[name] = environments.ensure(name, self.say)
        return [str(self._pythons[name]), "-m", f"bench.peers.{name}_runner", "--folder", str(folder)]

    def celery_redis(self, folder: Path) -> list[str] | None:
        """Return the command of Celery with Redis as broker."""
        redis = self.services.redis()
        return None if redis is None else [*self._runner("celery", folder), "--redis", redis]

    def celery_rabbitmq(self, folder: Path) -> list[str] | None:
        """Return the command of Celery with RabbitMQ as broker and results in Redis."""
        command, broker = self.celery_redis(folder), rabbitmq_url()
        return None if command is None or broker is None else [*command, "--broker", broker]

    def procrastinate(self, folder: Path) -> list[str] | None:
        """Return the command of Procrastinate on a fresh database."""
        database = self.services.database("procrastinate")
        return None if database is None else [*self._runner("procrastinate", folder), "--postgres", database]

    def dbos(self, folder: Path) -> list[str] | None:
        """Return the command of DBOS on a fresh SQLite file."""
        return self._runner("dbos", folder)

    def huey(self, folder: Path) -> list[str] | None:
        """Return the command of Huey on a fresh SQLite file."""
        return self._runner("huey", folder)

    def ours(self, folder: Path) -> list[str] | None:
        """Return the command of Formicary on a fresh SQLite file."""
        return [sys.executable, "-m", "bench.ours", "--folder", str(folder)]

    def ours_postgres(self, folder: Path) -> list[str] | None:
        """Return the command of Formicary on a fresh PostgreSQL database."""
        database = self.services.database("formicary")
        return None if database is None else [*self.ours(folder), "--database", database]  # type: ignore[misc]  # never None

    def prepare_all(self, participants: Sequence[Participant], folder: Path) -> list[str]:
        """Make every environment and server before the clock starts; return what is missing, a sentence each."""
        missing = []
        for participant in participants:
            try:
                command = participant.prepare(folder)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                missing.append(f"{participant.engine}: {error}")
                continue
            if command is None:
                missing.append(f"{participant.engine}: the server it needs is not installed or not running")
        return missing


def all_participants(field_: Field, full: bool) -> list[Participant]:
    """Return who takes part, in the order of a round."""
    bulk: dict[str, tuple[str, ...]] = {"bulk": ("bulk",)}
    everything = {"single": ("single",), "idle": ("latency",)} if full else {}
    ours = {
        "bulk": ("bulk",),
        "single": ("single",),
        "idle": ("latency", "shell"),
        "chain": ("chain",),
        "fan": ("fan",),
    }
    celery = {"bulk": ("bulk",), "single": ("single",), "idle": ("latency",), "chain": ("chain",), "fan": ("fan",)}
    dbos = {**bulk, "chain": ("chain",), **({"fan": ("fan",)} if full else {})}
    return [
        Participant("celery+redis", celery, field_.celery_redis),
        Participant("procrastinate+postgresql", {**bulk, "postgres": ("bulk",), **everything}, field_.procrastinate),
        Participant("dbos+sqlite", dbos, field_.dbos),
        Participant("huey+sqlite fsync", {**bulk, **everything}, field_.huey, start_s=2.5),
        Participant("celery+rabbitmq", {"fan": ("fan",)}, field_.celery_rabbitmq),
        Participant("formicary+sqlite", ours, field_.ours, is_peer=False),
        Participant("formicary+postgresql", {"postgres": ("bulk",)}, field_.ours_postgres, is_peer=False),
    ]


def run(command: Sequence[str], log: Path, stamps_folder: Path | None = None) -> list[Measurement]:
    """Run a runner to its end and return its JSON lines.

    Args:
        command: the whole command.
        log: file for its standard error.
        stamps_folder: where its tasks count themselves.

    Raises:
        RunFailed: it ended with an error or took too long.
    """
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join((str(REPO), str(REPO / "src"))))
    environment["PYTHONWARNINGS"] = "ignore"
    if stamps_folder is not None:
        environment["BENCH_STAMPS"] = str(stamps_folder)
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=REPO, start_new_session=True, text=True
        )
    watchdog = threading.Timer(_LIMIT_S, process.terminate)
    watchdog.start()
    try:
        assert process.stdout is not None
        lines = [line for line in process.stdout if line.startswith("{")]
        process.wait()
    finally:
        watchdog.cancel()
        _end(process)
    if process.returncode:
        said = log.read_text(errors="replace").strip().splitlines()
        raise RunFailed(f"exit status {process.returncode}: {said[-1] if said else 'no message'}")
    return [json.loads(line) for line in lines]


def _end(process: subprocess.Popen[str]) -> None:
    """Stop a runner that is still going, so that it stops its own workers; SIGKILL only when that fails."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
