"""Where in its file something of a definition stands."""

from __future__ import annotations

import re

from formicary.engine.jobs.model import JobDefinition, Position


def place_of_field(model: JobDefinition, name: str) -> Position:
    """The line of a field of the job, or of its `job_type` where it has no such line, or the begin of its source."""
    lines = model.source.splitlines()
    for wanted in (name, "job_type"):
        pattern = re.compile(rf"['\"]?{re.escape(wanted)}['\"]?\s*:")
        found = next((number for number, text in enumerate(lines, model.source_line) if pattern.match(text)), None)
        if found is not None:
            return Position(found, 1)
    return Position(model.source_line, 1)


def place_of_remark(model: JobDefinition, text: str) -> Position:
    """The line of what a remark of a server is about: `task NAME …`, `the gang …`, `the job needs …`."""
    about = [task for task in model.tasks if text.startswith((f"task {task.task_type}:", f"task {task.task_type} "))]
    if about:
        return max(about, key=lambda task: len(task.task_type)).position
    field = "gang" if text.startswith("the gang") else "resources" if text.startswith("the job needs") else "job_type"
    return place_of_field(model, field)
