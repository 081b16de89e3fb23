"""Event triggers as rows, and what one of them makes of an event: all of it pure."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import msgspec

from formicary.engine.jobs.templates.engine import TemplateError, render_text
from formicary.engine.jobs.triggers import Trigger
from formicary.engine.storage.port import Row

Key = tuple[str, str, str]
"""(organisation, job type, name)."""
_encode = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="deterministic").encode
_trigger = msgspec.json.Decoder(Trigger).decode
_mark = msgspec.json.Decoder(dict[str, Any]).decode
NO_VALUE = "<no value>"
"""What an action renders to where the event has no such thing: a parameter of this alone is not given."""
MOST_DEDUP_CHARS = 10_000
MOST_FIELDS = 1000
"""Fields of an event that templates reach by their names alone."""
_CONTENTS = ("Body", "Message", "Object")


Starts = tuple[float, float, int]
"""Jobs that count together: times of the first and the last of them, and their number."""
MOST_EXACT = 16
_STARTS = "_starts"
"""Where the mark of a row keeps what the rate limit counts."""


@dataclass(frozen=True, slots=True)
class TriggerRow:
    """One event trigger as its row says it.

    Attributes:
        org: Organisation.
        job_type: What is started.
        name: Name of the trigger.
        definition_id: The version that is started.
        version: Number of that version.
        spec: What the definition says; None = the newest version does not have it.
        paused: No event counts.
        generation: Grows with each reset: events of an earlier one count anew.
        mark: How far its source has come.
        fired: Jobs that it has started.
        last_at: Time of the last of them, in seconds since the epoch.
        last_job: Its id; empty = none.
        starts: What its rate limit counts: groups of (first, last, number) of jobs, oldest first.
    """

    org: str
    job_type: str
    name: str
    definition_id: str
    version: int
    spec: Trigger | None
    paused: bool = False
    generation: int = 0
    mark: Mapping[str, Any] = field(default_factory=dict)
    fired: int = 0
    last_at: float | None = None
    last_job: str = ""
    starts: tuple[Starts, ...] = ()

    @property
    def rests(self) -> bool:
        """No event counts at present: it is paused, or its definition switches it off."""
        return self.paused or (self.spec is not None and not self.spec.enabled)

    @property
    def constants(self) -> dict[str, object]:
        """Parameters that are the same for every event."""
        spec = self.spec
        given = spec.params.items() if spec is not None else ()
        return {name: value for name, value in given if not (isinstance(value, str) and "{" in value)}

    @property
    def key(self) -> Key:
        """What identifies it."""
        return self.org, self.job_type, self.name

    def row(self) -> Row:
        """The row (TRIGGER_COLUMNS)."""
        spec = _encode(self.spec) if self.spec is not None else None
        mark = {**self.mark, _STARTS: self.starts} if self.starts else self.mark
        which = (self.definition_id, self.version, spec, int(self.paused), self.generation, _encode(mark))
        window_at, count = self.starts[0][0] if self.starts else 0.0, sum(number for _, _, number in self.starts)
        return (*self.key, *which, self.fired, self.last_at, self.last_job, window_at, count)

    def started(self, count: int, last_job: str, now: float) -> TriggerRow:
        """The same after it has started jobs at a time."""
        limit = self.spec.rate_limit if self.spec is not None else None
        starts = _with(self._counted(now), now, count, limit.window_s) if limit is not None else ()
        return replace(self, fired=self.fired + count, last_at=now, last_job=last_job, starts=starts)

    def room(self, now: float) -> int | None:
        """How many jobs it may start now; None = any number."""
        limit = self.spec.rate_limit if self.spec is not None else None
        if limit is None:
            return None
        return max(0, limit.max_starts - sum(number for _, _, number in self._counted(now)))

    def room_at(self, now: float) -> float:
        """When there is room again, where there is none now."""
        limit, counted = self.spec.rate_limit if self.spec is not None else None, self._counted(now)
        if limit is None or not counted:
            return now
        at = counted[0][1] + limit.window_s
        while at - counted[0][1] < limit.window_s:  # the sum was rounded down
            at = math.nextafter(at, math.inf)
        return at

    def _counted(self, now: float) -> tuple[Starts, ...]:
        """What lies in the window that ends now. A clock that was set back makes nothing uncounted."""
        limit = self.spec.rate_limit if self.spec is not None else None
        return tuple(one for one in self.starts if limit is not None and now - one[1] < limit.window_s)


def _with(counted: tuple[Starts, ...], now: float, count: int, window_s: float) -> tuple[Starts, ...]:
    """With further jobs. The window slides: there is no border at which twice as many could start.

    The first groups hold one moment each. Later ones take a sixteenth of the window together and count until the last
    of them is out of it, so that a row stays small and never lets one through too early.
    """
    last = counted[-1] if counted else None
    if last is not None and len(counted) >= MOST_EXACT and now - last[0] < window_s / MOST_EXACT:
        return (*counted[:-1], (last[0], now, last[2] + count))
    return (*counted, (now, now, count))


def from_row(row: Row) -> TriggerRow:
    """The trigger that a row holds."""
    org, job_type, name, definition_id, version, spec, paused, generation, mark, fired, last_at, last_job, at, count = (
        row
    )
    marked = _mark(mark) if isinstance(mark, bytes | str) else {}
    starts = marked.pop(_STARTS, None)
    if starts is None and count:  # of a version that kept the begin of a window alone
        starts = [(at, at, count)]
    return TriggerRow(
        str(org),
        str(job_type),
        str(name),
        str(definition_id),
        int(version or 0),
        _trigger(spec) if isinstance(spec, bytes | str) else None,
        bool(paused),
        int(generation or 0),
        marked,
        int(fired or 0),
        float(last_at) if last_at is not None else None,
        str(last_job),
        tuple((float(first), float(last), int(number)) for first, last, number in starts or ()),
    )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened outside.

    Attributes:
        variables: What templates see of it.
        identity: The same for the same event, however often it is told; empty = it has none.
        origin: Where it comes from, for people.
    """

    variables: Mapping[str, object]
    identity: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a trigger makes of an event.

    Attributes:
        counts: Whether the filter lets it through.
        params: Parameters of its job, as JSON.
        key: Idempotency key of its job; empty = each such event is a new one.
        problem: Why nothing can be made of it; empty = nothing is wrong.
    """

    counts: bool
    params: bytes = b"{}"
    key: str = ""
    problem: str = ""


def read(row: TriggerRow, events: Sequence[Event], now: float, seed: int, clock: Any) -> list[Reading]:
    """What a trigger makes of events; what is wrong with one of them is its reading's problem."""
    found: list[Reading] = []
    for event in events:
        try:
            found.append(_read(row, event, now, random.Random(seed), clock))
        except TemplateError as error:
            found.append(Reading(False, problem=f"a template cannot be rendered: {error}"))
        except Exception as error:  # user text drives this code: whatever it breaks is this one event's end
            found.append(Reading(False, problem=f"the event cannot be read: {type(error).__name__}: {error}"))
    return found


