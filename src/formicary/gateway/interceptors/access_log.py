"""One line per call for whoever operates the service, and counts by method and code."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, field

from formicary.gateway.call import Call
from formicary.gateway.service import Run
from formicary.problems import Problem

log = logging.getLogger("formicary.access")


@dataclass(slots=True)
class CallCounts:
    """Calls since the start, by what bounds the number of labels: methods and codes are fixed sets."""

    ended: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(method, protocol, code) -> calls."""
    seconds: dict[str, float] = field(default_factory=dict)
    """method -> seconds that its calls took together."""


class AccessLog:
    """Logs and counts every call at its end.

    Args:
        counts: Where to count.
    """

    def __init__(self, counts: CallCounts | None = None) -> None:
        self.counts = counts or CallCounts()

    async def __call__(self, call: Call, proceed: Run) -> None:
        """Counts one call."""
        code = "OK"
        try:
            await proceed(call)
        except Problem as error:
            code = error.code
            raise
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            self._ended(call, code)

    def _ended(self, call: Call, code: str) -> None:
        method = call.method.full_name
        took = time.monotonic() - call.started
        self.counts.ended[method, call.protocol, code] += 1
        self.counts.seconds[method] = self.counts.seconds.get(method, 0.0) + took
        if log.isEnabledFor(logging.INFO):
            log.info("%s %s %s %.1f ms trace %s", call.protocol, method, code, took * 1000, call.trace_id)
