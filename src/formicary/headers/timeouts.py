"""Deadlines: ``grpc-timeout`` (gRPC) and ``X-Request-Timeout`` (HTTP) as seconds, and back."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from formicary.problems import FieldError, problem

REQUEST_TIMEOUT = "x-request-timeout"
GRPC_TIMEOUT = "grpc-timeout"
_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_GRPC = re.compile(r"([0-9]{1,8})([HMSmun])").fullmatch
_HTTP = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h)?").fullmatch
_HTTP_UNITS_S = {"ms": 1e-3, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}


def read_grpc_timeout(text: str) -> float:
    """Reads a grpc-timeout like ``100m`` (milliseconds) as seconds. Raises ValueError."""
    found = _GRPC(text)
    if found is None:
        raise ValueError("is not a gRPC timeout, like 100m or 5S")
    return int(found[1]) * _UNITS_S[found[2]]


def write_grpc_timeout(timeout_s: float) -> str:
    """Writes seconds as grpc-timeout, at most 8 digits, rounded up in the finest unit that fits."""
    for unit in ("n", "u", "m", "S", "M", "H"):
        amount = math.ceil(round(max(timeout_s, 0.0) / _UNITS_S[unit], 6))
        if amount < 100_000_000:
            return f"{amount}{unit}"
    return "99999999H"


def read_request_timeout(text: str) -> float:
    """Reads an X-Request-Timeout: seconds, or a number with ms, s, m or h. Raises ValueError."""
    found = _HTTP(text.strip())
    if found is None:
        raise ValueError("is not a timeout, like 2.5, 500ms or 30s")
    return float(found[1]) * _HTTP_UNITS_S[found[2]]


def write_request_timeout(timeout_s: float) -> str:
    """Writes seconds as X-Request-Timeout, rounded up to whole milliseconds."""
    return f"{math.ceil(round(max(timeout_s, 0.0) * 1000, 6))}ms"


def of_headers(headers: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Returns the smallest deadline that the headers name, in seconds; None for none. Raises Problem."""
    found: list[float] = []
    for name, value in headers:
        lower = name.lower()
        if lower not in (GRPC_TIMEOUT, REQUEST_TIMEOUT) or isinstance(value, bytes):
            continue
        try:
            found.append(read_grpc_timeout(value) if lower == GRPC_TIMEOUT else read_request_timeout(value))
        except ValueError as error:
            message = f"The header {name} {error}."
            raise problem(
                "VALIDATION_FAILED", message, errors=[FieldError(f"headers.{name}", "HEADER_REJECTED", message)]
            ) from None
    return min(found, default=None)