def _read(row: TriggerRow, event: Event, now: float, rng: random.Random, clock: Any) -> Reading:
    spec = row.spec
    if spec is None:
        return Reading(False)

    shown = _with_older_names(event.variables)

    def text(template: str) -> str:
        return render_text(template, shown, spec.template, now=now, rng=rng, clock=clock)

    if spec.filter and text(spec.filter).strip().lower() != "true":
        return Reading(False)
    rendered = {name: text(value) if isinstance(value, str) else value for name, value in spec.params.items()}
    params = {name: value for name, value in rendered.items() if value != NO_VALUE}
    identity = ("event", event.identity)
    if spec.dedup_key:
        dedup = text(spec.dedup_key).strip()
        if not dedup or NO_VALUE in dedup or len(dedup) > MOST_DEDUP_CHARS:
            return Reading(False, problem=f"dedup_key renders to {dedup[:60]!r}, which tells no events apart")
        identity = ("dedup", dedup)
    if not identity[1]:
        return Reading(True, _encode(params))
    whole = _canonical([row.job_type, row.name, row.generation, *identity])
    return Reading(True, _encode(params), f"event:{sha256(whole).hexdigest()}")


def _with_older_names(variables: Mapping[str, object]) -> Mapping[str, object]:
    """What templates see: older files call the content of every event Payload, and name its fields without it."""
    content = next((variables[name] for name in _CONTENTS if name in variables), None)
    fields = content if isinstance(content, Mapping) and len(content) <= MOST_FIELDS else {}
    return {**fields, "Payload": content, "Event": content, **variables}
