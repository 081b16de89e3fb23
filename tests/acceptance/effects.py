"""Tasks whose effects can be counted afterwards: each appends one line to a file that all processes share."""

import os
import time
from pathlib import Path

from formicary.engine.ants.context import current_task


def leave_mark(effects: str, pause_s: float = 0.0) -> None:
    """Appends ``KEY ATTEMPT`` in one write, so that lines of several processes never mix."""
    if pause_s:
        time.sleep(pause_s)
    line = f"{os.environ['FORMICARY_TASK_KEY']} {os.environ['FORMICARY_ATTEMPT']}\n"
    file = os.open(effects, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def lag(lags: str, gate: str) -> int:
    """Half of it is done at once and the rest once the gate is open; the first attempt of one that lags gets nowhere.

    Returns:
        The number of the attempt.
    """
    task = current_task()
    if lags != "yes":
        task.progress(0.5)
        _wait_for(gate)
    elif task.attempt == 1:
        task.progress(0.001)
        _wait_for("/nowhere")
    return task.attempt


def _wait_for(file: str, limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while not Path(file).exists():
        if time.monotonic() > end:
            raise TimeoutError(file)
        time.sleep(0.02)


def count_to(effects: str, gate: str, upto: int, stop_at: int) -> int:
    """Counts on from the last checkpoint and leaves one with each step; the first attempt waits at `stop_at`.

    It appends ``ATTEMPT STEP`` to the effects, and ends early where it is asked to make room.
    """
    task = current_task()
    done = task.last_checkpoint or 0
    assert isinstance(done, int)
    while done < upto:
        done += 1
        with Path(effects).open("a") as file:
            file.write(f"{task.attempt} {done}\n")
        task.checkpoint(done)
        while task.attempt == 1 and done >= stop_at and not Path(gate).exists():
            if task.is_stopping:
                return -1
            time.sleep(0.01)
    return done
