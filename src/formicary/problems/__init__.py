"""Errors of the whole product: one exception, one catalogue of codes, one document (RFC 9457) in every protocol.

Raise one with ``raise problem("NOT_FOUND", f"There is no job {job_id}.")``; catch :class:`Problem`.

What shows problems to clients: ``formicary.problems.asgi``, ``formicary.problems.grpc_aio``, and the functions that
they use, in ``formicary.problems.http`` and ``formicary.problems.rpc``. What finds them in messages:
``formicary.problems.validation``. This package itself loads neither gRPC nor protobuf.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from formicary.problems.catalogue import ALIASES, CATALOGUE, CodeEntry, entry, generic, problem
from formicary.problems.problem import Detail, FieldError, Problem, RetryPolicy

if TYPE_CHECKING:
    from formicary.problems.http import parse_http
    from formicary.problems.rpc import from_rpc_error

__all__ = [
    "ALIASES",
    "CATALOGUE",
    "CodeEntry",
    "Detail",
    "FieldError",
    "Problem",
    "RetryPolicy",
    "entry",
    "from_rpc_error",
    "generic",
    "parse_http",
    "problem",
]

_LAZY = {"parse_http": "formicary.problems.http", "from_rpc_error": "formicary.problems.rpc"}


def __getattr__(name: str) -> object:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)
