"""Jobs that other organisations may start: their names and versions (`public_plugin`)."""

from __future__ import annotations

import re

from formicary.engine.jobs.model import JobDefinition, Position, Violation

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2,}")


def public_violations(definition: JobDefinition) -> tuple[Violation, ...]:
    """What keeps a job from being public: a name that anybody could have given to another job.

    Args:
        definition: A valid definition.
    """
    if not definition.public_plugin or _NAME.fullmatch(definition.job_type):
        return ()
    place = definition.marks.get("public_plugin", Position(definition.source_line, 1))
    message = (
        f"A public job has a name in reverse-domain form of three parts at least, like io.example.thumbnails: "
        f"{definition.job_type[:60]!r} is none."
    )
    return (Violation(place.line, place.column, "public_plugin", "BAD_NAME", message),)


def is_early(sem_version: str | None) -> bool:
    """Whether a version is one before its release, like 1.0-rc: those who want it name it."""
    return "-" in (sem_version or "").partition("+")[0]
