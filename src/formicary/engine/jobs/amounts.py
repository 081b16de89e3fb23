"""Amounts of resources: ``2``, ``0.5``, ``500m``, ``8Gi``, ``1.5G``, as Kubernetes writes quantities.

Source: Kubernetes, "Quantity": decimal suffixes m k M G T P, binary ones Ki Mi Gi Ti Pi.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MOST = 1e18
_NAME = re.compile(r"[a-z][a-z0-9_./-]{0,62}")
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?B?")
_UNITS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_UNITS |= {f"{name}i": 1024.0 ** (power + 1) for power, name in enumerate("KMGTP")}

Needs = tuple[tuple[str, float], ...]
"""Amount by resource, sorted by name: what a task holds of its ant."""
WHAT = "an amount like 2, 500m or 8Gi"


def parse_amount(value: object) -> float:
    """Returns the amount as a number.

    Raises:
        ValueError: It is none, or below zero; the text says what is one.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        amount = float(value)
    else:
        found = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) and len(value) <= 40 else None
        amount = float(found.group(1)) * _UNITS[found.group(2) or ""] if found is not None else -1.0
    if not 0 <= amount <= MOST:
        raise ValueError(f"write {WHAT}")
    return amount


def show_amount(amount: float) -> str:
    """An amount as people write it: small ones in full, large ones with the unit that fits."""
    if amount < 1e5:
        return f"{amount:g}"
    largest_first = sorted(_UNITS.items(), key=lambda unit: -unit[1])
    binary = [(name, size) for name, size in largest_first if name.endswith("i")]
    exact = [*binary, *(unit for unit in largest_first if unit[0] in ("k", "M", "G", "T", "P"))]
    found = next(((name, size) for name, size in exact if amount % size == 0 and size <= amount < size * 1e5), None)
    name, size = found or next(unit for unit in binary if amount >= unit[1])
    return f"{amount / size:.5g}{name}"


def is_resource(name: str) -> bool:
    """Says whether a resource may have this name: lower case, from a letter on."""
    return _NAME.fullmatch(name) is not None


def is_virtual(resources: object) -> bool:
    """Says whether a `resources` field asks for licences and locks (a list, or a resource_type), not for amounts."""
    return not isinstance(resources, Mapping) or "resource_type" in resources


REQUESTS, LIMITS = "requests", "limits"
"""Parts of a `resources` field that says both, as Kubernetes does; a plain name is a request."""


def requests_of(resources: object) -> dict[str, float]:
    """The amounts above zero that a `resources` field asks for; what has only a limit asks for that."""
    if not isinstance(resources, Mapping) or is_virtual(resources):
        return {}
    plain = {name: value for name, value in resources.items() if name not in (REQUESTS, LIMITS)}
    return limits_of(resources) | _amounts(resources.get(REQUESTS)) | _amounts(plain)


def limits_of(resources: object) -> dict[str, float]:
    """The amounts above zero that a `resources` field says are the most; none where it asks for something else."""
    if not isinstance(resources, Mapping) or is_virtual(resources):
        return {}
    return _amounts(resources.get(LIMITS))


def needs_of(resources: object) -> Needs:
    """What `requests_of` says, sorted by name."""
    return tuple(sorted(requests_of(resources).items()))


def _amounts(given: object) -> dict[str, float]:
    found = {}
    for name, value in given.items() if isinstance(given, Mapping) else ():
        try:
            amount = parse_amount(value)
        except ValueError:  # a template that is not rendered yet; the parser has told all else
            continue
        if amount > 0:
            found[str(name)] = amount
    return found


def read_amounts(text: str) -> dict[str, float]:
    """Reads ``cpu=4,memory=8Gi``.

    Raises:
        ValueError: Naming every part that is wrong.
    """
    found: dict[str, float] = {}
    wrong = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        try:
            amount = parse_amount(value)
        except ValueError:
            wrong.append(f"{part[:60]!r}: write NAME=AMOUNT, like cpu=4 or memory=8Gi")
            continue
        if not is_resource(name.strip()):
            wrong.append(f"{name[:60]!r} is no name of a resource: lower-case letters, digits and _ . / -")
        found[name.strip()] = amount
    if wrong:
        raise ValueError("; ".join(wrong))
    return found


def read_labels(text: str) -> dict[str, str]:
    """Reads ``zone=eu,disk=ssd``. Raises ValueError naming every part that is wrong."""
    found: dict[str, str] = {}
    wrong = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or len(part) > 300:
            wrong.append(f"{part[:60]!r}: write NAME=VALUE, like zone=eu")
        found[name.strip()] = value.strip()
    if wrong:
        raise ValueError("; ".join(wrong))
    return found
