"""The trace id of a call, from the W3C trace context that came with it, else a new one."""

from __future__ import annotations

from formicary.gateway.call import Call
from formicary.gateway.service import before
from formicary.problems.trace_context import continued

HEADER = "traceparent"
SHOWN = "x-trace-id"


@before
def trace(call: Call) -> None:
    """Gives the call its trace id and shows it in the response's metadata."""
    context = continued(call.value(HEADER))
    call.trace_id = context.trace_id
    call.traceparent = context.traceparent
    call.headers.append((SHOWN, context.trace_id))
