"""The event stream over the API."""

from __future__ import annotations

from contextlib import closing

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.events import KINDS, Chunk, Event, EventFilter
from formicary.engine.queen.runtime import Queen
from formicary.gateway import Call, SharedMessage
from formicary.problems import FieldError, problem
from formicary.server.auth.principal import HOME
from formicary.v1 import events_pb2 as pb
from formicary.v1 import events_pb2_grpc

LAST_EVENT = "last-event-id"
WORDS = tuple(dict.fromkeys(kind.partition(".")[0] for kind in KINDS))
STATES = (*dict.fromkeys((*life.JOB_STATES, *life.TASK_STATES)), "CONNECTED", "DISCONNECTED", "LOST")
_LARGEST = 2**63


class EventServicer(events_pb2_grpc.EventServiceServicer):
    """What happens, to whoever watches.

    Args:
        queen: Whose events.
    """

    def __init__(self, queen: Queen) -> None:
        self._queen = queen

    async def WatchEvents(self, request: pb.WatchEventsRequest, call: Call) -> None:
        """Sends events until the caller leaves."""
        wanted = _filter(request, call.principal.org)
        watch = self._queen.events.watch(wanted, _after(request, call), until_now=request.until_now)
        with closing(watch):
            while (chunk := await watch.next()) is not None:
                await call.write(_message(chunk))


def _message(chunk: Chunk) -> SharedMessage:
    """The chunk as it travels, made once for all who get it."""
    made = chunk.made
    if not isinstance(made, SharedMessage):
        message = pb.WatchEventsResponse(events=map(_event, chunk.events), position=chunk.position)
        made = chunk.made = SharedMessage(message, str(chunk.position))
    return made


def _event(event: Event) -> pb.Event:
    what = event.what
    found = pb.Event(
        sequence=event.sequence,
        kind=event.kind,
        job_id=what.job_id,
        job_type=what.job_type,
        task_type=what.task_type,
        execution=what.execution,
        attempt=what.attempt,
        state=what.state,
        ant=what.ant,
        error_code=what.error_code,
        missed=event.missed,
    )
    if what.time:
        found.time.FromMilliseconds(int(what.time * 1000))
    return found


def _after(request: pb.WatchEventsRequest, call: Call) -> int | None:
    """Where the caller goes on. Raises Problem VALIDATION_FAILED."""
    if request.HasField("after"):
        if request.after < 0:
            raise _wrong(FieldError("after", "OUT_OF_RANGE", "A sequence is 0 or more."))
        return request.after
    text = call.value(LAST_EVENT)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < _LARGEST):
        raise _wrong(FieldError("Last-Event-ID", "INVALID_FORMAT", "The id of an event of this stream is a number."))
    return int(text)


def _filter(request: pb.WatchEventsRequest, org: str) -> EventFilter:
    """What the caller wants. Raises Problem VALIDATION_FAILED naming every unknown kind and state."""
    errors = [
        FieldError(f"kinds[{at}]", "UNKNOWN_VALUE", f"{kind[:40]} is no kind of event; one of {', '.join(KINDS)}.")
        for at, kind in enumerate(request.kinds)
        if kind not in KINDS and kind not in WORDS
    ]
    errors += [
        FieldError(f"states[{at}]", "UNKNOWN_VALUE", f"{state[:40]} is no state; one of {', '.join(STATES)}.")
        for at, state in enumerate(request.states)
        if state not in STATES
    ]
    if errors:
        raise problem("VALIDATION_FAILED", errors[0].message, errors=errors)
    return EventFilter(org, HOME, request.job_id, request.job_type, frozenset(request.kinds), frozenset(request.states))


def _wrong(error: FieldError) -> Exception:
    return problem("VALIDATION_FAILED", error.message, errors=[error])
