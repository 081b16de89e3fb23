"""What of a definition can never come true: a deadline that has passed, requirements that exclude each other."""

from __future__ import annotations

from formicary.engine.jobs.gang import deadline_of
from formicary.engine.jobs.model import JobDefinition, Violation
from formicary.engine.jobs.places import place_of_field
from formicary.engine.scheduling.policies.contradictions import contradiction
from formicary.engine.scheduling.requirements import as_text, requirements


def never_true(model: JobDefinition, wall: float) -> list[Violation]:
    """Violations of a definition that is right in itself.

    Args:
        model: The definition.
        wall: Seconds since the epoch.
    """
    found = []
    due = deadline_of(model.deadline, wall)
    if due is not None and due < wall:
        line = place_of_field(model, "deadline").line
        text = f"The deadline {model.deadline} has passed: write a later one, or a duration after the submission."
        found.append(Violation(line, 1, "deadline", "OUT_OF_RANGE", text))
    for at, task in enumerate(model.tasks):
        placement = as_text(task.placement)
        if not placement or "{{" in placement or "{%" in placement:  # nothing is asked, or it is known once rendered
            continue
        why = contradiction(requirements(placement))
        if why is not None:
            text = f"The placement of {task.task_type} cannot be: {why}."
            place = task.position
            found.append(Violation(place.line, place.column, f"tasks[{at}].placement", "IMPOSSIBLE", text))
    return found
