"""Data on standard output: JSON, YAML, or tables that are plain lines when nobody looks at them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from formicary.cli.describing import below, describe_child

if TYPE_CHECKING:
    from rich.console import Console

MOST_OUTPUTS = 50
MOST_ELEMENTS = 20
MOST_CHARS = 500
"""What people are shown of outputs; data formats have them whole."""
_OF_ELEMENT = re.compile(r".+_\d+_.+", re.DOTALL)

_COLOURS = {
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "EXECUTING": "cyan",
    "DISPATCHED": "cyan",
    "READY": "blue",
    "WAITING": "magenta",
    "PAUSED": "magenta",
    "MANUAL_APPROVAL_REQUIRED": "magenta",
}


def state_style(state: str) -> str:
    """The colour of a state; empty for none."""
    return _COLOURS.get(state, "dim")


def console(*, stderr: bool = False) -> Console:
    """A Rich console; it honours NO_COLOR and is plain when piped."""
    from rich.console import Console

    return Console(
        stderr=stderr, highlight=False, soft_wrap=True, no_color=True if os.environ.get("NO_COLOR") else None
    )


class ReaderGone(Exception):
    """Whoever read standard output has gone, like `head`: nothing is wrong, and nothing more can be said."""


def write(text: str) -> None:
    """Writes to standard output at once. Raises ReaderGone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ReaderGone from None


def to_json(value: object) -> str:
    """JSON, indented for people."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def to_yaml(value: object) -> str:
    """YAML in the order of the value's keys."""
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def emit(value: object, form: str) -> None:
    """Writes one value as JSON or YAML."""
    write(to_yaml(value) if form == "yaml" else to_json(value) + "\n")


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Writes a table: Rich on a terminal, else lines with a header and two blanks between the columns."""
    found = [["-" if cell is None else str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for row in found:
            table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
        console().print(table)
        return
    widths = [max(len(line[i]) for line in (list(columns), *found)) for i in range(len(columns))]
    for line in (list(columns), *found):
        write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n")


def emit_job(document: Mapping[str, Any]) -> None:
    """Writes a job for people: what it is, its tasks, its outputs."""
    for name in ("id", "job_type", "state", "submitted_at", "scheduled_at", "started_at", "ended_at"):
        if document.get(name) is not None:
            write(f"{name:<13} {document[name]}\n")
    found = document.get("estimate")
    if found:
        told = found["reason"] or f"{found['starts_at']} (from {found['earliest_at']} to {found['latest_at']})"
        write(f"{'starts about':<13} {told}\n")
    if document.get("error"):
        write(f"{'error':<13} {document['error']['detail']}\n")
    write("\n")
    emit_table(
        ("TASK", "STATE", "EXIT", "ATTEMPTS", "ANT", "STARTED", "ENDED"),
        [
            [
                task.get(name)
                for name in ("task_type", "state", "exit_code", "attempts", "ant", "started_at", "ended_at")
            ]
            for task in document.get("tasks", ())
        ],
    )
    _emit_children(document)
    _emit_approvals(document)
    emit_outputs(document)


def _emit_children(document: Mapping[str, Any]) -> None:
    """Writes how far the elements and jobs below tasks are, and the few that are named."""
    for task in document.get("tasks", ()):
        children = task.get("children")
        if not children:
            continue
        write(f"\n{task['task_type']}: {below(children)}\n")
        for child in children["shown"]:
            write(f"  {describe_child(child)}\n")


def _emit_approvals(document: Mapping[str, Any]) -> None:
    """Writes who has voted, and what is missing."""
    for task in document.get("tasks", ()):
        asked = task.get("approval")
        if not asked:
            continue
        write(f"\napproval of {task['task_type']}: {asked['state']}")
        write(f", missing: {asked['missing']}\n" if asked["missing"] else "\n")
        if asked["deadline_at"]:
            write(f"  {asked['policy']['timeout_action']} at {asked['deadline_at']}\n")
        if asked["escalated_at"]:
            write(f"  escalated at {asked['escalated_at']}\n")
        for vote in asked["votes"]:
            comment = f": {vote['comment']}" if vote["comment"] else ""
            write(f"  {vote['voted_at']} {vote['voter']} {vote['decision']}{comment}\n")


def emit_outputs(document: Mapping[str, Any]) -> None:
    """Writes the outputs of a job for people."""
    outputs = document.get("outputs")
    if outputs:
        write("\noutputs:\n")
        results = outputs.get("FanOutResults")
        is_long = isinstance(results, list) and len(results) > MOST_ELEMENTS
        # Outputs of single elements of a long list come last: what else there is shall be seen.
        names = sorted(outputs, key=lambda name: is_long and _OF_ELEMENT.fullmatch(name) is not None)
        for name in names[: MOST_ELEMENTS if is_long else MOST_OUTPUTS]:
            value = outputs[name]
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            more = f"… {len(text) - MOST_CHARS:,} more characters" if len(text) > MOST_CHARS else ""
            write(f"  {name}: {text[:MOST_CHARS]}{more}\n")
        left = len(outputs) - (MOST_ELEMENTS if is_long else MOST_OUTPUTS)
        if left > 0:
            write(f"  … and {left:,} more: --output json shows all of them\n")
