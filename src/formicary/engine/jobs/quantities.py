"""Quantities of containers: processors and bytes, as Kubernetes and Docker write them."""

from __future__ import annotations

import math
import re

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,3}))?([A-Za-z]*)\Z")
_DECIMAL = {"": 1.0, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60}
_DOCKER = {"b": 1.0, "kb": 2.0**10, "g": 2.0**30, "mb": 2.0**20, "gb": 2.0**30, "t": 2.0**40, "tb": 2.0**40}
"""Units of Docker, which are powers of two; ``m`` and ``k`` mean what Kubernetes says."""
MOST_CORES = 10_000.0
MOST_BYTES = 2**62


def parse_cores(value: object) -> float:
    """Reads processors: ``2``, ``0.5``, ``250m``.

    Raises:
        ValueError: It is none, or not above 0.
    """
    found = _parse(value, {"": 1.0, "m": 1e-3})
    if not 0 < found <= MOST_CORES:
        raise ValueError(f"it must be above 0 and at most {MOST_CORES:,.0f}")
    return round(found, 6)


def parse_bytes(value: object) -> int:
    """Reads a size: ``64Mi``, ``1.5Gi``, ``500M``, ``2g``, ``1048576``.

    Raises:
        ValueError: It is none, or below one byte.
    """
    found = _parse(value, {**_DECIMAL, **_BINARY, **_DOCKER})
    if not 0 < found <= MOST_BYTES:
        raise ValueError("it must be at least one byte, and not too large")
    return math.ceil(found)


def _parse(value: object, units: dict[str, float]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("write a number with a unit")
    match = _QUANTITY.match(str(value).strip())
    if match is None:
        raise ValueError("write a number with a unit")
    number, exponent, unit = match.groups()
    factor = units.get(unit, units.get(unit.lower()))
    if factor is None:
        raise ValueError(f"the unit {unit[:10]} is unknown")
    try:
        return float(number) * 10.0 ** int(exponent or 0) * factor
    except OverflowError:
        raise ValueError("it is too large") from None
