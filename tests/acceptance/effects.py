"""Tasks whose effects can be counted afterwards: each appends one line to a file that all processes share."""

import os
import time


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
