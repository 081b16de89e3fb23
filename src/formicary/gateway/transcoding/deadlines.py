"""How long the caller waits, from the headers that say so."""

from __future__ import annotations

import re

from formicary.gateway.transcoding import refusals

_GRPC = re.compile(r"([0-9]{1,8})([HMSmun])\Z", re.ASCII)
_GRPC_UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_PLAIN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h)?\Z", re.ASCII)
_PLAIN_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

HEADERS = ("grpc-timeout", "x-request-timeout", "request-timeout")


def timeout_s(headers: dict[str, str]) -> float | None:
    """Seconds until the caller stops waiting, the least where several headers say; None where none does.

    ``Grpc-Timeout`` is as gRPC writes it (``250m`` is 250 ms), the others are seconds, or have a unit (``250ms``).

    Raises:
        Problem: A header is none of these.
    """
    least = None
    for name in HEADERS:
        text = headers.get(name)
        if text is None:
            continue
        found = (_GRPC if name == "grpc-timeout" else _PLAIN).match(text.strip())
        if found is None:
            raise refusals.bad_header(name, f"is not a time: {text[:40]!r}")
        units = _GRPC_UNITS_S if name == "grpc-timeout" else _PLAIN_UNITS_S
        seconds = float(found.group(1)) * units[found.group(2) or "s"]
        least = seconds if least is None else min(least, seconds)
    return least
