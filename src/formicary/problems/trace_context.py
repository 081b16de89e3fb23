"""The trace of a call: from the W3C trace context that came with it, else a new one.

Source: W3C Trace Context, Level 1 (traceparent).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from formicary.problems.fresh_digits import fresh_digits

_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")
_UNSAMPLED = "00"


class TraceContext(NamedTuple):
    """What of a trace context goes on from one call to the next.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits, of this call.
        flags: Two hexadecimal digits, as they came.
    """

    trace_id: str
    span_id: str
    flags: str

    @property
    def traceparent(self) -> str:
        """The header that is sent on."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def sent_trace_id(traceparent: str) -> str:
    """The trace id of a ``traceparent``, empty where it is none."""
    found = _sent(traceparent)
    return found[2] if found else ""


def trace_id_of(traceparent: str) -> str:
    """The trace id of a ``traceparent``; a new one where there is none or it is not valid."""
    return sent_trace_id(traceparent) or fresh_digits()


def continued(traceparent: str) -> TraceContext:
    """The context of a call that a ``traceparent`` came with; a new trace where there is none or it is not valid."""
    found = _sent(traceparent)
    span_id = fresh_digits()[:16]
    return TraceContext(found[2], span_id, found[3]) if found else TraceContext(fresh_digits(), span_id, _UNSAMPLED)


def _sent(traceparent: str) -> re.Match[str] | None:
    found = _FORM.fullmatch(traceparent) if traceparent else None
    return None if found is None or (found[4] and found[1] == "00") else found
