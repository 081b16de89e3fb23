"""One line per call for whoever operates the service, and counts by method and code."""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from formicary.gateway.call import Call
from formicary.gateway.service import Run
from formicary.problems import Problem

log = logging.getLogger("formicary.access")
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(slots=True)
class CallCounts:
    """Calls since the start, by what bounds the number of labels: methods and codes are fixed sets."""

    ended: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(method, protocol, code) -> calls."""
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    """(method, protocol) -> seconds that its calls took together."""
    durations: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """(method, protocol) -> calls by duration: up to each of BOUNDS_S, and longer ones."""
    panics: int = 0
    """Calls that ended by an exception that nobody expected."""


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
            if code == "INTERNAL" and error.__cause__ is not None:
                self.counts.panics += 1
            raise
        except BaseException:
            code = "CANCELLED"
            raise
        finally:
            self.ended(call.method.full_name, call.protocol, code, time.monotonic() - call.started, call.trace_id)

    def ended(self, method: str, protocol: str, code: str, took: float, trace_id: str) -> None:
        """Logs and counts a call of whatever kind; `method` and `code` are of fixed sets, `took` is in seconds."""
        counts = self.counts
        counts.ended[method, protocol, code] += 1
        key = (method, protocol)
        durations = counts.durations.get(key)
        if durations is None:
            durations = counts.durations[key] = [0] * (len(BOUNDS_S) + 1)
        durations[bisect_left(BOUNDS_S, took)] += 1
        counts.seconds[key] = counts.seconds.get(key, 0.0) + took
        if log.isEnabledFor(logging.INFO):
            log.info("%s %s %s %.1f ms trace %s", protocol, method, code, took * 1000, trace_id)
