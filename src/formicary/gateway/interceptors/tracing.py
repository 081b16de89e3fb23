"""The trace id of a call, from the W3C trace context that came with it, else a new one.

Source: W3C Trace Context, Level 1 (traceparent).
"""

from __future__ import annotations

import os
import re

from formicary.gateway.call import Call
from formicary.gateway.service import Run

HEADER = "traceparent"
SHOWN = "x-trace-id"
_FORM = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")


async def trace(call: Call, proceed: Run) -> None:
    """Gives the call its trace id and shows it in the response's metadata."""
    found = _FORM.fullmatch(call.value(HEADER))
    trace_id, flags = (found[1], found[2]) if found else (os.urandom(16).hex(), "00")
    call.trace_id = trace_id
    call.traceparent = f"00-{trace_id}-{os.urandom(8).hex()}-{flags}"
    call.headers.append((SHOWN, trace_id))
    await proceed(call)
