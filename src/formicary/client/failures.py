"""From gRPC's errors to problems, and how long to wait before trying again."""

from __future__ import annotations

import random
from typing import Any

import grpc
import grpc.aio
import msgspec

from formicary.problems import Problem, problem
from formicary.problems.rpc import STATUS_KEY, from_rpc_error

_BACKOFF_FIRST_S = 0.05
_BACKOFF_LONGEST_S = 2.0
_decode = msgspec.json.Decoder(dict[str, Any]).decode

# The connection broke, or the server went away in the middle: whatever was asked may be asked again.
_BROKEN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN})


def backoff_s(attempt: int) -> float:
    """Full jitter: a wait between 0 and a bound that doubles with each attempt (from 1), in seconds."""
    bound = min(_BACKOFF_LONGEST_S, _BACKOFF_FIRST_S * 2.0 ** min(attempt - 1, 20))
    return random.uniform(0, bound)


def decoded(document: bytes) -> Problem:
    """A problem from its JSON document."""
    try:
        return Problem.from_document(_decode(document))
    except msgspec.DecodeError:
        return problem("INTERNAL", "The server answered with a problem that cannot be read.")


def from_rpc(error: grpc.aio.AioRpcError, address: str) -> Problem:
    """The problem that a failed call stands for; a broken connection is UNAVAILABLE."""
    details = any(key == STATUS_KEY for key, _ in error.trailing_metadata() or ())
    if error.code() in _BROKEN and not details:
        return unreachable(address)
    return from_rpc_error(error)


def unreachable(address: str) -> Problem:
    """Nobody answers at the address."""
    return problem(
        "UNAVAILABLE",
        f"No server answers at {address}.",
        remedy="Start one with `formicary up`, or name another one with --server HOST:PORT or FORMICARY_SERVER.",
    )
