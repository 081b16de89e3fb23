"""Reads `cron_trigger`: an expression, or a mapping of it with its time zone and policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from formicary.engine.jobs.cron import MISSED, OVERLAP, CronError, parse_cron
from formicary.engine.jobs.fields import Field
from formicary.engine.jobs.model import JobDefinition, Position, Violation
from formicary.engine.jobs.readers import ABSENT, READERS, Context, entries, is_null, join, read_text
from formicary.engine.jobs.yaml_nodes import Node

_MOST: Final = 200
FIELDS: Final[Mapping[str, Field]] = {
    "schedule": Field("schedule", "text", "The expression.", required=True, most=_MOST),
    "time_zone": Field("time_zone", "text", "Name of the time zone.", most=100),
    "missed": Field("missed", "choice", "What becomes of runs that were missed.", choices=MISSED),
    "overlap": Field("overlap", "choice", "What becomes of a run while the one before goes on.", choices=OVERLAP),
}


def read_cron(ctx: Context, node: Node, path: str, row: Field) -> object:
    """Reads one trigger; a :class:`Cron`."""
    if is_null(node):
        return ABSENT
    values: dict[str, str] = {}
    place, where = node, path
    if node.kind == "map":
        for name, key, value in entries(ctx, node, path):
            kind = FIELDS.get(name)
            if kind is None:
                ctx.add(key, join(path, name), "UNKNOWN_FIELD", f"{path} has no field {name[:60]!r}.")
                continue
            found = READERS[kind.kind](ctx, value, join(path, name), kind)
            if isinstance(found, str):
                values.setdefault(name, found)
            if name == "schedule":
                place, where = value, join(path, name)
        if place is node:
            ctx.add(node, join(path, "schedule"), "MISSING_FIELD", f"{path} needs a schedule, like '0 9 * * MON-FRI'.")
    else:
        text = read_text(ctx, node, path, row)
        if isinstance(text, str):
            values["schedule"] = text
    if "schedule" not in values:
        return ABSENT
    if ctx.is_masked(place):
        ctx.add(place, where, "BAD_CRON", f"{where} is read when the job is registered: no template can stand here.")
        return ABSENT
    try:
        return parse_cron(
            values["schedule"],
            zone=values.get("time_zone", ""),
            missed=values.get("missed", "last"),
            overlap=values.get("overlap", "allow"),
        )
    except CronError as error:
        ctx.add(place, where, "BAD_CRON", str(error))
        return ABSENT


def cron_violations(definition: JobDefinition, now: float) -> tuple[Violation, ...]:
    """What is wrong with the trigger as of now: all its times have passed.

    Args:
        definition: A valid definition.
        now: Seconds since the epoch.
    """
    cron = definition.cron_trigger
    if cron is None or cron.next(now) is not None:
        return ()
    place = definition.marks.get("cron_trigger", Position(definition.source_line, 1))
    message = "This cron_trigger never comes true any more: all its times have passed."
    return (Violation(place.line, place.column, "cron_trigger", "BAD_CRON", message),)
