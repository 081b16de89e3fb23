"""Functions that the tests run as PYTHON tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional

from formicary.engine.ants.context import current_task


def noop() -> None:
    pass


@dataclass
class Point:
    x: int
    y: int = 2


def typed(
    number: int,
    share: float,
    name: str,
    flag: bool,
    items: list[int],
    table: dict[str, list[str]],
    kind: Literal["a", "b"] = "a",
    maybe: Optional[int] = None,  # noqa: UP045 (both spellings have to work)
    point: Point | None = None,
) -> dict[str, Any]:
    return {"seen": [number, share, name, flag, items, table, kind, maybe, point and [point.x, point.y]]}


def needs(name: str) -> str:
    return name


def extras(a: int, **rest: object) -> dict[str, object]:
    return {"a": a, "rest": rest}


def untyped(value, other=3):  # type: ignore[no-untyped-def]  # untyped on purpose
    return [value, other]


async def later(value: int) -> int:
    await asyncio.sleep(0.01)
    return value + 1


def fails() -> None:
    _inner()


def _inner() -> None:
    raise ValueError("the moon is full")


def leaves(code: int) -> None:
    sys.exit(code)


def dies(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)


def writes() -> dict[str, str]:
    print("from print")
    print("no end", end="")
    sys.stderr.write("from stderr\n")
    logging.getLogger("mine").warning("from logging")
    os.write(1, b"\nraw\n")
    subprocess.run(["echo", "from a child"], check=True)
    print("::set-output name=A::printed")
    print("::set-output name=B::printed")
    return {"B": "returned"}


def writes_then_waits(gate: str) -> None:
    print("first")
    while not Path(gate).exists():
        time.sleep(0.005)
    print("second")


def identity() -> dict[str, str | None]:
    task = current_task()
    return {
        "key": os.environ["FORMICARY_TASK_KEY"],
        "job": os.environ["FORMICARY_JOB_ID"],
        "type": os.environ["FORMICARY_TASK_TYPE"],
        "attempt": os.environ["FORMICARY_ATTEMPT"],
        "same": str((task.key, task.job_id, task.attempt) == (os.environ["FORMICARY_TASK_KEY"], task.job_id, 3)),
        "mine": os.environ.get("MINE"),
        "seen_by_children": subprocess.run(
            ["sh", "-c", "echo $FORMICARY_TASK_KEY"], check=True, capture_output=True, text=True
        ).stdout.strip(),
    }


def progresses() -> None:
    current_task().progress(0.5, "half")
    current_task().progress(1.0)


def hangs(pids: str = "") -> None:
    if pids:
        child = subprocess.Popen(["sleep", "100"])
        Path(pids).write_text(f"{os.getpid()} {child.pid}")
    while True:
        time.sleep(1)


def spins() -> None:
    while True:
        pass


def hangs_if(is_long: bool, gate: str = "") -> None:
    while is_long and not (gate and Path(gate).exists()):
        time.sleep(0.005)


def counts(file: str, pause_s: float = 0.0, crash_at: int = -1) -> int:
    """Leaves a mark, so that a test can count how often it was started."""
    number = int(os.environ["FORMICARY_JOB_ID"].removeprefix("job"))
    with open(file, "a") as marks:
        marks.write(f"{number}\n")
    if number == crash_at:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(pause_s)
    return number


def overlaps(folder: str) -> None:
    """Leaves a file while it runs, so that a test can see how many run at the same time."""
    mark = Path(folder, f"{os.getpid()}-{time.monotonic_ns()}")
    mark.touch()
    time.sleep(0.02)
    with Path(folder, "most").open("a") as most:
        most.write(f"{len(list(Path(folder).glob('*-*')))}\n")
    mark.unlink()


def returns(what: str) -> object:
    values: dict[str, object] = {
        "set": {1},
        "bytes": b"x",
        "object": object(),
        "nested": {"rows": [1, {"when": {2}}]},
        "nan": float("nan"),
        "keys": {1: 2},
        "large": "x" * 2_000_000,
        "tuple": (1, "a", None),
        "point": Point(1),
        "text": "grüße \ud800"[:5],
        "zero": 0,
        "deep": _deep(),
        "big": 2**70,
    }
    return values[what]


def _deep() -> object:
    value: object = 1
    for _ in range(300):
        value = [value]
    return value


def forks() -> str:
    pid = os.fork()
    if pid == 0:
        return "the child must not answer"
    os.waitpid(pid, 0)
    return "parent"


class Holder:
    @staticmethod
    def method(n: int) -> int:
        return n * 2


not_callable = 3


def leave(values: list[Any]) -> dict[str, Any]:
    """Leaves each value; tells what it was given."""
    task = current_task()
    for value in values:
        task.checkpoint(value)
    return {"given": task.last_checkpoint, "text": os.environ.get("FORMICARY_CHECKPOINT")}


def leave_and_fail(value: Any) -> None:
    current_task().checkpoint(value)
    raise ValueError("after it")


def leave_and_die(value: Any) -> None:
    current_task().checkpoint(value)
    os._exit(7)


def leave_too_much(kind: str) -> str:
    try:
        current_task().checkpoint("x" * 70_000 if kind == "large" else object())
    except ValueError as error:
        return str(error)
    return "kept"


def until_asked(begun: str, answers: bool) -> None:
    """Runs until it is asked to stop, then leaves that it was; one that does not answer runs on."""
    Path(begun).touch()
    task = current_task()
    while not (answers and task.is_stopping):
        time.sleep(0.01)
    task.checkpoint("asked")


def takes_memory(size: int) -> int:
    """Has so many bytes for a moment, and says how many."""
    return len(bytearray(size))
