"""Errors of the whole product: one exception, one catalogue of codes, one document (RFC 9457) in every protocol.

Raise one with ``raise problem("NOT_FOUND", f"There is no job {job_id}.")``; catch :class:`Problem`.
"""

from formicary.problems.catalogue import CATALOGUE, CodeEntry, entry, problem
from formicary.problems.problem import FieldError, Problem

__all__ = ["CATALOGUE", "CodeEntry", "FieldError", "Problem", "entry", "problem"]
