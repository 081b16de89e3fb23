"""What there is to say about a job, its tasks and what is below them, in a line for people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "SKIPPED"})
"""States that nothing follows."""


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Seconds from one time of a document to another one (None = now); None where it has not started."""
    if not start:
        return None
    begun = datetime.fromisoformat(start).timestamp()
    return max(0.0, (datetime.fromisoformat(end).timestamp() if end else time.time()) - begun)


def below(children: Mapping[str, Any]) -> str:
    """How far the elements or jobs of a task are."""
    what = "element" if children["kind"] == "task" else "job"
    ended = sum(children[name] for name in ("completed", "failed", "cancelled", "skipped"))
    total = children["total"]
    words = [f"{ended:,} of {total:,} {what}{'s' if total != 1 else ''}"]
    held = "on ants" if children["kind"] == "task" else "open"  # an ant has some in advance, to begin without a pause
    words += [f"{children['running']:,} {held}"] if children["running"] else []
    words += [f"{children[name]:,} {name}" for name in ("failed", "cancelled", "skipped") if children[name]]
    return ", ".join(words)


def describe_child(child: Mapping[str, Any]) -> str:
    """One element or job below a task."""
    error = child.get("error") or {}
    why = str(error.get("message") or error.get("code") or "").strip().partition("\n")[0]
    code = f"exit code {child['exit_code']}" if not why and child.get("exit_code") else ""
    return " ".join(
        word for word in (child.get("name") or f"job {child['job_id']}", child["state"], why or code) if word
    )


def describe(task: Mapping[str, Any]) -> str:
    """What is worth saying about a task beside its state."""
    words: list[str] = []
    if task["state"] in ("FAILED", "CANCELLED") and task.get("error"):
        words.append(str(task["error"]["message"] or task["error"]["code"]).strip().partition("\n")[0])
    elif task.get("exit_code"):
        words.append(f"exit code {task['exit_code']}")
    if task.get("skipped"):
        words.append("left out by `except`")
    if task["attempts"] > 1:
        words.append(f"attempt {task['attempts']}")
    if task.get("children"):
        words.append(below(task["children"]))
    if task.get("progress"):
        progress = task["progress"]
        words.append(f"{progress['fraction']:.0%} {progress['message']}".strip())
    if task.get("checkpoint"):
        left = task["checkpoint"]
        unit = "byte" if left["size_bytes"] == 1 else "bytes"
        words.append(f"checkpoint of attempt {left['attempt']}, {left['size_bytes']:,} {unit}")
    took = seconds_between(task["started_at"], task["ended_at"]) if task["state"] in ENDED else None
    if took is not None:
        words.append(f"{took:.2f} s")
    return ", ".join(words)
