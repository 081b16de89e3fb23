"""Errors of the whole product: one exception, one catalogue of codes, one document (RFC 9457) in every protocol.

Raise one with ``raise problem("NOT_FOUND", f"There is no job {job_id}.")``; catch :class:`Problem`.
"""

from formicary.problems.catalogue import ALIASES, CATALOGUE, CodeEntry, entry, generic, problem
from formicary.problems.problem import Detail, FieldError, Problem, RetryPolicy

__all__ = ["CATALOGUE", "CodeEntry", "FieldError", "Problem", "entry", "problem"]
