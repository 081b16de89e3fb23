"""From any exception to a problem, the same in both protocols; the unexpected is logged in full and shown as nothing.

The log has the cause and the trace id; the client gets the code INTERNAL and the same trace id.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from formicary.problems.catalogue import CATALOGUE, problem
from formicary.problems.problem import Problem

log = logging.getLogger("formicary.problems")

Hook = Callable[[str, str], None]
"""Called with the code and the protocol of every problem that goes out; codes are those of the catalogue or ``OTHER``,
and ``PANIC`` besides whenever it was an unexpected exception."""

PANIC = "PANIC"
OTHER = "OTHER"


class Catcher:
    """Turns exceptions into problems and counts them.

    Args:
        protocol: ``http`` or ``grpc``.
        hook: For metrics; what it raises is logged and goes no further.

    Attributes:
        counts: Problems by code.
        panics: Unexpected exceptions so far (``problems_panics_total``).
    """

    def __init__(self, protocol: str, hook: Hook | None = None) -> None:
        self.protocol = protocol
        self.counts: Counter[str] = Counter()
        self.panics = 0
        self._hook = hook

    def caught(self, error: BaseException, where: str, trace_id: str) -> Problem:
        """The problem to answer with.

        Args:
            error: What was raised. A group with one exception inside counts as that one.
            where: Method and path, or the gRPC method, for the log.
            trace_id: Of the call.
        """
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        found = self._problem(error, where, trace_id)
        self.count(found.code)
        return found

    def panicked(self, error: BaseException, where: str, trace_id: str) -> None:
        """Logs and counts an exception that nobody expected."""
        self.panics += 1
        self._tell(PANIC)
        log.error("%s failed, trace %s", where[:500], trace_id, exc_info=error, extra={"trace_id": trace_id})

    def count(self, code: str) -> None:
        """Counts one problem that goes out."""
        label = code if code in CATALOGUE else OTHER
        self.counts[label] += 1
        self._tell(label)

    def _problem(self, error: BaseException, where: str, trace_id: str) -> Problem:
        if isinstance(error, Problem):
            if error.status >= 500:
                log.warning("%s: %r, trace %s", where[:500], error, trace_id, exc_info=error.__cause__)
            return error
        if isinstance(error, TimeoutError):
            log.warning("%s timed out, trace %s", where[:500], trace_id, exc_info=error)
            found = problem("DEADLINE_EXCEEDED")
        else:
            self.panicked(error, where, trace_id)
            found = problem("INTERNAL")
        found.__cause__ = error
        return found

    def _tell(self, label: str) -> None:
        if self._hook is not None:
            try:
                self._hook(label, self.protocol)
            except Exception:
                log.exception("the hook of problem metrics failed")
