"""The type of each column, for every adapter."""

from __future__ import annotations

from collections.abc import Mapping

_INT_COLUMNS = (
    "alert",
    "secret",
    "approves",
    "retry",
    "suppressed",
    *("paused", "generation", "fired", "window_count"),
    "attempt",
    "size",
    *("number", "job", "position", "version", "priority", "execution", "retries", "pauses", "dead_letter", "attempts"),
    *("failures", "lost", "polls", "token", "exit_code", "signal", "skipped", "routed_to", "ended_order"),
)
_FLOAT_COLUMNS = (
    "time",
    *("next_at", "sent_at", "last_at", "window_at", "asked_at", "escalated_at", "decided_at", "voted_at"),
    *("dead_at", "changed_at"),
    *("created_at", "submitted_at", "scheduled_at", "started_at", "ended_at", "timer_at", "deadline_at"),
    "clock_left_s",
    "expires_at",
    "updated_at",
    "written_at",
)
_BYTES_COLUMNS = (
    *(
        "target",
        "payload",
        "policy",
        "value",
        "spec",
        "waiting",
        "mark",
        "content",
        "params",
        "variables",
        "outputs",
        "rendered",
        "methods",
    ),
)

COLUMN_TYPES: Mapping[str, type] = {
    **dict.fromkeys(_INT_COLUMNS, int),
    **dict.fromkeys(_FLOAT_COLUMNS, float),
    **dict.fromkeys(_BYTES_COLUMNS, bytes),
}
"""Type of each column, the same in every table; a column that is not named here is text. JSON columns are UTF-8 bytes
(what msgspec encodes). Where a column may be null, None is allowed beside its type; ints fit into 64 bits; an int in
a float column comes back as the equal float. `job` of the keys table is a number like everywhere else."""
