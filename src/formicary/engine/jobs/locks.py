"""Virtual resources: licences, locks and quotas that a job or a task holds while it runs, by name and amount."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from formicary.engine.jobs.amounts import is_virtual, parse_amount

Locks = tuple[tuple[str, float], ...]
"""Amount by name, sorted by name, each name once."""
MOST_NAME = 200


def locks_of(resources: object) -> Locks:
    """What a `resources` field takes of virtual resources; none where it asks for amounts of an ant."""
    if resources is None or not is_virtual(resources):
        return ()
    listed = [resources] if isinstance(resources, Mapping) else resources
    found: dict[str, float] = {}
    for one in listed if isinstance(listed, Iterable) else ():
        if not isinstance(one, Mapping) or not (name := str(one.get("resource_type") or "").strip()):
            continue
        value = one.get("value")
        try:
            amount = 1.0 if value in (None, "") else parse_amount(value)
        except ValueError:  # a template that is not rendered yet; the parser has told all else
            continue
        if amount > 0:
            found[name] = found.get(name, 0.0) + amount
    return tuple(sorted(found.items()))


def beyond(locks: Locks, covered: Locks) -> Locks:
    """What a task takes beside what its job holds already: a job never waits for itself."""
    held = dict(covered)
    return tuple((name, amount - held.get(name, 0.0)) for name, amount in locks if amount > held.get(name, 0.0))


def together(*parts: Locks) -> Locks:
    """The sum."""
    found: dict[str, float] = {}
    for part in parts:
        for name, amount in part:
            found[name] = found.get(name, 0.0) + amount
    return tuple(sorted(found.items()))
