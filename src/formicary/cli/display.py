"""How `formicary run` shows a job: a live tree for people, one line per change when piped."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import IO, Any, Protocol

from formicary.cli.describing import ENDED, below, describe, describe_child, seconds_between
from formicary.cli.output import console, state_style
from formicary.engine.jobs.fan_out import task_name

_MARKS = {
    "COMPLETED": "✓",
    "FAILED": "✗",
    "CANCELLED": "✗",
    "SKIPPED": "·",
    "PENDING": "·",
    "EXECUTING": "▶",
    "DISPATCHED": "▶",
}
_LOG_STYLES = {2: "yellow", 3: "dim"}
_SPARE_LINES = 6
_LONG = 20
"""Elements of a list whose way is told in between."""
_MOST_CHILDREN = 5
"""Elements or jobs that are drawn below a task."""


class Display(Protocol):
    """What shows a job."""

    def job(self, document: Mapping[str, Any]) -> None:
        """The job as it is now."""
        ...

    def log(self, task_type: str, stream: int, text: str) -> None:
        """A log line of a task."""
        ...

    def close(self) -> None:
        """Nothing more comes."""
        ...


class Lines:
    """One line per change of state, and the log lines between them.

    Log lines and documents come on two ways. A line of a task that has not been shown as begun is held until it is, so
    that nobody reads what a task said before the end of the one that led to it.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._seen: dict[str, tuple[str, int]] = {}
        self._held: dict[str, list[str]] = {}
        self._tenths: dict[str, int] = {}
        self._state = ""

    def job(self, document: Mapping[str, Any]) -> None:
        """Prints what has changed since the last document."""
        opened = not self._state
        if opened:
            self._print(f"job {document['id']} {document['job_type']}")
        for task in document.get("tasks", ()):
            name, now = task["task_type"], (task["state"], task["attempts"])
            if self._seen.get(name, ("PENDING", 0)) != now:
                self._seen[name] = now
                if task["state"] in ENDED:
                    self._release(name)
                if task["state"] != "PENDING":
                    about = describe(task)
                    self._print(f"{name} {task['state']}{f' ({about})' if about else ''}")
                if task["attempts"]:
                    self._release(name)
            elif task.get("children"):
                self._further(name, task["children"])
        state = document["state"]
        if state != self._state and (not opened or state != "PENDING"):
            took = seconds_between(document["started_at"], document["ended_at"]) if document["ended_at"] else None
            self._print(f"job {document['id']} {state}{f' ({took:.2f} s)' if took is not None else ''}")
        self._state = state

    def _further(self, name: str, children: Mapping[str, Any]) -> None:
        """Prints each tenth of a fan-out, so that a long list is ten lines."""
        ended = sum(children[state] for state in ("completed", "failed", "cancelled", "skipped"))
        tenth = ended * 10 // max(1, children["total"])
        if children["total"] >= _LONG and self._tenths.get(name, 0) < tenth < 10:
            self._tenths[name] = tenth
            self._print(f"{name} {below(children)}")

    def log(self, task_type: str, stream: int, text: str) -> None:
        """Prints a log line, or holds it until its task is shown as begun."""
        line, name = f"{task_type} | {text}", task_name(task_type)
        if self._state and not self._seen.get(name, ("PENDING", 0))[1]:
            self._held.setdefault(name, []).append(line)
        else:
            self._print(line)

    def close(self) -> None:
        """Prints what is still held."""
        for name in list(self._held):
            self._release(name)

    def _release(self, name: str) -> None:
        for line in self._held.pop(name, ()):
            self._print(line)

    def _print(self, text: str) -> None:
        try:
            print(text, file=self._stream, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "backslashreplace").decode(), file=self._stream, flush=True)


class LiveTree:
    """A tree of the tasks that changes in place; log lines run above it.

    Args:
        stderr: Whether to draw on standard error.
    """

    def __init__(self, *, stderr: bool) -> None:
        from rich.live import Live

        self._console = console(stderr=stderr)
        self._document: Mapping[str, Any] | None = None
        self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=8, redirect_stdout=False)
        self._live.start()

    def job(self, document: Mapping[str, Any]) -> None:
        """Takes the job as it is now; it is drawn with the next refresh."""
        self._document = document

    def log(self, task_type: str, stream: int, text: str) -> None:
        """Prints a log line above the tree."""
        from rich.text import Text

        line = Text(f"{task_type} ", style="cyan")
        line.append(text, style=_LOG_STYLES.get(stream, "default"))
        self._live.console.print(line)

    def close(self) -> None:
        """Draws the last state and leaves it there."""
        self._live.stop()

    def _draw(self) -> Any:
        from rich.text import Text
        from rich.tree import Tree

        document = self._document
        if document is None:
            return Text("starting …", style="dim")
        state = document["state"]
        label = Text(f"{document['job_type']} ", style="bold")
        label.append(state, style=state_style(state))
        took = seconds_between(document["started_at"], document["ended_at"])
        label.append(f"  {took:.1f} s" if took is not None else "", style="dim")
        label.append(f"  {document['id']}", style="dim")
        tree = Tree(label, guide_style="dim")
        tasks = document.get("tasks", ())
        shown = self._selected(tasks)
        room = self._console.height - _SPARE_LINES - len(shown)
        for task in shown:
            line = Text(f"{_MARKS.get(task['state'], '…')} ", style=state_style(task["state"]))
            line.append(task["task_type"])
            line.append(f"  {task['state']}", style=state_style(task["state"]))
            about = describe(task)
            if about:
                line.append(f"  {about}", style="dim")
            branch = tree.add(line)
            if room >= _MOST_CHILDREN:
                children = self._children(task)
                room -= len(children)
                for child in children:
                    branch.add(Text(describe_child(child), style=state_style(child["state"])))
        if len(shown) < len(tasks):
            done = sum(task["state"] in ENDED for task in tasks)
            tree.add(Text(f"{len(tasks)} tasks, {done} have ended", style="dim"))
        return tree

    def _children(self, task: Mapping[str, Any]) -> list[Any]:
        """What is worth a line below a task: what has failed, and what runs while it does."""
        children = task.get("children")
        found = children["shown"] if children else []
        over = task["state"] == "COMPLETED"
        return [child for child in found if not over or child["state"] != "COMPLETED"][:_MOST_CHILDREN]

    def _selected(self, tasks: Any) -> list[Any]:
        """The tasks that fit on the screen: what runs or failed first, in file order."""
        room = max(5, self._console.height - _SPARE_LINES)
        if len(tasks) <= room:
            return list(tasks)
        order = {"FAILED": 0, "EXECUTING": 1, "DISPATCHED": 1, "WAITING": 2, "READY": 3, "PENDING": 4}
        ranked = sorted(range(len(tasks)), key=lambda i: (order.get(tasks[i]["state"], 5), i))
        return [tasks[i] for i in sorted(ranked[:room])]


def make_display(output: str) -> Display:
    """The display for this terminal: beside data (JSON, YAML) it goes to standard error."""
    aside = output != "table"
    stream = sys.stderr if aside else sys.stdout
    return LiveTree(stderr=aside) if stream.isatty() else Lines(stream)
